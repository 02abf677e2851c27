"""What is taken of a write in part: what of it counts as seen, here and elsewhere."""

from __future__ import annotations

from dataclasses import replace

from mailsync.core.glimpses import told
from mailsync.core.inbound import receive
from mailsync.core.ledger import Ledger, SiteState
from mailsync.core.model import (
    Bundle,
    DeleteOrder,
    Dot,
    Entry,
    Extraction,
    Glimpse,
    Guid,
    Link,
    Mark,
    Reason,
    Record,
    RecordId,
    Sighting,
    Stream,
    is_alive,
)
from mailsync.core.outbound import compose, survey
from mailsync.core.positions import NOWHERE
from mailsync.core.terms import Terms

US, SHIP, YARD = 1, 7, 8
GUID = Guid(bytes(16))
PEOPLE = RecordId("people", GUID)
FIRST, SECOND, EDIT = Dot(1, SHIP, 1), Dot(2, SHIP, 2), Dot(3, YARD, 3)
IN_NOTE = (Glimpse(FIRST, frozenset({"note"})),)
"""Of the first write only the note was seen."""


def link(peer: str, terms: Terms) -> Link:
    return Link(peer, frozenset({"people"}), Stream(1, 3), terms={"people": terms})


NOTE = frozenset({"note"})
LINKS = {"ship": link("ship", Terms(granted=NOTE)), "yard": link("yard", Terms())}


def shown(item: Extraction | DeleteOrder) -> Bundle:
    bundle = Bundle(Stream(1, 5), Mark(item.position, 9), (), None, NOWHERE)
    if isinstance(item, Extraction):
        return replace(bundle, extractions=(item,))
    return replace(bundle, deletes=(item,))


def extraction(glimpses: tuple[Glimpse, ...] = (), **entries: Entry) -> Extraction:
    return Extraction(1, "people", GUID, entries, glimpses=glimpses)


def delete(glimpses: tuple[Glimpse, ...]) -> DeleteOrder:
    context = frozenset({FIRST})
    return DeleteOrder(1, "people", GUID, Reason.DELETED, FIRST, {}, context, glimpses=glimpses)


def taken(ledger: Ledger, peer: str, item: Extraction | DeleteOrder) -> dict[str, Link]:
    received = receive(ledger, LINKS, peer, shown(item), now=10_000, nonce=1)
    return dict(received.links)


def of_ship(site: int) -> Ledger:
    """At a site that has the whole of the ship's first write."""
    entries = {"note": Entry(FIRST, "new"), "status": Entry(FIRST, "open")}
    record = Record("people", GUID, entries, {FIRST: Sighting(1)}, 1)
    return Ledger(SiteState(site, 1), {PEOPLE: record})


def noted(ledger: Ledger) -> list[tuple[str | None, Dot]]:
    return [(note.field, note.dot) for note in ledger.notes.values()]


def record_of(ledger: Ledger) -> Record:
    record = ledger.get(PEOPLE)
    assert record is not None
    return record


def test_what_is_taken_of_a_record_has_seen_what_its_author_overwrote() -> None:
    ledger = Ledger(SiteState(US), {})
    taken(ledger, "ship", extraction(note=Entry(SECOND, "newer"), status=Entry(FIRST, "open")))
    assert record_of(ledger).glimpses == IN_NOTE
    taken(ledger, "yard", extraction(note=Entry(FIRST, "new")))
    assert noted(ledger) == []
    assert record_of(ledger).entries == {"note": Entry(SECOND, "newer")}


def test_what_was_refused_is_not_seen_by_whoever_writes_there() -> None:
    ledger = Ledger(SiteState(US), {})
    taken(ledger, "ship", extraction(note=Entry(FIRST, "new"), status=Entry(FIRST, "open")))
    before = record_of(ledger)
    entries = {**before.entries, "status": Entry(EDIT, "shut")}
    ledger.bump(replace(before, entries=entries, context={**before.context, EDIT: Sighting(2)}))
    taken(ledger, "yard", extraction(status=Entry(FIRST, "open"), note=Entry(FIRST, "new")))
    assert noted(ledger) == [("status", FIRST)]


def test_the_author_learns_from_a_third_site_who_had_not_seen_what_it_overwrote() -> None:
    ledger = of_ship(SHIP)
    taken(ledger, "yard", extraction(IN_NOTE, note=Entry(FIRST, "new"), status=Entry(EDIT, "shut")))
    assert noted(ledger) == [("status", FIRST)]


def test_who_had_seen_all_of_a_write_overwrites_it_knowingly() -> None:
    ledger = of_ship(SHIP)
    taken(ledger, "yard", extraction(note=Entry(FIRST, "new"), status=Entry(EDIT, "shut")))
    assert noted(ledger) == []


def test_a_delete_takes_along_what_its_author_wrote_unseen_and_that_is_noted() -> None:
    ledger = of_ship(SHIP)
    taken(ledger, "yard", delete(IN_NOTE))
    assert not is_alive(record_of(ledger).entries)
    assert noted(ledger) == [("status", FIRST)]


def test_a_delete_takes_along_nothing_unseen_where_that_was_taken() -> None:
    ledger = of_ship(US)
    taken(ledger, "yard", delete(IN_NOTE))
    assert record_of(ledger).entries["note"].killed
    assert not record_of(ledger).entries["status"].killed
    assert noted(ledger) == [(None, FIRST)]


def test_who_knows_a_write_in_part_gets_the_rest_from_who_may_write_it() -> None:
    ledger = of_ship(US)
    links = taken(ledger, "yard", extraction(IN_NOTE, note=Entry(FIRST, "new")))
    surveyed = survey(links, "yard", ledger.all())
    bundle, _ = compose(
        ledger, links, "yard", surveyed, ledger.all(), now=1, resend_before=0, tag=4
    )
    assert [set(item.entries) for item in bundle.extractions] == [{"note", "status"}]


def test_a_glimpse_is_told_to_others_but_for_fields_that_do_not_go_there() -> None:
    both = (Glimpse(FIRST, frozenset({"note", "status"})),)
    record = replace(record_of(of_ship(US)), glimpses=both)
    item = extraction(note=Entry(FIRST, "new"))
    assert told(LINKS["yard"], record, item).glimpses == both
    assert told(link("yard", Terms(shown=NOTE)), record, item).glimpses == IN_NOTE
