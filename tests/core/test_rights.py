"""What is refused, and what is told of it: all, or so much that any other record may be, too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mailsync.core.model import (
    DeleteOrder,
    Dot,
    Entry,
    Extraction,
    Glimpse,
    Guid,
    Link,
    Reason,
    Record,
    RecordId,
    Sighting,
    Stream,
)
from mailsync.core.rights import TOLD_MAX, Permitted, are_all_named, may_be_denied, permitted
from mailsync.core.terms import Terms


class Watched(frozenset[RecordId]):
    """A set that counts how often it is gone through."""

    times = 0

    def __iter__(self) -> Iterator[RecordId]:
        Watched.times += 1
        return super().__iter__()


def named(dataset: str, count: int) -> frozenset[RecordId]:
    return frozenset(RecordId(dataset, Guid(number.to_bytes(16, "big"))) for number in range(count))


OTHERS = [RecordId(name, Guid(b"\xff" * 16)) for name in ("people", "parts", "crew")]


def test_beyond_what_is_named_any_other_of_the_dataset_may_be_refused() -> None:
    denied = named("people", TOLD_MAX) | named("parts", TOLD_MAX - 1)
    assert [may_be_denied(denied, one) for one in OTHERS] == [True, False, False]
    assert all(may_be_denied(denied, one) for one in denied)
    assert [are_all_named(denied, one.dataset) for one in OTHERS] == [False, True, True]


def test_what_is_named_is_counted_once_for_all_records() -> None:
    denied = Watched(named("people", TOLD_MAX) | named("parts", 7))
    for one in (*OTHERS, *named("people", 200)):
        may_be_denied(denied, one)
    assert Watched.times == 1


HUB = Link(
    "hub",
    frozenset({"people"}),
    Stream(1, 3),
    terms={"people": Terms(granted=frozenset({"note"}))},
)
FIRST, EDIT, LATER = Dot(1, 7, 1), Dot(2, 7, 2), Dot(3, 9, 3)
"""The hub's two writes, of which the second is granted in part, and one that replaces both."""


def held(**entries: Entry) -> Record:
    sightings = dict.fromkeys((FIRST, EDIT, LATER), Sighting(1))
    return Record("people", Guid(bytes(16)), entries, sightings)


def shown(**entries: Entry) -> Extraction:
    return Extraction(4, "people", Guid(bytes(16)), entries)


def test_what_was_refused_of_an_edit_is_refused_when_it_is_shown_again() -> None:
    record = held(note=Entry(EDIT, "new"), status=Entry(FIRST, "open"))
    again = shown(note=Entry(EDIT, "new"), status=Entry(EDIT, "closed"))
    taken, denied = permitted(HUB, again, record)
    assert isinstance(taken, Extraction)
    assert (set(taken.entries), denied) == ({"note"}, True)


def test_what_we_hold_or_have_replaced_needs_no_right() -> None:
    record = held(note=Entry(EDIT, "new"), status=Entry(LATER, "seen"))
    for status in (Entry(LATER, "seen"), Entry(EDIT, "closed"), Entry(FIRST, "open")):
        again = shown(note=Entry(EDIT, "new"), status=status)
        assert permitted(HUB, again, record) == Permitted(again, denied=False)


def test_what_was_refused_of_an_edit_is_refused_again_when_somebody_else_wrote_there() -> None:
    glimpse = (Glimpse(EDIT, frozenset({"note"})),)
    record = replace(held(note=Entry(EDIT, "new"), status=Entry(LATER, "seen")), glimpses=glimpse)
    taken, denied = permitted(HUB, shown(status=Entry(EDIT, "closed")), record)
    assert isinstance(taken, Extraction)
    assert (taken.entries, denied) == ({}, True)


def test_a_delete_brings_no_write_that_was_refused_or_would_be() -> None:
    record = held(note=Entry(LATER, "edited here"), status=Entry(FIRST, "open"))
    order = DeleteOrder(
        position=4,
        dataset="people",
        guid=Guid(bytes(16)),
        reason=Reason.DELETED,
        newest=EDIT,
        entries={
            "note": Entry(EDIT, "new", killed=True),
            "status": Entry(EDIT, "closed", killed=True),
        },
        context=frozenset({FIRST, EDIT}),
    )
    taken, denied = permitted(HUB, order, record)
    assert isinstance(taken, DeleteOrder)
    assert (set(taken.entries), set(taken.context), denied) == ({"note"}, {FIRST, EDIT}, False)
    assert taken.glimpses == (Glimpse(EDIT, frozenset({"note"})),)
