"""Schedules: iCalendar (RFC 5545), in a folder or in one file.

One record is everything of one UID: a recurring series, its overrides, and the time zones they
refer to. Fields:

* ``component``: ``vevent``, ``vtodo`` or ``vjournal``; ``uid``, for all components alike
* the master's properties by name in small letters, ``attendee``, ``attendee#2``; the value is
  the whole logical line, the name in capitals
* an override's properties behind its moment: ``20240102T100000Z/summary``
* every block within a component: ``valarm``, ``valarm#2``; its lines joined by line feeds
* ``timezone/TZID``: a VTIMEZONE, likewise

PRODID, DTSTAMP and LAST-MODIFIED, and what belongs to the calendar as such, are no fields.

Several records of one file share its time zones. Where two records bring different rules for
one TZID, the greater text (by code point) is written; so all sites come to agree.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from mailsync.core.model import Fields, Key, same_fields
from mailsync.datasets.files import Clock, utc_now
from mailsync.datasets.texts.contentline import Block, Line, Malformed, fold, read_blocks
from mailsync.datasets.texts.folder import RecordFolder
from mailsync.datasets.texts.formats import Parsed
from mailsync.datasets.texts.onefile import RecordFile
from mailsync.datasets.texts.series import (
    COMPONENTS,
    ZONE_PREFIX,
    Series,
    block_text,
    folded,
    moment_of,
    moments_in,
    new_component,
    rewritten_component,
    uid_of,
    zones_in,
)
from mailsync.datasets.texts.slots import without_gaps

PRODUCT: Final = "PRODID:-//mailsync//mailsync//EN"

Edits = Mapping[Key, Mapping[str, str] | None]


class Calendars:
    """A text of calendars; a record's key is its UID."""

    def __init__(self, data: bytes, clock: Clock) -> None:
        """Take the text apart. Raises :class:`mailsync.datasets.texts.contentline.Malformed`."""
        self._items = read_blocks(data)
        self._clock = clock
        self._series: dict[Key, Series] = {}
        self._zones: dict[str, str] = {}
        self.fault = ""
        for item in self._items:
            if isinstance(item, Block) and item.name == "VCALENDAR":
                self._take_calendar(item)
            elif isinstance(item, Block) or item.name or item.fault:
                number = item.begin.number if isinstance(item, Block) else item.number
                self._note(f"line {number} belongs to no calendar")
        self.records: dict[Key, Parsed] = {
            key: self._parsed(series) for key, series in self._series.items()
        }

    def edited(self, edits: Edits) -> bytes:
        """The text with these records changed, added to the last calendar or (None) removed."""
        new = [wanted for key, wanted in edits.items() if wanted and key not in self.records]
        zones = self._new_zones(edits)
        items = self._items if self._last_calendar or not new else [*self._items, _empty_calendar()]
        last = _last_calendar(items)
        pieces = []
        for item in items:
            if isinstance(item, Block) and item.name == "VCALENDAR":
                added = new if item is last else []
                absent = zones.keys() - self._zones.keys() if item is last else set()
                pieces.append(self._calendar(item, edits, zones, added, absent))
            else:
                pieces.append(item.raw)
        return b"".join(pieces)

    @property
    def _last_calendar(self) -> Block | None:
        return _last_calendar(self._items)

    def _take_calendar(self, calendar: Block) -> None:
        for item in calendar.items:
            if isinstance(item, Line):
                self._note(item.fault)
            elif item.name == "VTIMEZONE":
                if item.fault:
                    raise Malformed(item.fault)
                self._zones.setdefault(_zone_name(item), block_text(item))
            elif item.name in COMPONENTS:
                self._take_component(item)

    def _take_component(self, component: Block) -> None:
        uid = uid_of(component)
        if uid:
            self._series.setdefault(Key(uid), Series()).components.append(component)
        else:
            place = f"line {component.begin.number}"
            self._note(component.fault or f"{place}: {component.name} without UID")

    def _note(self, fault: str) -> None:
        self.fault = self.fault or fault

    def _parsed(self, series: Series) -> Parsed:
        if fault := series.fault:
            return Parsed({}, fault)
        fields = series.fields()
        for name in zones_in(fields.values()) & self._zones.keys():
            fields[f"{ZONE_PREFIX}{name}"] = self._zones[name]
        return Parsed(fields)

    def _new_zones(self, edits: Edits) -> dict[str, str]:
        """The time zones to be written: those that the edits bring, where the text differs."""
        brought: dict[str, set[str]] = {}
        for wanted in edits.values():
            for name, text in (wanted or {}).items():
                if name.startswith(ZONE_PREFIX):
                    brought.setdefault(name, set()).add(text)
        for key, parsed in self.records.items():
            for name in brought.keys() & parsed.fields.keys() if key not in edits else ():
                brought[name].add(self._zones[name.removeprefix(ZONE_PREFIX)])
        chosen = {name.removeprefix(ZONE_PREFIX): max(texts) for name, texts in brought.items()}
        return {name: text for name, text in chosen.items() if self._zones.get(name) != text}

    def _calendar(
        self,
        calendar: Block,
        edits: Edits,
        zones: Mapping[str, str],
        new: list[Mapping[str, str]],
        absent: Collection[str],
    ) -> bytes:
        """The calendar with these edits and zones, ``absent`` zones and ``new`` records added."""
        end = calendar.line_end
        pieces = [self._piece(item, edits, zones, end) for item in calendar.items]
        blocks = (place for place, item in enumerate(calendar.items) if isinstance(item, Block))
        first = next(blocks, len(pieces))
        pieces[first:first] = [folded(zones[name], end) for name in sorted(absent)]
        for wanted in new:
            pieces += self._components(wanted, moments_in(wanted), end)
        return b"".join([calendar.begin.raw, *pieces, *(line.raw for line in calendar.tail)])

    def _piece(
        self, item: Line | Block, edits: Edits, zones: Mapping[str, str], end: bytes
    ) -> bytes:
        if isinstance(item, Line):
            return item.raw
        if item.name == "VTIMEZONE":
            name = _zone_name(item)
            return folded(zones[name], end) if name in zones else item.raw
        key = Key(uid_of(item))
        if item.name not in COMPONENTS or key not in edits:
            return item.raw
        wanted = edits[key]
        return b"" if wanted is None else self._changed(item, self._series[key], wanted, end)

    def _changed(self, item: Block, series: Series, wanted: Mapping[str, str], end: bytes) -> bytes:
        """A component of a changed record; new overrides come behind the last one."""
        moments = moments_in(wanted)
        piece = rewritten_component(item, wanted) if moment_of(item) in moments else b""
        if item is not series.components[-1]:
            return piece
        missing = [one for one in moments if one not in series.moments]
        return b"".join([piece, *self._components(wanted, missing, end)])

    def _components(self, wanted: Mapping[str, str], moments: list[str], end: bytes) -> list[bytes]:
        return [new_component(wanted, one, end, self._clock()) for one in moments]


