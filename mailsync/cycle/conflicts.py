"""The conflict journal as people see it, and what they decide."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mailsync.core import decisions
from mailsync.core.merge import Note
from mailsync.core.model import Absent, Record, RecordId, Value
from mailsync.cycle.report import Report
from mailsync.cycle.saving import save
from mailsync.cycle.site import Site
from mailsync.errors import UsageError
from mailsync.store.journal import JournalEntry
from mailsync.store.transaction import Transaction

SHORT = 8
"""Hexadecimal digits of a conflict's id; enough of them to be unique are accepted."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """One conflict. ``field`` None: a delete lost against an edit."""

    id: str
    note: Note
    entry: JournalEntry
    sites: tuple[str, str]
    """Who wrote the winner, who the loser."""
    closed: str | None
    waits: bool
    """Is a person asked to decide?"""
    reason: str | None
    """Why a routine did not decide."""

    @property
    def field(self) -> str | None:
        """The field both sides wrote."""
        return self.note.field

    @property
    def winner(self) -> Value | Absent:
        """The value that stands, or stood when the conflict was noted here."""
        return self.entry.winner

    @property
    def loser(self) -> Value | Absent:
        """The value that lost."""
        return self.note.value


@dataclass(frozen=True, slots=True)
class Choice:
    """Which conflicts are meant, by the beginnings of their ids."""

    ids: tuple[str, ...] = ()
    alike: tuple[str, ...] = ()
    """All open ones that are about the same dataset and field, between the same sites."""
    everything: bool = False
    """All open ones,"""
    dataset: str | None = None
    """... of this dataset alone."""

    def takes_all_of(self, dataset: str) -> bool:
        """Are all open conflicts of the dataset meant?"""
        return self.everything and self.dataset in (None, dataset)


class Restored(NamedTuple):
    """What came of conflicts whose losing sides were to come back."""

    back: list[Conflict]
    """Closed: what lost is back."""
    older: list[Conflict]
    """Open: of the same record something that was written later came back instead."""
    gone: list[Conflict]
    """Their records are gone for good."""


def list_conflicts(site: Site, transaction: Transaction) -> list[Conflict]:
    """Every conflict, closed ones too, oldest first."""
    found = []
    for entry in transaction.journal.entries():
        note = decisions.note_of(entry.note)
        if note is None:
            continue
        record = transaction.records.get(note.record)
        sites = (_winner_site(site, record, note), site.name_of(note.dot.site))
        closed, reason = decisions.resolution(entry.note), decisions.waits(entry.note)
        undecided = reason is not None
        asked = _is_asked(site, note.record.dataset, note.field, undecided=undecided)
        waits = asked and closed is None
        guid = entry.note.guid.hex()
        found.append(Conflict(guid, note, entry, sites, closed, waits, reason))
    return found


def count_waiting(site: Site, transaction: Transaction) -> int:
    """How many conflicts wait for a person."""
    if not site.policies:
        return 0
    return sum(
        alike.how_many
        for alike in transaction.journal.counts()
        if _is_asked(site, alike.dataset, alike.field, undecided=alike.undecided)
    )


def _is_asked(site: Site, dataset: str, field: str | None, *, undecided: bool) -> bool:
    """Is a conflict about the field, if it is open, a person's to decide?"""
    policy = site.policies.get(dataset)
    return undecided or (policy is not None and policy.asks(field))


def find_conflict(conflicts: Sequence[Conflict], prefix: str) -> Conflict:
    """The one conflict whose id begins so. Raises UsageError."""
    matching = [conflict for conflict in conflicts if conflict.id.startswith(prefix.lower())]
    if len(matching) == 1:
        return matching[0]
    many = f"{len(matching)} conflicts begin" if matching else "there is no conflict that begins"
    raise UsageError(f"{many} with {prefix}; see: mailsync conflicts list --all")


def choose(conflicts: Sequence[Conflict], choice: Choice) -> list[Conflict]:
    """The conflicts that are meant, oldest first. Raises UsageError."""
    alike = [find_conflict(conflicts, prefix) for prefix in choice.alike]
    named = {find_conflict(conflicts, prefix).id for prefix in choice.ids}
    kinds = {_kind(conflict) for conflict in alike}
    return [
        conflict
        for conflict in conflicts
        if conflict.id in named
        or (conflict.closed is None and _kind(conflict) in kinds)
        or (conflict.closed is None and choice.takes_all_of(conflict.note.record.dataset))
    ]


