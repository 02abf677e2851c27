"""What a bundle leaves open follows from one survey, whichever records it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsync.core.ledger import Ledger, SiteState
from mailsync.core.merge import delete_note, killed
from mailsync.core.model import (
    Dot,
    Entry,
    Flight,
    Guid,
    Link,
    Mark,
    Record,
    Sighting,
    Stream,
)
from mailsync.core.outbound import compose, is_due, survey
from mailsync.core.positions import NOWHERE, Positions

NOW = 1_790_000_000_000
TOP = 30


def link(*, acked: Positions = NOWHERE) -> Link:
    return Link("hub", frozenset({"people"}), Stream(1, 3), acked=acked)


def record(position: int, seen_at: Sequence[int]) -> Record:
    """A record whose writes came in at these positions, the last one at its own or before."""
    context = {Dot(one + 1, 7, position): Sighting(one) for one in seen_at}
    entries = {f"field {dot.stamp}": Entry(dot, "x") for dot in context}
    return Record("people", Guid(position.to_bytes(16)), entries, context, position)


@st.composite
def some_records(draw: st.DrawFn) -> list[Record]:
    """At positions of their own; a write may have come in where another record is by now."""
    places = draw(st.sets(st.integers(2, TOP), min_size=1, max_size=8))
    seen = st.lists(st.integers(1, TOP), min_size=1, max_size=3)
    return [record(place, [min(one, place) for one in draw(seen)]) for place in sorted(places)]


def needed(known: Link, one: Record) -> set[int]:
    """What must stay open as long as the peer lacks the record."""
    earlier = {sighting.position for sighting in one.context.values()}
    return {one.position, *(place for place in earlier if place not in known.acked)}


@given(some_records(), st.sets(st.integers(1, TOP), max_size=4), st.data())
def test_a_bundle_leaves_open_what_records_need_that_are_not_in_it(
    records: list[Record], acked: set[int], data: st.DataObject
) -> None:
    known = link(acked=Positions.of(acked))
    links, pending = {"hub": known}, [one for one in records if one.position not in acked]
    surveyed = survey(links, "hub", records)
    assert surveyed.pending == Positions.of(one.position for one in pending)
    going = data.draw(st.lists(st.sampled_from(pending), unique_by=id) if pending else st.just([]))
    working = Ledger(SiteState(1, TOP), {one.id: one for one in records})
    bundle, after = compose(working, links, "hub", surveyed, going, now=NOW, resend_before=0, tag=1)
    assert [item.position for item in bundle.items] == [one.position for one in going]
    left_out = (one for one in pending if one not in going)
    assert bundle.holes == Positions.of({place for one in left_out for place in needed(known, one)})
    flying = Positions.of(one.position for one in going)
    due = is_due(after, surveyed.pending, resend_before=0, owed_before=0)
    assert due == bool((surveyed.pending - flying).intervals)


@given(some_records(), st.integers(0, 3))
def test_records_are_read_as_far_as_there_is_room(records: list[Record], count: int) -> None:
    links = {"hub": link()}
    read: list[int] = []

    def watched() -> object:
        for one in records:
            read.append(one.position)
            yield one

    working = Ledger(SiteState(1, TOP), {one.id: one for one in records})
    size = 24 + len("field 1") + 1
    bundle, _ = compose(
        working,
        links,
        "hub",
        survey(links, "hub", records),
        watched(),  # type: ignore[arg-type]
        now=NOW,
        resend_before=0,
        tag=1,
        size_limit=size * count,
    )
    assert [item.position for item in bundle.items] == read
    assert len(read) <= count
    assert bool(read) == bool(count)


@given(some_records(), st.integers(1, 4))
def test_records_are_ranked_and_those_without_rank_stay_open(
    records: list[Record], ranks: int
) -> None:
    links = {"hub": link()}
    surveyed = survey(
        links,
        "hub",
        records,
        lambda one: None if one.position % ranks == 0 else one.position % ranks,
    )
    assert all(one < other for one, other in pairwise(surveyed.ranked))
    for rank, positions in surveyed.ranked.items():
        assert positions == Positions.of(
            one.position for one in records if one.position % ranks == rank
        )
    unranked = Positions.of(one.position for one in records) - surveyed.pending
    assert unranked <= surveyed.unsettled


@pytest.mark.parametrize("is_deleted", [False, True])
def test_notes_on_their_way_go_again_with_the_record_they_are_about(*, is_deleted: bool) -> None:
    one = record(9, [2, 9])
    if is_deleted:
        one = replace(one, entries=killed(one.entries), had=frozenset({"hub"}))
    working = Ledger(SiteState(1, 2), {one.id: one})
    working.note([delete_note(one.id, Dot(3, 8, 3)), delete_note(record(5, [5]).id, Dot(6, 8, 6))])
    about_one, about_other = working.changed.values()
    flight = Flight(Mark(4, 1), Positions.of([3, 4]), NOW, since=NOW)
    known = Link("hub", frozenset({"people"}), Stream(1, 3), flights=(flight,))
    links = {"hub": known}
    surveyed = survey(links, "hub", [about_one, about_other, one])
    bundle, after = compose(
        working, links, "hub", surveyed, [one], now=NOW, resend_before=0, tag=1, size_limit=1
    )
    assert {item.id for item in bundle.items} == {one.id, about_one.id}
    assert bundle.holes == Positions.of([4])
    assert after.misses == 0  # nothing was sent again for want of an answer
    assert [each.positions for each in after.flights] == [Positions.of([3, 4]), Positions.of([9])]
    confirmed = {"hub": replace(after, acked=Positions.of([3]))}
    bundle, _ = compose(
        working, confirmed, "hub", surveyed, [one], now=NOW, resend_before=NOW + 1, tag=2
    )
    assert {item.id for item in bundle.items} == {one.id}


def test_what_is_on_its_way_is_not_due_and_no_record_of_a_bundle() -> None:
    one, other = record(2, [2]), record(3, [3])
    flight = Flight(Mark(2, 1), Positions.of([2]), NOW, since=NOW)
    known = Link("hub", frozenset({"people"}), Stream(1, 3), flights=(flight,))
    links = {"hub": known}
    surveyed = survey(links, "hub", [one, other])
    assert is_due(known, surveyed.pending, resend_before=0, owed_before=0)
    assert not is_due(known, Positions.of([2]), resend_before=0, owed_before=0)
    working = Ledger(SiteState(1, TOP), {})
    bundle, _ = compose(
        working, links, "hub", surveyed, [one, other], now=NOW, resend_before=0, tag=1
    )
    assert [item.position for item in bundle.items] == [3]
    assert bundle.holes == Positions.of([2])
