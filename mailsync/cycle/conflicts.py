"""The conflict journal as people see it, and what they decide."""

from __future__ import annotations

from dataclasses import dataclass

from mailsync.core import decisions
from mailsync.core.model import Absent, Note, Record, Value
from mailsync.cycle.detecting import detect_dataset
from mailsync.cycle.materialising import materialise_together
from mailsync.cycle.report import Report
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
        policy = site.policies.get(note.record.dataset)
        asked = reason is not None or (policy is not None and policy.asks(note.field))
        waits = asked and closed is None
        guid = entry.note.guid.hex()
        found.append(Conflict(guid, note, entry, sites, closed, waits, reason))
    return found


def count_waiting(site: Site, transaction: Transaction) -> int:
    """How many conflicts wait for a person."""
    if not site.policies:
        return 0
    return sum(conflict.waits for conflict in list_conflicts(site, transaction))


def find_conflict(conflicts: list[Conflict], prefix: str) -> Conflict:
    """The one conflict whose id begins so. Raises UsageError."""
    matching = [conflict for conflict in conflicts if conflict.id.startswith(prefix.lower())]
    if len(matching) == 1:
        return matching[0]
    many = f"{len(matching)} conflicts begin" if matching else "there is no conflict that begins"
    raise UsageError(f"{many} with {prefix}; see: mailsync conflicts list --all")


def resolve(site: Site, prefix: str) -> Conflict:
    """Close a conflict; what won stays. Raises UsageError."""
    with site.store.transaction() as transaction:
        conflict = find_conflict(list_conflicts(site, transaction), prefix)
        _close(site, transaction, conflict, decisions.KEPT)
    return conflict


def restore(site: Site, prefix: str, report: Report) -> Conflict:
    """Bring the losing side of a conflict back, as a new edit, and close the conflict.

    Raises UsageError, DatasetError.
    """
    with site.store.transaction() as transaction:
        conflict = find_conflict(list_conflicts(site, transaction), prefix)
    name = conflict.note.record.dataset
    local = name in site.sections
    if local:
        detect_dataset(site, name, report)
    with site.store.transaction() as transaction:
        _close(site, transaction, conflict, decisions.RESTORED)
    if local:
        report.held |= materialise_together(site, [name], report)
    return conflict


def _close(site: Site, transaction: Transaction, conflict: Conflict, how: str) -> None:
    now = site.surroundings.now()
    ledger = transaction.ledger()
    stroke = ledger.stroke(now, site.surroundings.bits(32))
    restored = how == decisions.RESTORED
    if restored and not decisions.restore(ledger, conflict.note, stroke):
        raise UsageError(f"the record of conflict {conflict.id[:SHORT]} is gone for good")
    note = ledger.get(conflict.entry.note.id)
    if note is not None:
        decisions.close(ledger, note, how, stroke)
    transaction.save(ledger, now)


def _winner_site(site: Site, record: Record | None, note: Note) -> str:
    if record is None:
        return ""
    dots = [entry.dot for entry in record.entries.values()]
    if note.field is not None and note.field in record.entries:
        dots = [record.entries[note.field].dot]
    newest = max(dots, default=None)
    return "" if newest is None else site.name_of(newest.site)
