"""What users do to their rows, entered into the accounts."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Final

from mailsync.core.model import NO_MARKER, Guid, Key, is_alive, same_fields
from mailsync.datasets.base import Field
from tests.cycle.sites import DAY
from tests.simulation.accounts import Delete
from tests.simulation.machine import Machine, Row, TableDataset, numbers
from tests.simulation.world import World

ROWS_MAX = 5
"""Beyond which users insert no more: what breaks, breaks with few rows."""

NEW: Final = 100
"""Rows that were not there in the beginning are numbered from here on."""

NATURAL_KEYS: Final = (Key("ada"), Key("bob"), Key("cleo"))


def insert(world: World, machine: Machine, chance: random.Random) -> None:
    dataset = _dataset(machine, chance)
    rows = machine.rows(dataset)
    if len(rows) >= ROWS_MAX:
        return
    if not world.setting.natural:
        add(world, machine, dataset, None, chance)
    elif free := sorted(set(NATURAL_KEYS) - rows.keys()):
        _add_under(world, machine, dataset, chance.choice(free), chance)


def _add_under(
    world: World, machine: Machine, dataset: str, key: Key, chance: random.Random
) -> None:
    """A new row under a key that may have been another's."""
    put_back(world, machine, dataset, key)
    record = machine.record_under(dataset, key)
    if record is not None and world.setting.columns:  # what the new row leaves empty was not
        world.accounts.emptied.add(record.guid)
    add(world, machine, dataset, key, chance)


def put_back(world: World, machine: Machine, dataset: str, key: Key) -> None:
    """There will be a row under this key, where there is none: perhaps there was."""
    record = machine.record_under(dataset, key)
    if record is not None and is_alive(record.entries):
        world.accounts.put_back(_name(world, machine), record.guid)


def add(
    world: World, machine: Machine, dataset: str, key: Key | None, chance: random.Random
) -> None:
    """A new row, under this key or one that no user took before."""
    accounts = world.accounts
    accounts.created += 1
    columns = machine.datasets[dataset].fields
    row: Row = {} if columns is None else dict.fromkeys(columns)
    for number in range(world.setting.fields):
        if columns is None or f"f{number}" in columns:
            row[f"f{number}"] = accounts.value()
    if world.setting.scoped:
        row["tag"] = chance.choice("aabc")
        row["born"] = moment(world.time - chance.choice([0, 0, 50 * DAY]))
    row.update(world.setting.copies.marks(NEW + accounts.count))
    if world.setting.bulk:
        row["bulk"] = chance.randbytes(chance.randrange(world.setting.bulk))
    if columns is not None:
        accounts.count += 1  # there may be no value in it
    key = Key(f"u{accounts.count}") if key is None else key
    if world.setting.natural:
        row["id"] = key
    machine.rows(dataset)[key] = row
    accounts.wrote(machine.name, dataset, key, row)


def edit(world: World, machine: Machine, chance: random.Random) -> None:
    """A user changes a field, adds one, or empties one."""
    dataset = _dataset(machine, chance)
    rows = machine.rows(dataset)
    if not rows:
        return
    key = chance.choice(sorted(rows))
    _touch(world, machine, dataset, key)
    row = rows[key]
    columns = machine.datasets[dataset].fields
    names = sorted(name for name, value in row.items() if isinstance(value, int))
    name = chance.choice([*names, *names, "extra"] if columns is None else sorted(columns))
    old = [value for value in [row.get(name)] if isinstance(value, int)]
    if len(row) > 1 and old and chance.random() < 0.1:
        world.accounts.overwritten.update(old)
        rest: Row = {other: value for other, value in row.items() if other != name}
        rows[key] = rest if columns is None else {**row, name: None}
        record = machine.record_under(dataset, key)
        if record is not None and (columns is not None or world.setting.scoped):
            world.accounts.emptied.add(record.guid)
    else:
        rows[key] = {**row, name: world.accounts.value(*old)}
    world.accounts.wrote(machine.name, dataset, key, {name: rows[key].get(name)})


def tag(world: World, machine: Machine, chance: random.Random) -> None:
    """A user makes a row one of another kind."""
    dataset = _dataset(machine, chance)
    rows = machine.rows(dataset)
    if rows and world.setting.scoped:
        key = chance.choice(sorted(rows))
        _touch(world, machine, dataset, key)
        rows[key] = {**rows[key], "tag": chance.choice("abc")}
        if (record := machine.record_under(dataset, key)) is not None:
            world.accounts.emptied.add(record.guid)


def rename(world: World, machine: Machine, chance: random.Random) -> None:
    """A user changes what tells a row apart to what no row ever had."""
    dataset = _dataset(machine, chance)
    if rows := machine.rows(dataset):
        give_name(world, machine, dataset, chance.choice(sorted(rows)))


