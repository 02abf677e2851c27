"""Tables without a key: rows are told apart by their whole content, equal ones are counted."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mailsync.core.model import Etag, Fields, Guid, Key, Value
from mailsync.datasets.base import Change, Newcomer, Result, Unreadable, Write
from mailsync.datasets.kinds import open_dataset
from mailsync.datasets.sql.keyless import KeylessTable
from mailsync.errors import BadConfiguration, DatasetError
from tests.servers.databases import DatabaseServer

WRITTEN, CHANGED, REFUSED = Result.WRITTEN, Result.CHANGED, Result.REFUSED


class Stage:
    """A table, its user, and what a site knows of it."""

    def __init__(self, url: str, connection: Any) -> None:
        self.url = url
        self.connection = connection
        self.run("CREATE TABLE t (n integer CHECK (n < 100), v varchar(20), x double precision)")
        self.dataset = self.open()
        self.known: dict[Key, Etag | None] = {}
        self.held: dict[Key, Fields] = {}

    def open(self) -> KeylessTable:
        opened = open_dataset(self.url, table="t", keys=None, key=["*"], base=Path())
        assert isinstance(opened, KeylessTable)
        return opened

    def run(self, text: str) -> list[tuple[Any, ...]]:
        cursor = self.connection.cursor()
        cursor.execute(text)
        return sorted(map(tuple, cursor.fetchall()), key=str) if cursor.description else []

    def rows(self) -> list[tuple[Any, ...]]:
        return self.run("SELECT n, v FROM t")

    def visible(self) -> tuple[list[Fields], list[Fields]]:
        """What came and what went since the last look."""
        came, gone = [], []
        for one in self.dataset.changes(self.known):
            assert isinstance(one, Change)
            if one.fields is None:
                gone.append(self.held.pop(one.key))
                del self.known[one.key]
            else:
                came.append(one.fields)
                self.held[one.key], self.known[one.key] = one.fields, one.etag
        return came, gone

    def write(self, *writes: Write) -> list[Result]:
        outcomes = self.dataset.apply(writes)
        for one, outcome in zip(writes, outcomes, strict=True):
            assert bool(outcome.reason) is (outcome.result is REFUSED)
            if outcome.result is WRITTEN and one.wanted is None:
                del self.known[one.key], self.held[one.key]
            elif outcome.result is WRITTEN and one.wanted is not None:
                self.known[one.key], self.held[one.key] = outcome.etag, one.wanted
        return [one.result for one in outcomes]

    def insert(self, fields: Fields) -> Write:
        guid = Guid(bytes(16))
        [key] = self.dataset.propose_keys([Newcomer(guid, fields)], self.known)
        return Write(guid, key, None, fields)

    def delete(self, fields: Fields) -> Write:
        return self.insert(fields)._replace(expected=fields, wanted=None)


def row(n: Value, v: Value = "a", copy: int = 1, x: Value = 0.5) -> Fields:
    return {"#": copy, "n": n, "v": v, "x": x}


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/a.db"
        connection: Any = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    else:
        server: DatabaseServer = request.getfixturevalue(request.param)
        url = server.new()
        connection = server.connect(url)
    with closing(connection):
        made = Stage(url, connection)
        yield made
        made.dataset.close()


def test_equal_rows_are_numbered_and_one_more_or_less_is_one_record(stage: Stage) -> None:
    stage.run("INSERT INTO t VALUES (1, 'a', 0.5), (1, 'a', 0.5), (1, 'A', 0.5), (1, NULL, 0.5)")
    came, gone = stage.visible()
    assert not gone
    assert sorted(came, key=str) == sorted(
        [row(1), row(1, copy=2), row(1, "A"), row(1, None)], key=str
    )
    assert stage.visible() == ([], [])
    stage.run("INSERT INTO t VALUES (1, 'a', 0.5)")
    assert stage.visible() == ([row(1, copy=3)], [])
    stage.run("UPDATE t SET n = 2 WHERE v IS NULL")
    assert stage.visible() == ([row(2, None)], [row(1, None)])
    stage.run("DELETE FROM t WHERE v = 'a'")
    assert row(1, copy=2) in stage.visible()[1]


def test_of_three_equal_rows_one_is_deleted(stage: Stage) -> None:
    stage.run("INSERT INTO t VALUES (1, 'a', 0.5), (1, 'a', 0.5), (1, 'a', 0.5), (1, 'A', 0.5)")
    stage.visible()
    assert stage.write(stage.delete(row(1, copy=2))) == [WRITTEN]
    assert len(stage.rows()) == 3
    assert stage.visible() == ([], [])
    assert stage.write(stage.delete(row(1, copy=2))) == [CHANGED]
    assert stage.write(stage.insert(row(1, copy=4))) == [WRITTEN]
    assert stage.visible() == ([], [])
    assert stage.write(stage.delete(row(1, "A"))) == [WRITTEN]
    assert {one[1] for one in stage.rows()} == {"a"}
    stage.dataset = stage.open()
    assert stage.visible() == ([], [])


def test_what_is_written_is_read_back_exactly_and_not_reported(stage: Stage) -> None:
    odd = [row(None, None, x=None), row(1, ""), row(1, " "), row(2, "%s'\\"), row(3, "1", x=0.1)]
    assert stage.write(*map(stage.insert, odd)) == [WRITTEN] * 5
    assert stage.visible() == ([], [])
    keys = [stage.insert(one).key for one in odd]
    assert [found.fields for found in stage.dataset.read(keys).values()] == odd  # type: ignore[union-attr]
    assert stage.write(*map(stage.delete, odd)) == [WRITTEN] * 5
    assert stage.rows() == []
    assert stage.dataset.read(keys[:1]) == {keys[0]: Change(keys[0], None, None)}


def test_what_the_table_refuses_does_not_hinder_the_others(stage: Stage) -> None:
    bad = [row(100), {**row(2), "none": 1}, row(1, "x" * 21)]
    if stage.url.startswith("sqlite"):
        bad.pop()
    writes = [stage.insert(one) for one in (row(1), *bad, row(2))]
    results = stage.write(*writes)
    assert results == [WRITTEN, *[REFUSED] * len(bad), WRITTEN]
    edited = stage.insert(row(1))._replace(expected=row(1), wanted=row(5))
    assert stage.write(edited) == [REFUSED]
    assert stage.rows() == [(1, "a"), (2, "a")]


def test_a_quicker_user_wins(stage: Stage) -> None:
    stage.write(stage.insert(row(1)))
    stage.run("DELETE FROM t")
    stage.run("INSERT INTO t VALUES (2, 'a', 0.5)")
    assert stage.write(stage.delete(row(1)), stage.insert(row(2))) == [CHANGED, CHANGED]
    assert stage.visible() == ([row(2)], [row(1)])


def test_what_nobody_understands_is_held(tmp_path: Path) -> None:
    stage = Stage(
        f"sqlite:///{tmp_path}/a.db", sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    )
    stage.run("INSERT INTO t VALUES (1, CAST(x'ff41' AS TEXT), 0.5), (2, 'a', 0.5)")
    found = list(stage.dataset.changes({}))
    assert sorted(type(one).__name__ for one in found) == ["Change", "Unreadable"]
    [held] = [one for one in found if isinstance(one, Unreadable)]
    assert isinstance(stage.dataset.read([held.key])[held.key], Unreadable)


def test_a_table_with_a_key_keeps_it(stage: Stage) -> None:
    stage.run("CREATE TABLE k (n integer PRIMARY KEY)")
    with pytest.raises(DatasetError, match="has a primary key"):
        open_dataset(stage.url, table="k", keys=None, key=["*"], base=Path())
    with pytest.raises(BadConfiguration, match="leave it out"):
        open_dataset(stage.url, table="t", keys="shared", key=["*"], base=Path())
