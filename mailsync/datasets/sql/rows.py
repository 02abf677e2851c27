"""Reading raw rows by their keys, texts that are no texts let through."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from math import isnan
from typing import Any, Final

from mailsync.core.model import Etag, Fields, Key, Value
from mailsync.datasets.rowkeys import Undecodable, key_values
from mailsync.datasets.sql.engine import Row, digest
from mailsync.datasets.sql.shape import Shape
from mailsync.datasets.sql.statement import Statement

KEYS_AT_A_TIME: Final = 256
"""Named by one statement; a power of two."""

_SUSPICIOUS: Final = frozenset({float, Undecodable})
"""Types of which some values cannot be taken."""


def row_etag(shape: Shape, row: Row) -> Etag:
    """16 bytes that tell the row from any other content."""
    return Etag(digest(shape.engine.content(row)))


def rows_of(
    connection: Any,
    shape: Shape,
    wanted: Mapping[Key, Sequence[Value]],
    statements: Callable[[int], Statement],
) -> dict[Key, Row]:
    """The rows of those keys that have one. ``wanted``: as :func:`usable_keys` gives it;
    ``statements``: ``Shape.rows`` or its like.
    """
    found: dict[Key, Row] = {}
    left = list(wanted.items())
    while left:
        some, left = left[:KEYS_AT_A_TIME], left[KEYS_AT_A_TIME:]
        for row in _some_rows(connection, shape, dict(some), statements):
            key = shape.key_of(row)
            if key in wanted:  # a collation may find similar ones
                found[key] = row
    return found


def _some_rows(
    connection: Any,
    shape: Shape,
    keys: Mapping[Key, Sequence[Value]],
    statements: Callable[[int], Statement],
) -> list[Row]:
    """The rows of these keys, and maybe similar ones, with one statement if it can be."""
    places = 1 << (len(keys) - 1).bit_length()  # few statements, whatever the number of keys
    values = [*keys.values()]
    values += values[-1:] * (places - len(values))
    statement, parameters = statements(places), shape.parameters_of_keys(values)

    def ask() -> list[Row]:
        rows: list[Row] = statement.run(connection.cursor(), parameters).fetchall()
        return rows

    try:
        return ask()
    except shape.engine.UNFIT_VALUES:
        alone = [{key: keys[key]} for key in keys if len(keys) > 1]
        rows = (_some_rows(connection, shape, one, statements) for one in alone)
        return list(chain.from_iterable(rows))
    except shape.engine.DRIVER_ERRORS as error:
        if not shape.engine.is_undecodable(error):
            raise
        with shape.engine.tolerance(connection):
            return ask()


def usable_keys(
    keys: Iterable[Key], usable: Callable[[Key], Sequence[Value] | None]
) -> dict[Key, Sequence[Value]]:
    """What the key columns of rows hold that can have one of these keys, by key; ``usable``
    gives it for one, as :func:`usable_key` does.
    """
    return {key: values for key in keys if (values := usable(key)) is not None}


def usable_key(shape: Shape, key: Key) -> tuple[Value, ...] | None:
    """The values of a key; None if no row of the table can have it."""
    try:
        values = key_values(key)
    except ValueError:
        return None
    return values if shape.may_have_key(values) else None


def unreadable(fields: Fields) -> str:
    """Why a row with these fields cannot be taken; empty: it can."""
    if _SUSPICIOUS.isdisjoint(map(type, fields.values())):
        return ""
    for name, value in fields.items():
        if isinstance(value, Undecodable):
            return f"column {name} holds a text that is not UTF-8"
        if isinstance(value, float) and isnan(value):
            return f"column {name} holds NaN, of which nobody can say whether it has changed"
    return ""
