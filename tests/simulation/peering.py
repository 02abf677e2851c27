"""What operators change: peers met and retired, datasets added to a link."""

from __future__ import annotations

import itertools
import random

from tests.simulation.machine import Machine
from tests.simulation.scopes import SCOPES
from tests.simulation.world import World


def meet(world: World, machine: Machine, chance: random.Random) -> None:
    """Two sites that never were peers become so."""
    met = {frozenset(edge) for edge in world.setting.edges} | world.met
    strangers = [
        pair
        for pair in itertools.combinations(world.setting.names, 2)
        if frozenset(pair) not in met
    ]
    if strangers:
        pair = chance.choice(strangers)
        world.met.add(frozenset(pair))
        world.link(*pair, world.setting.narrow)


def retire(world: World, machine: Machine, chance: random.Random) -> None:
    """Two peers are peers no more."""
    if machine.peers:
        world.unlink(machine.name, chance.choice(sorted(machine.peers)))


def return_(world: World, machine: Machine, chance: random.Random) -> None:
    """Two sites that were peers once become so again."""
    if world.retired:
        pair = chance.choice(world.retired)
        world.retired.remove(pair)
        world.link(*pair, world.setting.narrow)
        world.has_returned = True


def widen(world: World, machine: Machine, chance: random.Random) -> None:
    """One side of a link lets it carry every dataset."""
    if machine.peers:
        machine.peers[chance.choice(sorted(machine.peers))] = None
        machine.stop()


def refilter(world: World, machine: Machine, chance: random.Random) -> None:
    """It is decided that something else passes to the scoped site; some act on it at once."""
    before, world.rescoped = world.scope, True
    world.scope = chance.choice(SCOPES[world.setting.mix])
    names = world.setting.names_of_fields
    world.revealed |= {one for one in names if world.scope.shows(one) and not before.shows(one)}
    for name in sorted(world.machines):
        if chance.random() < 0.6:
            world.rescope(world.machines[name])
