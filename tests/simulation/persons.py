"""What people do at the command line: ask a peer to synchronize now, release what is stopped."""

from __future__ import annotations

import random
from contextlib import suppress

from mailsync.cycle import asking, releasing
from mailsync.errors import UsageError
from tests.simulation.machine import Machine
from tests.simulation.world import World


def request(world: World, machine: Machine, chance: random.Random) -> None:
    """Somebody asks a peer, maybe for the third time in an hour."""
    if machine.peers:
        with suppress(UsageError):
            asking.ask(machine.site, chance.choice(sorted(machine.peers)), [], 0)
        world.cycle(machine)


def release(world: World, machine: Machine, chance: random.Random) -> None:
    """Somebody says that all is meant that waits here."""
    with machine.store.peek() as transaction:
        stops = transaction.stops.all()
    for stop in stops:
        world.counts["released"] += 1
        releasing.release(machine.site, stop)
