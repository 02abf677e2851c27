"""One history of a triangle, and what must come of it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress

from mailsync.core.model import Guid, Key
from mailsync.cycle.report import Report
from mailsync.datasets.base import Change
from mailsync.datasets.rowkeys import key_text, key_values
from tests.cycle.triangle import NAMES, Triangle
from tests.eleven_tables.schema import KEYS, REFERENCES, TABLES
from tests.eleven_tables.users import Row, User, add_row, remove_row, work

RESOLUTIONS_MAX = 6
"""How often users delete what is held before nothing may be."""


async def play(
    triangle: Triangle, seed: int, *, careless: bool = False, turns: int = 3, edits: int = 12
) -> Counter[str]:
    """One history. Raises AssertionError; returns how often users did what."""
    chance = random.Random(seed)
    users = [
        User(name, triangle.users[name], random.Random(f"{seed}/{name}"), careless=careless)
        for name in NAMES
    ]
    users[0].mark = "?"
    founder = User("base", users[0].connection, chance, "?")
    for table in reversed(TABLES):
        for _ in range(3):
            add_row(founder, table)
    await triangle.settle()
    for _ in range(turns):
        for user in users:
            work(user, edits)
            if chance.random() < 0.6:
                await triangle.sync(chance.choice(NAMES))
    held = _held(await triangle.settle())
    for _ in range(RESOLUTIONS_MAX if careless and held else 0):
        held = await _resolved(triangle, users, held)
    assert not held, held
    assert_equal(triangle)
    return sum((user.done for user in users), Counter())


def assert_equal(triangle: Triangle) -> None:
    """All sites hold the same records, and every reference is right."""
    first, *others = (contents(triangle, name) for name in NAMES)
    for other, name in zip(others, NAMES[1:], strict=True):
        for table in TABLES:
            assert first[table].keys() == other[table].keys(), (name, table)
            for guid, row in first[table].items():
                assert row == other[table][guid], (name, table, guid.hex())
    assert triangle.run("lite", "PRAGMA foreign_key_check") == []


Held = Mapping[str, Mapping[str, Mapping[str, str]]]
"""By site and table: what is held, and why."""


async def _resolved(triangle: Triangle, users: Sequence[User], held: Held) -> Held:
    """What is held still, after users saw what was."""
    for user in users:
        resolve(user, held.get(user.name, {}))
    return _held(await triangle.settle())


def _held(reports: Mapping[str, Report]) -> Held:
    held = {
        name: {table: reasons for table, reasons in report.held.items() if reasons}
        for name, report in reports.items()
    }
    return {name: tables for name, tables in held.items() if tables}


def resolve(user: User, held: Mapping[str, Mapping[str, str]]) -> None:
    """Delete the rows that are held, with those that cannot be without them."""
    for table, reasons in held.items():
        for key in reasons:
            with suppress(ValueError):  # a record that has no row here
                columns = KEYS.get(table, ("id",))
                row = dict(zip(columns, key_values(Key(key)), strict=True))
                user.done["resolve"] += 1
                where, values = user.where(table, row)
                for one in user.run(f"SELECT * FROM {table} WHERE {where}", *values):
                    remove_row(user, table, one)


def contents(triangle: Triangle, name: str) -> dict[str, dict[Guid, Row]]:
    """Every record by its GUID, references resolved to GUIDs, values as PostgreSQL spells them."""
    site, judge = triangle.sites[name], triangle.sites["post"]
    with site.store.transaction() as transaction:
        guids: dict[tuple[str, Key], Guid] = {
            (record.dataset, record.key): record.guid
            for record in transaction.records.all()
            if record.key is not None
        }
    result: dict[str, dict[Guid, Row]] = {}
    for table in TABLES:
        rows = result[table] = {}
        for change in site.dataset(table).changes({}):
            assert isinstance(change, Change), change
            row: Row = dict(judge.dataset(table).spelled(change.fields or {}))
            for column, parent in REFERENCES.get(table, {}).items():
                if row[column] is not None:
                    row[column] = guids[parent, key_text([row[column]])].hex()
            rows[guids[table, change.key]] = row
    return result
