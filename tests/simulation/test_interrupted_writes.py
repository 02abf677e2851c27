"""An edit of a row that a process was writing when it was killed: had its user seen that write?

Where nothing can tell, what was written is noted; where the row tells, a note would be a false
conflict.
"""

from __future__ import annotations

import random

import pytest

from mailsync.core import record_map
from tests.simulation import playing, users
from tests.simulation.interruptions import Crash, Point
from tests.simulation.machine import Machine, numbers
from tests.simulation.promises import check
from tests.simulation.setting import Setting
from tests.simulation.world import BrokenPromise, World

FIELDS = ("f0", "f1")


def _interrupted(point: Point, edited: tuple[str, ...]) -> tuple[World, set[int]]:
    """Site a edits all fields of a record, and b's process is killed at this point of writing
    them; then a user at b edits some. Returns also what b was writing.
    """
    world = World(Setting(0, "crash", "ab", (("a", "b"),), len(FIELDS)))
    one, other = world.machines["a"], world.machines["b"]
    users.insert(world, one, random.Random(0))
    _exchange(world)
    _edit(world, one, FIELDS)
    world.cycle(one)
    world.network.deliver_all()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(other.interruptions, "at", lambda here: _kill_at(point, here))
        assert not world.cycle(other)
    _edit(world, other, edited)
    [written] = one.rows("people").values()
    return world, set(numbers(written))


def _kill_at(point: Point, here: Point) -> None:
    if here is point:
        raise Crash(point.value)


def _exchange(world: World) -> None:
    for machine in world.machines.values():
        world.cycle(machine)
        world.network.deliver_all()


def _edit(world: World, machine: Machine, names: tuple[str, ...]) -> None:
    [(key, row)] = machine.rows("people").items()
    edits = {name: world.accounts.value(*numbers(row, name)) for name in names}
    machine.rows("people")[key] = {**row, **edits}


def _noted(world: World) -> set[object]:
    playing.rest(world)
    check(world)
    return {note.value for note in world.machines["b"].notes()}


@pytest.mark.parametrize("point", [Point.WRITING, Point.WRITTEN])
def test_what_an_edit_may_not_have_seen_is_noted(point: Point) -> None:
    world, written = _interrupted(point, FIELDS)
    assert _noted(world) == written


def test_what_the_row_proves_to_have_been_seen_is_not_noted() -> None:
    world, _ = _interrupted(Point.WRITTEN, FIELDS[:1])
    assert _noted(world) == set()


def test_a_note_of_what_the_row_proves_to_have_been_seen_is_a_false_conflict(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(record_map, "_landed", lambda *_: False)
    world, _ = _interrupted(Point.WRITTEN, FIELDS[:1])
    with pytest.raises(BrokenPromise, match="false conflict"):
        _noted(world)
