"""What the configuration decides about conflicts, beyond "newest".

Rules
-----
* The join stays as it is: the greater dot wins. A policy's decision is an ordinary new write, made
  by somebody who has seen both sides; so it wins everywhere and is no conflict itself.
* Of one loss one site decides, the author of the write that lost; under ``site:NAME`` only if that
  is NAME. It decides once, when it first learns of the loss, and a note that a person has closed
  is decided already. So there is nothing to play ping-pong with, whatever the topology; and if
  that site is no more, the newest stands.
* Only a value that stood until it lost comes back, not one that its own site has replaced since.
  That is told by the record as it was before the bundle; or, where the note comes later, by the
  winner's dot, which notes under such a policy have as an ancestor: it stands, or what stands
  descends from it, and from no later write of ours.
* What we wrote, if we no longer know, is believed of a peer who may write there itself. Of a
  record that comes after the note, or lives again after it, we decide then.
* What a decision overrules is noted in its turn, so that nothing is lost.
* ``ask`` decides nothing: the newest stands, and the note waits for a person.
* Where deletes win, a record of which a delete has killed some write is dead, whatever is written
  to it by those who did not know of the delete; what they wrote is noted. There a delete has a dot
  of its own, an ancestor of the tombstone greater than all its writes: who has that as an ancestor,
  too, knows of the delete and brings the record back, every field of it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Final, NamedTuple

from mailsync.core.ancestry import Before
from mailsync.core.decisions import (
    DECIDED,
    KEPT,
    RESTORED,
    WAITS,
    close,
    note_of,
    only_won_over,
    own_notes,
    resolution,
    waits,
    write,
)
from mailsync.core.disputes import Decide, Dispute, Side, Undecided
from mailsync.core.ledger import Ledger
from mailsync.core.merge import Loss, Note, dots_of_deletes, field_note, killed, note_id
from mailsync.core.model import (
    ABSENT,
    CONFLICTS,
    Absent,
    Dot,
    Entry,
    Link,
    Record,
    RecordId,
    Sighting,
    Value,
    is_alive,
    merged_fields,
    same_value,
)
from mailsync.core.rights import may_update

EVERY_FIELD: Final = "*"
"""Stands for all fields that have no policy of their own."""


class Way(enum.Enum):
    """What becomes of a value that lost against one whose author had not seen it."""

    NEWEST = "newest"
    ASK = "ask"
    OURS = "ours"
    """This site's values come back."""
    ELSEWHERE = "elsewhere"
    """Another site's do."""


class Deletes(enum.Enum):
    """What becomes of a delete that meets an edit it had not seen."""

    EDIT_WINS = "edit-wins"
    DELETE_WINS = "delete-wins"
    ASK = "ask"


@dataclass(frozen=True, slots=True)
class Policy:
    """The policies of one dataset."""

    fields: Mapping[str, Way | Decide] = field(default_factory=dict)
    """By field; ``EVERY_FIELD``: all others."""
    deletes: Deletes = Deletes.EDIT_WINS

    def of(self, name: str) -> Way | Decide:
        """The policy of one field."""
        return self.fields.get(name, self.fields.get(EVERY_FIELD, Way.NEWEST))

    def asks(self, name: str | None) -> bool:
        """Does a person decide about the field? None: about a delete."""
        return self.deletes is Deletes.ASK if name is None else self.of(name) is Way.ASK


Policies = Mapping[str, Policy]
"""By dataset; one that is not named has none but the defaults."""


class Due(NamedTuple):
    """What is to be decided here and now."""

    losses: list[tuple[RecordId, Note]]
    """Our writes that lost, with the identities of their notes."""
    deletes: list[RecordId]
    """Records that live although a delete killed some of their writes."""
    deaths: list[RecordId]
    """Records whose delete has no dot yet."""

    def __bool__(self) -> bool:
        """Is there anything?"""
        return bool(self.losses or self.deletes or self.deaths)


class Users(enum.Enum):
    """Those of the site itself."""

    OURS = 0


OUR_USERS: Final = Users.OURS

Writer = Link | Users
"""Who wrote without knowing of all that is in the map: a peer whose bundle it is, or users."""


def due(
    ledger: Ledger, policies: Policies, links: Mapping[str, Link], writer: Writer | None = None
) -> Due:
    """What the ledger's transaction leaves to be decided by us.

    ``writer`` None: it is a decision of somebody who knew of all that is in the map.
    """
    _name_winners(ledger, policies)
    losses: dict[RecordId, Note] = {}
    deletes, deaths = [], []
    overruled = {note.record for note in ledger.notes.values() if note.field is None}
    for record in list(ledger.changed.values()):
        if record.dataset == CONFLICTS:
            losses |= _of_note(ledger, policies, record, writer)
        elif record.dataset in policies:
            losses |= _of_record(ledger, policies[record.dataset], record)
            losses |= _of_arisen(ledger, policies, record, links)
            if policies[record.dataset].deletes is not Deletes.DELETE_WINS:
                continue
            before = ledger.before(record.id)
            if not is_alive(record.entries):
                deaths += [] if dots_of_deletes(record) else [record.id]
            elif writer is not None and (record.id in overruled or _is_revived(before, record)):
                deletes += [] if _knows(writer, before, record) else [record.id]
    return Due(_last(ledger, losses), deletes, deaths)


