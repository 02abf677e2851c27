"""Conditions on records: what an expression in the configuration means.

Rules
-----
* An expression is parsed (see ``expressions``) into these values, never evaluated as code.
* Three-valued logic, as in SQL: what compares with NULL is neither true nor false but unknown,
  and only what is true passes. A field that a record does not have is NULL.
* Numbers compare as numbers, also where one is the text of a number, as decimals and all cells of
  CSV files are. Texts compare by code points, bytes by bytes. A number and another text, or a
  text and bytes, tell nothing: unknown.
* What is compared with ``now()`` counts as a moment, and is unknown if it says none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from mailsync.core.model import Fields, Value
from mailsync.core.moments import moment_of

Truth = bool | None
"""None: unknown."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A value that stands in the expression."""

    value: Value | Decimal


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the record, under its shared name."""

    name: str


@dataclass(frozen=True, slots=True)
class Now:
    """The moment of evaluation."""


@dataclass(frozen=True, slots=True)
class Age:
    """Seconds from the moment that a field says until now; before it, less than zero."""

    name: str


Operand = Literal | Field | Now | Age


@dataclass(frozen=True, slots=True)
class Comparison:
    """``=``, ``<>``, ``<``, ``<=``, ``>`` or ``>=``."""

    operator: str
    left: Operand
    right: Operand


@dataclass(frozen=True, slots=True)
class IsNull:
    """Is there no value?"""

    operand: Operand


@dataclass(frozen=True, slots=True)
class Among:
    """Equal to one of several: ``in``."""

    operand: Operand
    choices: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Like:
    """Does a text look so? ``%`` stands for any characters, ``_`` for one; case counts."""

    operand: Operand
    pattern: tuple[str, ...]
    """Its characters; a backslash before one that stands for itself alone."""


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite; of unknown, unknown."""

    condition: Condition


@dataclass(frozen=True, slots=True)
class All:
    """Every one of them: ``and``."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Any_:  # noqa: N801 - "Any" is a name that typing has taken
    """At least one of them: ``or``."""

    conditions: tuple[Condition, ...]


Condition = Comparison | IsNull | Among | Like | Not | All | Any_

OPERATORS: Final[Mapping[str, frozenset[int]]] = {
    "=": frozenset({0}),
    "<>": frozenset({-1, 1}),
    "<": frozenset({-1}),
    "<=": frozenset({-1, 0}),
    ">": frozenset({1}),
    ">=": frozenset({0, 1}),
}
"""What a comparison accepts: -1 where the left side is less, 0 equal, 1 greater."""

NUMBER: Final = re.compile(r"[+-]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})")
"""The text of a number."""


def holds(condition: Condition, fields: Fields, now: int) -> Truth:
    """Is the condition true of a record with these fields? ``now``: milliseconds since 1970."""
    match condition:
        case Comparison(operator, left, right):
            return _compared(operator, left, right, fields, now)
        case IsNull(operand):
            return _value(operand, fields, now) is None
        case Among(operand, choices):
            equal = (_compared("=", operand, choice, fields, now) for choice in choices)
            return _any(equal)
        case Like(operand, pattern):
            value = _value(operand, fields, now)
            return _looks_like(value, pattern) if isinstance(value, str) else None
        case Not(inner):
            truth = holds(inner, fields, now)
            return None if truth is None else not truth
        case All(parts):
            opposite = _any(_negated(holds(part, fields, now)) for part in parts)
            return _negated(opposite)
        case Any_(parts):
            return _any(holds(part, fields, now) for part in parts)


def parts_of(condition: Condition) -> Iterator[Comparison | IsNull | Among | Like]:
    """Every condition on values in it."""
    match condition:
        case Not(inner):
            yield from parts_of(inner)
        case All(parts) | Any_(parts):
            for part in parts:
                yield from parts_of(part)
        case _:
            yield condition


def operands_of(part: Comparison | IsNull | Among | Like) -> tuple[Operand, ...]:
    """What a condition on values is about."""
    match part:
        case Comparison(_, left, right):
            return (left, right)
        case Among(operand, choices):
            return (operand, *choices)
        case IsNull(operand) | Like(operand, _):
            return (operand,)


def fields_of(condition: Condition) -> frozenset[str]:
    """The fields it names."""
    operands = (one for part in parts_of(condition) for one in operands_of(part))
    return frozenset(one.name for one in operands if isinstance(one, Field | Age))


def is_timed(part: Comparison | IsNull | Among | Like) -> bool:
    """May it change without the record?"""
    return any(isinstance(one, Now | Age) for one in operands_of(part))


def number_of(value: Value | Decimal) -> Decimal | None:
    """The number that a value is, or is the text of."""
    if isinstance(value, str):
        text = value.strip()
        return Decimal(text) if len(text) <= 82 and NUMBER.fullmatch(text) else None
    return Decimal(value) if isinstance(value, int | Decimal) else None


def _any(truths: Iterator[Truth]) -> Truth:
    found: Truth = False
    for truth in truths:
        if truth:
            return True
        found = None if truth is None else found
    return found


def _negated(truth: Truth) -> Truth:
    return None if truth is None else not truth


def _value(operand: Operand, fields: Fields, now: int) -> Value | Decimal:
    match operand:
        case Literal(value):
            return value
        case Field(name):
            return fields.get(name)
        case Now():
            return now / 1000
        case Age(name):
            moment = moment_of(fields.get(name))
            return None if moment is None else (now - moment) / 1000


def _compared(operator: str, left: Operand, right: Operand, fields: Fields, now: int) -> Truth:
    one, other = (_value(operand, fields, now) for operand in (left, right))
    if isinstance(left, Now) or isinstance(right, Now):
        one, other = (
            None if isinstance(value, Decimal) else moment_of(value) for value in (one, other)
        )
    return _ordered(operator, one, other)


def _ordered(operator: str, one: Value | Decimal, other: Value | Decimal) -> Truth:
    order = _order(one, other)
    return None if order is None else order in OPERATORS[operator]


def _order(one: Value | Decimal, other: Value | Decimal) -> int | None:
    """-1, 0 or 1; None: the values cannot be compared."""
    if one is None or other is None:
        return None
    if isinstance(one, str) and isinstance(other, str):
        return (one > other) - (one < other)
    if isinstance(one, bytes) or isinstance(other, bytes):
        both = isinstance(one, bytes) and isinstance(other, bytes)
        return (one > other) - (one < other) if both else None  # type: ignore[operator]
    if isinstance(one, float) or isinstance(other, float):
        first, second = _float_of(one), _float_of(other)
        return None if first is None or second is None else (first > second) - (first < second)
    left, right = number_of(one), number_of(other)
    return None if left is None or right is None else (left > right) - (left < right)


def _float_of(value: Value | Decimal) -> float | None:
    if isinstance(value, float):
        return value
    number = number_of(value)
    return None if number is None else float(number)


def _looks_like(text: str, pattern: tuple[str, ...]) -> bool:
    """Linear in the text for each ``%``: nothing in data or pattern makes it slow."""
    place = at = 0
    star, mark = -1, 0
    while at < len(text):
        wanted = pattern[place] if place < len(pattern) else ""
        if wanted == "%":
            star, mark = place, at
            place += 1
        elif wanted == "_" or wanted[-1:] == text[at]:
            place, at = place + 1, at + 1
        elif star >= 0:
            mark += 1
            place, at = star + 1, mark
        else:
            return False
    return all(wanted == "%" for wanted in pattern[place:])
