"""Record map -> dataset: write what was merged, by compare-and-set between two store steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mailsync.core import record_map
from mailsync.core.ledger import Ledger
from mailsync.core.model import Key, NoMarker, Record, RecordId, desired_fields, same_fields
from mailsync.core.unifying import unify
from mailsync.cycle.detecting import detect_changes
from mailsync.cycle.references import Missing, References, why
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
    writes: list[Write]
    """The same in the dataset's own terms."""
    waiting: dict[str, str]
    """Those that refer to what is not here, as in ``refused``."""
    last: int
    """Position the batch reaches."""
    again: bool
    """The batch must be looked at again: some were made one with others, or begun in parts."""


class _Written(NamedTuple):
    """What became of a batch."""

    changed: list[Key]
    refused: dict[str, str]
    """By the local key of a record that is there, else by GUID: why."""


class Materialised(NamedTuple):
    """What became of a dataset."""

    written: int
    refused: dict[str, str]
    """By the local key of a record that is there, else by GUID: why."""


def materialise_datasets(site: Site, names: Sequence[str], report: Report) -> None:
    """Bring these datasets to what the record map says.

    What one of them refuses, another may make possible: a parent that comes, a child that goes.
    So they take turns for as long as that helps.
    """
    ordered = _parents_first(site, names, report)
    refused: dict[str, dict[str, str]] = {}
    while True:
        written, before = 0, refused
        refused = {}
        for name in list(ordered):
            ordered.remove(name)  # unless it goes well
            with report.guarding():
                written_here, refused[name] = materialise_dataset(site, name, report)
                written += written_here
                ordered.append(name)
        if not written or not any(refused.values()) or refused == before:
            break
    for name, reasons in refused.items():
        report.held[name] = reasons | report.held.get(name, {})


def _parents_first(site: Site, names: Sequence[str], report: Report) -> list[str]:
    ordered: list[str] = []
    for name in names:
        with report.guarding():
            _place(site, name, frozenset(names), ordered, ())
    return ordered


def _place(
    site: Site, name: str, names: frozenset[str], ordered: list[str], below: tuple[str, ...]
) -> None:
    """Put a dataset behind those it refers to; in a circle, any may be first."""
    if name not in names or name in ordered or name in below:
        return
    for parent in site.references(name).values():
        _place(site, parent, names, ordered, (*below, name))
    ordered.append(name)


def materialise_dataset(site: Site, name: str, report: Report) -> Materialised:
    """Bring the dataset to what the record map says. Raises DatasetError."""
    dataset = site.dataset(name)
    refused: dict[str, str] = {}
    written = 0
    for _ in range(ATTEMPTS):
        changed: list[Key] = []
        refused = {}
        again = False
        after = 0
        while (begun := _begin(site, dataset, name, after)) is not None:
            done = _carry_out(site, dataset, begun)
            report.progress(f"writing {name}", len(begun.records))
            changed += done.changed
            refused |= done.refused | begun.waiting
            written += len(begun.records) - len(done.refused) - len(done.changed)
            again = again or begun.again
            after = begun.last
        if not changed and not again:
            break
        _detect_again(site, dataset, name, changed)
    return Materialised(written, refused)


def _begin(site: Site, dataset: Dataset, name: str, after: int) -> _Begun | None:
    """First step: markers and keys for the next records to be written. None: there are none."""
    with site.store.transaction() as transaction:
        batch = transaction.records.unwritten(name, after, BATCH)
        if not batch:
            return None
        ledger = transaction.ledger()
        references = References(site, name, transaction, ledger)
        references.fetch(batch)
        vanished = _vanished(dataset, batch)
        keys = _keys(dataset, transaction.records, name, batch, references)
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
        before = {record.id: record for record in batch}
        written = _in_own_terms(references, ledger, list(begun.values()), before)
        transaction.save(ledger, site.surroundings.now())
    return written._replace(last=batch[-1].position, again=again or written.again)


def _in_own_terms(
    references: References,
    ledger: Ledger,
    begun: Sequence[Record],
    before: Mapping[RecordId, Record],
) -> _Begun:
    """The writes of begun records; one that refers to what is not here is as it was before."""
    done = _Begun([], [], {}, 0, again=False)
    for record in begun:
        part = references.without_circles(record)
        if part is not record and _holds_marker(part):
            part = ledger.keep(record)  # all of it that can be is there: the rest waits
        elif part is not record:
            done = done._replace(again=True)
        write, missing = _write(references, part)
        if missing:
            ledger.keep(before[record.id])
            done.waiting[record.guid.hex() if record.shadow is None else write.key] = why(missing)
        else:
            done.records.append(part)
            done.writes.append(write)
    return done


def _holds_marker(record: Record) -> bool:
    marker = record.marker
    return not isinstance(marker, NoMarker) and same_fields(marker, record.shadow)


def _vanished(dataset: Dataset, batch: Sequence[Record]) -> set[Key]:
    """Keys of withdrawn records whose rows users deleted since the last detection.

    With a marker set first, a crash now would make that delete look like our own.
    """
    keys = [record.key for record in batch if record.withdrawn and record.key is not None]
    found = dataset.read(keys) if keys else {}
    return {key for key, now in found.items() if isinstance(now, Change) and now.fields is None}


def _keys(
    dataset: Dataset,
    records: StoredRecords,
    name: str,
    batch: Sequence[Record],
    references: References,
) -> list[Key | None]:
    """The key each record goes under: its own, or one the dataset proposes; a free one, unless
    the fields themselves say a key that another record has.
    """
    new = {
        record.id: Newcomer(record.guid, references.landing(fields)[0])
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


def _carry_out(site: Site, dataset: Dataset, begun: _Begun) -> _Written:
    """Second and third step: the dataset's own write, then what came of it.

    If the write raises, the markers stand, and the next detection finds out what landed.
    """
    writes = begun.writes
    outcomes = dataset.apply(writes) if writes else []
    _settle(site, begun.records, outcomes)
    changed = [w.key for w, o in zip(writes, outcomes, strict=True) if o.result is Result.CHANGED]
    refused = {
        w.guid.hex() if w.expected is None else w.key: o.reason
        for w, o in zip(writes, outcomes, strict=True)
        if o.result is Result.REFUSED
    }
    return _Written(changed, refused)


def _write(references: References, record: Record) -> tuple[Write, list[Missing]]:
    """The write in the dataset's own terms, and what it refers to in vain."""
    assert record.key is not None  # noqa: S101 - begun records have keys
    wanted, expected = record.marker, record.shadow
    missing: list[Missing] = []
    if isinstance(wanted, NoMarker):
        wanted = None
    if wanted is not None:
        wanted, missing = references.landing(wanted)
    if expected is not None:
        expected, _ = references.landing(expected)
    return Write(record.guid, record.key, expected, wanted), missing


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
