"""Keys that differ at one site and are spelled alike at another: two rows stay two."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from mailsync.datasets.sql.table import SqlTable
from tests.cycle.sites import Sites

Row = tuple[object, ...]


class Unlike:
    """Alice tells her rows apart by texts, Bob his by numbers."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.sites = Sites(directory)
        self.users: dict[str, sqlite3.Connection] = {}
        for name, other, kind in (("alice", "bob", "TEXT"), ("bob", "alice", "INTEGER")):
            site = self.sites.add(name, {other: ""})
            path = directory / f"{name}.data"
            user = stack.enter_context(closing(sqlite3.connect(path, isolation_level=None)))
            user.execute(f"CREATE TABLE t (no {kind} PRIMARY KEY, v TEXT)")
            table = SqlTable(f"sqlite:///{path}", "t", keys="shared")
            site.datasets["people"] = stack.enter_context(closing(table))
            self.users[name] = user

    def rows(self, name: str) -> list[Row]:
        return self.users[name].execute("SELECT no, v FROM t ORDER BY no").fetchall()

    def rest(self) -> None:
        """Until nobody has anything to say."""
        for _ in range(10):
            if not self.sites.round():
                return
        pytest.fail("no end of mails")


@pytest.fixture
def unlike(tmp_path: Path) -> Iterator[Unlike]:
    with ExitStack() as stack:
        yield Unlike(tmp_path, stack)


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("has_own", [True, False])
def test_two_rows_whose_keys_another_site_spells_alike_stay_two(
    unlike: Unlike, *, at_once: bool, has_own: bool
) -> None:
    alice, bob = unlike.users["alice"], unlike.users["bob"]
    if has_own:
        bob.execute("INSERT INTO t VALUES (1, 'one')")
    alice.execute("INSERT INTO t VALUES ('1', 'one')")
    if not at_once:
        unlike.rest()
    alice.execute("INSERT INTO t VALUES ('1.0', 'other')")
    unlike.rest()
    assert unlike.rows("alice") == [("1", "one"), ("1.0", "other")]
    assert unlike.rows("bob") == [(1, "one")]
    [reason] = unlike.sites.sync("bob").held["people"].values()
    assert "spelled here as that of another record" in reason
    bob.execute("UPDATE t SET v = 'uno'")
    unlike.rest()
    assert unlike.rows("alice") == [("1", "uno"), ("1.0", "other")]
    alice.execute("DELETE FROM t WHERE no = '1'")
    unlike.rest()
    assert unlike.rows("alice") == [("1.0", "other")]
    assert unlike.rows("bob") == [(1, "other")]


def test_one_row_under_another_spelling_of_its_key_is_one_still(unlike: Unlike) -> None:
    alice = unlike.users["alice"]
    alice.execute("INSERT INTO t VALUES ('1', 'one')")
    unlike.users["bob"].execute("INSERT INTO t VALUES (1, 'one')")
    unlike.rest()
    alice.execute("UPDATE t SET no = '1.0'")
    unlike.rest()
    assert unlike.rows("alice") == [("1.0", "one")]
    assert unlike.rows("bob") == [(1, "one")]
