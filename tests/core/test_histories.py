"""The protocol's promises after random histories of faults, on the core alone."""

from dataclasses import replace

import pytest

from mailsync.core import outbound, record_map
from mailsync.core.ledger import Ledger
from mailsync.core.model import NO_MARKER, Key, Record, desired_fields, merged_fields
from mailsync.core.wire import decode, encode
from tests.core.histories import FEATURES, run
from tests.core.world import BrokenPromise, World

SEEDS_PER_MIX = 40


@pytest.mark.parametrize(
    "mix", range(len(FEATURES)), ids=["+".join(sorted(f)) or "plain" for f in FEATURES]
)
def test_promises_hold_after_random_histories(mix: int) -> None:
    for seed in range(SEEDS_PER_MIX):
        world, broken = run(1000 * mix + seed, FEATURES[mix])
        assert broken is None, f"seed {1000 * mix + seed}: {broken}\n" + "\n".join(world.trace)


def test_promises_hold_when_bundles_travel_as_bytes() -> None:
    for seed in range(SEEDS_PER_MIX):
        world, broken = run(seed, FEATURES[seed % len(FEATURES)], lambda b: decode(encode(b)))
        assert broken is None, f"seed {seed}: {broken}\n" + "\n".join(world.trace)


def _deleted_while_away(world: World) -> None:
    """A is restored to a record that all forgot; C hears of A before B does, and tells B."""
    world.purging = "action"
    world.insert("B", Key("u0"), 1)
    world.scan("B")
    world.post("B", "A")
    world.write_all("A")
    world.post("A", "B")
    world.backup("A")
    world.delete("B", Key("u0"))
    world.calm()
    world.restore("A")
    for _ in range(3):
        world.post("C", "A")
        world.post("A", "C")
    world.write_all("C")
    world.post("C", "B")
    world.settle()


def test_a_restored_record_waits_for_the_word_of_its_other_holders() -> None:
    world = World("ABC", ["AB", "BC", "AC"], 1)
    _deleted_while_away(world)
    world.check()
    assert not any(world.data.values())


def test_a_restored_record_that_does_not_wait_lives_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "is_held_back", lambda *_: False)
    world = World("ABC", ["AB", "BC", "AC"], 1)
    _deleted_while_away(world)
    with pytest.raises(BrokenPromise, match="resurrected"):
        world.check()


def _some_promise_breaks(mixes: list[frozenset[str]], limit: int = 400) -> bool:
    return any(run(seed, mixes[seed % len(mixes)])[1] for seed in range(limit))


def test_losses_that_are_not_noted_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ledger, "note", lambda *_: None)
    assert _some_promise_breaks([frozenset()])


def test_positions_of_records_left_out_but_settled_are_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outbound, "_unsettled", lambda _link, record: iter([record.position]))
    assert _some_promise_breaks([frozenset({"increment"})], 2000)


def test_comparing_with_the_merged_record_instead_of_the_shadow_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = record_map._base
    monkeypatch.setattr(record_map, "_base", lambda r, c: (merged_fields(r), real(r, c)[1]))
    assert _some_promise_breaks([frozenset()])


def test_writing_without_comparing_first_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def blind(world: World, name: str, record: Record) -> bool:
        if record.key is None:
            return record.marker is None
        if record.marker is None:
            world.data[name].pop(record.key, None)
        else:
            assert record.marker is not NO_MARKER
            fields = record.marker.items()
            world.data[name][record.key] = {k: v for k, v in fields if isinstance(v, int)}
        return True

    monkeypatch.setattr(World, "_write", blind)
    assert _some_promise_breaks([frozenset(), frozenset({"crash"})])


def test_writing_without_a_marker_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    write, settle = World._write, record_map.settle

    def marked(record: Record) -> Record:
        return replace(record, marker=desired_fields(record))

    monkeypatch.setattr(
        record_map, "begin", lambda ledger, record, key: ledger.keep(replace(record, key=key))
    )
    monkeypatch.setattr(
        World, "_write", lambda world, name, record: write(world, name, marked(record))
    )
    monkeypatch.setattr(
        record_map, "settle", lambda ledger, record, etag: settle(ledger, marked(record), etag)
    )
    assert _some_promise_breaks([frozenset({"crash"})], 1000)
