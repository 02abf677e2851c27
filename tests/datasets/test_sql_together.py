"""Several tables written in one transaction, alike on every engine but for what it can defer."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mailsync.datasets.base import Outcome, Result, Write
from mailsync.datasets.sql.apply import Application
from mailsync.datasets.sql.database import SqlDatabase
from mailsync.datasets.sql.table import SqlTable
from mailsync.errors import DatasetError
from tests.datasets.database import REFUSED, WRITTEN, write


class Tables:
    """Tables of one database, written together."""

    def __init__(self, engine: str, url: str, user: Any) -> None:
        self.engine = engine
        self.url = url
        self.user = user
        self.database = SqlDatabase(url, patience=5)

    def run(self, *statements: str) -> list[tuple[Any, ...]]:
        """What a user does; the rows of the last statement."""
        cursor = self.user.cursor()
        for statement in statements:
            cursor.execute(statement)
        return [tuple(row) for row in cursor.fetchall()] if cursor.description else []

    def apply(self, **writes: list[Write]) -> list[list[Outcome]]:
        """The writes by table, parents first."""
        return self.database.apply(
            [(SqlTable(self.database, name), mine) for name, mine in writes.items()]
        )

    def results(self, **writes: list[Write]) -> list[list[Result]]:
        """How they end."""
        return [[one.result for one in outcomes] for outcomes in self.apply(**writes)]


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def tables(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tables]:
    if request.param == "sqlite":
        url, user = (
            f"sqlite:///{tmp_path}/a.db",
            sqlite3.connect(tmp_path / "a.db", isolation_level=None),
        )
    else:
        server = request.getfixturevalue(request.param)
        url = server.new()
        user = server.connect(url)
    with closing(user):
        made = Tables(request.param, url, user)
        yield made
        made.database.close()


FAMILY = (
    "CREATE TABLE parent (id int PRIMARY KEY, name varchar(9) UNIQUE)",
    (
        "CREATE TABLE child (id int PRIMARY KEY, parent int NOT NULL, age int CHECK (age < 100),"
        " FOREIGN KEY (parent) REFERENCES parent (id))"
    ),
)
CASCADING = (
    FAMILY[0],
    FAMILY[1].replace("REFERENCES parent (id)", "REFERENCES parent (id) ON DELETE CASCADE"),
)


def test_parents_come_before_their_children_and_go_after_them(tables: Tables) -> None:
    tables.run(*FAMILY)
    born = [write(n, None, {"parent": n, "age": 1}) for n in range(1, 100)]
    parents = [write(n, None, {"name": f"p{n}"}) for n in range(1, 100)]
    assert tables.results(parent=parents, child=born) == [[WRITTEN] * 99] * 2
    gone = [one._replace(expected=one.wanted, wanted=None) for one in born]
    parents = [one._replace(expected=one.wanted, wanted=None) for one in parents]
    assert tables.results(parent=parents, child=gone) == [[WRITTEN] * 99] * 2
    assert tables.run("SELECT count(*) FROM parent") == [(0,)]


def test_a_parent_takes_no_child_along_that_nobody_deleted(tables: Tables) -> None:
    tables.run(
        *CASCADING,
        "INSERT INTO parent VALUES (1, 'a'), (2, 'b'), (3, 'c')",
        "INSERT INTO child VALUES (1, 1, 1), (2, 2, 1), (3, 2, 1)",
    )
    old = [write(1, {"name": "a"}, None), write(2, {"name": "b"}, None)]
    old.append(write(3, {"name": "c"}, None))
    gone = [write(1, {"parent": 1, "age": 1}, None), write(2, {"parent": 2, "age": 1}, None)]
    new = write(4, None, {"parent": 3, "age": 1})
    outcome = tables.results(parent=old, child=[*gone, new])
    assert outcome == [[WRITTEN, REFUSED, REFUSED], [WRITTEN] * 3]
    assert tables.run("SELECT id FROM parent ORDER BY 1") == [(2,), (3,)]
    assert tables.run("SELECT id FROM child ORDER BY 1") == [(3,), (4,)]


def test_what_is_no_dataset_goes_as_the_database_says(tables: Tables) -> None:
    tables.run(
        *CASCADING,
        "INSERT INTO parent VALUES (1, 'a')",
        "INSERT INTO child VALUES (1, 1, 1)",
    )
    assert tables.results(parent=[write(1, {"name": "a"}, None)]) == [[WRITTEN]]
    assert tables.run("SELECT id FROM child") == []


def test_a_child_moves_to_its_new_parent_before_the_old_one_goes(tables: Tables) -> None:
    tables.run(*FAMILY, "INSERT INTO parent VALUES (1, 'a')", "INSERT INTO child VALUES (1, 1, 1)")
    outcome = tables.results(
        parent=[write(1, {"name": "a"}, None), write(2, None, {"name": "b"})],
        child=[write(1, {"parent": 1, "age": 1}, {"parent": 2, "age": 1})],
    )
    assert outcome == [[WRITTEN, WRITTEN], [WRITTEN]]


def test_what_breaks_a_rule_stays_out_with_what_depends_on_it(tables: Tables) -> None:
    tables.run(*FAMILY, "CREATE TABLE toy (id int PRIMARY KEY, child int NOT NULL,"
               " FOREIGN KEY (child) REFERENCES child (id))")  # fmt: skip
    outcome = tables.results(
        parent=[write(n, None, {"name": f"p{n}"}) for n in (1, 2)],
        child=[write(1, None, {"parent": 1, "age": 1}), write(2, None, {"parent": 2, "age": 100})],
        toy=[write(n, None, {"child": n}) for n in (2, 1)],
    )
    assert outcome == [[WRITTEN] * 2, [WRITTEN, REFUSED], [REFUSED, WRITTEN]]
    assert tables.run("SELECT id FROM toy") == [(1,)]


def test_a_refusal_is_told_by_its_outcome_alone(
    tables: Tables, caplog: pytest.LogCaptureFixture
) -> None:
    tables.run("CREATE TABLE small (id int PRIMARY KEY, size int CHECK (size < 3))")
    [outcome] = tables.results(small=[write(n, None, {"size": n}) for n in range(1, 5)])
    assert outcome == [WRITTEN] * 2 + [REFUSED] * 2
    assert not caplog.records


def test_a_long_line_behind_a_refused_row_is_undone_once(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = "" if tables.engine == "mariadb" else "DEFERRABLE"
    tables.run(
        "CREATE TABLE line (id int PRIMARY KEY, ahead int NOT NULL,"
        f" FOREIGN KEY (ahead) REFERENCES line (id) {later})"
    )
    run, attempts = Application.run, []

    def counted(self: Application) -> list[Outcome]:
        attempts.append(self)
        return run(self)

    monkeypatch.setattr(Application, "run", counted)
    line = [write(n, None, {"ahead": n - 1}) for n in range(1, 50)]
    whole = [write(n, None, {"ahead": max(n - 1, 100)}) for n in range(100, 105)]
    [outcome] = tables.results(line=[*line, *whole])
    assert outcome == [REFUSED] * 49 + [WRITTEN] * 5
    assert len(attempts) == (1 if tables.engine == "mariadb" else 2)


def circle(tables: Tables, null: str, later: str = "") -> None:
    """A ship has a master, who has a ship. ``later``: when the foreign keys are checked."""
    closing = f"FOREIGN KEY (master) REFERENCES man (id) {later}"
    lite = tables.engine == "sqlite"
    tables.run(
        f"CREATE TABLE ship (id int PRIMARY KEY, master int {null}{f', {closing}' * lite})",
        "CREATE TABLE man (id int PRIMARY KEY, ship int NOT NULL,"
        f" FOREIGN KEY (ship) REFERENCES ship (id) {later})",
    )
    if not lite:
        tables.run(f"ALTER TABLE ship ADD {closing}")


def test_a_circle_that_may_be_empty_somewhere_comes_and_goes_on_every_engine(
    tables: Tables,
) -> None:
    circle(tables, "NULL")
    men = [write(n, None, {"ship": n % 5}) for n in range(10)]
    ships = [write(n, None, {"master": n + 5}) for n in range(5)]
    ships[3] = write(3, None, {"master": 77})
    outcome = tables.results(ship=ships, man=men)
    assert outcome[0] == [WRITTEN, WRITTEN, WRITTEN, REFUSED, WRITTEN]
    assert outcome[1] == [REFUSED if n % 5 == 3 else WRITTEN for n in range(10)]
    assert tables.run("SELECT id, master FROM ship ORDER BY id") == [(0, 5), (1, 6), (2, 7), (4, 9)]
    outcome = tables.results(
        ship=[write(n, {"master": n + 5}, None) for n in (0, 1)],
        man=[write(n, {"ship": n % 5}, None) for n in (0, 5, 1)],
    )
    # man 6 stays, and with him ship 1
    assert outcome == [[WRITTEN, REFUSED], [WRITTEN, WRITTEN, WRITTEN]]
    assert tables.run("SELECT id, master FROM ship ORDER BY id") == [(1, 6), (2, 7), (4, 9)]


def test_a_circle_that_is_nowhere_empty_needs_an_engine_that_defers(tables: Tables) -> None:
    circle(tables, "NOT NULL", "" if tables.engine == "mariadb" else "DEFERRABLE")
    outcome = tables.apply(
        ship=[write(1, None, {"master": 1}), write(2, None, {"master": 9})],
        man=[write(1, None, {"ship": 1}), write(2, None, {"ship": 2})],
    )
    able = REFUSED if tables.engine == "mariadb" else WRITTEN
    assert [[one.result for one in each] for each in outcome] == [[able, REFUSED]] * 2
    assert all(one.reason for each in outcome for one in each if one.result is REFUSED)
    assert len(tables.run("SELECT * FROM ship")) == (able is WRITTEN)


def test_an_error_undoes_the_writes_to_all_tables(tables: Tables) -> None:
    tables.run(*FAMILY)
    opened = [SqlTable(tables.database, name) for name in ("parent", "child")]
    tables.run("DROP TABLE child")
    with pytest.raises(DatasetError):
        tables.database.apply(
            [
                (opened[0], [write(1, None, {"name": "a"})]),
                (opened[1], [write(1, None, {"parent": 1, "age": 1})]),
            ]
        )
    assert tables.run("SELECT * FROM parent") == []
