"""Record map -> dataset: write what was merged, by compare-and-set between two store steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mailsync.core import record_map
from mailsync.core.ledger import Ledger
from mailsync.core.model import Guid, Key, NoMarker, Record, desired_fields
from mailsync.core.unifying import unify
from mailsync.cycle.detecting import detect_changes
from mailsync.cycle.report import Report
from mailsync.cycle.site import Site
from mailsync.datasets.base import Change, Dataset, Outcome, Result, Write
from mailsync.store.records import StoredRecords

BATCH = 500
"""Records written to the dataset in one of its transactions."""

ATTEMPTS = 5
"""How often a record is merged and written again when users keep being quicker."""


class _Begun(NamedTuple):
    """A batch about to be written: records with markers and keys, and how far it reaches."""

    records: list[Record]
    last: int


class _Written(NamedTuple):
    """What became of a batch."""

    changed: list[Key]
    refused: dict[Guid, str]


def materialise_dataset(site: Site, name: str, report: Report) -> None:
    """Bring the dataset to what the record map says. Raises DatasetError."""
    dataset = site.dataset(name)
    refused: dict[Guid, str] = {}
    for _ in range(ATTEMPTS):
        changed: list[Key] = []
        unified = False
        after = 0
        while (begun := _begin(site, dataset, name, after)) is not None:
            written = _carry_out(site, dataset, begun.records)
            report.progress(f"writing {name}", len(begun.records))
            changed += written.changed
            refused |= written.refused
            unified = unified or not begun.records
            after = begun.last
        if not changed and not unified:
            break
        _detect_again(site, dataset, name, changed)
    held = report.held.setdefault(name, {})
    held.update({guid.hex(): reason for guid, reason in refused.items()})


def _begin(site: Site, dataset: Dataset, name: str, after: int) -> _Begun | None:
    """First step: markers and keys for the next records to be written. None: there are none."""
    with site.store.transaction() as transaction:
        batch = transaction.records.unwritten(name, after, BATCH)
        if not batch:
            return None
        ledger = transaction.ledger()
        taken = {record.key for record in batch if record.key is not None}
        vanished = _vanished(dataset, batch)
        begun = []
        for record in batch:
            if record.key in vanished:
                continue
            key = _key(dataset, transaction.records, record, taken)
            holder = None if key is None else _holder(ledger, transaction.records, record, key)
            if holder is not None:
                unify(ledger, holder, record)
                continue
            if key is not None:
                taken.add(key)
            begun.append(record_map.begin(ledger, record, key))
        transaction.save(ledger, site.surroundings.now())
    return _Begun(begun, batch[-1].position)


def _vanished(dataset: Dataset, batch: Sequence[Record]) -> set[Key]:
    """Keys of withdrawn records whose rows users deleted since the last detection.

    With a marker set first, a crash now would make that delete look like our own.
    """
    keys = [record.key for record in batch if record.withdrawn and record.key is not None]
    found = dataset.read(keys) if keys else {}
    return {key for key, now in found.items() if isinstance(now, Change) and now.fields is None}


def _key(dataset: Dataset, records: StoredRecords, record: Record, taken: set[Key]) -> Key | None:
    """The key the record goes under: its own, or one proposed by the dataset; a free one, unless
    the dataset insists on one that another record has.
    """
    fields = desired_fields(record)
    if record.key is not None or fields is None:
        return record.key
    avoided = set(taken)
    key = dataset.propose_key(record.guid, fields, frozenset(avoided))
    while key not in avoided and records.by_key(record.dataset, [key]):
        avoided.add(key)
        key = dataset.propose_key(record.guid, fields, frozenset(avoided))
    return key


def _holder(ledger: Ledger, records: StoredRecords, record: Record, key: Key) -> Record | None:
    """Another record that sits under the key."""
    stored = records.by_key(record.dataset, [key]).get(key)
    holder = None if stored is None else ledger.get(stored.id)
    return holder if holder is not None and holder.id != record.id else None


def _carry_out(site: Site, dataset: Dataset, batch: Sequence[Record]) -> _Written:
    """Second and third step: the dataset's own write, then what came of it.

    If the write raises, the markers stand, and the next detection finds out what landed.
    """
    writes = [_write(record) for record in batch]
    outcomes = dataset.apply(writes) if writes else []
    _settle(site, batch, outcomes)
    changed = [w.key for w, o in zip(writes, outcomes, strict=True) if o.result is Result.CHANGED]
    refused = {
        w.guid: o.reason
        for w, o in zip(writes, outcomes, strict=True)
        if o.result is Result.REFUSED
    }
    return _Written(changed, refused)


def _write(record: Record) -> Write:
    wanted = None if isinstance(record.marker, NoMarker) else record.marker
    assert record.key is not None  # noqa: S101 - begun records have keys
    return Write(record.guid, record.key, record.shadow, wanted)


def _settle(site: Site, batch: Sequence[Record], outcomes: Sequence[Outcome]) -> None:
    with site.store.transaction() as transaction:
        ledger = transaction.ledger()
        transaction.records.fetch(record.id for record in batch)
        for record, outcome in zip(batch, outcomes, strict=True):
            begun = ledger.get(record.id)
            if begun is None:
                continue
            if outcome.result is Result.WRITTEN:
                record_map.settle(ledger, begun, outcome.etag)
            else:
                record_map.abandon(ledger, begun)
        transaction.save(ledger, site.surroundings.now())


def _detect_again(site: Site, dataset: Dataset, name: str, keys: Sequence[Key]) -> None:
    """Users were quicker: see what they did before writing again."""
    found = dataset.read(keys)
    changes = [item for item in found.values() if isinstance(item, Change)]
    detect_changes(site, name, changes)
