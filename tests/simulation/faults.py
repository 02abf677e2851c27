"""What goes wrong with machines: clocks, crashes, backups, clones."""

from __future__ import annotations

import random
from functools import partial

from tests.cycle.sites import DAY, HOUR
from tests.simulation import copying, users
from tests.simulation.machine import Backup, Machine, Rows, numbers
from tests.simulation.setting import YEAR
from tests.simulation.world import TWIN, World

BUSY = 45
"""Points of interruption in a busy cycle, about."""


def sync(world: World, machine: Machine, chance: random.Random) -> None:
    world.cycle(machine)


def exchange(world: World, machine: Machine, chance: random.Random) -> None:
    """A calm hour: all synchronize in turn, and everything arrives."""
    for _, each in sorted(world.machines.items()):
        world.cycle(each)
        world.network.deliver_all()


def killed(world: World, machine: Machine, chance: random.Random) -> None:
    """A cycle during which the process is killed, if it comes that far."""
    machine.interruptions.kill_after(chance.randint(1, BUSY))
    world.cycle(machine)


def raced(world: World, machine: Machine, chance: random.Random) -> None:
    """A cycle during which a user changes something."""
    what = chance.choice([users.edit, users.edit, users.delete, users.insert, users.swap])
    machine.interruptions.act_after(
        chance.randint(1, BUSY // 2), partial(what, world, machine, chance)
    )
    before = len(world.accounts.deletes)
    world.cycle(machine)
    for gone in world.accounts.deletes[before:]:
        users.take_along(world, machine, gone)


def wait(world: World, machine: Machine, chance: random.Random) -> None:
    """Time passes, at times beyond every timer."""
    world.time += chance.choice([HOUR // 60, 2 * HOUR, 2 * HOUR, 25 * HOUR, 25 * HOUR, 8 * DAY])


def silence(world: World, machine: Machine, chance: random.Random) -> None:
    """A long time passes, beyond the retention time, in which no mail arrives."""
    world.time += chance.choice([20, 35, 100]) * DAY


def jump(world: World, machine: Machine, chance: random.Random) -> None:
    """Somebody sets a clock."""
    machine.skew += chance.choice([-2 * YEAR, -DAY, 10 * DAY, YEAR])


def backup(world: World, machine: Machine, chance: random.Random) -> None:
    machine.backups.append(machine.back_up(len(world.accounts.deletes)))
    machine.behind = (*machine.behind, machine.backups[-1])


def restore(world: World, machine: Machine, chance: random.Random) -> None:
    """State store and datasets come back from a backup."""
    if machine.backups:
        old = chance.choice(machine.backups)
        _replace_rows(machine, old)
        _restore_state(world, machine, old)
        if world.setting.scoped:
            world.accounts.lost |= world.accounts.moved.get(machine.name, set())


def restore_state(world: World, machine: Machine, chance: random.Random) -> None:
    """The state store alone comes back from a backup. If it knows of what was never there since the
    rows came back from an earlier one, then users undid that, to mailsync.
    """
    if not machine.backups:
        return
    old = chance.choice(machine.backups)
    if old in machine.behind:
        _restore_state(world, machine, old)
        return
    present = machine.back_up(0)
    _replace_rows(machine, old)
    _restore_state(world, machine, old)
    _edit_all_back(world, machine, present)
    for rows in present.rows.values():
        world.accounts.lost.difference_update(*map(numbers, rows.values()))


def restore_rows(world: World, machine: Machine, chance: random.Random) -> None:
    """The datasets alone come back from a backup: to mailsync, users did all that."""
    if machine.backups:
        old = chance.choice(machine.backups)
        _edit_all_back(world, machine, old)


def clone(world: World, machine: Machine, chance: random.Random) -> None:
    """A copy of a machine comes to life beside it."""
    twin = machine.name + TWIN
    if twin not in world.machines and not world.restored:
        _enrols_again(world, machine)
        world.machines[twin] = machine.clone()
        world.restored.add(machine.name)
        world.cloned_at = len(world.accounts.deletes)


def unclone(world: World, machine: Machine, chance: random.Random) -> None:
    """One of two copies is switched off for good."""
    name, twin = machine.name, machine.name + TWIN
    if twin not in world.machines:
        return
    goes = chance.choice([name, twin])
    if goes == name:
        world.machines[name] = world.machines[twin]
    del world.machines[twin]
    world.accounts.restored(goes, world.cloned_at, *_left(world))


def _replace_rows(machine: Machine, old: Backup) -> None:
    machine.replace_rows(old.rows)
    machine.behind = (*old.behind, old)


def _restore_state(world: World, machine: Machine, old: Backup) -> None:
    machine.replace_state(old.state)
    world.restored.add(machine.name)
    _enrols_again(world, machine)
    copying.state_forgets(world, machine)
    world.accounts.restored(machine.name, old.deletes, *_left(world))
    for record in machine.records():
        if record.key is None or record.shadow is None:
            continue
        # to mailsync, users deleted the row that is gone, or wrote what stands there by now
        row = machine.rows(record.dataset).get(record.key, {})
        world.accounts.lost |= {*numbers(record.shadow)} - {*numbers(row)}


def _left(world: World) -> tuple[set[int], set[int]]:
    """The values some site still has, and those some site knows to be deleted."""
    held: set[object] = set()
    dead: set[object] = set()
    for machine in world.machines.values():
        for dataset in machine.datasets:
            held |= {value for row in machine.rows(dataset).values() for value in numbers(row)}
        for record in machine.records():
            held |= {entry.value for entry in record.entries.values()}
            dead |= {entry.value for entry in record.entries.values() if entry.killed}
    return (
        {value for value in held if isinstance(value, int)},
        {value for value in dead if isinstance(value, int)},
    )


def _enrols_again(world: World, machine: Machine) -> None:
    """Rows, or edits, that this state does not know are taken for new ones, though the state
    that was lost (or lives on beside this one) may have sent them already.
    """
    known = {(record.dataset, record.key): record for record in machine.records()}
    for dataset in machine.datasets:
        for key, row in machine.rows(dataset).items():
            record = known.get((dataset, key))
            world.accounts.created += record is None or record.shadow is None
            if record is None or dict(record.shadow or {}) != row:
                world.accounts.undone.update(numbers(row))
                world.accounts.ambiguous.update(numbers(row))


def _edit_all_back(world: World, machine: Machine, old: Backup) -> None:
    for dataset, rows in old.rows.items():
        _edit_back(world, machine, dataset, rows)
    machine.behind = (*old.behind, old)


def _edit_back(world: World, machine: Machine, dataset: str, old: Rows) -> None:
    rows, accounts = machine.rows(dataset), world.accounts
    for key in sorted(rows.keys() - old.keys()):
        users.remove(world, machine, dataset, key)
    for key, row in sorted(old.items()):
        accounts.undone.update(numbers(row))
        accounts.ambiguous.update(numbers(row))
        if key not in rows:
            accounts.created += 1
            users.put_back(world, machine, dataset, key)
        present = rows.get(key, {})
        accounts.overwritten.update(set(numbers(present)) - set(numbers(row)))
        rows[key] = dict(row)
