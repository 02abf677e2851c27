"""What becomes of letters on their way."""

from __future__ import annotations

import random
from dataclasses import replace

from mailsync.carriers.base import Letter
from tests.simulation.machine import Machine
from tests.simulation.world import World


def carry(world: World, machine: Machine, chance: random.Random) -> None:
    """Most of what is on its way arrives, in some order; the rest is lost, late or altered."""
    letters = list(world.network.in_transit)
    if chance.random() < 0.5:
        chance.shuffle(letters)
    for letter in letters:
        fate = chance.random()
        if fate < 0.15:
            continue  # late
        if fate < 0.25:
            world.network.deliver(replace(letter, container=_altered(letter.container, chance)))
        if fate < 0.35:
            world.network.deliver(letter)
            world.network.in_transit.append(letter)
        elif chance.random() * 100 < world.setting.loss:
            _lose(world, letter)
        else:
            world.network.deliver(letter)


def deliver(world: World, machine: Machine, chance: random.Random) -> None:
    """One letter arrives."""
    if world.network.in_transit:
        world.network.deliver(chance.choice(world.network.in_transit))


def lose(world: World, machine: Machine, chance: random.Random) -> None:
    """Nearly everything on its way is lost."""
    for letter in list(world.network.in_transit):
        if chance.random() < 0.8:
            _lose(world, letter)


def replay(world: World, machine: Machine, chance: random.Random) -> None:
    """Letters of long ago arrive once more."""
    for letter in chance.sample(world.archive, min(3, len(world.archive))):
        world.network.in_transit.append(letter)
        world.network.deliver(letter)


def _lose(world: World, letter: Letter) -> None:
    world.network.in_transit.remove(letter)
    world.counts["lost"] += 1


def _altered(container: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(container))
    if chance.random() < 0.5:
        return container[:place]
    flipped = container[place] ^ (1 << chance.randrange(8))
    return container[:place] + bytes([flipped]) + container[place + 1 :]
