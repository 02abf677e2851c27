"""Durations, sizes, prices and schedules as people write them: "15m", "9.5 MB", "0 6 * * 1-5"."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple

from cronsim import CronSim, CronSimError

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?([smhdw])")
_DURATION_UNITS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_INTERVALS = {"daily": "1d", "weekly": "1w", "monthly": "30d"}
_DURATION_SECONDS_MAX = 3_650 * 86_400

_SIZE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?([A-Za-z]{1,3})")
_SIZE_UNITS = {
    "GIB": (2**30, "GiB"),
    "GB": (10**9, "GB"),
    "MIB": (2**20, "MiB"),
    "MB": (10**6, "MB"),
    "KIB": (2**10, "KiB"),
    "KB": (10**3, "kB"),
    "B": (1, "B"),
}

_RATE = re.compile(r"([1-9][0-9]{0,5}) ?/ ?(minute|hour|day)")
_RATE_UNITS = {"minute": 60, "hour": 3_600, "day": 86_400}
_RATES_MAX = 3

_PRICE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ([^\W\d_]{1,8}|[€$£¥])")
_PRICED_BYTES = 10**6
_PRICE_PLACES = Decimal("0.0001")

_QUIET = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])")

_LIMIT = re.compile(r"(?:([0-9]{1,3}(?:\.[0-9])?)%)?( or )?([0-9]{1,9})?")
_NO_LIMIT = "off"

_CRON_CHARACTERS_MAX = 200
_CRON_START = datetime(2024, 1, 1, tzinfo=UTC)


class Price(NamedTuple):
    """What a megabyte (10^6 bytes) costs."""

    amount: Decimal
    currency: str

    def __str__(self) -> str:
        """As the file says it."""
        return f"{self.amount:f} {self.currency}"

    def of(self, size: int) -> str:
        """What so many bytes cost, to a ten-thousandth of the currency."""
        cost = (self.amount * size / _PRICED_BYTES).quantize(_PRICE_PLACES)
        return f"{cost:f} {self.currency}"


class Hours(NamedTuple):
    """A part of every day, in minutes after midnight; past it if it ends before it begins."""

    begin: int
    end: int

    def __str__(self) -> str:
        """As the file says it."""
        return "-".join(f"{minutes // 60:02}:{minutes % 60:02}" for minutes in self)


class DeleteLimit(NamedTuple):
    """How many records may be deleted at once; neither: any number."""

    percent: Decimal | None
    records: int | None

    def __str__(self) -> str:
        """As the file says it."""
        said = [f"{self.percent}%"] if self.percent is not None else []
        said += [str(self.records)] if self.records is not None else []
        return " or ".join(said) or _NO_LIMIT

    def of(self, known: int) -> int | None:
        """So many of that number: the larger of the two; None: any number."""
        if self.percent is None and self.records is None:
            return None
        return max(int(known * (self.percent or 0) / 100), self.records or 0)


def parse_duration(text: object) -> int:
    """Seconds in a duration such as ``"90d"``. Raises ValueError saying what it must be."""
    found = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError('must be a duration such as "30s", "15m", "1h", "7d" or "2w"')
    seconds = int(Decimal(found[1]) * _DURATION_UNITS[found[2]])
    if not 1 <= seconds <= _DURATION_SECONDS_MAX:
        raise ValueError("must be a duration from 1s to 3650d")
    return seconds


def parse_interval(text: object) -> int:
    """Seconds in "daily", "weekly", "monthly" or a duration. Raises ValueError."""
    return parse_duration(_INTERVALS.get(text, text) if isinstance(text, str) else text)


def format_duration(seconds: int) -> str:
    """The shortest text that :func:`parse_duration` reads as these seconds."""
    unit = next(unit for unit, length in _DURATION_UNITS.items() if seconds % length == 0)
    return f"{seconds // _DURATION_UNITS[unit]}{unit}"


def parse_size(text: object) -> int:
    """Bytes in a size such as ``"9.5 MB"``. Raises ValueError saying what it must be."""
    found = _SIZE.fullmatch(text) if isinstance(text, str) else None
    unit = _SIZE_UNITS.get(found[2].upper()) if found else None
    if found is None or unit is None:
        raise ValueError('must be a size such as "500 kB", "9.5 MB" or "64 KiB"')
    return int(Decimal(found[1]) * unit[0])


def format_size(size: int) -> str:
    """A text that :func:`parse_size` reads as these bytes, in the largest unit that fits."""
    length, unit = next(
        (length, unit) for length, unit in _SIZE_UNITS.values() if size * 10 % length == 0
    )
    number = Decimal(size) / length
    return f"{number:f} {unit}"


def parse_rates(text: object) -> tuple[tuple[int, int], ...]:
    """Numbers and the seconds each is for, in rates such as ``"30/minute, 500/day"``.

    Raises ValueError saying what it must be.
    """
    pieces = text.split(",") if isinstance(text, str) else []
    found = [_RATE.fullmatch(piece.strip()) for piece in pieces]
    rates = tuple((int(one[1]), _RATE_UNITS[one[2]]) for one in found if one)
    if not 1 <= len(rates) == len(found) <= _RATES_MAX:
        raise ValueError('must be one or more rates such as "500/day" or "30/minute, 500/day"')
    return rates


def format_rates(rates: tuple[tuple[int, int], ...]) -> str:
    """The text that :func:`parse_rates` reads as these."""
    units = {seconds: unit for unit, seconds in _RATE_UNITS.items()}
    return ", ".join(f"{number}/{units[seconds]}" for number, seconds in rates)


def parse_price(text: object) -> Price:
    """The price in ``"5.80 USD"``. Raises ValueError saying what it must be."""
    found = _PRICE.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError('must be an amount and a currency such as "5.80 USD"')
    return Price(Decimal(found[1]), found[2])


def parse_quiet(text: object) -> Hours:
    """The hours in ``"22:00-06:00"``. Raises ValueError saying what they must be."""
    found = _QUIET.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError('must be two times of day such as "22:00-06:00"')
    hours = Hours(int(found[1]) * 60 + int(found[2]), int(found[3]) * 60 + int(found[4]))
    if hours.begin == hours.end:
        raise ValueError("must begin and end at different times")
    return hours


def parse_delete_limit(text: object) -> DeleteLimit:
    """The limit in ``"10% or 50"``, ``"10%"``, ``"50"`` or ``"off"``.

    Raises ValueError saying what it must be.
    """
    if isinstance(text, DeleteLimit):
        return text
    if text == _NO_LIMIT:
        return DeleteLimit(None, None)
    found = _LIMIT.fullmatch(text) if isinstance(text, str) else None
    if found is None or not (found[1] or found[3]) or bool(found[2]) != bool(found[1] and found[3]):
        raise ValueError('must be a limit such as "10% or 50", "10%", "50" or "off"')
    percent = None if found[1] is None else Decimal(found[1])
    if percent is not None and percent > 100:
        raise ValueError("must be at most 100%")
    return DeleteLimit(percent, None if found[3] is None else int(found[3]))


def parse_poll(text: object) -> int | str:
    """Seconds between polls, or the cron expression itself (five fields).

    Raises ValueError saying what it must be.
    """
    if isinstance(text, str) and len(text.split()) == 5:
        if len(text) > _CRON_CHARACTERS_MAX:
            raise ValueError(f"must be at most {_CRON_CHARACTERS_MAX} characters")
        return _checked_cron(text)
    try:
        return parse_duration(text)
    except ValueError as error:
        raise ValueError(f'{error}, or five cron fields such as "*/20 6-22 * * *"') from None


def format_poll(poll: int | str) -> str:
    """The text that :func:`parse_poll` reads as this."""
    return poll if isinstance(poll, str) else format_duration(poll)


def _checked_cron(text: str) -> str:
    try:
        CronSim(text, _CRON_START)  # refuses dates that never come, too
    except CronSimError as error:
        raise ValueError(f"is not a valid cron expression: {error}") from None
    return text
