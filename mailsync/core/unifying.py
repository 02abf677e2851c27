"""Two records that turn out to be one: both must sit under the same natural key, or match.

Rules
-----
* Records that one site wrote to, and whose keys differ, are two rows there, though another's
  dataset may spell both keys alike (``1`` and ``1.0`` as numbers): they are never made one.
* A GUID that nobody else ever heard of gives way without a trace, and so do its writes where the
  other record holds the same values: both sites were told nothing new.
* Of two GUIDs that others know the smaller stays; the other is killed, and everything it said is
  joined into the one that stays, dots and all. No new write is made, so every site that learns of
  both comes to the same result by itself, and nothing echoes.
* Where both have rows already, that of the newcomer goes with the record that is killed: left alone
  it would look like a row that users inserted.
* An edit of the killed record that did not know of it revives the record, collides again, and is
  joined in again: nothing is lost.
* A delete of the killed record by somebody who did not know of the other one comes too late: what
  was joined stays, as it would had that edit been unseen. So what is killed in a record that gives
  way is not joined: it was deleted there, or is joined already, here or at the site that killed it.
  Of its writes only those are known that somebody overwrote, in the fields in which that lives.
* Rows that were edited in one scan say that one write wrote two things: the one that stays is sent
  whole, for nobody would look for more of a write that it has seen. What such a write wrote to the
  one was not seen in the other.
* Where the two differ, and not only in how the dataset spells them, the older value is noted as a
  conflict, as between any two writes that had not seen each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace

from mailsync.core.glimpses import glimpsed, of_dots, reached, united, wholly_seen
from mailsync.core.ledger import Ledger
from mailsync.core.merge import Loss, field_note, join, killed
from mailsync.core.model import (
    NO_MARKER,
    Absent,
    Dot,
    Entry,
    Fields,
    Guid,
    Record,
    Sighting,
    Value,
    dots_of,
    same_fields,
    same_value,
)


def are_two(one: Record, other: Record, key: Iterable[str]) -> bool:
    """Did one site write to both, while they say a key otherwise? ``key``: names of fields."""
    both = ((one.entries.get(name), other.entries.get(name)) for name in key)
    differ = any(
        mine is not None and theirs is not None and not same_value(mine.value, theirs.value)
        for mine, theirs in both
    )
    return differ and not _authors(one).isdisjoint(_authors(other))


def _authors(record: Record) -> set[int]:
    return {dot.site for dot in record.context}


def unify(
    ledger: Ledger,
    holder: Record,
    newcomer: Record,
    spelled: Callable[[Fields], Fields],
) -> Record:
    """Join ``newcomer`` with ``holder``, which sits in the dataset under the key both need.

    ``spelled`` gives fields as the dataset would hold them. Returns the record that stays; the
    row is its.
    """
    has_row = newcomer.shadow is not None and newcomer.key != holder.key
    if not holder.had and not has_row:
        return _adopt(ledger, holder, newcomer, spelled)
    stays, goes = sorted((holder, newcomer), key=lambda record: record.guid)
    lives = {name: entry for name, entry in goes.entries.items() if not entry.killed}
    mixed = _written_to_one(stays, goes) | _written_to_one(goes, stays)
    seen_here, seen_there = wholly_seen(stays) - mixed, wholly_seen(goes) - mixed
    entries, losses = join(stays.entries, seen_here, lives, seen_there)
    ledger.note(field_note(stays.id, loss) for loss in losses if not _is_one_value(loss, spelled))
    position = Sighting(ledger.next_position)
    known = _as_far_as_it_lives(goes, lives, wholly_seen(stays))
    context = {**dict.fromkeys(known.context, position), **stays.context}
    unified = replace(
        stays,
        entries=entries,
        context=context,
        glimpses=united(stays, known),
        key=holder.key,
        etag=holder.etag,
        shadow=holder.shadow,
        marker=NO_MARKER,
    )
    if _wrote_more(stays, unified) or any(loss.entry.dot == loss.winner.dot for loss in losses):
        # others have seen that write, and would not be told what it wrote
        unified = replace(unified, whole_for=unified.whole_for | unified.had)
    unified = ledger.keep(unified) if entries == stays.entries else ledger.bump(unified)
    ledger.bump(
        replace(
            goes,
            entries=killed(goes.entries),
            key=newcomer.key if has_row else None,
            etag=newcomer.etag if has_row else None,
            shadow=newcomer.shadow if has_row else None,
            marker=NO_MARKER,
        )
    )
    return unified


def _written_to_one(record: Record, other: Record) -> frozenset[Dot]:
    """Writes to this record that the other one did not take part in: a field has it here, and
    there nothing or what is older.
    """
    return frozenset(
        entry.dot
        for name, entry in record.entries.items()
        if name not in other.entries or other.entries[name].dot < entry.dot
    )


def _as_far_as_it_lives(
    record: Record, lives: Mapping[str, Entry], seen: AbstractSet[Dot]
) -> Record:
    """The record that gives way, descending from a write that was killed in it only in the fields
    in which it lives on, if in any. Of those ``seen`` wholly in the other one that has to say.
    """
    gone = dots_of(record.entries) - dots_of(lives)
    if not gone:
        return record
    in_part = {dot: reached(lives, dot, record.glimpses) for dot in gone - seen}
    context = {
        dot: sighting
        for dot, sighting in record.context.items()
        if dot not in gone or in_part.get(dot)
    }
    glimpses = of_dots(glimpsed(record.glimpses, in_part), context.keys())
    return replace(record, context=context, glimpses=glimpses)


def _wrote_more(before: Record, after: Record) -> bool:
    """Does the record say now of a write that it descended from that it wrote something else?"""
    return any(
        entry.dot in before.context and entry != before.entries.get(name)
        for name, entry in after.entries.items()
    )


def _adopt(
    ledger: Ledger,
    holder: Record,
    newcomer: Record,
    spelled: Callable[[Fields], Fields],
) -> Record:
    """The newcomer takes the holder's row, and what the holder says otherwise."""
    theirs = newcomer.entries
    ours = {
        name: entry
        for name, entry in holder.entries.items()
        if name not in theirs or not _is_one_value(Loss(name, entry, theirs[name]), spelled)
    }
    entries, losses = join(ours, holder.context.keys(), theirs, wholly_seen(newcomer))
    ledger.drop(holder.id)
    ledger.note(field_note(newcomer.id, loss) for loss in losses)
    position = Sighting(ledger.next_position)
    adopted = replace(
        newcomer,
        entries=entries,
        context={**dict.fromkeys(dots_of(ours), position), **newcomer.context},
        key=holder.key,
        etag=holder.etag,
        shadow=holder.shadow,
        marker=NO_MARKER,
    )
    return ledger.keep(adopted) if entries == theirs else ledger.bump(adopted)


