"""How a column spells a value: the same meaning in the one form that the column holds.

Rules
-----
* What travels is a plain value: an integer, a float, a text, bytes, true or false, nothing.
  Decimals, larger integers, dates, times, UUIDs and JSON travel as texts.
* A spelling changes the form only: ``1`` is ``1.00`` in a column of two decimals and true in
  one of booleans, ``2026-01-02T03:04`` is ``2026-01-02 03:04:00``. Nothing is rounded, cut,
  padded or guessed; what has no such form is ``Unfit``.
* Spelling twice is spelling once, so that what was written is known again.
* A time without zone is in UTC where a column has a zone, and the other way round.
"""

from __future__ import annotations

import json
import re
import struct
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from mailsync.core.model import Value
from mailsync.core.tokens import INTEGERS

Spelling = Callable[[Value], Value]
"""From a value, never None, to the column's form of it. Raises :class:`Unfit`."""

_DECIMAL: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?", re.ASCII)
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
# not 24:00, of which later versions of Python make 00:00
_CLOCK: Final = re.compile(r"(?:[01][0-9]|2[0-3]):[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?", re.ASCII)
_ZONE: Final = re.compile(r"[+-][0-9]{2}(:?[0-9]{2})?|Z", re.ASCII)
_CONSTANT: Final = re.compile(
    r"\(?(?:(-?[0-9]+)|(-?[0-9]+\.[0-9]+)|'((?:[^']|'')*)'|(true|false))\)?"
    r"(?:::[\w ().,\[\]\"]+)?",
    re.IGNORECASE,
)
"""An integer, a decimal, a text or a truth value, which PostgreSQL casts to its type."""
_DIGITS_MAX: Final = 2000
"""Of a decimal that is looked at; no engine's has more."""


class Unfit(Exception):
    """The column has no form of the value; the text says what it holds instead."""


def anything(value: Value) -> Value:
    """A column without a type of its own."""
    return value


def integer(least: int, greatest: int) -> Spelling:
    """Integers from ``least`` to ``greatest``; true and false are 1 and 0."""
    plain = range(max(least, INTEGERS.start), min(greatest + 1, INTEGERS.stop))

    def spell(value: Value) -> Value:
        if type(value) is int and value in plain:
            return value
        exact = _number(value)
        if exact is None or exact != exact.to_integral_value():
            raise Unfit("holds integers")
        if not least <= exact <= greatest:
            raise Unfit(f"holds integers from {least} to {greatest}")
        return whole(exact)

    return spell


def whole(number: Any) -> Value:
    """An integer, or digits of one, as it travels: as a text of its digits where 63 bits and a sign
    do not hold it.
    """
    exact = int(number)
    return exact if exact in INTEGERS else str(exact)