def _kind(conflict: Conflict) -> tuple[str, str | None, frozenset[str]]:
    """What conflicts that are alike have in common."""
    return conflict.note.record.dataset, conflict.field, frozenset(conflict.sites)


def resolve_all(site: Site, choice: Choice) -> list[Conflict]:
    """Close these conflicts; what won stays. Returns them. Raises UsageError."""
    with site.store.transaction() as transaction:
        chosen = choose(list_conflicts(site, transaction), choice)
        _close(site, transaction, chosen, decisions.KEPT)
    return chosen


def restore_all(site: Site, choice: Choice, report: Report) -> Restored:
    """Bring the losing sides of these conflicts back, as new edits, and close those that stand.

    Raises UsageError, DatasetError.
    """
    from mailsync.cycle.detecting import detect_dataset  # noqa: PLC0415  slow; to list needs none
    from mailsync.cycle.materialising import materialise_datasets  # noqa: PLC0415

    site.expand()  # what was open may have been replaced since, or have other columns
    with site.store.transaction() as transaction:
        chosen = choose(list_conflicts(site, transaction), choice)
    local = {one.note.record.dataset for one in chosen} & site.sections.keys()
    for name in local:
        detect_dataset(site, name, report)
    with site.store.transaction() as transaction:
        stand = _standing(chosen)
        last = [one for one in chosen if one.id in stand]
        gone = _close(site, transaction, last, decisions.RESTORED)
    materialise_datasets(site, sorted(local), report)
    for problem in report.problems:
        raise problem
    lost = {one.note.record for one in gone}
    back = [one for one in last if one.note.record not in lost]
    rest = [one for one in chosen if one.id not in stand and one.closed is None]
    older = [one for one in rest if one.note.record not in lost]
    return Restored(back, older, [*gone, *(one for one in rest if one.note.record in lost)])


def _standing(chosen: Sequence[Conflict]) -> set[str]:
    """Whose losing sides can stand: of those about one record its deletes, if one was the last;
    otherwise of each field the one whose losing side was written last.
    """
    by_record: dict[RecordId, list[Conflict]] = defaultdict(list)
    for conflict in sorted(chosen, key=lambda one: one.note.dot):
        by_record[conflict.note.record].append(conflict)
    standing: set[str] = set()
    for alike in by_record.values():
        deletes = [one for one in alike if one.field is None]
        edits = {one.field: one for one in alike if one.field is not None}
        standing.update(one.id for one in (deletes if alike[-1].field is None else edits.values()))
    return standing


def resolve(site: Site, prefix: str) -> Conflict:
    """Close a conflict; what won stays. Raises UsageError."""
    (conflict,) = resolve_all(site, Choice(ids=(prefix,)))
    return conflict


def restore(site: Site, prefix: str, report: Report) -> Conflict:
    """Bring the losing side of a conflict back, as a new edit, and close the conflict.

    Raises UsageError, DatasetError.
    """
    restored = restore_all(site, Choice(ids=(prefix,)), report)
    for conflict in restored.gone:
        raise gone_for_good(conflict)
    return restored.back[0]


def gone_for_good(conflict: Conflict) -> UsageError:
    """Why a conflict's losing side cannot come back."""
    return UsageError(
        f"the record of conflict {conflict.id[:SHORT]} is gone for good, or was withdrawn from "
        "this site: then restore it where the record is"
    )


def _close(
    site: Site, transaction: Transaction, chosen: Sequence[Conflict], how: str
) -> list[Conflict]:
    """Close these; returns those whose records are gone for good, which stay as they are."""
    now = site.surroundings.now()
    ledger = transaction.ledger()
    stroke = ledger.stroke(now, site.surroundings.bits(32))
    gone = []
    for conflict in chosen:
        note = ledger.get(conflict.entry.note.id)
        restored = how == decisions.RESTORED
        if restored and not decisions.restore(ledger, conflict.note, stroke):
            gone.append(conflict)
        elif note is not None:
            decisions.close(ledger, note, how, stroke)
    save(site, transaction, ledger, now)
    return gone


def _winner_site(site: Site, record: Record | None, note: Note) -> str:
    if record is None:
        return ""
    dots = [entry.dot for entry in record.entries.values()]
    if note.field is not None and note.field in record.entries:
        dots = [record.entries[note.field].dot]
    newest = max(dots, default=None)
    return "" if newest is None else site.name_of(newest.site)
