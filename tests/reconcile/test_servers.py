"""Tables of unlike engines, on real servers: compared, made equal, and equal ever after."""

from __future__ import annotations

import itertools
import sqlite3
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.cli.invoking import run, succeed
from tests.servers.databases import DatabaseServer

PARTS: dict[str, str] = {
    "sqlite": "no TEXT PRIMARY KEY, made DATE, price DECIMAL(8,2), stocked BOOLEAN, at DATETIME,"
    " drawing BLOB, note TEXT",
    "postgresql": "no text PRIMARY KEY, made date, price numeric(8,2), stocked boolean,"
    " at timestamp, drawing bytea, note text",
    "mariadb": "no VARCHAR(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PRIMARY KEY, made DATE,"
    " price DECIMAL(8,2), stocked BOOLEAN, at DATETIME(6), drawing BLOB, note TEXT",
}
GASKET = ("P-1", "'2026-12-31'", "1.50", "true", "'2026-01-02 03:04:05'", "NULL", "''")
VALVE = ("P-2", "NULL", "120", "false", "NULL", "{blob}", "'Ventil, Größe 3 ⚓'")
PUMP = ("P-3", "NULL", "NULL", "NULL", "NULL", "NULL", "NULL")
BLOBS = {"sqlite": "x'00ff'", "postgresql": r"'\x00ff'::bytea", "mariadb": "x'00ff'"}


class Party(NamedTuple):
    """A database of one engine with a table of parts."""

    engine: str
    url: str
    connection: Any

    def does(self, statement: str) -> None:
        self.connection.cursor().execute(statement)

    def adds(self, row: tuple[str, ...]) -> None:
        no, *rest = row
        values = ", ".join(rest).format(blob=BLOBS[self.engine])
        self.does(f"INSERT INTO parts VALUES ('{no}', {values})")


@pytest.fixture
def parties(
    tmp_path: Path, postgresql: DatabaseServer, mariadb: DatabaseServer
) -> dict[str, Party]:
    file = tmp_path / "parts.db"
    shore, yard = postgresql.new(), mariadb.new()
    found = {
        "sqlite": Party("sqlite", f"sqlite:///{file}", sqlite3.connect(file, isolation_level=None)),
        "postgresql": Party("postgresql", shore, postgresql.connect(shore)),
        "mariadb": Party("mariadb", yard, mariadb.connect(yard)),
    }
    for name, party in found.items():
        party.does(f"CREATE TABLE parts ({PARTS[name]})")
    return found


@pytest.mark.parametrize(("source", "target"), list(itertools.permutations(PARTS, 2)))
def test_two_engines_are_made_equal_and_stay_so(
    source: str, target: str, parties: dict[str, Party]
) -> None:
    here, there = parties[source], parties[target]
    for row in (GASKET, VALVE):
        here.adds(row)
    for row in (GASKET, PUMP):
        there.adds(row)
    command = ("reconcile", f"{here.url}#parts", f"{there.url}#parts")
    assert [line.split()[:2] for line in run(*command).stdout.splitlines()[:2]] == [
        ["added", "P-2:"],
        ["missing", "P-3:"],
    ]
    succeed(*command, "--apply", "--direction", "both")
    assert succeed(*command).stdout == ""
    there.does("UPDATE parts SET price = 2, note = NULL WHERE no = 'P-1'")
    done = succeed(*command, "--apply")
    assert done.stdout.startswith('changed   P-1: note source "", target NULL; price source ')
    assert done.stdout.endswith("1 changed, 1 written to the target; equal now\n")
    assert succeed(*command).stdout == ""
    assert succeed("reconcile", command[2], command[1]).stdout == ""


@pytest.mark.parametrize(
    ("engine", "key"),
    [
        ("postgresql", "serial PRIMARY KEY"),
        ("postgresql", "integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY"),
        ("mariadb", "INTEGER AUTO_INCREMENT PRIMARY KEY"),
    ],
)
def test_users_go_on_counting_where_the_copied_keys_end(
    engine: str, key: str, parties: dict[str, Party]
) -> None:
    here, there = parties["sqlite"], parties[engine]
    here.does("CREATE TABLE jobs (id INTEGER PRIMARY KEY, name TEXT)")
    here.does("INSERT INTO jobs VALUES (1, 'weld'), (2, 'paint')")
    there.does(f"CREATE TABLE jobs (id {key}, name varchar(40))")
    command = ("reconcile", f"{here.url}#jobs", f"{there.url}#jobs")
    succeed(*command, "--apply")
    assert succeed(*command).stdout == ""
    there.does("INSERT INTO jobs (name) VALUES ('oil')")
    assert 'missing   3: id 3, name "oil"' in run(*command).stdout