def give_name(world: World, machine: Machine, dataset: str, key: Key) -> None:
    """A user gives this row what no row ever had of what tells rows apart."""
    accounts, rows = world.accounts, machine.rows(dataset)
    accounts.count += 1
    if marks := world.setting.copies.marks(NEW + accounts.count):
        _touch(world, machine, dataset, key)
        before = world.setting.copies.mark(rows[key])
        accounts.renamed.setdefault(before, set()).add(machine.name)
        rows[key] = {**rows[key], **marks}
        accounts.created += 1  # it may have been a row of others before


def moment(time: int) -> str:
    """As datasets write it."""
    return datetime.fromtimestamp(time / 1000, UTC).isoformat(" ")


def delete(world: World, machine: Machine, chance: random.Random) -> None:
    dataset = _dataset(machine, chance)
    if rows := machine.rows(dataset):
        remove(world, machine, dataset, chance.choice(sorted(rows)))


def remove(world: World, machine: Machine, dataset: str, key: Key) -> None:
    """A user deletes this row, and with it what is kept of its record for want of columns, and
    what stood in columns that were made anew, whether or not something was written there since.
    """
    row = machine.rows(dataset).pop(key)
    record = machine.record_under(dataset, key)
    kept = machine.kept(dataset, record) | machine.kept_until_now(dataset, record)
    shadow = (record and record.shadow) or {}
    changed = (name for name, value in row.items() if shadow.get(name, value) != value)
    kept |= {name: shadow[name] for name in changed}  # type: ignore[misc]
    restored = bool(world.restored)
    in_doubt = restored
    guid: Guid | None = None
    if record is not None:
        in_doubt = record.marker is not NO_MARKER or (
            restored and not same_fields(record.shadow, row)
        )
        guid = None if in_doubt else record.guid
    values = frozenset({*numbers(row), *numbers(kept)})
    gone = Delete(_name(world, machine), dataset, values, guid)
    world.accounts.deleted(gone, in_doubt=in_doubt)
    if record is not None and machine.name == world.setting.scoped:
        world.accounts.gone.update(world.kept_from_scoped(record.guid))
    machine.freed.setdefault(dataset, []).append(key)


def take_along(world: World, machine: Machine, gone: Delete) -> None:
    """What came in the very cycle during which a row was deleted, in columns that its table does
    not have, goes with it: nobody there could see it, so nothing tells which of both was first.
    """
    for record in machine.records():
        if record.guid == gone.guid:
            world.accounts.gone.update(numbers(machine.kept(gone.dataset, record)))


def reinsert(world: World, machine: Machine, chance: random.Random) -> None:
    """A user inserts a row under the key of one that was deleted here."""
    dataset = _dataset(machine, chance)
    rows = machine.rows(dataset)
    freed = sorted(set(machine.freed.get(dataset, ())) - rows.keys())
    if not freed:
        return
    _add_under(world, machine, dataset, chance.choice(freed), chance)


def drop_column(world: World, machine: Machine, chance: random.Random) -> None:
    """A column goes."""
    dataset = _dataset(machine, chance)
    columns = _columns(machine, dataset)
    if len(columns) > 1:
        _drop(world, machine, dataset, columns, chance.choice(sorted(columns)))


def add_column(world: World, machine: Machine, chance: random.Random) -> None:
    """A column comes, or comes back."""
    dataset = _dataset(machine, chance)
    columns = _columns(machine, dataset)
    names = sorted(set(world.setting.names_of_fields) - columns.keys())
    if names and columns:
        _add(machine, dataset, columns, chance.choice(names), chance)


def remake_column(world: World, machine: Machine, chance: random.Random) -> None:
    """A column goes and comes back before anybody looks.

    Not the last one: no catalogue tells it from the old one.
    """
    dataset = _dataset(machine, chance)
    columns = _columns(machine, dataset)
    if len(columns) > 1:
        name = chance.choice(list(columns)[:-1])
        _drop(world, machine, dataset, columns, name)
        _add(machine, dataset, columns, name, chance)


def _columns(machine: Machine, dataset: str) -> dict[str, Field]:
    """Of a table; none while a change of them was not seen: two may look like none."""
    table = machine.datasets[dataset]
    if not isinstance(table, TableDataset):
        return {}
    seen = machine.seen_columns(dataset)
    return table.columns if seen in ([], list(table.columns)) else {}


