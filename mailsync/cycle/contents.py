"""What records say, whatever their GUIDs: digests by which two sites find what both have."""

from __future__ import annotations

from mailsync.core.ledger import Ledger
from mailsync.core.matching import content_digest
from mailsync.core.model import Guid, Record, RecordId, merged_fields
from mailsync.cycle.site import Site

DEPTH_MAX = 50
"""References followed from one record to the next; records of a circle are told by the rest."""


class Contents:
    """Digests of records, within one transaction of the store."""

    def __init__(self, site: Site, ledger: Ledger) -> None:
        """As records stand in the ledger."""
        self._site = site
        self._ledger = ledger
        self._known: dict[RecordId, int] = {}

    def digest(self, record: Record, depth: int = 0) -> int:
        """64 bits of its content; what it refers to is part of that. Raises DatasetError."""
        if record.id not in self._known:
            fields = merged_fields(record) or {}
            self._known[record.id] = 0
            referred = {
                name: self._referred(RecordId(parent, Guid(value)), depth + 1)
                for name, parent in self._site.references(record.dataset).items()
                if isinstance(value := fields.get(name), bytes)
            }
            self._known[record.id] = content_digest(fields, referred)
        return self._known[record.id]

    def _referred(self, record_id: RecordId, depth: int) -> int:
        record = self._ledger.get(record_id)
        return 0 if record is None or depth > DEPTH_MAX else self.digest(record, depth)