def _last(ledger: Ledger, losses: Mapping[RecordId, Note]) -> list[tuple[RecordId, Note]]:
    """Of each field the last write of ours that is known as lost by now. It replaced the others,
    though we may have forgotten them all, and whatever people said of it.
    """
    changed = (each for each in ledger.changed.values() if each.dataset == CONFLICTS)
    siblings = (own_notes(ledger, note.record, [note.field]) for note in losses.values())
    notes = map(note_of, chain(changed, *siblings))
    last: dict[tuple[RecordId, str | None], Dot] = {}
    for note in filter(None, (*notes, *losses.values())):
        if note.dot.site == ledger.site.number:
            place = note.record, note.field
            last[place] = max(note.dot, last.get(place, note.dot))
    return [(own, one) for own, one in losses.items() if one.dot == last[one.record, one.field]]


BaseOf = Callable[[Note], Before | None]
"""What there was before both sides of a conflict; None: that is not known."""


def baseless(_note: Note) -> None:
    """Nothing is known."""


def decide(
    ledger: Ledger, policies: Policies, found: Due, stroke: Dot, base_of: BaseOf = baseless
) -> dict[RecordId, str]:
    """Decide what :func:`due` found, by writes with the dot ``stroke``.

    Returns the notes that a routine came to no value for, and why: the newest stands there.
    """
    undecided = {}
    for record_id in found.deletes:
        _carry_out(ledger, record_id)
    for record_id in (*found.deletes, *found.deaths):
        _sign_delete(ledger, record_id, stroke)
    for own, note in found.losses:
        noted = ledger.get(own)
        if noted is not None and _is_ours(ledger, policies, noted, note):
            reason = _settle(ledger, policies, noted, note, stroke, base_of)
            if reason is not None:
                undecided[own] = reason
    return undecided


def _decides(policies: Policies, note: Note) -> Way | Decide | None:
    """The policy by which the author of the note's write brings something back, if any."""
    policy = policies.get(note.record.dataset)
    way = None if policy is None or note.field is None else policy.of(note.field)
    return None if way in {Way.NEWEST, Way.ASK} else way


def _name_winners(ledger: Ledger, policies: Policies) -> None:
    """The notes made here have the writes that won as ancestors, where that will be asked."""
    for own, note in ledger.notes.items():
        record = ledger.get(own)
        if record is None or note.beaten_by is None or _decides(policies, note) is None:
            continue
        context = {note.beaten_by: Sighting(record.position), **record.context}
        ledger.keep(replace(record, context=context))


def _of_note(
    ledger: Ledger, policies: Policies, record: Record, writer: Writer | None
) -> Iterator[tuple[RecordId, Note]]:
    """A note that is new here, if it leaves something to us, and if what we wrote is known."""
    note = note_of(record)
    if note is None or not _is_new(ledger, record, writer):
        return
    if _is_ours(ledger, policies, record, note) and (
        _stood(ledger, note) is not None
        or record.id in ledger.notes
        or (isinstance(writer, Link) and may_update(writer, note.record.dataset, note.field))
    ):
        yield record.id, note


def _is_new(ledger: Ledger, record: Record, writer: Writer | None) -> bool:
    """Was the note not here, or not shown by this peer as it is, and is left to nobody else?"""
    before = ledger.before(record.id)
    if before is None or not isinstance(writer, Link):
        return before is None
    return writer.peer in record.known - before.known and waits(record) is None


def _of_record(ledger: Ledger, policy: Policy, record: Record) -> Iterator[tuple[RecordId, Note]]:
    """Writes of ours that others replaced just now and that notes said to have lost before."""
    before = ledger.before(record.id)
    for name, entry in (before.entries if before is not None else {}).items():
        now = record.entries.get(name)
        if entry.dot.site != ledger.site.number or now is None or now.dot == entry.dot:
            continue
        noted = ledger.get(note_id(Note(record.id, name, entry.dot)))
        note = None if noted is None else note_of(noted)
        if noted and note and _is_ours(ledger, {record.dataset: policy}, noted, note):
            yield noted.id, note


def _of_arisen(
    ledger: Ledger, policies: Policies, record: Record, links: Mapping[str, Link]
) -> Iterator[tuple[RecordId, Note]]:
    """Writes of ours in a record that is new here, if notes of their loss came before it: we were
    restored, and forgot it. Or it lives again, and was dead when they came.
    """
    before = ledger.before(record.id)
    if before is not None and (is_alive(before.entries) or not is_alive(record.entries)):
        return
    for noted in own_notes(ledger, record.id, record.entries):
        note = note_of(noted)
        if note is None or not _is_ours(ledger, policies, noted, note):
            continue
        tellers = [links[peer] for peer in noted.known & links.keys()]
        is_own = before is not None and not noted.known
        if is_own or any(may_update(one, record.dataset, note.field) for one in tellers):
            yield noted.id, note


