"""Two datasets in memory: what is found, what is written, and what is left alone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mailsync.core.model import Fields, Key
from mailsync.datasets.base import Outcome, Write
from mailsync.datasets.memory import MemoryDataset
from mailsync.errors import UsageError
from mailsync.reconcile import reconciliation
from mailsync.reconcile.findings import (
    Ambiguous,
    Difference,
    Direction,
    Finding,
    Plan,
    Refused,
)
from mailsync.reconcile.pairing import Pair, Side
from mailsync.reconcile.reading import PlainReading
from mailsync.reconcile.reconciliation import Reconciliation

SOURCE, TARGET = Side.SOURCE, Side.TARGET
COPY = Plan()


def dataset(**records: Fields) -> MemoryDataset:
    return MemoryDataset({Key(key): fields for key, fields in records.items()})


def silent(_what: str, _count: int) -> None:
    """Nobody watches."""


def run(pair: Pair, plan: Plan | None = None) -> tuple[list[Finding], Reconciliation]:
    done = Reconciliation(pair, PlainReading(pair, silent), plan, silent)
    return list(done.findings()), done


def kinds(found: Sequence[Finding]) -> list[tuple[str, str]]:
    return [(one.kind, one.name) for one in found]


@pytest.fixture
def ship() -> MemoryDataset:
    return dataset(a={"x": 1, "y": 1}, b={"x": 2, "y": 2}, c={"x": 3})


@pytest.fixture
def shore() -> MemoryDataset:
    return dataset(a={"x": 1, "y": 1}, b={"x": 2, "y": 9, "z": 0}, d={"x": 4})


def test_what_differs_is_found_field_by_field(ship: MemoryDataset, shore: MemoryDataset) -> None:
    found, done = run(Pair(ship, shore))
    assert kinds(found) == [("changed", "b"), ("added", "c"), ("missing", "d")]
    changed = found[0]
    assert isinstance(changed, Difference)
    assert changed.fields == ["y", "z"]
    assert (changed.held[SOURCE].fields["y"], changed.held[TARGET].fields["y"]) == (2, 9)
    assert done.unsettled == 3


def test_nothing_is_written_without_a_plan(ship: MemoryDataset, shore: MemoryDataset) -> None:
    before = dict(ship.rows), dict(shore.rows)
    _, done = run(Pair(ship, shore))
    assert (ship.rows, shore.rows) == before
    assert not done.written


def test_the_target_becomes_like_the_source_and_keeps_what_it_alone_has(
    ship: MemoryDataset, shore: MemoryDataset
) -> None:
    before = dict(ship.rows)
    _, done = run(Pair(ship, shore), COPY)
    assert shore.rows == {**before, Key("d"): {"x": 4}}
    assert ship.rows == before
    assert (done.written[TARGET], done.unsettled) == (2, 1)
    found, _ = run(Pair(ship, shore), COPY)
    assert kinds(found) == [("missing", "d")]


def test_what_the_source_lacks_is_deleted_only_if_that_was_asked_for(
    ship: MemoryDataset, shore: MemoryDataset
) -> None:
    _, done = run(Pair(ship, shore), Plan(delete=True))
    assert shore.rows == ship.rows
    assert done.unsettled == 0
    assert run(Pair(ship, shore), Plan(delete=True))[0] == []


def test_the_other_direction_changes_the_source_alone(
    ship: MemoryDataset, shore: MemoryDataset
) -> None:
    before = dict(shore.rows)
    _, done = run(Pair(ship, shore), Plan(Direction.TARGET_TO_SOURCE))
    assert shore.rows == before
    assert ship.rows == {**before, Key("c"): {"x": 3}}
    assert (done.written[SOURCE], done.unsettled) == (2, 1)


def test_both_ways_each_side_gets_what_it_lacks_and_edits_stay(
    ship: MemoryDataset, shore: MemoryDataset
) -> None:
    _, done = run(Pair(ship, shore), Plan(Direction.BOTH))
    assert ship.rows.keys() == shore.rows.keys() == {"a", "b", "c", "d"}
    assert ship.rows[Key("b")]["y"] == 2
    assert shore.rows[Key("b")]["y"] == 9
    assert done.unsettled == 1


@pytest.mark.parametrize(("side", "value"), [(SOURCE, 2), (TARGET, 9)])
def test_both_ways_the_preferred_side_wins(
    ship: MemoryDataset, shore: MemoryDataset, side: Side, value: int
) -> None:
    _, done = run(Pair(ship, shore), Plan(Direction.BOTH, side))
    assert ship.rows == shore.rows
    assert ship.rows[Key("b")]["y"] == value
    assert done.unsettled == 0
    assert run(Pair(ship, shore))[0] == []


def test_many_differences_are_settled_in_batches(
    ship: MemoryDataset, shore: MemoryDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciliation, "BATCH", 1)
    found, done = run(Pair(ship, shore), Plan(delete=True))
    assert len(found) == 3
    assert done.unsettled == 0


# --- pairing by fields ---------------------------------------------------------------------


def test_records_with_unlike_keys_are_paired_by_the_fields_named() -> None:
    one = dataset(p1={"no": "D-1", "x": 1}, p2={"no": "D-2", "x": 2})
    two = dataset(q7={"no": "D-1", "x": 1}, q8={"no": "D-2", "x": 5})
    found, done = run(Pair(one, two, ["no"]), COPY)
    assert kinds(found) == [("changed", '["D-2"]')]
    assert two.rows == {Key("q7"): {"no": "D-1", "x": 1}, Key("q8"): {"no": "D-2", "x": 2}}
    assert done.unsettled == 0


def test_doubles_are_ambiguous_and_never_touched() -> None:
    one = dataset(p1={"no": 1, "x": 1}, p2={"no": 1, "x": 2}, p3={"no": 2})
    two = dataset(q1={"no": 1, "x": 3}, q2={"no": 3})
    before = dict(two.rows)
    found, done = run(Pair(one, two, ["no"]), Plan(delete=True))
    assert found[0] == Ambiguous(
        "[1]", {SOURCE: 2, TARGET: 1}, {SOURCE: [Key("p1"), Key("p2")], TARGET: [Key("q1")]}
    )
    assert two.rows[Key("q1")] == before[Key("q1")]
    assert done.unsettled == 1


def test_equal_doubles_are_no_difference() -> None:
    one = dataset(p1={"no": 1, "x": 1}, p2={"no": 1, "x": 1}, p3={"x": 7})
    two = dataset(q1={"no": 1, "x": 1}, q2={"no": 1, "x": 1}, q3={"x": 7})
    found, done = run(Pair(one, two, ["no"]), COPY)
    assert found == []
    assert done.unsettled == 0


def test_records_without_a_value_to_pair_by_are_ambiguous() -> None:
    one, two = dataset(p={"no": None, "x": 1}), dataset(q={"no": None, "x": 2})
    found, _ = run(Pair(one, two, ["no"]), COPY)
    assert [one.kind for one in found] == ["ambiguous"]
    assert two.rows == {Key("q"): {"no": None, "x": 2}}


# --- what cannot be read or written --------------------------------------------------------


def test_an_unreadable_record_is_named_and_neither_added_nor_deleted() -> None:
    one, two = dataset(a={"x": 1}, b={"x": 2}), dataset(a={"x": 1}, c={"x": 3})
    one.unreadable[Key("c")] = "line 3: no colon"
    two.unreadable[Key("b")] = "line 4: no colon"
    found, done = run(Pair(one, two), Plan(delete=True))
    assert found == [
        Refused("c", SOURCE, Key("c"), "line 3: no colon"),
        Refused("b", TARGET, Key("b"), "line 4: no colon"),
    ]
    assert two.rows.keys() == {"a", "c"}
    assert done.unsettled == 2


def test_where_a_record_cannot_be_read_nobody_knows_which_is_missing() -> None:
    one, two = dataset(p={"no": 1}), dataset(q={"no": 2})
    one.unreadable[Key("p2")] = two.unreadable[Key("q2")] = "line 3: no colon"
    found, done = run(Pair(one, two, ["no"]), Plan(delete=True))
    assert ([*one.rows], [*two.rows]) == (["p"], ["q"])
    reasons = [one.reason for one in found if isinstance(one, Refused)]
    assert "the target holds records that cannot be read, and this may be one of them" in reasons
    assert "the source holds records that cannot be read, and this may be one of them" in reasons
    assert done.unsettled == 3


def test_a_refused_write_is_named_with_its_reason(ship: MemoryDataset) -> None:
    shore = MemoryDataset(refuses=lambda key, _: "no room" if key == "c" else "")
    found, done = run(Pair(ship, shore), COPY)
    assert found[-1] == Refused("c", TARGET, None, "no room")
    assert (done.written[TARGET], done.unsettled) == (2, 1)


def test_what_another_write_makes_possible_is_tried_again(ship: MemoryDataset) -> None:
    """``a`` and ``b`` need ``c``, as children need their parent."""
    shore = MemoryDataset()
    shore.refuses = lambda key, _: "" if key == "c" or "c" in shore.rows else "no parent"
    found, done = run(Pair(ship, shore), COPY)
    assert [one.kind for one in found] == ["added"] * 3
    assert shore.rows == ship.rows
    assert done.unsettled == 0


class Busy(MemoryDataset):
    """Somebody edits ``b`` just before we write."""

    def apply(self, writes: Sequence[Write]) -> list[Outcome]:
        self.rows[Key("b")] = {"x": "mine", "at": len(self.rows)}
        return super().apply(writes)


def test_an_edit_made_meanwhile_is_not_overwritten(ship: MemoryDataset) -> None:
    shore = Busy({Key("b"): {"x": 0}})
    found, done = run(Pair(Busy(ship.rows), shore), COPY)
    assert found[-1] == Refused("b", TARGET, Key("b"), "it was changed meanwhile; run it again")
    assert shore.rows[Key("b")]["x"] == "mine"
    assert done.unsettled == 1


def test_nothing_pairs_datasets_of_two_kinds_unless_it_is_named(ship: MemoryDataset) -> None:
    class Other(MemoryDataset):
        pass

    with pytest.raises(UsageError, match=r"no keys in common; name the fields .* --match"):
        Pair(ship, Other())
    assert run(Pair(ship, Other(ship.rows), ["x"]))[0] == []
