"""What a person decides about a conflict: bring the losing side back, or let it rest.

Rules
-----
* A decision is an ordinary new write: its author has seen both sides, so it wins everywhere and
  is no conflict itself.
* A note is closed by a write to the note, which travels as every note does: what is settled at
  one site is settled at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import product
from typing import Final

from mailsync.core.ledger import Ledger
from mailsync.core.merge import Note, delete_note, killed, newest_dot, note_id, revived
from mailsync.core.model import (
    ABSENT,
    Absent,
    Dot,
    Entry,
    Guid,
    Record,
    RecordId,
    Sighting,
    Value,
    is_alive,
)

RESOLUTION: Final = "resolution"
"""Field of a note that says how it was closed."""

KEPT: Final = "kept"
RESTORED: Final = "restored"
DECIDED: Final = "decided"
"""By a routine, which took neither side as it was, or saw this one and took another."""

WAITS: Final = "waits"
"""Field of a note that says why a routine did not decide: it waits for a person."""


def note_of(record: Record) -> Note | None:
    """The note a record of the journal is; None if a peer wrote nonsense into it."""
    values = {name: entry.value for name, entry in record.entries.items()}
    dataset, guid = values.get("dataset"), values.get("guid")
    field = values.get("field")
    if not isinstance(dataset, str) or not isinstance(guid, bytes):
        return None
    if field is not None and not isinstance(field, str):
        return None
    dot = record.entries["guid"].dot
    return Note(RecordId(dataset, Guid(guid)), field, dot, values.get("value", ABSENT))


def own_notes(
    ledger: Ledger, record_id: RecordId, fields: Iterable[str | None]
) -> Iterator[Record]:
    """The notes here of writes of this site that the record descends from, and that lost in one of
    these fields.
    """
    record = ledger.get(record_id)
    context = () if record is None else record.context
    ours = [dot for dot in context if dot.site == ledger.site.number]
    for dot, field in product(ours, fields):
        noted = ledger.get(note_id(Note(record_id, field, dot)))
        if noted is not None:
            yield noted


def only_won_over(ledger: Ledger, record: Record, noted: Record) -> bool:
    """Does the record descend from what won by the note, and from no later write of this site? What
    won may be forgotten where the record was dead until now, and nothing was decided for that.
    """
    lost = noted.entries["guid"].dot
    ours = [dot for dot in record.context if dot.site == ledger.site.number]
    winners = noted.context.keys() - {lost}
    before = ledger.before(record.id)
    is_forgotten = not winners and before is not None and not is_alive(before.entries)
    is_won_over = is_forgotten or not winners.isdisjoint(record.context)
    return is_won_over and max(ours, default=lost) <= lost


def resolution(record: Record) -> str | None:
    """How a note was closed; None while it is open."""
    entry = record.entries.get(RESOLUTION)
    return entry.value if entry is not None and isinstance(entry.value, str) else None


def waits(record: Record) -> str | None:
    """Why a routine did not decide about a note, if so."""
    entry = record.entries.get(WAITS)
    return entry.value if entry is not None and isinstance(entry.value, str) else None


def restore(ledger: Ledger, note: Note, stroke: Dot) -> bool:
    """Bring the losing side back: its value, or its delete. False if the record is gone for good,
    or was withdrawn from here: what is written into a stub goes nowhere.

    ``stroke``: the dot of this decision.
    """
    record = ledger.get(note.record)
    if record is None or (record.withdrawn and note.field is not None):
        return False
    if note.field is None:
        ledger.bump(replace(record, entries=killed(record.entries)))
    elif is_alive(record.entries):
        write(ledger, record, note.field, note.value, stroke)
    else:
        revive(ledger, record, {note.field: note.value}, stroke)
    return True


def revive(
    ledger: Ledger, record: Record, values: Mapping[str, Value | Absent], stroke: Dot
) -> None:
    """Bring back a deleted record, with all that was in it but for these values.

    Every field is a new write: nobody is to take the delete for one that had not seen it, where
    deletes win; nor, where edits do, the write for one that had not seen the delete. There the
    note that others would make of that is made here, closed.
    """
    noted = delete_note(record.id, newest_dot(record.entries))
    ledger.note([noted])
    note = ledger.get(note_id(noted))
    if note is not None and resolution(note) is None:
        close(ledger, note, KEPT, stroke)
    before = {name: entry.value for name, entry in record.entries.items()}
    entries = {name: Entry(stroke, value) for name, value in {**before, **values}.items()}
    context = {**record.context, stroke: Sighting(ledger.next_position)}
    ledger.bump(revived(replace(record, entries=entries, context=context)))


def keep_row(ledger: Ledger, record: Record, stroke: Dot) -> None:
    """Bring back a record that was deleted elsewhere, as the row that is still here shows it."""
    revive(ledger, record, record.shadow or {}, stroke)


def close(ledger: Ledger, note: Record, how: str, stroke: Dot) -> None:
    """Close a note: KEPT, RESTORED or DECIDED."""
    write(ledger, note, RESOLUTION, how, stroke)


def write(ledger: Ledger, record: Record, field: str, value: Value | Absent, stroke: Dot) -> None:
    """A new write of one field, by somebody who has seen all of the record."""
    entries = {**record.entries, field: Entry(stroke, value)}
    context = {**record.context, stroke: Sighting(ledger.next_position)}
    ledger.bump(replace(record, entries=entries, context=context))
