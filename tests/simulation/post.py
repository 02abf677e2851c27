"""What becomes of letters on their way."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Final

from mailsync.carriers.base import Letter, Refused, Retry, SendResult, Sent
from mailsync.cycle.packing import BASE64_GROWTH, MAIL_OVERHEAD
from tests.simulation.machine import Machine, address
from tests.simulation.world import World

TAKEN: Final = Sent(0)
FATES: Final[dict[str, SendResult]] = {
    "taken": TAKEN,
    "busy": Retry("busy"),
    "throttled": Retry("too much", throttled=True),
    "doubt": Retry("no answer", uncertain=True),
    "refused": Refused("not from you"),
}


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


def spoil(world: World, machine: Machine, chance: random.Random) -> None:
    """One letter arrives cut short or altered, and never as it was sent: a loss, and rubbish."""
    if world.network.in_transit:
        letter = chance.choice(world.network.in_transit)
        _lose(world, letter)
        world.counts["spoilt"] += 1
        world.network.deliver(replace(letter, container=_altered(letter.container, chance)))


def replay(world: World, machine: Machine, chance: random.Random) -> None:
    """Letters of long ago arrive once more."""
    for letter in chance.sample(world.archive, min(3, len(world.archive))):
        world.network.in_transit.append(letter)
        world.network.deliver(letter)


def trouble(world: World, machine: Machine, chance: random.Random) -> None:
    """From now on the servers take mails late, in doubt, small or not at all."""
    world.troubled = True
    kind = chance.choice(["busy", "throttled", "doubt", "refused", "large", "limit", "fickle"])
    limit = chance.choice([3_500, 5_000])

    def verdict(letter: Letter) -> SendResult:
        small = int(len(letter.container) * BASE64_GROWTH) + MAIL_OVERHEAD <= limit
        fate = kind if kind != "fickle" else chance.choice(["busy", "doubt", "taken", "taken"])
        if fate == "doubt" and chance.random() < 0.5:
            world.archive.append(letter)
            world.counts["mails"] += 1
            world.network.in_transit.append(letter)
        if fate == "limit":
            return TAKEN if small else Refused("too large", too_large=True, limit=limit)
        if fate == "large":
            plenty = len(letter.container) < 4_000
            return TAKEN if plenty else Refused("too large", too_large=True)
        return FATES[fate]

    world.verdict = verdict


def calm(world: World, machine: Machine, chance: random.Random) -> None:
    """The servers take mails again."""
    world.verdict = None


def stubborn(world: World, machine: Machine, chance: random.Random) -> None:
    """The next disposal of mails breaks off."""
    world.troubled = True
    machine.stubborn.add(address(machine.name))


def renumber(world: World, machine: Machine, chance: random.Random) -> None:
    """A server rebuilds the mailbox: every mail in it counts as new."""
    world.network.renumber(address(machine.name))


def reappear(world: World, machine: Machine, chance: random.Random) -> None:
    """A mailbox comes back from a backup of its server: mails are there again."""
    ours = [letter for letter in world.archive if letter.recipient == address(machine.name)]
    for letter in ours[-chance.randint(1, 6) :]:
        world.network.store(letter.recipient).add("INBOX", letter)
    world.network.renumber(address(machine.name))


def _lose(world: World, letter: Letter) -> None:
    world.network.in_transit.remove(letter)
    world.counts["lost"] += 1


def _altered(container: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(container))
    if chance.random() < 0.5:
        return container[:place]
    flipped = container[place] ^ (1 << chance.randrange(8))
    return container[:place] + bytes([flipped]) + container[place + 1 :]