def _is_ours(ledger: Ledger, policies: Policies, noted: Record, note: Note) -> bool:
    """Does the note leave a decision to us, now?"""
    if note.field is None or note.dot.site != ledger.site.number or resolution(noted) is not None:
        return False
    if _decides(policies, note) in {None, Way.ELSEWHERE}:
        return False
    record = ledger.get(note.record)
    standing = None if record is None else record.entries.get(note.field)
    if record is None or standing is None:
        return False
    if record.withdrawn or not is_alive(record.entries):
        return False
    if standing.dot.site == ledger.site.number:
        return False  # it stands, or we replaced it
    stood = _stood(ledger, note)
    if stood is not None:
        return not stood.killed
    return standing.dot in noted.context or only_won_over(ledger, record, noted)


def _stood(ledger: Ledger, note: Note) -> Entry | None:
    """The write that lost, if it stood here until now."""
    before = ledger.before(note.record)
    stood = None if before is None or note.field is None else before.entries.get(note.field)
    return stood if stood is not None and stood.dot == note.dot else None


def _settle(
    ledger: Ledger,
    policies: Policies,
    noted: Record,
    note: Note,
    stroke: Dot,
    base_of: BaseOf,
) -> str | None:
    """Decide about one loss. Returns why a routine did not."""
    record = ledger.get(note.record)
    assert record is not None  # noqa: S101 - see _is_ours
    assert note.field is not None  # noqa: S101
    standing, way = record.entries[note.field], _decides(policies, note)
    value = _lost_value(ledger, note)
    if not isinstance(way, Way):
        assert way is not None  # noqa: S101
        try:
            value = way(_dispute(note, value, standing, record, base_of(note)))
        except Undecided as problem:
            write(ledger, noted, WAITS, str(problem), stroke)
            return str(problem)
    if not same_value(value, standing.value):
        overruled = field_note(record.id, Loss(note.field, standing, Entry(stroke, value)))
        ledger.note([overruled])
        write(ledger, record, note.field, value, stroke)
        other = ledger.get(note_id(overruled))
        if not isinstance(way, Way) and other is not None:
            close(ledger, other, DECIDED, stroke)  # the routine has seen it: it is no loss
    how = RESTORED if same_value(value, _lost_value(ledger, note)) else DECIDED
    close(ledger, noted, KEPT if same_value(value, standing.value) else how, stroke)
    return None


def _lost_value(ledger: Ledger, note: Note) -> Value | Absent:
    """What we wrote: as we know it, whatever others say; if we no longer do, as they say it."""
    stood = _stood(ledger, note)
    return note.value if stood is None else stood.value


def _dispute(
    note: Note, lost: Value | Absent, standing: Entry, record: Record, base: Before | None
) -> Dispute:
    return Dispute(
        note.record.dataset,
        note.field or "",
        Side(lost, note.dot.site, note.dot.stamp),
        Side(standing.value, standing.dot.site, standing.dot.stamp),
        ABSENT if base is None else base.value,
        base is not None,
        merged_fields(record) or {},
    )


def _is_revived(before: Record | None, record: Record) -> bool:
    """Did an edit make the record live again that was dead, or should be?"""
    was_dead = before is not None and not is_alive(before.entries)
    return was_dead or any(entry.killed for entry in record.entries.values())


def _knows(writer: Writer, before: Record | None, record: Record) -> bool:
    """Did the writer know of all deletes that we know of, and bring the whole record back?"""
    if before is None or is_alive(before.entries) or not isinstance(writer, Link):
        return False
    dots = dots_of_deletes(before)
    whole = not any(entry.killed for entry in record.entries.values())
    return whole and bool(dots) and all(writer.peer in record.context[dot].known for dot in dots)


def _sign_delete(ledger: Ledger, record_id: RecordId, stroke: Dot) -> None:
    record = ledger.get(record_id)
    if record is not None and record.entries:
        context = {**record.context, stroke: Sighting(record.position)}
        ledger.keep(replace(record, context=context))


def _carry_out(ledger: Ledger, record_id: RecordId) -> None:
    """The delete wins after all; what it had not seen is noted instead, unless peers note it."""
    record = ledger.get(record_id)
    assert record is not None  # noqa: S101 - see due
    for own, note in list(ledger.notes.items()):
        noted = ledger.get(own)
        is_elsewhere = noted is None or bool(noted.known) or resolution(noted) is not None
        if note.field is None and note.record == record_id and not is_elsewhere:
            del ledger.notes[own]
            ledger.drop(own)
    ledger.note(
        field_note(record_id, Loss(name, entry, Entry(entry.dot, ABSENT)))
        for name, entry in record.entries.items()
        if not entry.killed
    )
    ledger.bump(replace(record, entries=killed(record.entries)))
