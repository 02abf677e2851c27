"""The ledger: what one store transaction changes, gathered while pure functions decide it.

Rules
-----
* Every change of a record's state moves it to the next position, the site's own counter; so a
  position holds at most one record, and "what changed since" is a range of positions.
* What we refuse or hold of a peer's does not only grow, as what we acknowledge does. A change of it
  takes a position too, at which no record sits: so the marks of two bundles tell which is right.
* A record kept without a new position is not news to anybody.
* A record that has no row and wants none has no key: a row inserted there later is a new one.
* A conflict is noted once, whoever notices it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from mailsync.core.desired import is_without_row
from mailsync.core.enrolment import Enrolled, Enrolment
from mailsync.core.merge import Note, note_entries, note_id
from mailsync.core.model import (
    CONFLICTS,
    Dot,
    Record,
    RecordId,
    Sighting,
    moved,
)


@dataclass(frozen=True, slots=True)
class SiteState:
    """A site's counters."""

    number: int
    """The site's own 64-bit number, as in its dots."""
    position: int = 0
    stamp: int = 0
    """Hybrid logical clock: greatest stamp seen or made, milliseconds since 1970."""
    horizon: int = 0
    """Greatest position of a record that was purged."""


class Ledger:
    """Working copy of a site's counters and records for the length of one transaction."""

    def __init__(self, site: SiteState, records: Mapping[RecordId, Record]) -> None:
        """``records`` may load lazily; it is only read."""
        self.site = site
        self._records = records
        self.changed: dict[RecordId, Record] = {}
        self.dropped: set[RecordId] = set()
        self.enrolments: list[Enrolment] = []
        self.notes: dict[RecordId, Note] = {}
        """Notes entered in this transaction, by their own identity."""

    def get(self, record_id: RecordId) -> Record | None:
        """The record as it now stands."""
        if record_id in self.dropped:
            return None
        changed = self.changed.get(record_id)
        if changed is None and self.enrolments:
            found = (one.find(record_id) for one in self.enrolments)
            changed = next(filter(None, found), None)
        return changed if changed is not None else self._records.get(record_id)

    def before(self, record_id: RecordId) -> Record | None:
        """The record as it stood before this transaction."""
        return self._records.get(record_id)

    def latest(self, stored: Record) -> Record | None:
        """A record that was read from the map, as it now stands."""
        return None if stored.id in self.dropped else self.changed.get(stored.id, stored)

    def all(self) -> Iterator[Record]:
        """Every record as it now stands, the unchanged ones first. Reads the whole map."""
        for record_id, record in self._records.items():
            if record_id not in self.changed and record_id not in self.dropped:
                yield record
        for record in chain.from_iterable(self.enrolments):
            if record.id not in self.changed and record.id not in self.dropped:
                yield record
        yield from list(self.changed.values())

    @property
    def next_position(self) -> int:
        """The position the next change will take."""
        return self.site.position + 1

    def advance(self) -> None:
        """Take the next position for no record."""
        site = self.site
        self.site = SiteState(site.number, site.position + 1, site.stamp, site.horizon)

    def enrol(self, dataset: str, stroke: Dot, rows: Sequence[Enrolled]) -> None:
        """Rows that nobody has heard of before take the next positions."""
        site = self.site
        self.enrolments.append(Enrolment(dataset, stroke, self.next_position, rows))
        self.site = SiteState(site.number, site.position + len(rows), site.stamp, site.horizon)

    def place(self, record: Record) -> Record:
        """As :meth:`bump`, of a record that lives and was made to be at the next position."""
        self.advance()
        self.dropped.discard(record.id)
        self.changed[record.id] = record
        return record

    def bump(self, record: Record, known: Iterable[str] = ()) -> Record:
        """The record changed: give it the next position. ``known``: peers that showed it so."""
        self.advance()
        return self.keep(moved(record, self.site.position, frozenset(known)))

    def keep(self, record: Record) -> Record:
        """Remember the record without making it news."""
        record_id = record.id
        self.dropped.discard(record_id)
        if record.key is not None and is_without_row(record):
            record = replace(record, key=None, etag=None)
        self.changed[record_id] = record
        return record

    def drop(self, record_id: RecordId) -> None:
        """Forget the record."""
        self.changed.pop(record_id, None)
        self.dropped.add(record_id)

    def note(self, notes: Iterable[Note]) -> None:
        """Enter conflict notes as records of their own, each once."""
        for note in sorted(notes, key=lambda note: (note.field or "", note.dot)):
            own = note_id(note)
            if note.record.dataset == CONFLICTS or self.get(own) is not None:
                continue
            context = {note.dot: Sighting(self.next_position)}
            self.bump(Record(own.dataset, own.guid, note_entries(note), context))
            self.notes[own] = note

    def see(self, dots: Iterable[Dot]) -> None:
        """Advance the hybrid logical clock over what was received (Kulkarni et al. 2014)."""
        stamp = max((dot.stamp for dot in dots), default=0)
        if stamp > self.site.stamp:
            self.site = replace(self.site, stamp=stamp)

    def stroke(self, now: int, number: int) -> Dot:
        """The dot for the writes of one scan: greater than all ever seen here.

        ``now``: milliseconds since 1970; ``number``: 32 fresh random bits.
        """
        stamp = max(self.site.stamp + 1, now)
        self.site = replace(self.site, stamp=stamp)
        return Dot(stamp, self.site.number, number)
