"""Moments as datasets write them: ISO 8601 and iCalendar's forms, seconds since 1970.

Rules
-----
* Integers of milliseconds since 1970, so that no clock, zone or rounding has a say.
* A moment without a zone counts as UTC, a date as its first moment. What is no moment is None,
  and never an error: it came from somebody's data.
* A number is seconds since 1970.
"""

from __future__ import annotations

import re
from typing import Final

from mailsync.core.model import Value

DAY_MS: Final = 24 * 3600 * 1000
SECONDS_MAX: Final = 2**40
"""Some 35,000 years; what is beyond is no moment."""

_MOMENT: Final = re.compile(
    r"(?:[^:]*:)?"  # an iCalendar property: its name and parameters
    r"([0-9]{4})-?([0-9]{2})-?([0-9]{2})"
    r"(?:[T ]([0-9]{2}):?([0-9]{2})(?::?([0-9]{2})(?:[.,]([0-9]{1,9}))?)?"
    r" ?(Z|[+-][0-9]{2}(?::?[0-9]{2})?)?)?",
    re.IGNORECASE,
)
_LENGTH_MAX: Final = 200


def moment_of(value: Value) -> int | None:
    """The moment that a value says, in milliseconds since 1970; None: it says none."""
    if isinstance(value, bool) or value is None or isinstance(value, bytes):
        return None
    if isinstance(value, int | float):
        return int(value * 1000) if abs(value) < SECONDS_MAX else None
    found = _MOMENT.fullmatch(value.strip()) if len(value) <= _LENGTH_MAX else None
    if found is None:
        return None
    year, month, day = (int(found[group]) for group in (1, 2, 3))
    hour, minute, second = (int(found[group] or 0) for group in (4, 5, 6))
    if not (1 <= month <= 12 and 1 <= day <= _days_in(year, month)):
        return None
    if hour > 23 or minute > 59 or second > 60:
        return None
    seconds = (_day_number(year, month, day) * 24 + hour) * 3600 + minute * 60 + second
    milliseconds = int((found[7] or "").ljust(3, "0")[:3])
    return (seconds - _offset(found[8])) * 1000 + milliseconds


def _offset(zone: str | None) -> int:
    """Seconds that a zone's clocks are ahead of UTC."""
    if zone is None or zone in "Zz":
        return 0
    seconds = int(zone[1:3]) * 3600 + int(zone[3:].lstrip(":") or 0) * 60
    return -seconds if zone.startswith("-") else seconds


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def _days_in(year: int, month: int) -> int:
    if month == 2:
        return 29 if _is_leap(year) else 28
    return 30 if month in {4, 6, 9, 11} else 31


def _day_number(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 in the Gregorian calendar; years are counted from March on."""
    if month <= 2:
        year, month = year - 1, month + 12
    days_before = 365 * year + year // 4 - year // 100 + year // 400
    return days_before + (153 * (month - 3) + 2) // 5 + day - 1 - 719_468