def renamed(
    ledger: Ledger,
    record: Record,
    fields: Iterable[str],
    names: Mapping[Guid, Guid],
    stroke: Dot,
) -> None:
    """Make references in these fields name the records that stay (``names``: the GUIDs that went,
    and what each gave way to). It is a write of ours, with the dot ``stroke``, if others have the
    record.
    """
    shadow = dict(record.shadow or {})
    entries = dict(record.entries)
    for field in fields:
        if (there := _renamed(shadow.get(field), names)) is not None:
            shadow[field] = there
        entry = entries.get(field)
        value = None if entry is None else _renamed(entry.value, names)
        if entry is not None and value is not None:
            dot = stroke if record.had and not entry.killed else entry.dot
            entries[field] = entry._replace(dot=dot, value=value)
    if record.shadow is not None:
        record = replace(record, shadow=shadow)
    if any(entry.dot == stroke for entry in entries.values()):
        context = {**record.context, stroke: Sighting(ledger.next_position)}
        ledger.bump(replace(record, entries=entries, context=context))
    elif entries != record.entries or shadow:
        ledger.keep(replace(record, entries=entries))


def _renamed(value: Value | Absent, names: Mapping[Guid, Guid]) -> Value:
    return names.get(Guid(value)) if isinstance(value, bytes) else None


def _is_one_value(loss: Loss, spelled: Callable[[Fields], Fields]) -> bool:
    """Does the dataset hold both values as one?"""
    one, other = loss.entry.value, loss.winner.value
    if isinstance(one, Absent) or isinstance(other, Absent):
        return one is other
    return same_fields(spelled({loss.field: one}), spelled({loss.field: other}))
