"""Record map -> dataset: write what was merged, by compare-and-set between two store steps.

Rules
-----
* The datasets of one database are written together: all that is to be written to them, in one
  transaction. Whoever else looks sees what came in one bundle as a whole or not at all.
* A file that is replaced, too, takes all of it at once.
* More than ``TOGETHER_MAX`` records, as with a first load, go in several transactions, so that
  memory stays bounded and nobody is locked out for long: parents first, and each record takes
  along what it refers to that is to come or to go. So each of them finds all that a record
  needs, circles included, unless these are even larger.
* What is refused is tried again for as long as something else could be written.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import chain

from mailsync.core import record_map
from mailsync.core.desired import desired_fields
from mailsync.core.model import (
    Key,
    NoMarker,
    Record,
    RecordId,
    held_fields,
)
from mailsync.cycle.claiming import Claim
from mailsync.cycle.detecting import detect_changes
from mailsync.cycle.guarding import stop_if_suspect, undeletable
from mailsync.cycle.pairing import Pairs
from mailsync.cycle.references import Missing, References, why
from mailsync.cycle.report import Report
from mailsync.cycle.saving import save
from mailsync.cycle.site import Site
from mailsync.datasets.base import Change, Outcome, Result, Write, held_by
from mailsync.store.records import StoredRecords

TOGETHER_MAX = 10_000
"""Records written to a database in one of its transactions, or by one replacement of a file."""

ALONE_MAX = 500
"""Records between two steps of the store, of a dataset to which they are written one by one."""

ATTEMPTS = 5
"""How often a record is merged and written again when users keep being quicker."""

Refused = dict[str, dict[str, str]]
"""By dataset, then by the local key of a record that is there, else by GUID: why."""


@dataclass(slots=True)
class _Begun:
    """A batch about to be written, parents first."""

    records: list[Record] = field(default_factory=list)
    """Those with marker and key set."""
    stored: list[Record] = field(default_factory=list)
    """Those of them that were stored as they are here."""
    writes: list[Write] = field(default_factory=list)
    """The same in the datasets' own terms."""
    waiting: list[tuple[Record, str]] = field(default_factory=list)
    """Those that refer to what is not here, or may be one of several; and to what, or why."""
    again: bool = False
    """Some were made one with others: what is left must be looked at again."""


@dataclass(slots=True)
class _Sweep:
    """What became of everything that was to be written."""

    refused: Refused
    pairs: dict[str, Pairs]
    """By dataset: which records are the same."""
    waiting: AbstractSet[str] = frozenset()
    """Datasets in which nothing is deleted."""
    doubtful: set[RecordId] = field(default_factory=set)
    """Records that may be one with what is held."""
    changed: dict[str, list[Key]] = field(default_factory=dict)
    """By dataset: where users were quicker."""
    unwritten: dict[str, int] = field(default_factory=dict)
    """By dataset: how many records were to be written."""
    written: int = 0
    again: bool = False


def materialise_datasets(
    site: Site, names: Sequence[str], report: Report, *, meant: int = 0
) -> None:
    """Bring these datasets to what the record map says. ``meant``: so many records of each may
    be deleted at once, says a person.
    """
    for together in _databases(site, names):
        with report.guarding():
            found = materialise_together(site, together, report, meant=meant)
            for name, reasons in found.items():
                report.held[name] = reasons | report.held.get(name, {})


def _databases(site: Site, names: Sequence[str]) -> list[list[str]]:
    """The datasets by what is written together, parents first."""
    found: dict[object, list[str]] = {}
    for name in site.parents_first(names):
        database = site.dataset(name).database
        found.setdefault(name if database is None else database, []).append(name)
    return list(found.values())


def materialise_together(
    site: Site, names: Sequence[str], report: Report, *, meant: int = 0
) -> Refused:
    """Bring the datasets of one database, or one that stands alone, to what the record map says.

    ``names``: parents first; ``meant``: see there. Returns what they refuse. Raises DatasetError.
    """
    refused: Refused = {}
    waiting = undeletable(site, names, report, meant)
    attempts = 0
    while attempts < ATTEMPTS:
        before = refused
        sweep = _sweep(site, names, waiting, report)
        refused = sweep.refused
        if sweep.changed or sweep.again:
            attempts += 1
            for name, keys in sweep.changed.items():
                _detect_again(site, name, keys)
        elif not sweep.written or not any(refused.values()) or refused == before:
            break
    report.doubtful |= sweep.doubtful
    return refused


def _sweep(site: Site, names: Sequence[str], waiting: AbstractSet[str], report: Report) -> _Sweep:
    """Write everything once, but deletes of the datasets where they wait."""
    sweep = _Sweep(
        {name: {} for name in names}, {name: Pairs(site, name) for name in names}, waiting
    )
    after: dict[str, int] = {}
    while (begun := _begin(site, names, after, sweep)) is not None:
        outcomes = _apply(site, begun, sweep, report)
        _settle(site, begun, outcomes, sweep)
        sweep.again = sweep.again or begun.again
    return sweep


