"""Two records that turn out to be one."""

from __future__ import annotations

from dataclasses import replace

from mailsync.core.ledger import Ledger, SiteState
from mailsync.core.model import Dot, Entry, Glimpse, Guid, Key, Record, Sighting, values_of
from mailsync.core.unifying import unify


def edited_row(number: int, value: str, dot: Dot) -> Record:
    """A record that a peer had before and after the write."""
    context = {dot: Sighting(number, frozenset({"hub"}))}
    entries = {"colour": Entry(dot, value)}
    guid, key = Guid(number.to_bytes(16)), Key(str(number))
    shown = values_of(entries)
    had = frozenset({"hub", "ship"})
    return Record("people", guid, entries, context, number, had=had, key=key, shadow=shown)


def test_one_write_that_wrote_two_things_is_told_to_those_who_have_seen_it() -> None:
    scan = Dot(9, 7, 1)
    here, there = edited_row(1, "blue", scan), edited_row(2, "red", scan)
    ledger = Ledger(SiteState(1, 2), {one.id: one for one in (here, there)})
    one = unify(ledger, here, there, lambda fields: fields)
    assert values_of(one.entries) == {"colour": "red"}
    assert one.whole_for == {"hub", "ship"}
    assert [(note.value, note.winner) for note in ledger.notes.values()] == [("blue", "red")]


def test_one_write_into_another_field_of_the_other_is_told_to_those_who_have_seen_it() -> None:
    scan = Dot(9, 7, 1)
    here, there = edited_row(1, "blue", scan), edited_row(2, "blue", Dot(8, 7, 1))
    edited = replace(there, entries={**there.entries, "form": Entry(scan, "square")})
    edited = replace(edited, context={**there.context, scan: Sighting(2, frozenset({"hub"}))})
    ledger = Ledger(SiteState(1, 2), {one.id: one for one in (here, edited)})
    one = unify(ledger, here, edited, lambda fields: fields)
    assert values_of(one.entries) == {"colour": "blue", "form": "square"}
    assert one.whole_for == {"hub", "ship"}


def test_what_one_scan_wrote_to_the_one_was_not_seen_in_the_other() -> None:
    scan, edit = Dot(9, 7, 1), Dot(8, 7, 1)
    here, there = edited_row(1, "blue", scan), edited_row(2, "red", edit)
    edited = replace(there, entries={**there.entries, "form": Entry(scan, "square")})
    edited = replace(edited, context={**there.context, scan: Sighting(2, frozenset({"hub"}))})
    ledger = Ledger(SiteState(1, 2), {one.id: one for one in (here, edited)})
    one = unify(ledger, here, edited, lambda fields: fields)
    assert values_of(one.entries) == {"colour": "blue", "form": "square"}
    assert [(note.value, note.winner) for note in ledger.notes.values()] == [("red", "blue")]


def test_two_writes_are_told_to_those_who_have_not_seen_them() -> None:
    here, there = edited_row(1, "blue", Dot(9, 7, 1)), edited_row(2, "red", Dot(8, 7, 1))
    ledger = Ledger(SiteState(1, 2), {one.id: one for one in (here, there)})
    assert not unify(ledger, here, there, lambda fields: fields).whole_for


def test_what_was_killed_as_its_record_gave_way_lives_on_in_the_other() -> None:
    joined, edit = Entry(Dot(9, 7, 1), "blue"), Entry(Dot(10, 7, 1), "square")
    here, there = edited_row(1, "blue", joined.dot), edited_row(2, "blue", joined.dot)
    revived = replace(there, entries={"colour": joined._replace(killed=True), "form": edit})
    ledger = Ledger(SiteState(1, 2), {one.id: one for one in (here, revived)})
    one = unify(ledger, here, revived, lambda fields: fields)
    assert one.entries == {"colour": joined, "form": edit}
    assert not ledger.notes


def test_of_a_write_that_was_killed_it_is_known_what_was_overwritten_and_nothing_else() -> None:
    first, edit = Dot(9, 7, 1), Entry(Dot(10, 7, 1), "red")
    here, there = edited_row(1, "blue", Dot(8, 8, 1)), edited_row(2, "green", first)
    entries = {"colour": edit, "form": Entry(first, "square", killed=True)}
    context = {**there.context, edit.dot: Sighting(2, frozenset({"hub"}))}
    revived = replace(there, entries=entries, context=context)
    ledger = Ledger(SiteState(1, 2), {one.id: one for one in (here, revived)})
    one = unify(ledger, here, revived, lambda fields: fields)
    assert one.context.keys() >= {first, edit.dot}
    assert one.glimpses == (Glimpse(first, frozenset({"colour"})),)


def test_of_two_rows_that_of_the_newcomer_goes_though_nobody_was_told_of_the_other() -> None:
    here, there = edited_row(1, "blue", Dot(9, 7, 1)), edited_row(2, "red", Dot(8, 7, 1))
    untold = replace(here, had=frozenset[str]())
    ledger = Ledger(SiteState(1, 2), {one.id: one for one in (untold, there)})
    one = unify(ledger, untold, there, lambda fields: fields)
    assert (one.guid, one.key) == (here.guid, here.key)
    gone = ledger.changed[there.id]
    assert gone.key == there.key
    assert all(entry.killed for entry in gone.entries.values())
