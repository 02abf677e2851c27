"""What a bundle overwrote, and how it is brought back.

Rules
-----
* Remembered is the difference that a transaction made, whatever it came from: old values of fields,
  records that were not there or not alive, and all of those that are no more.
* To bring it back is an ordinary edit, made by somebody who has seen everything: it travels to all,
  wins everywhere and is no conflict.
* Only what still is as the bundle left it is brought back. What was written since is somebody's
  later decision; it stays, and is named.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from mailsync.core.ancestry import Before
from mailsync.core.decisions import revive
from mailsync.core.entries import Woven
from mailsync.core.ledger import Ledger
from mailsync.core.merge import killed
from mailsync.core.model import (
    ABSENT,
    CONFLICTS,
    Absent,
    Dot,
    Entry,
    Record,
    RecordId,
    Sighting,
    Value,
    dots_of,
    is_alive,
    same_value,
    values_of,
)


class Change(enum.Enum):
    """What became of a record."""

    INSERTED = "inserted"
    EDITED = "edited"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Former:
    """What a transaction changed of one record."""

    record: RecordId
    change: Change
    fields: Mapping[str, Before]
    """Of an insert only the writes that made it, each under a number: there was nothing before."""


@dataclass(frozen=True, slots=True)
class Undone:
    """What was brought back of one record, and what not and why."""

    record: RecordId
    change: Change
    """What is undone."""
    fields: Mapping[str, Value | Absent]
    left: Mapping[str, str]
    """By field, or "" for the whole record: the reason."""


def changed(ledger: Ledger) -> Iterator[Former]:
    """What the ledger's transaction changes. The records must be loaded, or it takes long."""
    for record in ledger.changed.values():
        if record.dataset != CONFLICTS:
            former = _changed(ledger.before(record.id), record)
            if former is not None:
                yield former


def edited(ledger: Ledger) -> Iterator[Former]:
    """What it changes in records that were there before: a new one has a single ancestor."""
    for record in ledger.changed.values():
        if record.dataset != CONFLICTS and len(record.context) > 1:
            former = _changed(ledger.before(record.id), record)
            if former is not None and former.change is Change.EDITED:
                yield former


def _changed(before: Record | None, record: Record) -> Former | None:
    if before is not None and before.entries is record.entries:
        return None
    lived = before is not None and is_alive(before.entries)
    if not is_alive(record.entries):
        if not lived:
            return None
        fields = {name: Before(one.value, one.dot) for name, one in record.entries.items()}
        return Former(record.id, Change.DELETED, fields)
    if before is None or not lived:
        dots = enumerate(sorted(dots_of(record.entries)))
        fields = {str(number): Before(ABSENT, dot) for number, dot in dots}
        return Former(record.id, Change.INSERTED, fields)
    old, new = values_of(before.entries), values_of(record.entries)
    fields = {
        name: Before(
            old.get(name, ABSENT),
            _writer_of(record.entries, name),
            _writer_of(before.entries, name) if name in before.entries else None,
        )
        for name in record.entries
        if not same_value(old.get(name, ABSENT), new.get(name, ABSENT))
    }
    return Former(record.id, Change.EDITED, fields) if fields else None


def _writer_of(entries: Mapping[str, Entry], name: str) -> Dot:
    return entries.writer_of(name) if isinstance(entries, Woven) else entries[name].dot


def undo(ledger: Ledger, former: Former, stroke: Dot) -> Undone:
    """Bring back what there was of one record, by writes with the dot ``stroke``."""
    record = ledger.get(former.record)
    alive = record is not None and is_alive(record.entries)
    if former.change is Change.DELETED:
        if alive:
            return _left(former, "it is there again")
        values = {name: before.value for name, before in former.fields.items()}
        if record is None:
            position = ledger.next_position
            entries = {name: Entry(stroke, value) for name, value in values.items()}
            context = {stroke: Sighting(position)}
            ledger.bump(Record(former.record.dataset, former.record.guid, entries, context))
        else:
            revive(ledger, record, values, stroke)
        return Undone(former.record, former.change, values, {})
    if record is None or not alive:
        return _left(former, "it was deleted since")
    if former.change is Change.INSERTED:
        written = {before.dot for before in former.fields.values()}
        if not dots_of(record.entries) <= written:
            return _left(former, "it was edited since")
        ledger.bump(replace(record, entries=killed(record.entries)))
        return Undone(former.record, former.change, {}, {})
    return _undo_edit(ledger, former, record, stroke)


def _undo_edit(ledger: Ledger, former: Former, record: Record, stroke: Dot) -> Undone:
    still = {
        name: before.value
        for name, before in former.fields.items()
        if name in record.entries and record.entries[name].dot == before.dot
    }
    if still:
        entries = {name: Entry(stroke, value) for name, value in still.items()}
        context = {**record.context, stroke: Sighting(ledger.next_position)}
        ledger.bump(replace(record, entries={**record.entries, **entries}, context=context))
    left = dict.fromkeys(sorted(former.fields.keys() - still), "it was edited since")
    return Undone(former.record, former.change, still, left)


def _left(former: Former, reason: str) -> Undone:
    return Undone(former.record, former.change, {}, {"": reason})
