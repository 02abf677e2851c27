"""What single bundles do to a site."""

from dataclasses import replace

import pytest

from mailsync.core.delivery import HISTORY_LIMIT, history
from mailsync.core.inbound import Verdict, receive
from mailsync.core.ledger import Ledger, SiteState
from mailsync.core.model import (
    Acknowledgement,
    Bundle,
    DeleteOrder,
    Dot,
    Entry,
    Extraction,
    Guid,
    Key,
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
from mailsync.core.positions import NOWHERE, Positions
from mailsync.core.terms import Terms
from mailsync.errors import BadFormat

NOW = 1_790_000_000_000
YEAR = 366 * 24 * 3600 * 1000
GUID = Guid(bytes(16))


def bundle(stamp: int, *, whole: bool = True) -> Bundle:
    entry = Entry(Dot(stamp, 7, 1), "value")
    item = Extraction(1, "people", GUID, {"name": entry}, whole=whole)
    return Bundle(Stream(1, 5), Mark(1, 9), (), None, NOWHERE, extractions=(item,))


def link() -> Link:
    return Link("hub", frozenset({"people"}), Stream(1, 3))


def ledger() -> Ledger:
    return Ledger(SiteState(1), {})


def test_a_write_from_a_clock_years_ahead_is_taken_and_ours_follows() -> None:
    working = ledger()
    receive(working, {"hub": link()}, "hub", bundle(NOW + 30 * YEAR), now=NOW, nonce=1)
    assert working.stroke(NOW, 1).stamp > NOW + 30 * YEAR


def test_a_write_from_a_clock_a_century_ahead_is_refused() -> None:
    working = ledger()
    with pytest.raises(BadFormat, match="century"):
        receive(working, {"hub": link()}, "hub", bundle(NOW + 101 * YEAR), now=NOW, nonce=1)
    assert working.changed == {}


def test_some_fields_of_an_unknown_record_are_asked_for_whole() -> None:
    working = ledger()
    received = receive(working, {"hub": link()}, "hub", bundle(NOW, whole=False), now=NOW, nonce=1)
    after = received.links["hub"]
    assert working.changed == {}
    assert after.lacking == {RecordId("people", GUID)}
    assert 1 not in after.cover
    again = receive(working, received.links, "hub", bundle(NOW), now=NOW, nonce=1)
    assert again.links["hub"].lacking == frozenset()
    assert 1 in again.links["hub"].cover


def test_what_is_gone_at_the_peer_is_no_longer_asked_for() -> None:
    working = ledger()
    received = receive(working, {"hub": link()}, "hub", bundle(NOW, whole=False), now=NOW, nonce=1)
    settled = Bundle(Stream(1, 5), Mark(2, 9), (Mark(1, 9),), None, NOWHERE)
    after = receive(working, received.links, "hub", settled, now=NOW, nonce=1)
    assert after.links["hub"].lacking == frozenset()


@pytest.mark.parametrize("shown", [{"name"}, {"name", "tel"}])
def test_who_shows_a_write_in_fewer_fields_than_it_has_is_told_again_whole(shown: set[str]) -> None:
    write, other = Dot(NOW, 7, 1), Dot(NOW, 7, 2)
    entries = {"name": Entry(write, "Ada"), "tel": Entry(write, "1"), "note": Entry(other, "-")}
    seen = Sighting(1, frozenset({"hub"}))
    record = Record("people", GUID, entries, {write: seen, other: seen}, position=1)
    working = Ledger(SiteState(1, position=1), {record.id: record})
    item = Extraction(1, "people", GUID, {name: entries[name] for name in shown}, whole=False)
    sent = Bundle(Stream(1, 5), Mark(1, 9), (), None, NOWHERE, extractions=(item,))
    receive(working, {"hub": link()}, "hub", sent, now=NOW, nonce=1)
    after = working.changed[record.id]
    assert ("hub" in after.known, "hub" in after.whole_for) == (len(shown) == 2, len(shown) == 1)


def test_the_end_of_a_record_whose_row_is_gone_already_frees_its_key() -> None:
    working = ledger()
    receive(working, {"hub": link()}, "hub", bundle(NOW), now=NOW, nonce=1)
    record = working.changed[RecordId("people", GUID)]
    # a user deleted the row before it showed what had come; the next cycle would insert it again
    working.keep(replace(record, key=Key("7")))
    entry = Entry(Dot(NOW, 7, 1), "value")
    order = DeleteOrder(
        2, "people", GUID, Reason.DELETED, entry.dot, {"name": entry._replace(killed=True)}
    )
    end = replace(bundle(NOW), mark=Mark(2, 8), extractions=(), deletes=(order,))
    receive(working, {"hub": link()}, "hub", end, now=NOW, nonce=1)
    assert working.changed[record.id].key is None


def test_what_the_peer_asks_for_whole_goes_whole() -> None:
    record_id, edited = RecordId("people", GUID), Dot(NOW, 1, 2)
    entries = {"name": Entry(Dot(NOW, 1, 1), "Ada"), "age": Entry(edited, 36)}
    context = {Dot(NOW, 1, 1): Sighting(1), edited: Sighting(2)}
    record = Record(*record_id, entries, context, position=2, had=frozenset({"hub"}))
    working = Ledger(SiteState(1, position=2), {record_id: record})
    first, last = Positions.of([1]), Mark(1, 9)
    known = replace(link(), acked=first, acked_last=last, sent=(last,))
    assert not composed(working, known).whole
    told = Acknowledgement(known.out, first, last, lacking=frozenset({record_id}))
    word = Bundle(Stream(1, 5), Mark(0, 9), (), last, NOWHERE, acknowledgement=told)
    received = receive(working, {"hub": known}, "hub", word, now=NOW, nonce=1)
    assert composed(working, received.links["hub"]).whole


def numbered(tag: int, position: int, history: tuple[Mark, ...]) -> Bundle:
    entry = Entry(Dot(NOW, 7, tag), tag)
    item = Extraction(position, "people", Guid(tag.to_bytes(16)), {"name": entry})
    mark, holes = Mark(position, tag), Positions.up_to(position - 1)
    return Bundle(Stream(1, 5), mark, history, None, holes, extractions=(item,))


def received(bundles: list[Bundle]) -> tuple[list[Verdict], Ledger, Link]:
    working, links, verdicts = ledger(), {"hub": link()}, []
    for each in bundles:
        came = receive(working, links, "hub", each, now=NOW, nonce=1)
        links = dict(came.links)
        verdicts.append(came.verdict)
    return verdicts, working, links["hub"]


def test_a_late_bundle_is_taken_if_those_after_it_name_it() -> None:
    first, second = numbered(21, 1, ()), numbered(22, 2, ())
    third = numbered(23, 3, (first.mark, second.mark))
    verdicts, working, after = received([third, first, second])
    assert set(verdicts) == {Verdict.EXPECTED}
    assert len(working.changed) == 3
    assert after.cover == Positions.up_to(3)
    assert after.heard == ()


def test_a_late_bundle_of_a_twin_covers_nothing() -> None:
    first, of_twin = numbered(21, 1, ()), numbered(31, 1, ())
    second = numbered(22, 2, (first.mark,))
    verdicts, working, after = received([second, of_twin, first])
    assert verdicts == [Verdict.EXPECTED, Verdict.FORKED, Verdict.EXPECTED]
    assert {entry.entries["name"].value for entry in working.changed.values()} == {21, 22}
    assert after.owe_since is not None


def test_a_sender_of_which_hundreds_of_bundles_were_lost_still_remembers_the_last_one() -> None:
    first = numbered(21, 1, ())
    marks = [first.mark, *(Mark(top, 22) for top in range(2, 2 * HISTORY_LIMIT))]
    known = replace(link(), acked_last=first.mark, sent=tuple(marks))
    told = replace(numbered(23, 600, history(known)), confirmed=known.acked_last)
    assert received([first, told])[0] == [Verdict.EXPECTED] * 2


def test_a_peer_that_shows_a_write_in_fewer_fields_than_we_have_it_in_is_told_the_rest() -> None:
    """It came there by somebody who may write only some of them."""
    record_id, old, edit = RecordId("people", GUID), Dot(NOW, 7, 1), Dot(NOW, 8, 2)
    entries = {"name": Entry(edit, "Ada"), "age": Entry(edit, 36)}
    context = {old: Sighting(1, frozenset({"hub"})), edit: Sighting(2)}
    record = Record(*record_id, entries, context, position=2, had=frozenset({"hub"}))
    working = Ledger(SiteState(1, position=2), {record_id: record})
    item = Extraction(1, "people", GUID, {"name": entries["name"]}, whole=False)
    came = Bundle(Stream(1, 5), Mark(1, 9), (), None, NOWHERE, extractions=(item,))
    received = receive(working, {"hub": link()}, "hub", came, now=NOW, nonce=1)
    assert composed(working, received.links["hub"]).entries == entries


@pytest.mark.parametrize(("newest", "noted"), [(2, []), (4, [36])])
def test_what_an_overtaken_delete_takes_along_may_have_been_written_after_it(
    newest: int, noted: list[int]
) -> None:
    """Of a field that does not go to the peer, which confirmed the position by another bundle."""
    record_id, made, hidden = RecordId("people", GUID), Dot(NOW, 7, 1), Dot(NOW, 1, 2)
    entries = {"name": Entry(made, "Ada"), "pay": Entry(hidden, 36)}
    context = {made: Sighting(1, frozenset({"hub"})), hidden: Sighting(2)}
    record = Record(*record_id, entries, context, position=2, had=frozenset({"hub"}))
    working = Ledger(SiteState(1, position=2), {record_id: record})
    confirmed, last = Positions.up_to(2), Mark(2, 9)
    before = Mark(newest, 8)
    known = replace(
        link(),
        terms={"people": Terms(shown=frozenset({"name"}))},
        acked=confirmed,
        acked_last=last,
        sent=(last,),
        inbound=Stream(1, 5),
        cover=Positions.of([1, 2]),
        last=before,
    )
    order = DeleteOrder(3, "people", GUID, Reason.DELETED, made)
    told = Acknowledgement(known.out, confirmed, last)
    end = Bundle(
        Stream(1, 5), Mark(5, 7), (), before, NOWHERE, deletes=(order,), acknowledgement=told
    )
    came = receive(working, {"hub": known}, "hub", end, now=NOW, nonce=1)
    assert came.verdict is Verdict.EXPECTED
    assert not is_alive(working.changed[record_id].entries)
    assert [note.value for note in working.notes.values()] == noted


def test_of_a_write_of_which_the_peer_sees_one_field_it_overwrites_no_other_unnoticed() -> None:
    ours, edit = Dot(NOW, 1, 1), Dot(NOW + 1, 1, 2)
    entries = {"name": Entry(edit, "Ada"), "tel": Entry(edit, "1"), "note": Entry(edit, "-")}
    record = Record("people", GUID, entries, {edit: Sighting(1)}, 1, had=frozenset({"hub"}))
    working = Ledger(SiteState(1, position=1), {record.id: record})
    # it holds a note of ours from when notes went to it, and has its telephone number itself
    theirs = {"tel": Entry(Dot(NOW + 2, 7, 1), "2"), "note": Entry(ours, "")}
    item = Extraction(1, "people", GUID, theirs, frozenset({edit}), whole=False)
    sent = Bundle(Stream(1, 5), Mark(1, 9), (), None, NOWHERE, extractions=(item,))
    known = replace(link(), terms={"people": Terms(shown=frozenset({"name"}))})
    receive(working, {"hub": known}, "hub", sent, now=NOW, nonce=1)
    assert ("tel", "1") in {(note.field, note.value) for note in working.notes.values()}


def test_a_delete_is_of_fields_too_that_begin_to_be_shown_as_it_is_on_its_way() -> None:
    made = Dot(NOW, 7, 1)
    dead = {"name": Entry(made, "Ada", killed=True)}
    record = Record("people", GUID, dead, {made: Sighting(1, frozenset({"hub"}))}, 2)
    working = Ledger(SiteState(1, position=2), {record.id: record})
    item = Extraction(2, "people", GUID, {"name": Entry(made, "Ada"), "tel": Entry(made, "1")})
    sent = Bundle(Stream(1, 5), Mark(2, 9), (), None, NOWHERE, extractions=(item,))
    receive(working, {"hub": link()}, "hub", sent, now=NOW, nonce=1)
    assert not is_alive(working.changed[record.id].entries)
    assert not working.notes


def composed(working: Ledger, known: Link) -> Extraction:
    links, records = {"hub": known}, list(working.all())
    found = survey(links, "hub", records)
    bundle, _ = compose(working, links, "hub", found, records, now=NOW, resend_before=0, tag=3)
    (item,) = bundle.extractions
    return item