def _begin(site: Site, names: Sequence[str], after: dict[str, int], sweep: _Sweep) -> _Begun | None:
    """First step: markers and keys for the next records to be written. None: there are none.

    ``after``: the position reached in each dataset; brought up to date.
    """
    with site.store.transaction() as transaction:
        batch = _next(site, transaction.records, names, after, sweep.waiting)
        if not batch:
            return None
        if not sweep.unwritten:
            sweep.unwritten = {name: transaction.records.count_unwritten(name) for name in names}
        ledger = transaction.ledger()
        references = References(site, transaction, ledger)
        before = references.with_awaited(batch, frozenset(names), TOGETHER_MAX)
        mine: dict[str, list[Record]] = {name: [] for name in names}
        for record in before.values():
            if record.dataset not in sweep.waiting or desired_fields(record) is not None:
                mine[record.dataset].append(record)
        begun = _Begun()
        claimed = []
        for name, records in mine.items():
            claim = Claim(site, name, transaction, ledger, references, sweep.pairs[name])
            claimed += claim.stake(records)
            begun.waiting += claim.open
            sweep.doubtful |= claim.doubtful
            begun.again = begun.again or claim.again
        held = {name: held_by(site.dataset(name)) for name in names}
        for record in claimed:
            write, missing = _write(references, record, held[record.dataset])
            if missing:
                ledger.keep(before[record.id])
                begun.waiting.append((record, why(missing)))
            else:
                begun.records.append(record)
                begun.writes.append(write)
        begun.stored = [one for one in begun.records if ledger.get(one.id) is one]
        save(site, transaction, ledger, site.surroundings.now())
    return begun


def _next(
    site: Site,
    records: StoredRecords,
    names: Sequence[str],
    after: dict[str, int],
    waiting: AbstractSet[str],
) -> list[Record]:
    """The next records to be written, of one dataset after the other."""
    room = TOGETHER_MAX if site.dataset(names[0]).is_written_at_once else ALONE_MAX
    batch: list[Record] = []
    for name in names:
        wanted = (0,) if name in waiting else (0, 1)
        found = records.unwritten(name, after.get(name, 0), room - len(batch), wanted)
        if found:
            after[name] = found[-1].position
            batch += found
    return batch


def _write(
    references: References, record: Record, held: AbstractSet[str] | None
) -> tuple[Write, list[Missing]]:
    """The write in the dataset's own terms, and what it refers to in vain."""
    assert record.key is not None  # noqa: S101 - begun records have keys
    wanted, expected = record.marker, held_fields(record.shadow, held)
    missing: list[Missing] = []
    if isinstance(wanted, NoMarker):
        wanted = None
    if wanted is not None:
        wanted, missing = references.landing(record.dataset, wanted)
    if expected is not None:
        expected, _ = references.landing(record.dataset, expected)
    return Write(record.guid, record.key, expected, wanted), missing


def _apply(site: Site, begun: _Begun, sweep: _Sweep, report: Report) -> list[Outcome]:
    """Second step: the datasets' own writes, one outcome each.

    If this raises, the markers stand, and the next detection finds out what landed.
    """
    writes: dict[str, list[Write]] = {}
    for record, write in zip(begun.records, begun.writes, strict=True):
        writes.setdefault(record.dataset, []).append(write)
    batches = [(site.dataset(name), mine) for name, mine in writes.items()]
    if not batches:
        return []
    database = batches[0][0].database
    try:
        if database is None:
            outcomes = [dataset.apply(mine) for dataset, mine in batches]
        else:
            outcomes = database.apply(batches)
    finally:
        site.keep_notes(writes)  # also of what was written before it raised
    for name, mine in writes.items():
        report.progress(f"writing {name}, records", len(mine), sweep.unwritten.get(name))
    return list(chain.from_iterable(outcomes))


def _settle(site: Site, begun: _Begun, outcomes: Sequence[Outcome], sweep: _Sweep) -> None:
    """Third step: what came of it."""
    with site.store.transaction() as transaction:
        ledger = transaction.ledger()
        references = References(site, transaction, ledger)
        transaction.records.trust(begun.stored)
        transaction.records.fetch(record.id for record in begun.records)
        held = {name: held_by(site.dataset(name)) for name in sweep.refused}
        refused = list(begun.waiting)
        for record, write, outcome in zip(begun.records, begun.writes, outcomes, strict=True):
            found = ledger.get(record.id)
            if found is None:
                continue
            if outcome.result is Result.WRITTEN:
                record_map.settle(ledger, found, outcome.etag, held[record.dataset])
                sweep.written += 1
                continue
            left = record_map.abandon(ledger, found)
            if outcome.result is Result.REFUSED:
                refused.append((left, outcome.reason))
            else:
                sweep.changed.setdefault(record.dataset, []).append(write.key)
        for record, reason in refused:
            name = record.guid.hex() if record.shadow is None else str(record.key)
            _, missing = references.landing(record.dataset, desired_fields(record) or {})
            others = [one for one in missing if one.record != record.id]
            sweep.refused[record.dataset][name] = why(others) or reason
        transaction.save(ledger, site.surroundings.now())


def _detect_again(site: Site, name: str, keys: Sequence[Key]) -> None:
    """Users were quicker: see what they did before writing again."""
    found = site.dataset(name).read(keys)
    changes = [item for item in found.values() if isinstance(item, Change)]
    stop_if_suspect(site, name, changes)
    detect_changes(site, name, changes)
