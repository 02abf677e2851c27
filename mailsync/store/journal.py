"""The conflict journal: the notes of the record map, with what had won when each was entered.

Rules
-----
* What is counted of a note stands beside it, in an index. A note that changes is looked at again
  when somebody counts next; no other is read for that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.dialects import postgresql

from mailsync.core.decisions import note_of, resolution, waits
from mailsync.core.ledger import Ledger
from mailsync.core.model import ABSENT, CONFLICTS, Absent, Guid, Record, RecordId, Value
from mailsync.store import schema
from mailsync.store.codec import value_bytes, value_of
from mailsync.store.records import StoredRecords
from mailsync.store.statements import Session, Statement, parameters

_conflict = schema.conflict.c
_SAID = ("open", "waits", "dataset", "field")
"""Columns of what a note says."""
_ENTER = Statement(
    postgresql.insert(schema.conflict)
    .values(parameters(schema.conflict, *_SAID))
    .on_conflict_do_nothing()
)
_same = update(schema.conflict).where(_conflict.guid == bindparam("same"))
_CHANGED = Statement(_same.values(open=None))
_SAYS = Statement(_same.values({name: bindparam(name) for name in _SAID}))
_UNKNOWN = Statement(select(_conflict.guid).where(_conflict.open.is_(None)))
_COUNTS = Statement(
    select(_conflict.dataset, _conflict.field, _conflict.waits, func.count())
    .where(_conflict.open == 1)
    .group_by(_conflict.dataset, _conflict.field, _conflict.waits)
)
_ENTRIES = Statement(
    select(_conflict.guid, _conflict.winner, _conflict.noted_at).order_by(
        _conflict.noted_at, _conflict.guid
    )
)


class JournalEntry(NamedTuple):
    """One conflict, and the value that had won when it was noted here."""

    note: Record
    winner: Value | Absent
    noted_at: int


class Alike(NamedTuple):
    """Open conflicts about the same field of a dataset; ``field`` None: about deletes."""

    dataset: str
    field: str | None
    undecided: bool
    """Did a routine give them up?"""
    how_many: int


class Journal:
    """Every conflict this site knows of."""

    def __init__(self, session: Session, records: StoredRecords) -> None:
        """Within the session's open transaction; ``records`` holds the notes."""
        self._session = session
        self._records = records

    def enter(self, guid: Guid, winner: Value | Absent, now: int) -> None:
        """Enter a note, once, with the value that won."""
        self._session.run(_ENTER, guid=bytes(guid), winner=value_bytes(winner), noted_at=now)

    def enter_received(self, ledger: Ledger, now: int) -> int:
        """Enter the notes that came from a peer, with what stands here now as their winner.

        Returns how many were new. Call before the ledger is saved.
        """
        new = 0
        for record_id, note in list(ledger.changed.items()):
            if record_id.dataset != CONFLICTS or record_id in ledger.notes:
                continue
            if record_id in self._records:
                continue
            self.enter(record_id.guid, _standing(ledger, note), now)
            new += 1
        return new

    def changed(self, notes: Iterable[RecordId]) -> None:
        """These records, as far as they are notes, may say something else by now."""
        for one in notes:
            if one.dataset == CONFLICTS:
                self._session.run(_CHANGED, same=bytes(one.guid))

    def counts(self) -> list[Alike]:
        """How many conflicts are open."""
        unknown = [RecordId(CONFLICTS, Guid(guid)) for (guid,) in self._session.rows(_UNKNOWN)]
        self._records.fetch(unknown)
        for one in unknown:
            said = _said(self._records.get(one))
            self._session.run(_SAYS, same=bytes(one.guid), **dict(zip(_SAID, said, strict=True)))
        rows = self._session.rows(_COUNTS)
        return [Alike(row[0], row[1], bool(row[2]), row[3]) for row in rows]

    def entries(self) -> Iterator[JournalEntry]:
        """Every conflict, oldest first."""
        rows = self._session.rows(_ENTRIES)
        self._records.fetch(RecordId(CONFLICTS, Guid(guid)) for guid, _, _ in rows)
        for guid, winner, noted_at in rows:
            note = self._records.get(RecordId(CONFLICTS, Guid(guid)))
            if note is not None:
                yield JournalEntry(note, value_of(winner), noted_at)


def _said(record: Record | None) -> tuple[int, int, str | None, str | None]:
    """What is counted of a note, as the columns: of one that is gone or says nothing, that it is
    not open.
    """
    note = None if record is None else note_of(record)
    if record is None or note is None:
        return 0, 0, None, None
    is_open, is_undecided = resolution(record) is None, waits(record) is not None
    return int(is_open), int(is_undecided), note.record.dataset, note.field


def _standing(ledger: Ledger, note: Record) -> Value | Absent:
    """The value that stands now in the field a note is about."""
    dataset, guid, field = (
        note.entries[name].value if name in note.entries else ABSENT
        for name in ("dataset", "guid", "field")
    )
    if not isinstance(dataset, str) or not isinstance(guid, bytes) or not isinstance(field, str):
        return ABSENT
    record = ledger.get(RecordId(dataset, Guid(guid)))
    entry = record.entries.get(field) if record is not None else None
    return ABSENT if entry is None else entry.value