def signed(bits: int) -> Spelling:
    """Integers of so many bits, one of them for the sign."""
    return integer(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def floating(value: Value) -> Value:
    """Floats of 64 bits, infinities among them."""
    if isinstance(value, float):
        return value
    exact = _number(value)
    if exact is None or Decimal(repr(float(exact))) != exact:
        raise Unfit("holds floats")
    return float(exact)


def single(value: Value) -> Value:
    """Floats of 32 bits."""
    wide = floating(value)
    if not isinstance(wide, float) or shortest_single(wide) != wide:
        raise Unfit("holds floats of 32 bits")
    return wide


def shortest_single(value: float) -> float:
    """The float with the fewest digits that is the same one in 32 bits."""
    try:
        packed = struct.pack("f", value)
    except OverflowError:
        return float("inf")
    for digits in range(1, 10):
        short = float(f"{value:.{digits}g}")
        if struct.pack("f", short) == packed:
            return short
    return value


def decimal(digits: int | None, scale: int | None) -> Spelling:
    """Decimals of so many digits, so many of them places behind the point; None: of any number."""

    def spell(value: Value) -> Value:
        if isinstance(value, str) and value in {"NaN", "Infinity", "-Infinity"}:
            return value
        exact = _number(value)
        if exact is None:
            raise Unfit("holds decimals")
        if scale is None:
            return f"{exact:f}"
        words = f"{exact:.{scale}f}"
        if Decimal(words) != exact:
            raise Unfit(f"holds decimals of {scale} places")
        if digits is not None and exact.adjusted() >= digits - scale and exact != 0:
            raise Unfit(f"holds decimals of {digits} digits, {scale} of them places")
        return words.removeprefix("-") if exact == 0 else words

    return spell


def boolean(value: Value) -> Value:
    """True and false, also as 1 and 0."""
    exact = _number(value)
    if exact not in {0, 1}:
        raise Unfit("holds true and false")
    return bool(exact)


def text(length: int | None = None) -> Spelling:
    """Texts of so many characters at most."""

    def spell(value: Value) -> Value:
        if not isinstance(value, str):
            raise Unfit("holds texts")
        if length is not None and len(value) > length:
            raise Unfit(f"holds texts of up to {length} characters")
        return value

    return spell


def padded_text(length: int | None) -> Spelling:
    """Texts of a fixed length: blanks at the end are the padding."""
    bounded = text(length)

    def spell(value: Value) -> Value:
        return bounded(value.rstrip(" ") if isinstance(value, str) else value)

    return spell


def blob(value: Value) -> Value:
    """Bytes."""
    if not isinstance(value, bytes):
        raise Unfit("holds bytes")
    return value


def day(value: Value) -> Value:
    """Dates: ``2026-12-31``. Special ones are left to the engine."""
    return _texts(value, "dates", lambda words: str(_parsed(_DATE, date.fromisoformat, words)))


def clock(value: Value) -> Value:
    """Times of day: ``23:59:59.5``."""
    return _texts(value, "times", lambda words: _clock(_parsed(_CLOCK, time.fromisoformat, words)))


def moment(value: Value) -> Value:
    """Dates with times, without zone: ``2026-12-31 23:59:59.5``."""
    return _texts(value, "dates with times", lambda words: _moment(words, ""))


def instant(value: Value) -> Value:
    """Dates with times, with zone: ``2026-12-31 23:59:59.5+00:00``."""
    return _texts(value, "dates with times", lambda words: _moment(words, "+00:00"))


def identifier(value: Value) -> Value:
    """UUIDs: ``6ba7b810-9dad-11d1-80b4-00c04fd430c8``."""
    try:
        return str(uuid.UUID(value if isinstance(value, str) else ""))
    except ValueError as error:
        raise Unfit("holds UUIDs") from error


def document(value: Value) -> Value:
    """JSON in PostgreSQL's normal form of it, which has no U+0000."""
    try:
        words = value if isinstance(value, str) else str(decimal(None, None)(value))
        spelled = _document(json.loads(words, **_EXACT))
        spelled.encode()  # escapes may say what is half a character
    except (ValueError, RecursionError, InvalidOperation, Unfit) as error:
        raise Unfit("holds JSON") from error
    if "\\u0000" in spelled.replace("\\\\", ""):
        raise Unfit("of PostgreSQL cannot hold U+0000")
    return spelled


def blank(spell: Spelling, default: str | None, *, nullable: bool) -> Value:
    """What rows hold in a column that came later, by the catalogue's words for its default.

    Only constants are understood. A column that takes no NULL and has no default was filled by
    MariaDB with zeros or empty texts.
    """
    values = _constants(default) if default is not None else () if nullable else (0, "")
    for value in values:
        with suppress(Unfit):
            return spell(value)
    return None


def _constants(words: str) -> tuple[Value, ...]:
    found = _CONSTANT.fullmatch(words)
    if found is None:
        return ()
    whole, decimal_number, quoted, truth = found.groups()
    if whole is not None:
        return (int(whole),)
    if quoted is not None:
        return (quoted.replace("''", "'"),)
    return (decimal_number or truth.lower() == "true",)


def _texts(value: Value, kind: str, spell: Callable[[str], str]) -> str:
    if not isinstance(value, str) or not value:
        raise Unfit(f"holds {kind}")
    try:
        return spell(value)
    except (ValueError, OverflowError, RecursionError):
        return value


def _number(value: Value) -> Decimal | None:
    """Exactly this number; None if it is none, or none that decimals can say."""
    match value:
        case bool() | int():
            return Decimal(int(value))
        case float() if value - value == 0:
            return Decimal(repr(value))
        case str() if len(value) <= _DIGITS_MAX and _DECIMAL.fullmatch(value):
            return Decimal(value)
        case _:
            return None


def _parsed(pattern: re.Pattern[str], parse: Callable[[str], Any], words: str) -> Any:
    if not pattern.fullmatch(words):
        raise ValueError(words)
    return parse(words)


def _clock(parsed: time | datetime) -> str:
    fraction = f"{parsed.microsecond:06}".rstrip("0")
    return f"{parsed:%H:%M:%S}" + (f".{fraction}" if fraction else "")


def _moment(words: str, zone: str) -> str:
    """In UTC, with ``zone`` written behind it."""
    parsed_day = _parsed(_DATE, date.fromisoformat, words[:10])
    rest = words[10:]
    clock_match = _CLOCK.match(rest, 1)
    if rest[:1] not in {"T", " "} or clock_match is None:
        raise ValueError(words)
    behind = rest[clock_match.end() :]
    if behind and not _ZONE.fullmatch(behind):
        raise ValueError(words)
    parsed = datetime.combine(parsed_day, time.fromisoformat(clock_match[0] + (behind or "Z")))
    moved = parsed.astimezone(UTC)
    return f"{moved.year:04}-{moved:%m-%d} {_clock(moved)}{zone}"


class _Number(str):
    """A number of a JSON text, to be written as it was."""

    __slots__ = ()


def _plain(words: str) -> _Number:
    exact = Decimal(words)
    if abs(exact.adjusted()) > _DIGITS_MAX:
        raise ValueError(words)
    plain = f"{exact:f}"
    return _Number(plain.removeprefix("-") if exact == 0 else plain)


def _refuse(words: str) -> None:
    raise ValueError(words)


_EXACT: Final[dict[str, Any]] = {
    "parse_float": _plain,
    "parse_int": _plain,
    "parse_constant": _refuse,
}


def _document(value: Any) -> str:
    match value:
        case _Number():
            return str(value)
        case list():
            return f"[{', '.join(map(_document, value))}]"
        case dict():
            names = sorted(value, key=lambda name: (len(name.encode()), name.encode()))
            pairs = (f"{_document(name)}: {_document(value[name])}" for name in names)
            return f"{{{', '.join(pairs)}}}"
        case _:
            return json.dumps(value, ensure_ascii=False)
