"""Foreign keys on their way: where each site has keys of its own, a reference travels as a GUID.

Rules
-----
* The record map, and so the wire, has the GUID of the record referred to; the dataset has its
  local key. Both directions are translated here and nowhere else.
* A row may be read before the row it refers to: the GUID of that one is reserved then.
* A record that refers to one that has no row here is written together with that one, or waits.
  One that is to go goes with what it refers to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from mailsync.core.desired import desired_fields
from mailsync.core.ledger import Ledger
from mailsync.core.model import (
    NO_MARKER,
    Fields,
    Guid,
    Key,
    Record,
    RecordId,
)
from mailsync.cycle.site import Site
from mailsync.datasets.base import Change
from mailsync.datasets.rowkeys import key_text, key_values
from mailsync.store.transaction import Transaction


class Missing(NamedTuple):
    """A reference that cannot be written."""

    field: str
    record: RecordId


class References:
    """The references of a site's records, within one transaction of the store."""

    def __init__(self, site: Site, transaction: Transaction, ledger: Ledger) -> None:
        """``ledger`` is the transaction's."""
        self._site = site
        self._transaction = transaction
        self._ledger = ledger

    def travelling(
        self, dataset: str, changes: Sequence[Change], guids: Iterator[Guid]
    ) -> list[Change]:
        """The changes with GUIDs where the rows have local keys; new ones are drawn from
        ``guids``.
        """
        parents = self._site.references(dataset)
        if not parents:
            return list(changes)
        named: dict[str, dict[Key, Guid]] = {}
        for field, parent in parents.items():
            values = (change.fields.get(field) for change in changes if change.fields)
            keys = {key_text([value]) for value in values if type(value) is int}
            known = named.setdefault(parent, {})
            known |= self._named(parent, sorted(keys - known.keys()), guids)
        return [_travelling(change, parents, named) for change in changes]

    def _named(self, parent: str, keys: Sequence[Key], guids: Iterator[Guid]) -> dict[Key, Guid]:
        records = self._transaction.records.by_key(parent, keys)
        named = {key: record.guid for key, record in records.items()}
        named |= self._transaction.reservations.find(parent, sorted(set(keys) - named.keys()))
        new = {key: next(guids) for key in keys if key not in named}
        self._transaction.reservations.add(parent, new)
        return named | new

    def landing(self, dataset: str, fields: Fields) -> tuple[Fields, list[Missing]]:
        """The fields with local keys where they have GUIDs, and what has none."""
        if not self._site.references(dataset):
            return fields, []
        landed, missing = dict(fields), []
        for field, referred in self._referred(dataset, fields):
            record = self._ledger.get(referred)
            if record is None or record.key is None:
                record = self._one_with(referred)
            if record is None or record.key is None:
                missing.append(Missing(field, referred))
            else:
                [landed[field]] = key_values(record.key)
        return landed, missing

    def with_awaited(
        self, records: Sequence[Record], datasets: frozenset[str], limit: int
    ) -> dict[RecordId, Record]:
        """The records, and those they refer to, directly or not, that are to come or to go; of
        these about ``limit``. Everything that any of them refers to is loaded.
        """
        found = {record.id: record for record in records}
        newest, limit = list(records), len(found) + limit
        while newest:
            referred = self._fetch(newest) - found.keys() if len(found) < limit else set()
            parents = (self._ledger.get(one) for one in sorted(referred) if one.dataset in datasets)
            newest = [one for one in parents if one is not None and _comes_or_goes(one)]
            found |= {record.id: record for record in newest}
        return found

    def _one_with(self, referred: RecordId) -> Record | None:
        """The record that the one referred to became."""
        stays = self._transaction.aliases.find(referred.dataset, referred.guid)
        return None if stays is None else self._ledger.get(RecordId(referred.dataset, stays))

    def _fetch(self, records: Sequence[Record]) -> set[RecordId]:
        """Load at once what these records refer to."""
        referred = {
            one
            for record in records
            if self._site.references(record.dataset)
            for fields in (desired_fields(record), record.shadow)
            for _, one in self._referred(record.dataset, fields or {})
        }
        self._transaction.records.fetch(referred)
        return referred

    def _referred(self, dataset: str, fields: Fields) -> Iterator[tuple[str, RecordId]]:
        for field, parent in self._site.references(dataset).items():
            value = fields.get(field)
            if isinstance(value, bytes):
                yield field, RecordId(parent, Guid(value))


def _comes_or_goes(record: Record) -> bool:
    to_go, to_come = desired_fields(record) is None, record.shadow is None
    return record.marker is NO_MARKER and to_go is not to_come


def _travelling(
    change: Change, parents: Mapping[str, str], named: Mapping[str, Mapping[Key, Guid]]
) -> Change:
    if change.fields is None:
        return change
    fields = dict(change.fields)
    for field, parent in parents.items():
        value = fields.get(field)
        if type(value) is int:
            fields[field] = bytes(named[parent][key_text([value])])
    return change._replace(fields=fields)


def why(missing: Sequence[Missing]) -> str:
    """What people read."""
    return "; ".join(
        f"{one.field} refers to a record of {one.record.dataset} that is not here"
        for one in missing
    )
