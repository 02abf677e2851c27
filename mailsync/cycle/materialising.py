"""Record map -> dataset: write what was merged, by compare-and-set between two store steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mailsync.core import record_map
from mailsync.core.model import Key, NoMarker, Record, desired_fields
from mailsync.core.unifying import unify
from mailsync.cycle.detecting import detect_changes
from mailsync.cycle.report import Report
from mailsync.cycle.site import Site
from mailsync.datasets.base import Change, Dataset, Newcomer, Outcome, Result, Write
from mailsync.store.records import StoredRecords

BATCH = 500
"""Records written to the dataset in one of its transactions."""

ATTEMPTS = 5
"""How often a record is merged and written again when users keep being quicker."""


class _Begun(NamedTuple):
    """A batch about to be written."""

    records: list[Record]
    """Those with marker and key set."""
    last: int
    """Position the batch reaches."""
    again: bool
    """Some were made one with others, and the batch must be looked at again."""


class _Written(NamedTuple):
    """What became of a batch."""

    changed: list[Key]
    refused: dict[str, str]
    """By the local key of a record that is there, else by GUID: why."""


def materialise_dataset(site: Site, name: str, report: Report) -> None:
    """Bring the dataset to what the record map says. Raises DatasetError."""
    dataset = site.dataset(name)
    refused: dict[str, str] = {}
    for _ in range(ATTEMPTS):
        changed: list[Key] = []
        again = False
        after = 0
        while (begun := _begin(site, dataset, name, after)) is not None:
            written = _carry_out(site, dataset, begun.records)
            report.progress(f"writing {name}", len(begun.records))
            changed += written.changed
            refused |= written.refused
            again = again or begun.again
            after = begun.last
        if not changed and not again:
            break
        _detect_again(site, dataset, name, changed)
    report.held[name] = refused | report.held.get(name, {})


def _begin(site: Site, dataset: Dataset, name: str, after: int) -> _Begun | None:
    """First step: markers and keys for the next records to be written. None: there are none."""
    with site.store.transaction() as transaction:
        batch = transaction.records.unwritten(name, after, BATCH)
        if not batch:
            return None
        ledger = transaction.ledger()
        vanished = _vanished(dataset, batch)
        keys = _keys(dataset, transaction.records, name, batch)
        holders = transaction.records.by_key(name, [key for key in keys if key is not None])
        begun: dict[Key | None, Record] = {}
        again = False
        for record, key in zip(batch, keys, strict=True):
            if record.id in ledger.changed:
                continue  # it was made one with another just now
            holder = None if key is None else begun.get(key) or holders.get(key)
            if holder is not None and holder.id != record.id:
                again = True
                # a row that is to go makes room first
                if key is not None and key not in begun and desired_fields(holder) is not None:
                    holders[key] = unify(ledger, holder, record, dataset.spelled)
            elif key not in vanished:
                begun[key] = record_map.begin(ledger, record, key)
        transaction.save(ledger, site.surroundings.now())
    return _Begun(list(begun.values()), batch[-1].position, again)


def _vanished(dataset: Dataset, batch: Sequence[Record]) -> set[Key]:
    """Keys of withdrawn records whose rows users deleted since the last detection.

    With a marker set first, a crash now would make that delete look like our own.
    """
    keys = [record.key for record in batch if record.withdrawn and record.key is not None]
    found = dataset.read(keys) if keys else {}
    return {key for key, now in found.items() if isinstance(now, Change) and now.fields is None}


def _keys(
    dataset: Dataset, records: StoredRecords, name: str, batch: Sequence[Record]
) -> list[Key | None]:
    """The key each record goes under: its own, or one the dataset proposes; a free one, unless
    the fields themselves say a key that another record has.
    """
    new = {
        record.id: Newcomer(record.guid, fields)
        for record in batch
        if record.key is None and (fields := desired_fields(record)) is not None
    }
    taken = {record.key for record in batch if record.key is not None}
    proposed = dataset.propose_keys(list(new.values()), taken)
    while held := records.by_key(name, proposed).keys() - taken:
        taken |= held
        proposed = dataset.propose_keys(list(new.values()), taken)
    keys = dict(zip(new, proposed, strict=True))
    return [record.key or keys.get(record.id) for record in batch]


def _carry_out(site: Site, dataset: Dataset, batch: Sequence[Record]) -> _Written:
    """Second and third step: the dataset's own write, then what came of it.

    If the write raises, the markers stand, and the next detection finds out what landed.
    """
    writes = [_write(record) for record in batch]
    outcomes = dataset.apply(writes) if writes else []
    _settle(site, batch, outcomes)
    changed = [w.key for w, o in zip(writes, outcomes, strict=True) if o.result is Result.CHANGED]
    refused = {
        w.guid.hex() if w.expected is None else w.key: o.reason
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
