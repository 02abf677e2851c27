"""A conflict side by side: what both sites began with, what stands here, what lost there."""

from __future__ import annotations

from dataclasses import dataclass

from mailsync.core.merge import newest_dot
from mailsync.core.model import (
    ABSENT,
    Absent,
    Dot,
    Record,
    RecordId,
    Value,
    is_alive,
    merged_fields,
    same_value,
)
from mailsync.cycle.conflicts import Conflict, find_conflict, list_conflicts
from mailsync.cycle.site import Site
from mailsync.store.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Author:
    """Who wrote a side of a conflict, and when, in milliseconds since 1970."""

    site: str
    at: int


@dataclass(frozen=True, slots=True)
class Line:
    """One field of the record: its value on either side, and before both."""

    field: str
    here: Value | Absent
    there: Value | Absent
    differs: bool
    base: Value | Absent = ABSENT
    knows_base: bool = False
    """Is it still known what there was before?"""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One conflict, with all that lost by the same write."""

    conflict: Conflict
    together: list[Conflict]
    """The conflicts about other fields that the same write lost."""
    stands: bool
    """Does the record exist?"""
    here: Author | None
    """Of what stands; None: the record is gone for good."""
    there: Author
    """Of what lost."""
    lines: list[Line]


def compare(site: Site, transaction: Transaction, prefix: str) -> Comparison:
    """The conflict whose id begins so. Raises UsageError."""
    conflicts = list_conflicts(site, transaction)
    conflict = find_conflict(conflicts, prefix)
    note = conflict.note
    together = [
        one
        for one in conflicts
        if one is not conflict
        and (one.note.record, one.note.dot) == (note.record, note.dot)
        and None not in (one.field, conflict.field)
    ]
    record = transaction.records.get(note.record)
    lost = {one.field: one.note.value for one in (conflict, *together) if one.field is not None}
    bases = _bases(transaction, note.record, record, note.dot, lost)
    here = merged_fields(record) or {} if record is not None else {}
    lines = []
    for name in sorted(here.keys() | lost.keys()):
        now = here.get(name, ABSENT)
        there = lost.get(name, ABSENT if conflict.field is None else now)
        differs = conflict.field is None or not same_value(now, there)
        lines.append(Line(name, now, there, differs, *bases.get(name, ())))
    dot = _standing(record, conflict.field)
    return Comparison(
        conflict,
        together,
        record is not None and is_alive(record.entries),
        None if dot is None else Author(site.name_of(dot.site), dot.stamp),
        Author(conflict.sites[1], note.dot.stamp),
        lines,
    )


def _standing(record: Record | None, field: str | None) -> Dot | None:
    """The write that stands."""
    if record is None or not record.entries:
        return None
    entry = None if field is None else record.entries.get(field)
    return newest_dot(record.entries) if entry is None else entry.dot


def _bases(
    transaction: Transaction,
    subject: RecordId,
    record: Record | None,
    loser: Dot,
    lost: dict[str, Value | Absent],
) -> dict[str, tuple[Value | Absent, bool]]:
    """What the fields held before the write that lost, or else before the one that stands; and
    what others hold, which is what they held.
    """
    found: dict[str, tuple[Value | Absent, bool]] = {}
    entries = {} if record is None else record.entries
    dots = {name: [loser, *([entries[name].dot] if name in entries else [])] for name in lost}
    replaced = transaction.formers.replaced((subject, name) for name in dots)
    for name, each in dots.items():
        for dot in each:
            if name not in found and (subject, name, dot) in replaced:
                found[name] = (replaced[subject, name, dot].value, True)
    for name in entries.keys() - lost.keys():
        found[name] = (entries[name].value, True)
    return found
