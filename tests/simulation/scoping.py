"""Where the scoped site may hold something else than the others, by what does not pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mailsync.core.conditions import holds
from mailsync.core.expressions import parse
from mailsync.core.merge import Note
from mailsync.core.model import Entry, Guid
from tests.simulation.accounts import Delete
from tests.simulation.machine import Machine, Row, numbers
from tests.simulation.world import World

Rows = Mapping[Guid, Row]


def is_right(world: World, guid: Guid, here: Row | None, there: Row | None) -> bool:
    """May the scoped site hold this of a record, when the others hold that? None: nothing."""
    scope = world.scope
    if here is None:
        row = there or {}
        kept_out = not (scope.hears and _is_for(world, row) and _enters(world, row))
        deleted = any(_is_of(one, guid, there) for one in vain_deletes(world))
        dead = _is_dead_to_it(world, guid) or _died_of_doubt(world, guid)
        return kept_out or deleted or dead
    if not scope.hears:
        return all(_is_own(world, value) for value in numbers(here))
    if there is None:
        return any(_stays(world, guid, name, here) for name in here)
    if not _is_for(world, there):
        return scope.keeps
    return all(
        here.get(name) == there.get(name)
        or _stays(world, guid, name, here)
        or not (scope.shows(name) or _is_shown_still(world, here.get(name)))
        for name in here.keys() | there.keys()
    )


def _died_of_doubt(world: World, guid: Guid) -> bool:
    """Did one of the others delete it who had refused what its users wrote, and what of that came
    in elsewhere as new stands there? That it is gone with them is noted.
    """
    elsewhere = any(
        one.guid == guid and one.site != world.setting.scoped for one in world.accounts.deletes
    )
    number = _number(world)
    return elsewhere and any(
        note.record.guid == guid and note.field is not None and note.dot.site == number
        for note in _another(world).notes()
    )


def _number(world: World) -> int:
    """By which it signs its writes."""
    return world.machines[world.setting.scoped].site.keys.public.site_number


def own_values(world: World, rows: Rows) -> Iterator[int]:
    """What its users wrote and need not have come to the others."""
    for row in rows.values():
        for name, value in row.items():
            if isinstance(value, int) and _is_own(world, value) and not world.scope.may_write(name):
                yield value


def vain_deletes(world: World) -> list[Delete]:
    """What its users deleted is not for that deleted at the others."""
    if world.scope.may("delete"):
        return []
    return [one for one in world.accounts.deletes if one.site == world.setting.scoped]


def has_unheard_deletes(world: World) -> bool:
    """Was something deleted of which by the direction nobody is to hear?"""
    there = any(one.site != world.setting.scoped for one in world.accounts.deletes)
    here = bool(vain_deletes(world))
    return (here and not world.scope.is_heard) or (there and not world.scope.hears)


def pardon(world: World) -> None:
    """The scoped site gets every right: what was deleted in vain may go after all, or stay."""
    for delete in vain_deletes(world):
        world.accounts.deletes.remove(delete)
        world.accounts.undone |= delete.values


def are_journals_right(world: World, here: set[Note], there: set[Note]) -> bool:
    """May these conflicts of a dataset be in its journal, when those are in the others'?"""
    scope = world.scope
    told = {note for note in there if scope.shows(note.field)}
    return (not scope.hears or told <= here) and (not scope.is_heard or here <= there)


def _is_for(world: World, row: Row) -> bool:
    """Is a row for it, as those who send to it saw it last?"""
    scope, name = world.scope, world.setting.scoped
    if scope.shown is not None and not any(map(scope.shows, row)):
        return False
    senders = [one for one in world.machines.values() if name in one.peers]
    return _holds(scope.where, row, max(one.site.as_of for one in senders))


def _is_dead_to_it(world: World, guid: Guid) -> bool:
    """Does the record live on only by fields that do not come to it? Of what does come, a delete
    has seen all.
    """
    entries = list(_entries(world, guid))
    return world.scope.shown is not None and all(entry.killed for entry in entries)


def _entries(world: World, guid: Guid) -> Iterator[Entry]:
    """Of the fields that come to it, what the others hold."""
    for record in _another(world).records():
        if record.guid == guid:
            yield from (one for name, one in record.entries.items() if world.scope.shows(name))


def _enters(world: World, row: Row) -> bool:
    """Does it let a row into its dataset, as it saw it last?"""
    return _holds(world.scope.admits, row, world.machines[world.setting.scoped].site.as_of)


def _holds(condition: str, row: Row, at: int) -> bool:
    return not condition or holds(parse(condition), row, at) is True


def _is_of(delete: Delete, guid: Guid, row: Row | None) -> bool:
    return delete.guid == guid or not delete.values.isdisjoint(numbers(row or {}))


def _stays(world: World, guid: Guid, name: str, row: Row) -> bool:
    """May it hold this though the others do not, as its users wrote it without a right?"""
    if world.scope.may_write(name):
        return False
    value = row.get(name)
    if isinstance(value, int):
        return _is_own(world, value)
    written = numbers(row)  # whose the rest is, is not accounted for
    return (
        guid in world.accounts.emptied
        or not written
        or any(_is_own(world, one) for one in written)
        or _is_by_itself(world, guid, name)
    )


def _is_by_itself(world: World, guid: Guid, name: str) -> bool:
    """Did it write the field itself, as its record map says, and none of the others later?"""
    here, there = (
        next((one.entries.get(name) for one in machine.records() if one.guid == guid), None)
        for machine in (world.machines[world.setting.scoped], _another(world))
    )
    if here is None or here.dot.site != _number(world):
        return False
    return there is None or there.dot < here.dot


def _another(world: World) -> Machine:
    return next(one for one in world.machines.values() if one.name != world.setting.scoped)


def _is_shown_still(world: World, value: object) -> bool:
    """Of a field that does not come to it: may only the others have written that?"""
    return isinstance(value, int) and not _is_own(world, value) and not world.rescoped


def _is_own(world: World, value: int) -> bool:
    accounts = world.accounts
    return value in accounts.by(world.setting.scoped) or value in accounts.ambiguous
