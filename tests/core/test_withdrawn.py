"""What a site tells a peer that withdrew a record from it, when its users were quicker."""

from __future__ import annotations

from dataclasses import replace

from mailsync.core.model import Key
from mailsync.core.offering import offer
from mailsync.core.terms import Terms
from tests.core.histories import everything, tagged, untagged
from tests.core.world import TABLE, World

ROW = Key("u0")


def _held_by_both(*, tag: int) -> World:
    """B, which gets tagged records only, made one that A holds by now."""
    world = World("AB", ["AB"], 1, scope={"B": tagged})
    world.insert("B", ROW, 2, tag=tag)
    world.scan("B")
    world.post("B", "A")
    world.write_all("A")
    return world


def _edit_all(world: World) -> None:
    """A's users edit every field, and A forgets what it need not know of that."""
    (key,) = world.data["A"]
    for column in ("f0", "f1"):
        world.edit("A", key, column)
    world.scan("A")
    world.collect("A")
    (record,) = world.sites["A"].records.values()
    assert len(record.context) == 2  # what B had seen, and the edit


def _withdrawn() -> World:
    """A withdrew the record, and its users edited it since. B still has the row."""
    world = _held_by_both(tag=1)
    world.post("A", "B")
    world.post("B", "A")
    _edit_all(world)
    return world


def _noted(world: World) -> list[object]:
    """What lost, as A sees it; None: a delete."""
    notes = [one for one in world.sites["A"].records.values() if one.dataset != TABLE]
    return [one.entries["value"].value if "value" in one.entries else None for one in notes]


def test_an_edit_is_no_conflict_about_the_other_fields() -> None:
    world = _withdrawn()
    (beaten,) = (row["f1"] for row in world.data["A"].values())
    world.edit("B", ROW, "f1")
    world.scan("B")
    world.post("B", "A")
    assert _noted(world) == [beaten]
    world.check_quiet()


def test_a_delete_is_overruled_and_what_it_deleted_had_not_lost() -> None:
    world = _withdrawn()
    world.delete("B", ROW)
    world.scan("B")
    world.post("B", "A")
    assert _noted(world) == [None]
    world.check_quiet()


def test_what_was_covered_unsent_goes_to_a_peer_that_brings_the_record_back() -> None:
    world = _held_by_both(tag=0)
    world.post("A", "B")
    (key,) = world.data["A"]
    world.edit("A", key, "f1")
    world.scan("A")
    world.edit("A", key, "f0", tag=1)
    world.scan("A")
    world.edit("B", ROW, "f0")
    world.scan("B")
    world.post("A", "B")  # the withdrawal settles where the edit of f1 came in
    world.post("B", "A")
    world.check_quiet()
    assert [*world.data["A"].values()] == [*world.data["B"].values()]


def test_an_edit_brings_a_stub_back_whose_last_write_its_author_never_had() -> None:
    world = World("ABC", ["AB", "BC", "AC"], 1, scope={"A": everything})
    _held_by_all(world)
    world.edit("B", ROW, "f0", tag=0)
    world.scan("B")
    world.post("B", "A")
    world.write_all("A")
    world.send("A", "C")  # lost; what settles its position later holds nothing of the stub
    world.scope["A"] = untagged
    world.notice("B", "A")
    world.post("B", "A")
    world.post("A", "C")
    _edit_at_the_third(world, tag=1)
    world.check_quiet()


def test_an_edit_of_what_a_third_site_sent_meets_what_the_filter_let_nobody_see() -> None:
    world = World("ABC", ["AB", "BC", "AC"], 1, scope={"C": untagged})
    _held_by_all(world)
    world.scope["C"] = everything
    world.notice("B", "C")
    world.post("B", "C")
    world.write_all("C")
    (key,) = world.data["A"]
    world.edit("A", key, "f0", tag=0)
    world.scan("A")
    world.post("A", "C")  # settles the position of the edit in silence
    world.notice("A", "C")
    world.send("A", "C")  # lost
    _edit_at_the_third(world)
    world.check_quiet()


def test_an_edit_meets_what_came_in_before_its_link_sent_the_dataset() -> None:
    world = World("ABC", ["AB", "BC", "AC"], 1)
    links = world.sites["A"].links
    links["C"] = replace(links["C"], terms={TABLE: Terms(sends=False)})
    _held_by_all(world)
    (key,) = world.data["A"]
    world.edit("A", key, "f0")
    world.scan("A")
    world.post("A", "C")
    ledger = world.ledger("A")
    links["C"] = replace(links["C"], terms={})
    offer(ledger, links, "C", frozenset({TABLE}))
    world.commit("A", ledger)
    world.send("A", "C")  # lost
    _edit_at_the_third(world)
    world.check_quiet()


def _held_by_all(world: World) -> None:
    """B made a record, and all who may have it by now do."""
    world.insert("B", ROW, 1)
    world.scan("B")
    for _ in range(2):
        for one, other in ("BA", "BC", "AB", "CB", "AC", "CA"):
            world.post(one, other)
        for name in "AC":
            world.write_all(name)


def _edit_at_the_third(world: World, *, tag: int = 0) -> None:
    """C's users edit what they have of the record, and B hears of that by A."""
    (key,) = world.data["C"]
    world.edit("C", key, "f0", tag=tag)
    world.scan("C")
    world.post("C", "A")
    world.post("A", "B")
