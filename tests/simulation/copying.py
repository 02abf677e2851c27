"""Sites that begin with copies of the same rows, before any mail was exchanged, and what must have
become of these in the end.

What tells rows apart tells them apart in the end, too: no two have the same of it, at however many
sites they were. Users see to it that no site ever holds two such rows of its own. Where nothing
tells them apart every row of every site is one of its own, equal or not. In each case no row is
gone that nobody deleted.

A row that users delete lives again if others edited it who did not know. If a site comes to hear of
it as deleted, before it was told that its own row is a copy of it, these stay two: they look like a
row that was deleted and one that was inserted in its stead. So do copies that both live again, by
an edit each. A restore, too, makes a site forget: rows that it had twice just then stay two. And a
row that two sites gave other names, before they met and met a third that had not: each becomes one
with the third, which has the say of its name, and no site knows that of both.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping

from mailsync.core.desired import desired_fields
from mailsync.core.model import Guid, Key
from tests.simulation.machine import Machine, Row, numbers
from tests.simulation.users import NATURAL_KEYS, give_name
from tests.simulation.world import BrokenPromise, World

HELD_PERCENT = 80
"""Of sites hold a row in the beginning."""

OTHER_PERCENT = 35
"""Of those hold it otherwise than others do."""


def begin(world: World) -> None:
    """Every site gets some of the rows: as others have them, or not quite so."""
    copies = world.setting.copies
    chance = random.Random(f"{world.setting.seed}/copies")
    for dataset in world.setting.datasets:
        for number in range(copies.count):
            versions: list[Row] = []
            holders = [one for one in world.setting.names if _happens(HELD_PERCENT, chance)]
            for name in holders:
                if not versions or _happens(OTHER_PERCENT, chance):
                    versions.append(_version(world, number, versions, chance))
                _hold(world, world.machines[name], dataset, number, chance.choice(versions), chance)
            different = min(1, len(holders)) if copies.telling else len(holders)
            world.accounts.created += different
            world.accounts.begun += different
    _account(world)


def _happens(percent: int, chance: random.Random) -> bool:
    return chance.randrange(100) < percent


def _version(world: World, number: int, others: list[Row], chance: random.Random) -> Row:
    """The row, new or as some site has it but for one field."""
    accounts, names = world.accounts, world.setting.names_of_fields
    if not others:
        return {
            **world.setting.copies.marks(number),
            **{name: accounts.value() for name in names[:-1]},
        }
    row = dict(chance.choice(others))
    name = chance.choice(names)
    if name in row and len(numbers(row)) > 1 and _happens(30, chance):
        del row[name]
    else:
        row[name] = accounts.value()
    return row


def _hold(
    world: World, machine: Machine, dataset: str, number: int, row: Row, chance: random.Random
) -> None:
    """Under a key of the site's own, which may be another's, too, if keys are not shared."""
    key = Key(f"{machine.name}{number}" if _happens(70, chance) else f"row {number}")
    if world.setting.natural:
        key = NATURAL_KEYS[number]
        row = {**row, "id": key}
    machine.rows(dataset)[key] = dict(row)
    world.accounts.wrote(machine.name, dataset, key, row)


def _account(world: World) -> None:
    """What stands at several sites was written by several; what stands nowhere, by nobody."""
    held = Counter(
        value
        for machine in world.machines.values()
        for dataset in world.setting.datasets
        for row in machine.rows(dataset).values()
        for value in numbers(row)
    )
    accounts = world.accounts
    accounts.ambiguous |= {value for value, count in held.items() if count > 1}
    accounts.lost |= accounts.history.keys() - held.keys()


def tell_apart(world: World) -> bool:
    """Users give other names to rows that look alike, where a copy is held back for that, or where
    it comes from: one was renamed before the copies met, and that lost, or both live again; or both
    were, at a site each. Returns whether there are any.
    """
    machines = world.machines.values()
    is_held = any(
        one.key is None and desired_fields(one) for it in machines for one in it.records()
    )
    alike = [
        (machine, dataset, key)
        for machine in machines
        for dataset in world.setting.datasets
        for key, mark in _alike(world, machine, dataset)
        if is_held or len(world.accounts.renamed.get(mark, ())) > 1
    ]
    for machine, dataset, key in alike:
        give_name(world, machine, dataset, key)
    return bool(alike)


def state_forgets(world: World, machine: Machine) -> None:
    """Account for the rows that this site has twice now, as its state is restored."""
    for dataset in world.setting.datasets:
        world.accounts.alike.update(mark for _, mark in _alike(world, machine, dataset))


def _alike(world: World, machine: Machine, dataset: str) -> list[tuple[Key, tuple[object, ...]]]:
    """The rows that look like one before them, and what tells them apart."""
    copies = world.setting.copies
    seen: set[tuple[object, ...]] = set()
    alike: list[tuple[Key, tuple[object, ...]]] = []
    for key, row in sorted(machine.rows(dataset).items()):
        mark = copies.mark(row)
        if copies.telling and mark in seen:
            alike.append((key, mark))
        seen.add(mark)
    return alike


def check_copies(world: World, rows: Mapping[Guid, Row]) -> int:
    """The promises above, and how many rows live again beside a copy. Raises BrokenPromise."""
    telling, mark_of = world.setting.copies.telling, world.setting.copies.mark
    again = _living_again(world)
    marks = Counter((mark_of(row), guid in again) for guid, row in rows.items())
    twice = [
        (mark, count)
        for (mark, lives), count in marks.items()
        if telling and not lives and count > 1 and mark not in world.accounts.alike
    ]
    if twice:
        raise BrokenPromise(f"copied: {twice[0][1]} rows are {telling} = {twice[0][0]}")
    least = world.accounts.begun - len(world.accounts.deletes)
    if len(rows) < least:
        raise BrokenPromise(f"gone: {len(rows)} rows are left of at least {least}")
    return sum(
        count - ((mark, False) not in marks)
        for (mark, lives), count in marks.items()
        if telling and lives
    )


def _living_again(world: World) -> set[Guid]:
    """Records that were deleted once."""
    return {
        record.guid
        for machine in world.machines.values()
        for record in machine.records()
        if any(entry.killed for entry in record.entries.values())
    }
