"""Statements: compiled once, executed by the driver itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import eq, itemgetter
from typing import Any, cast

from sqlalchemy import Dialect, and_, bindparam, or_
from sqlalchemy.sql import ClauseElement, ColumnElement

from mailsync.core.model import Value


class Statement:
    """One compiled statement; its parameters are given by name."""

    def __init__(
        self, construct: ClauseElement, dialect: Dialect, edit: Callable[[str], str] = str
    ) -> None:
        """Compile for the engine of ``dialect``; ``edit`` has the last word on the text."""
        compiled = construct.compile(dialect=dialect)
        self.text = edit(str(compiled))
        order: Sequence[str] | None = getattr(compiled, "positiontup", None)
        self._said: Callable[[Mapping[str, Value]], Any] = _as_they_are
        if order is not None:
            self._said = _in_order(order)

    def run(self, cursor: Any, values: Mapping[str, Value]) -> Any:
        """Execute on a driver's cursor; returns the cursor."""
        cursor.execute(self.text, self._said(values))
        return cursor

    def run_each(self, cursor: Any, many: Sequence[Mapping[str, Value]]) -> None:
        """Execute for each of these values."""
        if len(many) == 1:
            self.run(cursor, many[0])
        else:
            cursor.executemany(self.text, list(map(self._said, many)))


def _as_they_are(values: Mapping[str, Value]) -> Mapping[str, Value]:
    return values


def _in_order(names: Sequence[str]) -> Callable[[Mapping[str, Value]], Sequence[Value]]:
    if len(names) > 1:
        return itemgetter(*names)
    return lambda values: [values[name] for name in names]


def is_one_of(key: Sequence[ColumnElement[Any]], count: int) -> ColumnElement[bool]:
    """Does the row have one of so many keys? Parameters: ``key0of0``, ``key1of0`` ..."""
    marks: list[list[ColumnElement[Any]]] = [
        [bindparam(f"key{place}of{number}") for place, _ in enumerate(key)]
        for number in range(count)
    ]
    if len(key) == 1:
        return cast("ColumnElement[bool]", key[0].in_([mark for (mark,) in marks]))
    # engines find rows by this, and not all of them by a list of tuples
    return or_(*(and_(*map(eq, key, values)) for values in marks))
