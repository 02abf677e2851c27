"""Which rows of a table moved across a filter, asked of its engine: none is read that did not.

Rules
-----
* Only that is asked in SQL whose meaning in the engine is the very meaning of the condition; for
  the rest the answer is None, and records are looked at one by one. Collations, types that compare
  otherwise, and SQLite's ``LIKE`` are such a rest.
* Where a column of SQLite holds something else than its type says, its rows are among the answer:
  a row too many is looked at in vain.
* Names come from the catalogue, values are parameters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from operator import eq, ge, gt, le, lt, ne
from typing import Any, Final

from sqlalchemy import (
    DateTime,
    and_,
    bindparam,
    case,
    cast,
    collate,
    func,
    literal_column,
    not_,
    or_,
)
from sqlalchemy.sql import ColumnElement

from mailsync.core.conditions import (
    Age,
    All,
    Among,
    Any_,
    Comparison,
    Condition,
    Field,
    IsNull,
    Like,
    Literal,
    Not,
    Now,
    Operand,
    holds,
    is_timed,
    number_of,
    parts_of,
)
from mailsync.core.filters import Applied, Filter
from mailsync.core.model import Value

_OPERATORS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "=": eq, "<>": ne, "<": lt, "<=": le, ">": gt, ">=": ge
}  # fmt: skip
_MIRRORED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}

_INTEGER: Final = re.compile(r"(BIG|SMALL|MEDIUM|TINY)?INT(EGER)?(\(\d+\))?( UNSIGNED)?")
_TEXT: Final = re.compile(r"(TEXT|VARCHAR|CHARACTER VARYING)(\(\d+\))?")
_MOMENT: Final = re.compile(r"(DATE|DATETIME|TIMESTAMP)\b.*")

MARGIN: Final = timedelta(days=2)
"""For zones and roundings; what is looked at in vain costs little."""

_NULL: Final[ColumnElement[Any]] = literal_column("NULL")


class Unasked(Exception):
    """The engine cannot be asked this."""


@dataclass
class Question:
    """A condition on the rows of one table, with its parameters."""

    engine: str
    """The name of its dialect."""
    types: Mapping[str, str]
    """By column, as the engine calls it."""
    column: Callable[[str], ColumnElement[Any]]
    values: dict[str, Any] = field(default_factory=dict)

    def moved(self, before: Applied, now: Applied) -> ColumnElement[Any] | None:
        """Are rows on another side of the filter now? True of more rows, if need be; None: the
        engine cannot be asked.
        """
        try:
            if before.filter == now.filter:
                return self._crossed(now.filter, before.at, now.at)
            conditions = (before.filter.where, now.filter.where)
            if before.filter.is_timed or now.filter.is_timed:
                return None
            sides = (1 if one is None else self._side(one) for one in conditions)
            odd = [self._is_odd(name) for name in sorted(before.filter.fields | now.filter.fields)]
            return or_(ne(*sides), *odd)
        except Unasked:
            return None

    def truth(self, condition: Condition) -> ColumnElement[Any]:
        """The condition in SQL, with the same three values. Raises :class:`Unasked`."""
        match condition:
            case Comparison(operator, left, right):
                return self._compared(operator, left, right)
            case Among(operand, choices):
                return or_(*(self._compared("=", operand, choice) for choice in choices))
            case IsNull(Field(name)):
                return self._typed(name).is_(None)
            case Like(Field(name), pattern) if self.engine != "sqlite":
                return self._text(name).like(self._bound(_pattern(pattern)), escape="!")
            case Not(inner):
                return not_(self.truth(inner).self_group())
            case All(conditions):
                return and_(*map(self.truth, conditions))
            case Any_(conditions):
                return or_(*map(self.truth, conditions))
        raise Unasked

    def _side(self, condition: Condition) -> ColumnElement[Any]:
        return case((self.truth(condition), literal_column("1")), else_=literal_column("0"))

    def _compared(self, operator: str, left: Operand, right: Operand) -> ColumnElement[Any]:
        match left, right:
            case Literal(), Literal():
                truth = holds(Comparison(operator, left, right), {}, 0)
                return _NULL if truth is None else literal_column("1=1" if truth else "1=0")
            case Literal(), Field():
                return self._compared(_MIRRORED.get(operator, operator), right, left)
            case Field(name), Literal(value):
                return self._compared_value(operator, name, value)
            case Field(one), Field(other) if self._is(_INTEGER, one) and self._is(_INTEGER, other):
                compared: ColumnElement[Any] = _OPERATORS[operator](
                    self.column(one), self.column(other)
                )
                return compared
        raise Unasked

    def _compared_value(
        self, operator: str, name: str, value: Value | Decimal
    ) -> ColumnElement[Any]:
        if value is None:
            return _NULL
        compare: Callable[[Any, Any], ColumnElement[Any]] = _OPERATORS[operator]
        if self._is(_INTEGER, name) and not isinstance(value, bytes | float):
            number = number_of(value)
            if number is None:
                return _NULL
            return compare(self.column(name), self._bound_number(number))
        if self._is(_TEXT, name) and isinstance(value, str):
            return compare(self._text(name), self._bound(value))
        raise Unasked

    def _is(self, kind: re.Pattern[str], name: str) -> bool:
        return kind.fullmatch(self.types.get(name, "").upper()) is not None

    def _typed(self, name: str) -> ColumnElement[Any]:
        """A column of any type. Raises :class:`Unasked` if there is none."""
        if name not in self.types:
            raise Unasked
        return self.column(name)

    def _text(self, name: str) -> ColumnElement[Any]:
        """A column of texts, to be compared by code points."""
        if not self._is(_TEXT, name):
            raise Unasked
        there = self.column(name)
        if self.engine == "sqlite":
            return collate(there, "BINARY")
        if self.engine == "postgresql":
            return collate(there, "C")
        return func.convert(there.op("USING")(literal_column("utf8mb4"))).op("COLLATE")(
            literal_column("utf8mb4_nopad_bin")
        )

    def _bound(self, value: Any) -> ColumnElement[Any]:
        if isinstance(value, str) and ("\0" in value or not value.isprintable()):
            raise Unasked  # an engine or its driver may see them otherwise
        name = f"p{len(self.values)}"
        self.values[name] = value
        return bindparam(name)

    def _bound_number(self, number: Decimal) -> ColumnElement[Any]:
        if number == int(number) and abs(number) < 2**63:
            return self._bound(int(number))
        if self.engine != "sqlite":
            return self._bound(number)
        if Decimal(float(number)) != number:
            raise Unasked
        return self._bound(float(number))

    def _is_odd(self, name: str) -> ColumnElement[Any]:
        """Does the row hold something there that the column's type does not say?"""
        if self.engine != "sqlite":
            return literal_column("1=0")
        there = func.typeof(self._typed(name))
        expected = "integer" if self._is(_INTEGER, name) else "text"
        return and_(there != literal_column(f"'{expected}'"), there != literal_column("'null'"))

    def _crossed(self, found: Filter, then: int, now: int) -> ColumnElement[Any]:
        """Whom did time move across it, from ``then`` to ``now`` (milliseconds since 1970)?"""
        first, last = (datetime.fromtimestamp(at / 1000, UTC) for at in sorted((then, now)))
        windows = [
            self._within(name, first - age - MARGIN, last - age + MARGIN)
            for name, age in _moments(found)
        ]
        return or_(*windows) if windows else literal_column("1=0")

    def _within(self, name: str, first: datetime, last: datetime) -> ColumnElement[Any]:
        """Is the moment in a column within these, or does the engine not know it for one?"""
        there = self._typed(name)
        if self.engine != "sqlite":
            if not self._is(_MOMENT, name):
                raise Unasked
            bounds = [self._bound(one.strftime("%Y-%m-%d %H:%M:%S")) for one in (first, last)]
            if self.engine == "postgresql":
                bounds = [cast(one, DateTime) for one in bounds]
            return there.between(bounds[0], bounds[1])
        seconds = there.between(self._bound(first.timestamp()), self._bound(last.timestamp()))
        days = func.julianday(there)
        texts = days.between(self._bound(_julian(first)), self._bound(_julian(last)))
        is_text = func.typeof(there) == literal_column("'text'")
        return or_(and_(is_text, or_(texts, days.is_(None))), and_(not_(is_text), seconds))


def _moments(found: Filter) -> Iterator[tuple[str, timedelta]]:
    """The fields whose moments decide, and how long after them they do. Raises Unasked."""
    if found.max_age is not None and found.age_field is not None:
        yield found.age_field, timedelta(milliseconds=found.max_age)
    for part in parts_of(found.where) if found.where is not None else ():
        match part:
            case Comparison(_, Field(name), Now()) | Comparison(_, Now(), Field(name)):
                yield name, timedelta()
            case Comparison(_, Age(name), Literal(value)) | Comparison(
                _, Literal(value), Age(name)
            ):
                number = float(value) if isinstance(value, int | float | Decimal) else None
                if number is None or abs(number) > 10**9:
                    raise Unasked
                yield name, timedelta(seconds=number)
            case _ if is_timed(part):
                raise Unasked


def _julian(moment: datetime) -> float:
    return moment.timestamp() / 86_400 + 2_440_587.5


def _pattern(pattern: tuple[str, ...]) -> str:
    return "".join(
        one if one in {"%", "_"} else f"!{one[-1]}" if one[-1] in "%_!" else one[-1]
        for one in pattern
    )
