"""The one suite that every dataset adapter passes.

A test module derives a class from :class:`Conformance` and says how to build a :class:`Stage`:
the dataset, and a user who changes it behind its back by other means than the adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailsync.core.model import Etag, Fields, Guid, Key, same_fields
from mailsync.core.places import place_of
from mailsync.datasets.base import (
    Change,
    Dataset,
    Gated,
    Newcomer,
    Outcome,
    Result,
    Unreadable,
    Write,
)
from mailsync.datasets.mapped import unmapped
from mailsync.datasets.memory import MemoryDataset


@dataclass
class Stage:
    """A dataset and its user. ``put`` inserts or overwrites, ``remove`` deletes a record."""

    dataset: Dataset
    sample: Callable[[int, int], Fields]
    """Fields of record ``n`` in version ``v``, all different."""
    put: Callable[[Key, Fields], None]
    remove: Callable[[Key], None]
    touch: Callable[[Key], None]
    """Change what is no field, or nothing at all."""
    unfit: Callable[[Fields], Fields]
    """The fields changed so that the dataset will not take them."""
    spoil: Callable[[Key], None] | None = None
    """Make a record unreadable; None where the kind cannot have such a thing."""
    known: dict[Key, Etag | None] = field(default_factory=dict)
    held: dict[Key, Fields] = field(default_factory=dict)
    gate: bytes | None = None
    """What the dataset gave when all that is in it was known, if it gives such a thing."""

    def guid(self, number: int) -> Guid:
        return Guid(number.to_bytes(16, "big"))

    def visible(self) -> dict[Key, Fields | None]:
        """What changed for the users since the last look; the map is brought up to date."""
        changed: dict[Key, Fields | None] = {}
        passes = self.passes_the_gate()
        found = list(self.dataset.changes(self.known))
        assert not (passes and found), "the gate hid a change"
        assert len({one.key for one in found}) == len(found), "a key was reported twice"
        for one in found:
            if isinstance(one, Unreadable):
                continue
            if not same_fields(one.fields, self.held.get(one.key)):
                changed[one.key] = one.fields
            self.settle(one.key, one.fields, one.etag)
        gated = unmapped(self.dataset)
        is_clear = None not in self.known.values()
        if isinstance(gated, Gated) and is_clear and not any(map(is_unreadable, found)):
            self.gate = gated.gate
        return changed

    def passes_the_gate(self) -> bool:
        """Does the dataset say that nothing has changed since all that is in it was known?"""
        gated = unmapped(self.dataset)
        before, self.gate = self.gate, None
        return isinstance(gated, Gated) and before is not None and gated.still(before) is not None

    def settle(self, key: Key, fields: Fields | None, etag: Etag | None) -> None:
        if fields is None:
            self.known.pop(key, None)
            self.held.pop(key, None)
        else:
            self.known[key] = etag
            self.held[key] = fields

    def propose(self, number: int, fields: Fields) -> Key:
        return self.dataset.propose_keys([Newcomer(self.guid(number), fields)], self.known)[0]

    def insert(self, number: int) -> Key:
        """A record that arrived from a peer."""
        wanted = self.sample(number, 0)
        key = self.propose(number, wanted)
        outcome = self.write(Write(self.guid(number), key, None, wanted))
        assert outcome.result is Result.WRITTEN, outcome
        return key

    def write(self, write: Write) -> Outcome:
        self.gate = None
        [outcome] = self.dataset.apply([write])
        if outcome.result is Result.WRITTEN:
            self.settle(write.key, write.wanted, outcome.etag)
        return outcome

    def now(self, key: Key) -> Fields | None:
        found = self.dataset.read([key])[key]
        assert isinstance(found, Change), found
        return found.fields


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "remove", "touch", "write", "erase", "look"]),
        st.integers(1, 4),
        st.integers(0, 3),
    ),
    max_size=20,
)
"""What happens to which record in which version."""


def is_unreadable(found: Change | Unreadable) -> bool:
    return isinstance(found, Unreadable)


class Conformance:
    """Derive, and define ``build``."""

    def build(self, directory: Path) -> Stage:
        raise NotImplementedError

    @pytest.fixture
    def stage(self, tmp_path: Path) -> Stage:
        return self.build(tmp_path)

    def key(self, stage: Stage, number: int) -> Key:
        """A key for a record the user makes."""
        return stage.propose(number, stage.sample(number, 0))

    def user_inserts(self, stage: Stage, number: int) -> Key:
        key = self.key(stage, number)
        stage.put(key, stage.sample(number, 0))
        return key

    def test_with_nothing_known_every_record_is_new(self, stage: Stage) -> None:
        expected = {}
        for number in (1, 2, 3):
            expected[self.user_inserts(stage, number)] = stage.sample(number, 0)
        assert len(expected) == 3
        assert stage.visible() == expected

    def test_an_empty_dataset_has_no_changes(self, stage: Stage) -> None:
        assert list(stage.dataset.changes({})) == []

    def test_with_everything_known_nothing_is_reported(self, stage: Stage) -> None:
        self.user_inserts(stage, 1)
        stage.visible()
        assert list(stage.dataset.changes(stage.known)) == []

    def test_an_etag_of_none_counts_as_changed(self, stage: Stage) -> None:
        key = self.user_inserts(stage, 1)
        [found] = stage.dataset.changes({key: None})
        assert isinstance(found, Change)
        assert same_fields(found.fields, stage.sample(1, 0))

    def test_changes_are_found_in_whatever_order_the_map_is_read(self, stage: Stage) -> None:
        keys = [self.user_inserts(stage, number) for number in range(1, 13)]
        stage.visible()
        for number, key in enumerate(keys, 1):
            match number % 4:
                case 1:
                    stage.put(key, stage.sample(number, 1))
                case 2:
                    stage.remove(key)
        new = self.user_inserts(stage, 13)
        orders = [
            keys,
            keys[::-1],
            sorted(keys),
            sorted(keys, key=place_of),
            keys[::2] + keys[1::2],
        ]
        for order in orders:
            found = list(stage.dataset.changes({key: stage.known[key] for key in order}))
            assert sorted(one.key for one in found) == sorted([*keys[0::4], *keys[1::4], new])
            assert {one.key for one in found if one == Change(one.key, None, None)} == set(
                keys[1::4]
            )

    def test_a_gate_lets_pass_what_is_as_it_was_and_nothing_else(self, stage: Stage) -> None:
        if not isinstance(unmapped(stage.dataset), Gated):
            return  # the kind has no such thing: nothing to prove
        key = self.user_inserts(stage, 1)
        for version in (1, 2):
            stage.visible()
            gate = stage.gate
            assert gate is None or stage.passes_the_gate()  # none where all is too young
            stage.gate = gate
            stage.put(key, stage.sample(1, version))
            assert not stage.passes_the_gate()
            stage.gate = gate
            assert stage.visible() == {key: stage.sample(1, version)}

    def test_a_map_and_gate_of_before_see_what_changed_since(self, stage: Stage) -> None:
        """The state store is restored from a backup."""
        key, other = self.user_inserts(stage, 1), self.user_inserts(stage, 2)
        stage.visible()
        backup = (dict(stage.known), dict(stage.held), stage.gate)
        stage.put(key, stage.sample(1, 1))
        stage.remove(other)
        stage.visible()
        new = stage.insert(3)
        stage.known, stage.held, stage.gate = backup
        assert stage.visible() == {key: stage.sample(1, 1), other: None, new: stage.sample(3, 0)}

    def test_user_edit_delete_and_reinsertion_are_seen(self, stage: Stage) -> None:
        key = self.user_inserts(stage, 1)
        other = self.user_inserts(stage, 2)
        stage.visible()
        stage.put(key, stage.sample(1, 1))
        assert stage.visible() == {key: stage.sample(1, 1)}
        stage.remove(key)
        assert stage.visible() == {key: None}
        stage.put(key, stage.sample(1, 2))
        assert stage.visible() == {key: stage.sample(1, 2)}
        assert stage.held.keys() == {key, other}

    def test_a_touched_record_has_not_changed(self, stage: Stage) -> None:
        key = self.user_inserts(stage, 1)
        stage.visible()
        stage.touch(key)
        assert stage.visible() == {}

    def test_written_records_are_read_back_exactly_and_not_reported(self, stage: Stage) -> None:
        keys = [stage.insert(number) for number in (1, 2, 3)]
        assert list(stage.dataset.changes(stage.known)) == []
        for number, key in zip((1, 2, 3), keys, strict=True):
            assert same_fields(stage.now(key), stage.sample(number, 0))
        everything = {
            one.key: one.fields for one in stage.dataset.changes({}) if isinstance(one, Change)
        }
        assert everything.keys() == set(keys)
        assert all(same_fields(everything[key], stage.held[key]) for key in keys)

    def test_updates_and_deletes_are_written_and_not_reported(self, stage: Stage) -> None:
        first, second = stage.insert(1), stage.insert(2)
        update = Write(stage.guid(1), first, stage.sample(1, 0), stage.sample(1, 1))
        assert stage.write(update).result is Result.WRITTEN
        delete = Write(stage.guid(2), second, stage.sample(2, 0), None)
        assert stage.write(delete).result is Result.WRITTEN
        assert list(stage.dataset.changes(stage.known)) == []
        assert same_fields(stage.now(first), stage.sample(1, 1))
        assert stage.now(second) is None

    def test_a_quicker_user_wins_over_an_update(self, stage: Stage) -> None:
        key = stage.insert(1)
        stage.put(key, stage.sample(1, 1))
        update = Write(stage.guid(1), key, stage.sample(1, 0), stage.sample(1, 2))
        assert stage.write(update).result is Result.CHANGED
        assert stage.visible() == {key: stage.sample(1, 1)}

    def test_a_quicker_user_wins_over_a_delete(self, stage: Stage) -> None:
        key = stage.insert(1)
        stage.put(key, stage.sample(1, 1))
        assert (
            stage.write(Write(stage.guid(1), key, stage.sample(1, 0), None)).result
            is Result.CHANGED
        )
        assert stage.visible() == {key: stage.sample(1, 1)}

    def test_a_record_the_user_deleted_is_not_updated(self, stage: Stage) -> None:
        key = stage.insert(1)
        stage.remove(key)
        update = Write(stage.guid(1), key, stage.sample(1, 0), stage.sample(1, 1))
        assert stage.write(update).result is Result.CHANGED
        assert stage.visible() == {key: None}

    def test_a_record_the_user_inserted_is_not_overwritten(self, stage: Stage) -> None:
        key = self.user_inserts(stage, 1)
        insert = Write(stage.guid(9), key, None, stage.sample(1, 1))
        assert stage.write(insert).result is Result.CHANGED
        assert same_fields(stage.now(key), stage.sample(1, 0))

    def test_a_refused_write_does_not_hinder_the_others(self, stage: Stage) -> None:
        first, second = stage.insert(1), stage.insert(2)
        bad = stage.unfit(stage.sample(1, 1))
        outcomes = stage.dataset.apply(
            [
                Write(stage.guid(1), first, stage.sample(1, 0), bad),
                Write(stage.guid(2), second, stage.sample(2, 0), stage.sample(2, 1)),
            ]
        )
        assert [one.result for one in outcomes] == [Result.REFUSED, Result.WRITTEN]
        assert outcomes[0].reason
        assert same_fields(stage.now(first), stage.sample(1, 0))
        assert same_fields(stage.now(second), stage.sample(2, 1))

    def test_outcomes_come_in_the_order_of_the_writes(self, stage: Stage) -> None:
        keys = [stage.insert(number) for number in range(1, 6)]
        writes = [
            Write(stage.guid(n), key, stage.sample(n, n % 2), stage.sample(n, 7))
            for n, key in enumerate(keys, 1)
        ]
        results = [one.result for one in stage.dataset.apply(list(reversed(writes)))]
        quicker, ours = Result.CHANGED, Result.WRITTEN
        assert results == [quicker, ours, quicker, ours, quicker]

    def test_reading_an_unknown_key_finds_nothing(self, stage: Stage) -> None:
        key = stage.insert(1)
        stage.write(Write(stage.guid(1), key, stage.sample(1, 0), None))
        assert stage.dataset.read([key]) == {key: Change(key, None, None)}
        assert stage.dataset.read([]) == {}

    def test_proposed_keys_are_stable_and_never_collide(self, stage: Stage) -> None:
        taken = {stage.insert(1), stage.propose(2, stage.sample(2, 0))}
        records = [Newcomer(stage.guid(n), stage.sample(n, 0)) for n in range(3, 30)]
        keys = stage.dataset.propose_keys(records, taken)
        assert keys == stage.dataset.propose_keys(records, taken)
        assert len(set(keys) - taken) == len(records)

    def test_an_unreadable_record_is_held_and_the_others_go_on(self, stage: Stage) -> None:
        spoil = stage.spoil
        if spoil is None:
            return  # the kind has no such thing: nothing to prove
        bad, good = stage.insert(1), stage.insert(2)
        spoil(bad)
        stage.put(good, stage.sample(2, 1))
        found = {one.key: one for one in stage.dataset.changes(stage.known)}
        unreadable, change = found.pop(bad), found.pop(good)
        assert isinstance(unreadable, Unreadable)
        assert unreadable.reason
        assert isinstance(change, Change)
        assert same_fields(change.fields, stage.sample(2, 1))
        assert not found
        assert isinstance(stage.dataset.read([bad])[bad], Unreadable)
        update = Write(stage.guid(1), bad, stage.sample(1, 0), stage.sample(1, 1))
        assert stage.write(update).result is Result.REFUSED
        assert isinstance(stage.dataset.read([bad])[bad], Unreadable)

    @settings(
        max_examples=30, deadline=None, suppress_health_check=[HealthCheck.differing_executors]
    )
    @given(STEPS)
    def test_random_histories_agree_with_the_plain_reference(
        self, steps: list[tuple[str, int, int]]
    ) -> None:
        with TemporaryDirectory() as directory:
            stage = self.build(Path(directory))
            run_history(stage, steps)
            stage.dataset.close()


def run_history(stage: Stage, steps: list[tuple[str, int, int]]) -> None:
    """The same history for the adapter and for a dictionary."""
    reference = MemoryDataset()
    mirror = Stage(
        reference,
        stage.sample,
        reference.rows.__setitem__,
        reference.rows.__delitem__,
        lambda _key: None,
        lambda fields: fields,
    )
    keys: dict[int, Key] = {}
    for action, number, version in steps:
        if number not in keys:
            newcomer = Newcomer(stage.guid(number), stage.sample(number, 0))
            (keys[number],) = stage.dataset.propose_keys([newcomer], list(keys.values()))
        write = Write(stage.guid(number), keys[number], None, stage.sample(number, version))
        perform(stage, mirror, action, write)
        assert_equal_content(stage, mirror)
    assert comparable(stage.visible()) == comparable(mirror.visible())


def perform(stage: Stage, mirror: Stage, action: str, write: Write) -> None:
    key, fields = write.key, write.wanted or {}
    here = mirror.now(key) is not None
    match action:
        case "put":
            for one in (stage, mirror):
                one.put(key, fields)
        case "remove" if here:
            for one in (stage, mirror):
                one.remove(key)
        case "touch" if here:
            stage.touch(key)
        case "look":
            assert comparable(stage.visible()) == comparable(mirror.visible())
        case "write" | "erase":
            wanted = fields if action == "write" else None
            outcomes = [
                one.write(write._replace(expected=one.held.get(key), wanted=wanted))
                for one in (stage, mirror)
            ]
            assert outcomes[0].result is outcomes[1].result


def assert_equal_content(stage: Stage, mirror: Stage) -> None:
    contents = [
        {one.key: one.fields for one in each.dataset.changes({}) if isinstance(one, Change)}
        for each in (stage, mirror)
    ]
    assert comparable(contents[0]) == comparable(contents[1])


def comparable(found: Mapping[Key, Fields | None]) -> object:
    """With types, for ``1 == 1.0`` in Python."""
    return {
        key: None if fields is None else {name: repr(fields[name]) for name in fields}
        for key, fields in found.items()
    }
