"""A database that a test fills by its own connection, and tables opened from it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from mailsync.core.model import Fields, Guid, Key, Value
from mailsync.datasets.base import Change, Result, Write
from mailsync.datasets.rowkeys import key_text
from mailsync.datasets.sql.table import SqlTable

GUID = Guid(b"\1" * 16)


class Database:
    """An SQLite file and the tables opened from it."""

    def __init__(self, path: Path, script: str) -> None:
        self.path = path
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.executescript(script)

    def table(self, name: str, patience: float = 5.0) -> SqlTable:
        return SqlTable(f"sqlite:///{self.path}", name, patience=patience)

    def rows(self, query: str) -> list[tuple[Value, ...]]:
        return self.connection.execute(query).fetchall()


def write(key: Value, expected: Fields | None, wanted: Fields | None) -> Write:
    return Write(GUID, key_text([key]), expected, wanted)


def results(table: SqlTable, *writes: Write) -> list[Result]:
    outcomes = table.apply(writes)
    assert all(one.reason for one in outcomes if one.result is Result.REFUSED), outcomes
    return [one.result for one in outcomes]


def contents(table: SqlTable) -> dict[Key, Fields | None]:
    return {one.key: one.fields for one in table.changes({}) if isinstance(one, Change)}


WRITTEN, CHANGED, REFUSED = Result.WRITTEN, Result.CHANGED, Result.REFUSED
