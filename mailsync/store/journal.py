"""The conflict journal: the notes of the record map, with what had won when each was entered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.dialects import postgresql

from mailsync.core.ledger import Ledger
from mailsync.core.model import ABSENT, CONFLICTS, Absent, Guid, Record, RecordId, Value
from mailsync.store import schema
from mailsync.store.codec import value_bytes, value_of
from mailsync.store.records import StoredRecords
from mailsync.store.statements import Session, Statement, parameters

_conflict = schema.conflict.c
_ENTER = Statement(
    postgresql.insert(schema.conflict).values(parameters(schema.conflict)).on_conflict_do_nothing()
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

    def entries(self) -> Iterator[JournalEntry]:
        """Every conflict, oldest first."""
        rows = self._session.rows(_ENTRIES)
        self._records.fetch(RecordId(CONFLICTS, Guid(guid)) for guid, _, _ in rows)
        for guid, winner, noted_at in rows:
            note = self._records.get(RecordId(CONFLICTS, Guid(guid)))
            if note is not None:
                yield JournalEntry(note, value_of(winner), noted_at)


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
