"""What people do at the command line: ask a peer to synchronize now, release what is stopped,
decide about conflicts.
"""

from __future__ import annotations

import random
from contextlib import suppress

from mailsync.core.decisions import RESOLUTION, RESTORED
from mailsync.core.model import Key, Record, RecordId
from mailsync.cycle import asking, conflicts, releasing
from mailsync.cycle.conflicts import Choice, Conflict
from mailsync.cycle.report import Report
from mailsync.errors import UsageError
from tests.simulation.accounts import Delete
from tests.simulation.interruptions import Crash
from tests.simulation.machine import Machine
from tests.simulation.world import World

DECIDING: int = 8
"""Points of interruption in a decision, about."""


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


def decide(world: World, machine: Machine, chance: random.Random) -> None:
    """Somebody brings back what lost in a conflict, or lets it rest; at times the process is
    killed over that.
    """
    with machine.store.peek() as transaction:
        found = conflicts.list_conflicts(machine.site, transaction)
    left = [one for one in found if one.closed is None]
    if not left:
        return
    chosen = chance.choice(left)
    seen = _seen(machine, chosen.note.record)
    choice, restores = Choice(ids=(chosen.id,)), chance.random() < 0.6
    if chance.random() < 0.2:
        machine.interruptions.kill_after(chance.randint(1, DECIDING))
    try:
        if restores:
            conflicts.restore_all(machine.site, choice, Report())
        else:
            conflicts.resolve_all(machine.site, choice)
    except Crash:
        machine.stop()
        world.counts["crashes"] += 1
    finally:
        machine.interruptions.clear()
    _enter(world, machine, chosen, seen)


def _seen(machine: Machine, record_id: RecordId) -> dict[str, set[int]]:
    """What there is of a record, by field: in its row, and what is still to be written there."""
    record, found = _record(machine, record_id), dict[str, set[int]]()
    if record is None:
        return found
    row = machine.rows(record.dataset).get(record.key or Key(""), {})
    values = [(name, entry.value) for name, entry in record.entries.items()]
    for name, value in [*values, *row.items()]:
        found.setdefault(name, set()).update([value] if isinstance(value, int) else [])
    return found


def _enter(world: World, machine: Machine, chosen: Conflict, seen: dict[str, set[int]]) -> None:
    """What was decided, if anything: the process may have been killed before, or the record be
    gone for good. A decision and what it writes have one dot.
    """
    accounts, note = world.accounts, chosen.note
    noted, record = _record(machine, chosen.entry.note.id), _record(machine, note.record)
    closed = None if noted is None else noted.entries.get(RESOLUTION)
    if closed is None:
        return
    accounts.decided[note] = machine.name
    world.counts["decided"] += 1
    if closed.value != RESTORED or record is None:
        return
    world.counts["restored"] += 1
    if note.field is None:
        values = frozenset[int]().union(*seen.values())
        gone = Delete(machine.name, record.dataset, values, record.guid)
        accounts.deleted(gone, in_doubt=False)
        return
    anew = {name: each.value for name, each in record.entries.items() if each.dot == closed.dot}
    before = set[int]().union(*(seen.get(name, set()) for name in anew))
    accounts.bring_back(machine.name, record.dataset, record.key or "", anew, before)
    if not all(isinstance(value, int) for value in anew.values()):
        accounts.emptied.add(record.guid)


def _record(machine: Machine, record_id: RecordId) -> Record | None:
    with machine.store.peek() as transaction:
        return transaction.records.get(record_id)
