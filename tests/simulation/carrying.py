"""Links that go now by mail, now by a live connection, now by a stick that somebody carries."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Self

from mailsync.carriers.base import Arrival, Kind, Letter, NotHere, Place, Retry, SendResult, Sent
from mailsync.carriers.memory import MemoryMailbox, MemorySender
from mailsync.core import container
from mailsync.cycle.receiving import admit
from mailsync.cycle.report import Report
from mailsync.cycle.site import DirectCarrier
from tests.simulation.interruptions import Point
from tests.simulation.machine import Machine
from tests.simulation.world import World

KINDS: tuple[Kind, ...] = ("mail", "tcp", "folder")


class LinkSender(MemorySender):
    """A connection to the peer's process, which confirms what is in its inbox; it may break before
    or after that.
    """

    def __init__(self, world: World, machine: Machine, peer: str) -> None:
        super().__init__(world.network)
        self.world, self.machine, self.peer = world, machine, peer

    async def send(self, letter: Letter) -> SendResult:
        chance = self.world.chance
        self.machine.interruptions.at(Point.SENDING)
        self.world.note(letter, "tcp")
        if chance.random() < 0.1:
            return Retry("the link was lost", uncertain=True)
        found = tuple(container.find(letter.container))
        place = Place("tcp", self.machine.name, 0, 0)
        arrival = Arrival(place, len(letter.container), found, carrier="tcp")
        admit(next(self.world.copies(self.peer)).site, arrival, Report())
        self.machine.interruptions.at(Point.SENT)
        if chance.random() < 0.1:
            return Retry("the link was lost", uncertain=True)
        return Sent(len(letter.container))


class StickSender(MemorySender):
    """Files on a stick, if there is one."""

    def __init__(self, world: World, machine: Machine, peer: str, *, here: bool) -> None:
        super().__init__(world.sticks)
        self.world, self.machine, self.peer, self.here = world, machine, peer, here

    async def __aenter__(self) -> Self:
        if not self.here:
            raise NotHere("no stick")
        return self

    async def send(self, letter: Letter) -> SendResult:
        self.machine.interruptions.at(Point.SENDING)
        self.world.note(letter, "folder")
        result = await super().send(replace(letter, recipient=_slot(self.machine.name, self.peer)))
        self.machine.interruptions.at(Point.SENT)
        return result


@dataclass
class Link:
    """A live connection."""

    world: World
    machine: Machine
    peer: str

    def sender(self) -> LinkSender:
        return LinkSender(self.world, self.machine, self.peer)

    def mailbox(self) -> None:
        return None


@dataclass
class Stick:
    """Sticks to and from a peer."""

    world: World
    machine: Machine
    peer: str
    here: bool

    def sender(self) -> StickSender:
        return StickSender(self.world, self.machine, self.peer, here=self.here)

    def mailbox(self) -> MemoryMailbox:
        return MemoryMailbox(self.world.sticks, _slot(self.peer, self.machine.name))


def carriers_of(world: World, machine: Machine) -> dict[str, dict[Kind, DirectCarrier]]:
    """What the machine's links go by now. Sticks that are under way arrive all the same."""
    if world.setting.mix != "carriers":
        return {}
    found: dict[str, dict[Kind, DirectCarrier]] = {}
    for peer in machine.peers:
        kind = world.kinds.get(frozenset({machine.name, peer}), "mail")
        found[peer] = {"folder": Stick(world, machine, peer, here=kind == "folder")}
        if kind == "tcp":
            found[peer]["tcp"] = Link(world, machine, peer)
    return found


def switch(world: World, machine: Machine, chance: random.Random) -> None:
    """From now on one of the machine's links goes by another carrier."""
    peer = chance.choice(sorted(machine.peers))
    world.kinds[frozenset({machine.name, peer})] = chance.choice(KINDS)


def stick(world: World, machine: Machine, chance: random.Random) -> None:
    """Most sticks under way arrive, in any order, some twice; others are late, cut or lost."""
    letters = list(world.sticks.in_transit)
    chance.shuffle(letters)
    for letter in letters:
        fate = chance.random()
        if fate < 0.2:
            continue  # late
        if fate < 0.3:
            world.sticks.in_transit.remove(letter)
            world.counts["lost"] += 1
            continue
        if fate < 0.4:
            half = letter.container[: chance.randrange(len(letter.container))]
            world.sticks.deliver(replace(letter, container=half))
        world.sticks.deliver(letter)
        if fate > 0.9:
            world.sticks.in_transit.append(letter)


def _slot(sender: str, recipient: str) -> str:
    return f"{sender}>{recipient}"
