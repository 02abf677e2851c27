"""Join two states of a record; tell conflicts from ordinary overwrites; conflict notes.

Rules
-----
* Field by field the greater dot wins: associative, commutative, idempotent. There is no other
  decision by clock anywhere.
* If neither side had seen the other's write and the values differ, the loser is a conflict.
* One write has one value. Where a damaged store says otherwise, the greater one stays, as written
  out, at all sites, and the other is a conflict.
* A delete that meets an edit it had not seen loses, and that is a conflict too.
* A conflict becomes a *note*: a record of the built-in dataset ``conflicts``. Its GUID is made
  of what it says, so that the same conflict, noticed at many sites, is noted once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import NamedTuple

from mailsync.core.entries import Woven
from mailsync.core.model import (
    ABSENT,
    CONFLICTS,
    Absent,
    DeleteOrder,
    Dot,
    Entry,
    Extraction,
    Guid,
    Record,
    RecordId,
    Value,
    dots_of,
    is_alive,
    same_value,
)


@dataclass(frozen=True, slots=True)
class Note:
    """One conflict: a value (or a delete) that lost against an edit it had not seen."""

    record: RecordId
    field: str | None
    """None: a delete lost against an edit."""
    dot: Dot
    """The losing write; for a delete its own dot, or the newest write it killed if it has none."""
    value: Value | Absent = ABSENT
    winner: Value | Absent = ABSENT
    beaten_by: Dot | None = None
    """The write that won; None: it is not known here, or a delete lost."""


class Loss(NamedTuple):
    """A field whose value lost, the write that made it, and the value that won."""

    field: str
    entry: Entry
    winner: Entry


def join(
    ours: Mapping[str, Entry],
    our_context: AbstractSet[Dot],
    theirs: Mapping[str, Entry],
    their_context: AbstractSet[Dot],
) -> tuple[dict[str, Entry], list[Loss]]:
    """Merge two states. The contexts hold every dot each side's state descends from.

    A field that one side does not mention is taken from the other.
    """
    merged = dict(ours)
    losses: list[Loss] = []
    for name, their in sorted(theirs.items()):
        our = ours.get(name)
        if our is None:
            merged[name] = their
        elif our.dot == their.dot:
            winner = our
            if not same_written(our, their):
                winner, loser = sorted((our, their), key=_spelled, reverse=True)
                losses.append(Loss(name, loser, winner))
            merged[name] = winner._replace(killed=our.killed or their.killed)
        else:
            winner, loser = (our, their) if our.dot > their.dot else (their, our)
            merged[name] = winner
            unseen = our.dot not in their_context and their.dot not in our_context
            if unseen and not same_value(our.value, their.value):
                losses.append(Loss(name, loser, winner))
    return merged, losses


def same_written(one: Entry, other: Entry) -> bool:
    """Do both say that the write wrote the same?"""
    return same_value(one.value, other.value) or _spelled(one) == _spelled(other)


def _spelled(entry: Entry) -> tuple[str, str]:
    """Type and value: in an order, and a NaN equal to itself."""
    return type(entry.value).__name__, repr(entry.value)


def killed(entries: Mapping[str, Entry]) -> Mapping[str, Entry]:
    """The state after a delete that has seen all of it."""
    if isinstance(entries, Woven):
        return entries.killed()
    return {name: entry._replace(killed=True) for name, entry in entries.items()}


def dots_of_deletes(record: Record) -> frozenset[Dot]:
    """The dots of the deletes that a tombstone descends from, where deletes have any: they are
    greater than all writes that these have killed.
    """
    newest = max(dots_of(record.entries), default=None)
    return frozenset(dot for dot in record.context if newest is not None and dot > newest)


def revived(record: Record) -> Record:
    """A record that lives again. Those who had confirmed its end may have forgotten all of it, and
    with it that we knew its ancestors: to them our edit would look like one that had not seen
    what it overwrote.
    """
    return replace(record, whole_for=record.whole_for | record.had)


def field_note(record: RecordId, loss: Loss) -> Note:
    """The note of a value that lost."""
    entry, winner = loss.entry, loss.winner
    return Note(record, loss.field, entry.dot, entry.value, winner.value, winner.dot)


def delete_note(record: RecordId, dot: Dot) -> Note:
    """The note of a delete that lost: by its own dot, or by the greatest one of the state that it
    killed.
    """
    return Note(record, None, dot)


def newest_dot(entries: Mapping[str, Entry]) -> Dot:
    """The greatest dot of a state."""
    return max(dots_of(entries))


def deleted_in_doubt(doubted: Mapping[str, Entry], merged: Mapping[str, Entry]) -> list[Loss]:
    """What a delete may not have meant does not overrule it, but it is a conflict."""
    gone = (name for name, one in sorted(doubted.items()) if merged[name].killed and not one.killed)
    return [Loss(name, doubted[name], Entry(doubted[name].dot, ABSENT)) for name in gone]


def overruled_deletes(
    record: Record, item: Extraction | DeleteOrder, merged: Mapping[str, Entry]
) -> list[Note]:
    """A delete met an edit it had not seen. One that has a dot of its own is not another one of the
    same state, which somebody may have overruled knowingly.
    """
    if not is_alive(merged):
        return []
    notes = []
    if not is_alive(record.entries):
        notes.append(delete_note(record.id, newest_dot(record.entries)))
    if isinstance(item, DeleteOrder):
        unseen = [dot for dot in item.context - record.context.keys() if dot > item.newest]
        notes += [delete_note(record.id, dot) for dot in unseen or [item.newest]]
    return notes


def note_id(note: Note) -> RecordId:
    """The note's own identity: 128 bits of SHA-256 over what it says."""
    digest = hashlib.sha256()
    for part in (
        note.record.dataset.encode(),
        note.record.guid,
        b"-" if note.field is None else b"+" + note.field.encode(),
        b"/".join(str(number).encode() for number in note.dot),
    ):
        digest.update(len(part).to_bytes(4, "big") + part)
    return RecordId(CONFLICTS, Guid(digest.digest()[:16]))


def note_entries(note: Note) -> dict[str, Entry]:
    """The note as a record's fields: ``dataset``, ``guid``, ``field``, ``value``.

    Only what every site agrees on: the winner may differ from site to site.
    """
    values: dict[str, str | bytes | int | float | Absent | None] = {
        "dataset": note.record.dataset,
        "guid": bytes(note.record.guid),
        "field": ABSENT if note.field is None else note.field,
        "value": note.value,
    }
    return {
        name: Entry(note.dot, value)
        for name, value in values.items()
        if not isinstance(value, Absent)
    }


def subject_of(dataset: str, entries: Mapping[str, Entry]) -> str | None:
    """The dataset a record is about: its own, or for a note the noted one, if it says so."""
    return noted_dataset(entries) if dataset == CONFLICTS else dataset


def noted_dataset(entries: Mapping[str, Entry]) -> str | None:
    """The dataset a note record is about."""
    entry = entries.get("dataset")
    return entry.value if entry is not None and isinstance(entry.value, str) else None


def noted_record(record: Record) -> RecordId | None:
    """The record that a note is about; None: it is no note, or a peer wrote nonsense into it."""
    guid = record.entries.get("guid") if record.dataset == CONFLICTS else None
    dataset = noted_dataset(record.entries)
    if guid is None or dataset is None or not isinstance(guid.value, bytes):
        return None
    return RecordId(dataset, Guid(guid.value))
