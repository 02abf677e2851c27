"""One history of a triangle, and what must come of it."""

from __future__ import annotations

import random
from collections import Counter

from mailsync.core.model import Guid, Key
from mailsync.datasets.base import Change
from mailsync.datasets.sqlkeys import key_text
from tests.cycle.triangle import NAMES, Triangle
from tests.eleven_tables.schema import REFERENCES, TABLES
from tests.eleven_tables.users import Row, User, add_row, work


async def play(triangle: Triangle, seed: int, turns: int = 3, edits: int = 12) -> Counter[str]:
    """One history. Raises AssertionError; returns how often users did what."""
    chance = random.Random(seed)
    users = [User(name, triangle.users[name], random.Random(f"{seed}/{name}")) for name in NAMES]
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
    reports = await triangle.settle()
    held = {
        name: {table: reasons for table, reasons in report.held.items() if reasons}
        for name, report in reports.items()
    }
    assert not any(held.values()), held
    first, *others = (contents(triangle, name) for name in NAMES)
    for other, name in zip(others, NAMES[1:], strict=True):
        for table in TABLES:
            assert first[table].keys() == other[table].keys(), (name, table)
            for guid, row in first[table].items():
                assert row == other[table][guid], (name, table, guid.hex())
    assert triangle.run("lite", "PRAGMA foreign_key_check") == []
    return sum((user.done for user in users), Counter())


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
