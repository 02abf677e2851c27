"""When a schedule's record is over: the end of its last occurrence (RFC 5545).

Times count as the clock of their own zone shows them, taken for UTC: an age is counted in days.
A series without an end is never over, nor is what cannot be told in bounded time: the rules come
from somebody's data.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import MAXYEAR, datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import Final

from mailsync.core.model import Fields
from mailsync.core.moments import DAY_MS, moment_of
from mailsync.datasets.texts.series import MASTER, ZONE_PREFIX

OCCURRENCES_MAX: Final = 10_000
"""A series of more is never over."""

YEARS_MAX: Final = 100
"""So far beyond its begin a series is followed."""

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - clocks of any zone are counted alike
_LATEST: Final = (datetime.max - _EPOCH) // timedelta(milliseconds=1)  # noqa: DTZ901 - likewise
_PARTS: Final = frozenset(
    [
        "FREQ",
        "INTERVAL",
        "BYDAY",
        "BYMONTH",
        "BYMONTHDAY",
        "BYYEARDAY",
        "BYWEEKNO",
        "BYSETPOS",
        "BYHOUR",
        "BYMINUTE",
        "BYSECOND",
        "WKST",
    ]
)
_NO_RULE: Final = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What dateutil raises for a text that is no rule."""

_FOLLOWED: Final = frozenset({"DAILY", "WEEKLY", "MONTHLY", "YEARLY"})
_LINE: Final = re.compile(r'(?:[^":]|"[^"]*")*:(.*)', re.DOTALL)
_DURATION: Final = re.compile(
    r"\+?P(?:(\d{1,5})W|(?:(\d{1,5})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,6})M)?(?:(\d{1,6})S)?)?)",
    re.ASCII,
)
_UNITS: Final = (7 * 86_400, 86_400, 3_600, 60, 1)
"""Seconds of a duration's parts."""


def last_end(fields: Fields) -> int | None:
    """When its last occurrence ends, in milliseconds since 1970; None: never, or nobody knows."""
    names = (name for name in fields if "/" in name and not name.startswith(ZONE_PREFIX))
    overrides = {name.partition("/")[0] for name in names}
    ends = [_series_end(fields, overrides), *(_end(fields, one) for one in overrides)]
    known = [end for end in ends if end is not None]
    is_endless = ends[0] is None and "dtstart" in fields
    return None if is_endless or not known else max(known)


def _series_end(fields: Fields, overridden: set[str]) -> int | None:
    """The end of the master's last occurrence that no override stands for."""
    start, end = _moment(fields, MASTER, "dtstart"), _end(fields, MASTER)
    rules = list(_all(fields, "rrule"))
    if start is None or end is None:
        return end
    left_out = {moment_of(one) for one in [*_listed(fields, "exdate"), *overridden]}
    starts = [one for one in map(moment_of, _listed(fields, "rdate")) if one is not None]
    for rule in rules:
        last = _last_start(start, rule, frozenset(one for one in left_out if one is not None))
        if last is None:
            return None
        starts.append(last)
    return max([start, *starts] if not rules else starts) + end - start


@lru_cache(maxsize=4_096)
def _last_start(start: int, rule: str, left_out: frozenset[int]) -> int | None:
    """When the last occurrence by a rule begins; None: there is no last one."""
    parts = dict(part.partition("=")[::2] for part in rule.upper().split(";"))
    count, until = parts.pop("COUNT", ""), moment_of(parts.pop("UNTIL", None))
    if not count and until is None:
        return None
    if not _is_followed(parts):
        return until
    wanted = int(count) if count.isdecimal() and len(count) < 6 else OCCURRENCES_MAX
    try:
        found = _starts(start, parts, until, min(wanted, OCCURRENCES_MAX + 1))
    except _NO_RULE:
        return until
    if len(found) > OCCURRENCES_MAX or (count and len(found) < wanted):
        return until
    return max((one for one in found if one not in left_out), default=start)


def _is_followed(parts: Mapping[str, str]) -> bool:
    """Can its occurrences be gone through in bounded time?"""
    rare = parts.keys() & {"BYMONTHDAY", "BYYEARDAY", "BYWEEKNO", "BYSETPOS"}
    interval = parts.get("INTERVAL", "1")
    return (
        parts.get("FREQ") in ({"MONTHLY", "YEARLY"} if rare else _FOLLOWED)
        and parts.keys() <= _PARTS
        and interval.isdecimal()
        and int(interval[:5]) > 0
    )


def _starts(start: int, parts: Mapping[str, str], until: int | None, count: int) -> list[int]:
    """When the first ``count`` occurrences begin. Raises what dateutil raises for a bad rule."""
    from dateutil.rrule import rrulestr  # noqa: PLC0415  slow, and few schedules need it

    # a rule that is never met is tried until the last year there is; every 400 years are alike
    begin = _EPOCH + timedelta(milliseconds=start)
    ahead = (MAXYEAR - YEARS_MAX - begin.year) // 400 * 400
    begin = begin.replace(year=begin.year + ahead)
    shift = (begin - _EPOCH) // timedelta(milliseconds=1) - start
    limit = begin.replace(year=begin.year + YEARS_MAX, day=min(begin.day, 28))
    if until is not None:
        limit = min(limit, _EPOCH + timedelta(milliseconds=min(until + shift, _LATEST)))
    texts = [f"{name}={value}" for name, value in parts.items()]
    rule = rrulestr(";".join([*texts, f"UNTIL={limit:%Y%m%dT%H%M%S}"]), dtstart=begin)
    return [(one - _EPOCH) // timedelta(milliseconds=1) - shift for one in islice(rule, count)]


def _end(fields: Fields, owner: str) -> int | None:
    """When a component's own occurrence ends."""
    start = _moment(fields, owner, "dtstart")
    for name in ("dtend", "due"):
        if (end := _moment(fields, owner, name)) is not None:
            return end
    if start is None:
        return None
    length = _duration(_value(fields, owner, "duration"))
    if length is not None:
        return start + length
    return start + (0 if "T" in _value(fields, owner, "dtstart") else DAY_MS)


def _moment(fields: Fields, owner: str, name: str) -> int | None:
    return moment_of(_value(fields, owner, name))


def _value(fields: Fields, owner: str, name: str) -> str:
    """What stands behind the name and parameters of a property; empty: there is none."""
    return _of_line(fields.get(name if owner == MASTER else f"{owner}/{name}"))


def _of_line(line: object) -> str:
    found = _LINE.fullmatch(line) if isinstance(line, str) else None
    return "" if found is None else found[1].strip()


def _all(fields: Fields, name: str) -> Iterator[str]:
    """The values of a property that may be there several times."""
    for other, line in fields.items():
        if other.partition("#")[0] == name:
            yield _of_line(line)


def _listed(fields: Fields, name: str) -> Iterator[str]:
    """The moments in such properties; of periods, when they begin."""
    for text in _all(fields, name):
        yield from (one.partition("/")[0] for one in text.split(","))


def _duration(text: str) -> int | None:
    """Milliseconds of an iCalendar duration (RFC 5545, 3.3.6); None: it is none."""
    found = _DURATION.fullmatch(text.upper())
    if found is None:
        return None
    counted = zip(found.groups(), _UNITS, strict=True)
    return sum(int(number) * unit for number, unit in counted if number) * 1000