def _zone_name(zone: Block) -> str:
    lines = (item for item in zone.items if isinstance(item, Line))
    return next((line.value.strip() for line in lines if line.name == "TZID"), "")


def _last_calendar(items: list[Line | Block]) -> Block | None:
    calendars = [one for one in items if isinstance(one, Block) and one.name == "VCALENDAR"]
    return calendars[-1] if calendars else None


def _empty_calendar() -> Block:
    head: list[Line | Block] = [Line(fold(text), 1) for text in ("VERSION:2.0", PRODUCT)]
    begin, end = (Line(fold(f"{word}:VCALENDAR"), 1) for word in ("BEGIN", "END"))
    return Block("VCALENDAR", begin, head, [end])


class CalendarFormat:
    """iCalendar files."""

    suffix = ".ics"

    def __init__(self, clock: Clock) -> None:
        """``clock`` tells the time for DTSTAMP of new components, in UTC."""
        self._clock = clock

    def parse(self, data: bytes) -> Calendars:
        """Take a text apart."""
        return Calendars(data, self._clock)

    def key_for(self, fields: Fields, taken: Collection[Key]) -> Key:
        """The UID; where that is taken, a key that no record of the file can have."""
        uid = str(fields.get("uid", "")).partition(":")[2].strip()
        key, number = Key(uid), 1
        while key in taken:
            number += 1
            key = Key(f"{uid}\n{number}")
        return key

    def canonical(self, fields: Mapping[str, str]) -> Mapping[str, str]:
        """Numbers without gaps, and no time zones that nothing refers to."""
        own = {name: text for name, text in fields.items() if not name.startswith(ZONE_PREFIX)}
        used = zones_in(own.values())
        renamed = without_gaps(own)
        zones = {
            name: text
            for name, text in fields.items()
            if name.startswith(ZONE_PREFIX) and name.removeprefix(ZONE_PREFIX) in used
        }
        return {renamed[name]: text for name, text in own.items()} | zones

    def settled(self, wanted: Mapping[str, str], present: Fields) -> bool:
        """Time zones are the file's: other records, or an older text, may have their say."""
        return same_fields(_without_zones(wanted), _without_zones(present))


def _without_zones(fields: Fields) -> Fields:
    return {name: value for name, value in fields.items() if not name.startswith(ZONE_PREFIX)}


class IcalFolder(RecordFolder):
    """A folder with one series per .ics file."""

    def __init__(self, path: Path, clock: Clock = utc_now) -> None:
        """``clock`` tells the time of scans and of DTSTAMP, in UTC."""
        super().__init__(path, CalendarFormat(clock), clock)


class IcalFile(RecordFile):
    """One .ics file with many series."""

    def __init__(self, path: Path, clock: Clock = utc_now) -> None:
        """``path`` of the file; it must be there, and may be empty."""
        super().__init__(path, CalendarFormat(clock), clock)
