"""The record map: what users changed in the dataset, and what we wrote to it.

Rules
-----
* The dataset is compared with the *shadow* (what we believe it holds), never with the merged
  record: only what users changed becomes new writes. Equal content is never a change.
* Fields that mean something together only, as a foreign key of several columns does, are edited
  together: the columns of two sites' edits never make a key that nobody wrote.
* A row without a GUID is new (``enrolment``). A vanished row kills exactly the entries its user
  could see, and those of fields that the dataset does not hold.
* A field that the dataset does not hold is nobody's edit here, neither when its column goes nor
  when it comes: the record keeps the value, and the shadow what was last seen.
* A write to the dataset takes three steps with a crash possible between any two: the marker is
  set (store), compare-and-set (dataset), the shadow is set and the marker cleared (store).
* A standing marker after a crash: the dataset equals the marker, then it landed; it equals the
  shadow, then it did not, and an insert gives its key back, for what comes there later is not its
  row; anything else is a user's edit. The row tells what the user had seen if it still shows what
  only the write can have put there. If not, users were quicker than the write or came after it,
  which leave the same behind (the rows written with it tell nothing: of those, too, each was only
  written where users were not quicker). Then the edit stands, and what it may not have seen is
  noted: a note too many costs a look, one too few the value.
* So is what an edit of a deleted record has not seen of it: that may have been killed only because
  it lives on in another record (``unifying``), to which the edit comes as one that knew it.
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Set as AbstractSet
from dataclasses import replace

from mailsync.core.desired import desired_fields
from mailsync.core.entries import as_woven
from mailsync.core.ledger import Ledger
from mailsync.core.merge import (
    Loss,
    Note,
    delete_note,
    field_note,
    killed,
    newest_dot,
    revived,
)
from mailsync.core.model import (
    ABSENT,
    NO_MARKER,
    Dot,
    Entry,
    Etag,
    Fields,
    Key,
    NoMarker,
    Record,
    Sighting,
    is_alive,
    merged_fields,
    same_fields,
    same_value,
    showing,
    values_of,
)
from mailsync.core.recognition import value_in, within


def detect(
    ledger: Ledger,
    record: Record,
    current: Fields | None,
    etag: Etag | None,
    stroke: Dot,
    held: AbstractSet[str] | None = None,
    wholes: Collection[Collection[str]] = (),
) -> Record:
    """What users did to one row: ``current`` is what the dataset holds now, None for no row.

    ``stroke`` is the dot of this scan's writes, ``held`` the fields that the dataset holds at
    all; None: any. ``wholes`` are fields of which one means nothing without the others. Returns
    the record as it now stands.
    """
    if _shows_all(record, current, held):
        if current is None:
            return _bury(ledger, record)
        edited = _rewritten(record.shadow or {}, current, wholes)
        if edited <= current.keys():
            return _rewrite(ledger, record, {name: current[name] for name in edited}, etag, stroke)
    base, doubt = _base(within(record, held), current)
    entries, notes = _edits(record, base, current, stroke, held, wholes, doubt=doubt)
    shadow = _with_unheld(record, current, held)
    was_cut_off = current is None and record.shadow is None and record.marker is not NO_MARKER
    seen = showing(record, None if was_cut_off else record.key, etag, shadow)
    ledger.note(notes)
    if entries == record.entries:
        return ledger.keep(seen)
    context = dict(record.context)
    if any(entry.dot == stroke for entry in entries.values()):
        context[stroke] = Sighting(ledger.next_position)
    if not is_alive(record.entries) and is_alive(entries):
        seen = revived(seen)
    return ledger.bump(
        replace(seen, entries=entries, context=context, withdrawn=False, hidden=False)
    )


def _shows_all(record: Record, current: Fields | None, held: AbstractSet[str] | None) -> bool:
    """Did users have all of the record before them, and has its row, if any, no other fields now?

    Then no write of others is unseen. It is so as a rule, and there is little to do.
    """
    shadow = record.shadow
    return (
        shadow is not None
        and record.marker is NO_MARKER
        and (
            current is None
            or (current.keys() == shadow.keys() and (held is None or current.keys() <= held))
        )
        and same_fields(shadow, merged_fields(record))
    )


def _rewrite(
    ledger: Ledger, record: Record, edits: Fields, etag: Etag | None, stroke: Dot
) -> Record:
    """The record after these edits of what its row shows, which is all of it."""
    if not edits:
        return ledger.keep(showing(record, record.key, etag, record.shadow))
    entries = as_woven(record.entries).rewritten(edits, stroke)
    position = ledger.next_position
    return ledger.place(
        Record(
            record.dataset,
            record.guid,
            entries,
            {**record.context, stroke: Sighting(position)},
            position,
            frozenset(),
            record.had,
            record.whole_for,
            withdrawn=False,
            blind_to=record.blind_to,
            outside=record.outside,
            glimpses=record.glimpses,
            key=record.key,
            etag=etag,
            shadow=entries.fields,
        )
    )


def _bury(ledger: Ledger, record: Record) -> Record:
    """The record after users deleted its row, which showed all of it."""
    return ledger.place(
        Record(
            record.dataset,
            record.guid,
            killed(record.entries),
            record.context,
            ledger.next_position,
            frozenset(),
            record.had,
            record.whole_for,
            withdrawn=False,
            blind_to=record.blind_to,
            outside=record.outside,
            glimpses=record.glimpses,
        )
    )


def unpair(ledger: Ledger, record: Record) -> Record:
    """The row under the record's key is not the record's: it must be written elsewhere."""
    return ledger.keep(showing(record, None, None, None))


def begin(
    ledger: Ledger, record: Record, key: Key | None, held: AbstractSet[str] | None = None
) -> Record:
    """First step of a write: what is about to be written, and under which key.

    ``held``: the fields that the dataset holds at all; None: any. Until the write is settled
    nobody knows what the dataset holds: there is no etag.
    """
    return ledger.keep(showing(record, key, None, record.shadow, desired_fields(record, held)))


def settle(
    ledger: Ledger, record: Record, etag: Etag | None, held: AbstractSet[str] | None = None
) -> Record:
    """Last step of a write that landed: the dataset now holds the marker."""
    landed = None if isinstance(record.marker, NoMarker) else record.marker
    key = None if landed is None else record.key
    shadow = _with_unheld(record, landed, held)
    return ledger.keep(showing(record, key, etag, shadow))


def abandon(ledger: Ledger, record: Record) -> Record:
    """Last step of a write that did not land: the dataset still holds something else.

    An insert gives its key back: the next attempt may need another one.
    """
    key = None if record.shadow is None else record.key
    return ledger.keep(showing(record, key, None, record.shadow))


def lost(ledger: Ledger, record: Record) -> Record:
    """The row that is gone was lost, not deleted: it is to be written again, under its key."""
    return ledger.keep(replace(record, shadow=None, etag=None, marker=NO_MARKER))


def _with_unheld(
    record: Record, shown: Fields | None, held: AbstractSet[str] | None
) -> Fields | None:
    """What the row shows, and showed when the dataset still held more: that may come back."""
    if shown is None or held is None or record.shadow is None or record.shadow.keys() <= held:
        return shown
    gone = {name: value for name, value in record.shadow.items() if name not in held}
    return {**gone, **shown} if gone else shown


def _base(record: Record, current: Fields | None) -> tuple[Fields | None, bool]:
    """What the user had in front of them, and whether that is in doubt."""
    marker, shadow = record.marker, record.shadow
    if isinstance(marker, NoMarker) or same_fields(current, shadow):
        return shadow, False
    if same_fields(current, marker):
        return marker, False
    if current is not None and marker is not None and _landed(current, marker, shadow):
        return marker, False
    return shadow, marker is not None


def _landed(current: Fields, marker: Fields, shadow: Fields | None) -> bool:
    """Does the row show what only our interrupted write can have put there?

    Not if it also shows what the write would have replaced: then users may have written the
    same as we were about to, and to take their row for ours would lose the rest of the write.
    """
    if shadow is None:
        return True
    renewed = [
        name
        for name in marker.keys() | shadow.keys()
        if not same_value(value_in(marker, name), value_in(shadow, name))
    ]
    return any(
        same_value(value_in(current, name), value_in(marker, name)) for name in renewed
    ) and not any(same_value(value_in(current, name), value_in(shadow, name)) for name in renewed)


def _edits(
    record: Record,
    base: Fields | None,
    current: Fields | None,
    stroke: Dot,
    held: AbstractSet[str] | None,
    wholes: Collection[Collection[str]],
    *,
    doubt: bool,
) -> tuple[dict[str, Entry], list[Note]]:
    """The record's entries after the users' edits from ``base`` to ``current``."""
    entries = dict(record.entries)
    if same_fields(current, base):
        return entries, []
    if current is None:
        return _deleted(record, base, held, doubt=doubt)
    want = merged_fields(record)
    stood = values_of(record.entries)
    notes: list[Note] = []
    edited = _edited(entries.keys(), want, base, current, wholes)
    for name in sorted(edited if held is None else edited & held):
        now, merged = value_in(current, name), value_in(stood, name)
        old, new = entries.get(name), Entry(stroke, now)
        unseen = base is not None and not same_value(merged, value_in(base, name))
        unseen = unseen and not same_value(merged, now)
        if unseen and old is not None:
            notes.append(field_note(record.id, Loss(name, old, new)))
        if want is None and base is not None and record.entries:
            notes.append(delete_note(record.id, newest_dot(record.entries)))
        entries[name] = new
    return entries, notes


def _edited(
    names: Collection[str],
    want: Fields | None,
    base: Fields | None,
    current: Fields,
    wholes: Collection[Collection[str]],
) -> set[str]:
    """The fields users gave a value that is not the merged one, and what belongs to them."""
    edited = {
        name
        for name in {*names, *current, *(base or {})}
        if not (base is not None and same_value(value_in(current, name), value_in(base, name)))
        and not (want is not None and same_value(value_in(current, name), value_in(want, name)))
    }
    return _together(edited, wholes)


def _rewritten(shadow: Fields, current: Fields, wholes: Collection[Collection[str]]) -> set[str]:
    """The same of a row that showed all of the record and has the same fields still."""
    edited = {name for name, value in current.items() if not same_value(value, shadow[name])}
    return _together(edited, wholes)


def _together(edited: set[str], wholes: Collection[Collection[str]]) -> set[str]:
    return edited.union(*(whole for whole in wholes if not edited.isdisjoint(whole)))


def _deleted(
    record: Record, base: Fields | None, held: AbstractSet[str] | None, *, doubt: bool
) -> tuple[dict[str, Entry], list[Note]]:
    """The record's entries after a user deleted the row that showed ``base``."""
    entries = dict(record.entries)
    want = merged_fields(record)
    notes: list[Note] = []
    if want is None:
        return entries, notes
    for name, entry in sorted(record.entries.items()):
        unseen = _is_unseen(name, want, base, held)
        if not unseen or doubt:
            entries[name] = entry._replace(killed=True)
        if unseen and doubt:
            notes.append(field_note(record.id, Loss(name, entry, Entry(entry.dot, ABSENT))))
        elif unseen:
            notes.append(delete_note(record.id, newest_dot(record.entries)))
    return entries, notes


def _is_unseen(name: str, want: Fields, base: Fields | None, held: AbstractSet[str] | None) -> bool:
    """Did the user who deleted a row that showed ``base`` not see what the record holds here?"""
    now, before = value_in(want, name), value_in(base, name)
    if base is None or same_value(now, before):
        return False
    # a row has something in each column: where none is known, NULL is no more than that
    return held is None or (name in held and not (now is None and before is ABSENT))
