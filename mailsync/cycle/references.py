"""Foreign keys on their way: where each site has keys of its own, a reference travels as a GUID.

Rules
-----
* The record map, and so the wire, has the GUID of the record referred to; the dataset has its
  local key. Both directions are translated here and nowhere else.
* A row may be read before the row it refers to: the GUID of that one is reserved then.
* A record that refers to one that has no row here waits for it. Of records that wait for each
  other in a circle, references that may be empty are written empty first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from mailsync.core.ledger import Ledger
from mailsync.core.model import Fields, Guid, Key, Record, RecordId, Value, desired_fields
from mailsync.cycle.site import Site
from mailsync.datasets.base import Change
from mailsync.datasets.sqlkeys import key_text, key_values
from mailsync.store.transaction import Transaction

CIRCLE_MAX = 1_000
"""Records looked at to find whether one waits for itself."""


class Missing(NamedTuple):
    """A reference that cannot be written."""

    field: str
    record: RecordId


class References:
    """The references of one dataset, within one transaction of the store."""

    def __init__(self, site: Site, name: str, transaction: Transaction, ledger: Ledger) -> None:
        """``ledger`` is the transaction's."""
        self._site = site
        self._name = name
        self._transaction = transaction
        self._ledger = ledger
        self._parents = site.references(name)

    def travelling(self, changes: Sequence[Change], guids: Iterator[Guid]) -> list[Change]:
        """The changes with GUIDs where the rows have local keys; new ones are drawn from
        ``guids``.
        """
        if not self._parents:
            return list(changes)
        named: dict[str, dict[Key, Guid]] = {}
        for field, parent in self._parents.items():
            values = (change.fields.get(field) for change in changes if change.fields)
            keys = {key_text([value]) for value in values if type(value) is int}
            known = named.setdefault(parent, {})
            known |= self._named(parent, sorted(keys - known.keys()), guids)
        return [self._travelling(change, named) for change in changes]

    def _travelling(self, change: Change, named: Mapping[str, Mapping[Key, Guid]]) -> Change:
        if change.fields is None:
            return change
        fields = dict(change.fields)
        for field, parent in self._parents.items():
            value = fields.get(field)
            if type(value) is int:
                fields[field] = bytes(named[parent][key_text([value])])
        return change._replace(fields=fields)

    def _named(self, parent: str, keys: Sequence[Key], guids: Iterator[Guid]) -> dict[Key, Guid]:
        records = self._transaction.records.by_key(parent, keys)
        named = {key: record.guid for key, record in records.items()}
        named |= self._transaction.reservations.find(parent, sorted(set(keys) - named.keys()))
        new = {key: next(guids) for key in keys if key not in named}
        self._transaction.reservations.add(parent, new)
        return named | new

    def landing(self, fields: Fields) -> tuple[dict[str, Value], list[Missing]]:
        """The fields with local keys where they have GUIDs, and what has none."""
        landed, missing = dict(fields), []
        for field, referred in self._referred(fields):
            record = self._ledger.get(referred)
            if record is None or record.key is None:
                missing.append(Missing(field, referred))
            else:
                [landed[field]] = key_values(record.key)
        return landed, missing

    def fetch(self, records: Sequence[Record]) -> None:
        """Load at once what these records refer to."""
        wanted = [fields for record in records if (fields := desired_fields(record)) is not None]
        shown = [record.shadow for record in records if record.shadow is not None]
        self._transaction.records.fetch(
            referred for fields in (*wanted, *shown) for _, referred in self._referred(fields)
        )

    def _referred(self, fields: Fields, dataset: str = "") -> Iterator[tuple[str, RecordId]]:
        parents = self._site.references(dataset) if dataset else self._parents
        for field, parent in parents.items():
            value = fields.get(field)
            if isinstance(value, bytes):
                yield field, RecordId(parent, Guid(value))

    def without_circles(self, record: Record) -> Record:
        """The begun record, with empty references where it would wait for itself."""
        if not isinstance(record.marker, Mapping):
            return record
        nullable = self._site.dataset(self._name).references
        emptied: dict[str, Value] = {
            field: None
            for field, referred in self._referred(record.marker)
            if nullable[field].nullable and self._waits(referred, record.id)
        }
        if not emptied:
            return record
        return self._ledger.keep(replace(record, marker={**record.marker, **emptied}))

    def _waits(self, start: RecordId, target: RecordId) -> bool:
        """Does the record, having no row, refer to the other one, through others perhaps?"""
        if start == target:
            return False
        waiting, seen = [start], {start}
        while waiting and len(seen) < CIRCLE_MAX:
            found = waiting.pop()
            record = self._ledger.get(found)
            fields = None if record is None or record.shadow is not None else desired_fields(record)
            for _, referred in self._referred(fields or {}, found.dataset):
                if referred == target:
                    return True
                if referred not in seen:
                    seen.add(referred)
                    waiting.append(referred)
        return False


def why(missing: Sequence[Missing]) -> str:
    """What people read."""
    return "; ".join(
        f"{one.field} refers to a record of {one.record.dataset} that is not here"
        for one in missing
    )
