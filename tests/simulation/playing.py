"""Play a schedule: its steps, then rest, then the promises, then perhaps every letter once more."""

from __future__ import annotations

import copy
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from mailsync.cycle.housekeeping import KEPT_MS
from tests.cycle.sites import DAY
from tests.simulation import (
    carrying,
    copying,
    faults,
    peering,
    persons,
    post,
    proofs,
    scoping,
    users,
)
from tests.simulation.machine import Machine
from tests.simulation.promises import check, check_parts, incomplete
from tests.simulation.scopes import EVERYTHING
from tests.simulation.setting import Setting, Step
from tests.simulation.watching import watched
from tests.simulation.world import TWIN, BrokenPromise, World

Handler = Callable[[World, Machine, random.Random], None]

HANDLERS: Final[dict[str, Handler]] = {
    handler.__name__: handler
    for handler in (
        users.insert,
        users.edit,
        users.delete,
        users.reinsert,
        users.swap,
        users.same,
        users.differ,
        users.tag,
        users.rename,
        users.drop_column,
        users.add_column,
        users.remake_column,
        faults.sync,
        faults.exchange,
        faults.killed,
        faults.raced,
        faults.wait,
        faults.silence,
        faults.jump,
        faults.backup,
        faults.restore,
        faults.restore_state,
        faults.restore_rows,
        faults.clone,
        faults.unclone,
        carrying.switch,
        carrying.stick,
        post.carry,
        post.deliver,
        post.lose,
        post.spoil,
        post.replay,
        post.trouble,
        post.calm,
        post.stubborn,
        post.renumber,
        post.reappear,
        persons.request,
        persons.release,
        persons.decide,
        peering.meet,
        peering.retire,
        peering.return_,
        peering.widen,
        peering.refilter,
        proofs.ask,
        proofs.damage,
    )
}

TURNS_MAX: Final = 40
"""Rounds of cycles within which everything must come to rest."""

ROUND: Final = 8 * DAY
"""Beyond every timer but the retention time."""


@dataclass(frozen=True)
class Outcome:
    """What became of a schedule."""

    broken: str | None
    counts: Counter[str]

    @property
    def kind(self) -> str | None:
        """The promise, without its particulars."""
        return self.broken and self.broken.split(":")[0]


def play(setting: Setting, steps: Sequence[Step]) -> Outcome:
    """One schedule from start to end."""
    world = World(setting)
    copying.begin(world)
    for machine in world.machines.values():
        machine.carriers = lambda machine: carrying.carriers_of(world, machine)
    broken = None
    with watched(world):
        try:
            for step in steps:
                _take(world, step)
            rest(world)
            if copying.tell_apart(world):
                rest(world)
            proofs.mend(world, lambda: rest(world))
            check(world)
            proofs.check_proofs(world)
            if setting.echoed:
                _replay_everything(world)
            elif setting.scoped:
                _open(world)
            _outlive_parts(world)
        except BrokenPromise as problem:
            broken = str(problem)
        except Exception as problem:  # noqa: BLE001  whatever it is, it is found and can be shrunk
            broken = f"{type(problem).__name__}: {problem}"
    return Outcome(broken, world.counts)


def _take(world: World, step: Step) -> None:
    machines = [machine for _, machine in sorted(world.machines.items())]
    machine = machines[step.site % len(machines)]
    HANDLERS[step.kind](world, machine, random.Random(step.pick))


def rest(world: World) -> None:
    """Faults end, mail gets through: everything must come to rest by itself."""
    for name in [name for name in world.machines if name.endswith(TWIN)]:
        faults.unclone(world, world.machines[name], random.Random(0))
    for machine in world.machines.values():
        world.rescope(machine)
    if world.restored:
        _say_something(world)
    world.verdict = None
    quiet = turns = 0
    while quiet < 2:
        quiet = 0 if _round(world) else quiet + 1
        # the second round of silence comes when every retention time is over, too
        world.time += 40 * DAY if quiet else ROUND
        turns += 1
        if turns > TURNS_MAX:
            raise BrokenPromise(f"restless: still not quiet after {turns} rounds")


def _say_something(world: World) -> None:
    """A restore is noticed by the next mail; users see to it that there is one."""
    for machine in world.machines.values():
        for dataset in sorted(machine.datasets):
            users.add(world, machine, dataset, None, random.Random(0))


def _round(world: World) -> int:
    """One cycle of every site, all mail delivered; how many mails there were."""
    before = world.counts["mails"] - len(world.network.in_transit) - len(world.sticks.in_transit)
    for name in sorted(world.machines):
        persons.release(world, world.machines[name], random.Random(0))
        world.cycle(world.machines[name])
        world.network.deliver_all()
        world.sticks.deliver_all()
    return world.counts["mails"] - before


def _open(world: World) -> None:
    """Everything may pass in the end: all sites come to hold the same. Not what was deleted where
    nobody was to hear of it: that is forgotten in time, and only a proof finds it.
    """
    if scoping.has_unheard_deletes(world):
        return
    scoping.pardon(world)
    world.scope, world.rescoped = EVERYTHING, True
    rest(world)
    check(world)
    proofs.check_proofs(world)


def _replay_everything(world: World) -> None:
    """Every letter ever sent comes again, newest first: that changes nothing."""
    before = copy.deepcopy(_contents(world))
    ages = world.scope.is_timed  # time goes on, and rows leave for that
    data = world.counts["data"]
    for letter in reversed(world.archive):
        world.network.deliver(letter)
    rest(world)
    check(world)
    if _contents(world) != before and not world.restored and not ages:
        raise BrokenPromise("replayed: old letters changed the outcome")
    # a letter that was lost shows a record at a site that dropped it meanwhile: it is told again
    shows = world.rescoped and world.counts["lost"] > 0
    if world.counts["data"] != data and not world.is_rough and not ages and not shows:
        raise BrokenPromise("replayed: old letters caused mails with data")


def _outlive_parts(world: World) -> None:
    """What never became whole goes when nobody waits for it any more. Few schedules leave any."""
    if any(incomplete(world)):
        world.counts["outlived"] += 1
        world.time += KEPT_MS + DAY
        _round(world)
        check_parts(world)


def _contents(world: World) -> dict[tuple[str, str], object]:
    return {
        (name, dataset): world.rows(name, dataset)
        for name in world.machines
        for dataset in world.setting.datasets
    }