def _drop(
    world: World, machine: Machine, dataset: str, columns: dict[str, Field], name: str
) -> None:
    """With what is not in the record map yet."""
    del columns[name]
    machine.datasets[dataset].fields = columns
    for key, row in machine.rows(dataset).items():
        record = machine.record_under(dataset, key)
        entry = None if record is None else record.entries.get(name)
        value = row.pop(name)
        if isinstance(value, int) and (entry is None or entry.value != value):
            world.accounts.overwritten.add(value)


def _add(
    machine: Machine, dataset: str, columns: dict[str, Field], name: str, chance: random.Random
) -> None:
    """At times with a default."""
    column = Field(blank=chance.choice([None, None, "-"]))
    columns[name] = column
    machine.datasets[dataset].fields = columns
    for row in machine.rows(dataset).values():
        row[name] = column.blank  # type: ignore[assignment]


def swap(world: World, machine: Machine, chance: random.Random) -> None:
    """Two rows exchange their keys."""
    dataset = _dataset(machine, chance)
    rows = machine.rows(dataset)
    if len(rows) < 2 or world.setting.natural or world.setting.copies.telling:
        return
    one, other = chance.sample(sorted(rows), 2)
    for key in (one, other):
        _touch(world, machine, dataset, key)
        world.accounts.ambiguous.update(numbers(rows[key]))
        world.accounts.moved.setdefault(machine.name, set()).update(numbers(rows[key]))
        record = machine.record_under(dataset, key)
        if record is not None:  # what is empty in the one comes to the other's place
            world.accounts.emptied.add(record.guid)
    rows[one], rows[other] = rows[other], rows[one]


def same(world: World, machine: Machine, chance: random.Random) -> None:
    """Users at two sites write the same into the same field."""
    dataset = _dataset(machine, chance)
    places = _shared(world, machine, dataset, chance)
    if not places:
        return
    for site, key in places:
        _touch(world, site, dataset, key)
    rows = [site.rows(dataset)[key] for site, key in places]
    common = sorted(
        name
        for name in rows[0].keys() & rows[1].keys()
        if all(isinstance(row[name], int) for row in rows)
    )
    if not common:
        return
    name = chance.choice(common)
    value = world.accounts.value(*(value for row in rows for value in numbers(row, name)))
    world.accounts.ambiguous.add(value)
    for site, key in places:
        site.rows(dataset)[key] = {**site.rows(dataset)[key], name: value}
        world.accounts.wrote(site.name, dataset, key, {name: value})


def differ(world: World, machine: Machine, chance: random.Random) -> None:
    """Users at two sites write into the same field of a row, or those at one delete it."""
    dataset = _dataset(machine, chance)
    places = _shared(world, machine, dataset, chance)
    if not places:
        return
    (_, key), (other, there) = places
    name = chance.choice([*sorted(machine.rows(dataset)[key]), "extra"])
    _write(world, other, dataset, there, name)
    if chance.random() < 0.3:
        remove(world, machine, dataset, key)
    else:
        _write(world, machine, dataset, key, name)


def _shared(
    world: World, machine: Machine, dataset: str, chance: random.Random
) -> list[tuple[Machine, Key]]:
    """Some row at this site and at another one; nothing if they share none."""
    other = chance.choice(list(world.machines.values()))
    here, there = _keys(machine, dataset), _keys(other, dataset)
    shared = sorted(here.keys() & there.keys())
    if other is machine or not shared:
        return []
    guid = chance.choice(shared)
    return [(machine, here[guid]), (other, there[guid])]


def _write(world: World, machine: Machine, dataset: str, key: Key, name: str) -> None:
    _touch(world, machine, dataset, key)
    row = machine.rows(dataset)[key]
    value = world.accounts.value(*(numbers(row, name) if name in row else ()))
    machine.rows(dataset)[key] = {**row, name: value}
    world.accounts.wrote(machine.name, dataset, key, {name: value})


def _touch(world: World, machine: Machine, dataset: str, key: Key) -> None:
    """A row that was inserted by a process killed before it could note so is changed: it may
    be taken for the user's own, and the record be inserted a second time.
    """
    record = machine.record_under(dataset, key)
    if record is not None and record.marker is not NO_MARKER and record.shadow is None:
        world.accounts.created += 1
        values = numbers(machine.rows(dataset)[key])
        world.accounts.ambiguous.update(values)
        world.accounts.undone.update(values)


def _keys(machine: Machine, dataset: str) -> dict[Guid, Key]:
    rows = machine.rows(dataset)
    return {
        record.guid: record.key
        for record in machine.records()
        if record.dataset == dataset
        and record.key is not None
        and record.key in rows
        and is_alive(record.entries)
    }


def _dataset(machine: Machine, chance: random.Random) -> str:
    return chance.choice(sorted(machine.datasets))


def _name(world: World, machine: Machine) -> str:
    return next(name for name, other in world.machines.items() if other is machine)
