"""A CSV file at one site, a table of texts at the other."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from mailsync.core.mapping import Place, Source
from mailsync.core.model import Etag, Key
from mailsync.cycle import materialising
from mailsync.cycle.report import Report
from mailsync.cycle.run import Extent, run_cycle
from mailsync.datasets.base import Change, Outcome, Unreadable, Write
from mailsync.datasets.csvfile.dataset import CsvFile
from mailsync.datasets.mapping import mapped
from mailsync.datasets.sql.table import SqlTable
from tests.cycle.sites import Sites
from tests.servers.databases import DatabaseServer

TABLE = "CREATE TABLE parts (no TEXT, maker TEXT, name TEXT, note TEXT, PRIMARY KEY (no, maker))"
FILE = b"""no;maker;name;note\r
1;"Smith; Sons";pump;"two\nlines"\r
2;Jones;"5"" pipe";=1+1\r
"""


class Store:
    """Alice keeps her parts in a CSV file, Bob his in a database."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "parts.csv"
        self.file.write_bytes(FILE)
        self.database = sqlite3.connect(directory / "parts.db", isolation_level=None)
        self.database.execute(TABLE)
        self.sites = Sites(directory)
        self.sites.add("alice", {"bob": ""}, ("parts",))
        self.sites.add("bob", {"alice": ""}, ("parts",))
        csv_file = CsvFile(self.file, ["no", "maker"])
        self.sites.sites["alice"].datasets["parts"] = csv_file
        self.sites.sites["bob"].datasets["parts"] = SqlTable(
            f"sqlite:///{directory}/parts.db", "parts"
        )

    def alice(self, before: str, after: str) -> None:
        self.file.write_bytes(self.file.read_bytes().replace(before.encode(), after.encode()))

    def bob(self, statement: str) -> None:
        self.database.execute(statement)

    def rows(self) -> list[tuple[str | None, ...]]:
        return self.database.execute("SELECT * FROM parts ORDER BY no, maker").fetchall()

    def settle(self) -> None:
        for _ in range(10):
            if not self.sites.round():
                return
            self.sites.clock.now += 3_600_000
        raise AssertionError("they never come to rest")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path)
    yield made
    made.database.close()
    for site in made.sites.sites.values():
        site.close()


def test_both_ends_hold_the_same_and_the_file_keeps_its_style(store: Store) -> None:
    store.bob("INSERT INTO parts VALUES ('3', 'Brown', 'valve; big', NULL)")
    store.settle()
    assert store.rows() == [
        ("1", "Smith; Sons", "pump", "two\nlines"),
        ("2", "Jones", '5" pipe', "=1+1"),
        ("3", "Brown", "valve; big", None),
    ]
    assert store.file.read_bytes() == FILE + b'3;Brown;"valve; big";\r\n'


def test_edits_of_both_merge_and_deletes_arrive(store: Store) -> None:
    store.bob("INSERT INTO parts VALUES ('3', 'Brown', 'valve', NULL)")
    store.settle()
    store.alice("pump", "big pump")
    store.alice('2;Jones;"5"" pipe";=1+1\r\n', "")
    store.bob("UPDATE parts SET note = 'ordered' WHERE no IN ('1', '3')")
    store.settle()
    assert store.file.read_bytes() == (
        b'no;maker;name;note\r\n1;"Smith; Sons";big pump;ordered\r\n3;Brown;valve;ordered\r\n'
    )
    assert store.rows() == [
        ("1", "Smith; Sons", "big pump", "ordered"),
        ("3", "Brown", "valve", "ordered"),
    ]
    store.bob("DELETE FROM parts")
    store.settle()
    assert store.file.read_bytes() == b"no;maker;name;note\r\n"


def test_a_null_shown_as_an_empty_cell_stays_null_until_it_is_edited(store: Store) -> None:
    store.bob("INSERT INTO parts VALUES ('3', 'Brown', 'valve', NULL)")
    store.settle()
    store.alice("valve", "tap")
    store.settle()
    assert store.rows()[2] == ("3", "Brown", "tap", None)
    store.alice("tap;", "tap;new")
    store.settle()
    store.alice("tap;new", "tap;")
    store.settle()
    assert store.rows()[2] == ("3", "Brown", "tap", "")


def test_rows_that_both_have_under_one_key_become_one(store: Store) -> None:
    store.bob("INSERT INTO parts VALUES ('2', 'Jones', '5\" pipe', '=1+1')")
    store.settle()
    assert store.file.read_bytes() == FILE
    assert len(store.rows()) == 2


def test_columns_that_come_and_go_are_nobodys_edit(store: Store) -> None:
    store.settle()
    rows = store.rows()
    bare = b'no;maker;name\r\n1;"Smith; Sons";pump\r\n2;Jones;pipe\r\n'
    store.file.write_bytes(bare)
    store.settle()
    assert store.rows() == [rows[0], ("2", "Jones", "pipe", "=1+1")]
    store.file.write_bytes(b"no;maker;name;note;more\r\n" + bare.split(b"\r\n", 1)[1])
    store.settle()
    assert store.file.read_bytes() == (
        b'no;maker;name;note;more\r\n1;"Smith; Sons";pump;"two\nlines"\r\n2;Jones;pipe;=1+1\r\n'
    )
    assert store.sites.round() == 0
    store.alice("pipe;=1+1", "pipe;=1+1;x")
    assert store.sites.round() == 1


def test_a_key_column_that_went_stops_the_dataset_alone(store: Store) -> None:
    store.settle()
    rows = store.rows()
    store.alice("maker", "brand")
    report = asyncio.run(run_cycle(store.sites.sites["alice"], Extent(), Report()))
    [problem] = report.problems
    assert "there is no column maker; there are: no, brand, name, note" in str(problem)
    store.alice("brand", "maker")
    store.settle()
    assert store.rows() == rows


def test_other_names_and_columns_of_its_own_behind_a_mapping(store: Store) -> None:
    store.file.write_bytes(b"part;firm;what;shelf\n1;Jones;pump;A3\n")
    names = {"no": "part", "maker": "firm", "name": "what"}
    sources: dict[str, Source] = {name: Place(own) for name, own in names.items()}
    store.sites.sites["alice"].datasets["parts"] = mapped(
        CsvFile(store.file, ["part", "firm"]), "csv", sources, {"shelf": "?"}
    )
    store.bob("INSERT INTO parts VALUES ('2', 'Brown', NULL, 'big')")
    store.settle()
    assert store.file.read_bytes() == b"part;firm;what;shelf\n1;Jones;pump;A3\n2;Brown;;?\n"
    assert store.rows() == [("1", "Jones", "pump", None), ("2", "Brown", None, "big")]
    store.alice("Brown;;?", "Brown;valve;B1")
    store.bob("UPDATE parts SET name = 'tap' WHERE no = '1'")
    store.settle()
    assert store.file.read_bytes() == b"part;firm;what;shelf\n1;Jones;tap;A3\n2;Brown;valve;B1\n"
    assert store.rows() == [("1", "Jones", "tap", None), ("2", "Brown", "valve", "big")]


def test_a_table_with_types_gets_numbers_dates_and_nothing_from_cells(
    tmp_path: Path, postgresql: DatabaseServer
) -> None:
    url = postgresql.new()
    user = postgresql.connect(url)
    columns = "no int PRIMARY KEY, price numeric(8, 2), ready boolean, day date, name text"
    user.execute(f"CREATE TABLE parts ({columns})")
    user.execute("INSERT INTO parts VALUES (2, 1.5, true, NULL, 'valve')")
    store = Store(tmp_path)
    store.sites.sites["bob"].datasets["parts"] = SqlTable(url, "parts", keys="shared")
    store.file.write_bytes(b"no,price,ready,day,name\n1,7,0,2026-01-02,\n3,,,,pump\n")
    store.sites.sites["alice"].datasets["parts"] = CsvFile(store.file, ["no"])
    store.settle()
    both = b"no,price,ready,day,name\n1,7,0,2026-01-02,\n3,,,,pump\n2,1.50,1,,valve\n"
    assert store.file.read_bytes() == both
    rows = "SELECT no, price::text, ready, day::text, name FROM parts ORDER BY no"
    assert user.execute(rows).fetchall() == [
        (1, "7.00", False, "2026-01-02", ""),
        (2, "1.50", True, None, "valve"),
        (3, None, None, None, "pump"),
    ]
    store.alice("2,1.50,1,,", "2,,0,2026-02-03,")
    user.execute("UPDATE parts SET price = 2, name = NULL WHERE no = 3")
    store.settle()
    assert user.execute(rows).fetchall()[1:] == [
        (2, None, False, "2026-02-03", "valve"),
        (3, "2.00", None, None, None),
    ]
    assert b"3,2.00,,,\n" in store.file.read_bytes()
    assert store.sites.round() == 0


# --- an unchanged file is not looked through --------------------------------------------------


def looks(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files whose rows are looked through from now on."""
    looked: list[Path] = []
    real = CsvFile.changes

    def noted(dataset: CsvFile, known: Mapping[Key, Etag | None]) -> Iterator[Change | Unreadable]:
        looked.append(dataset.path)
        return real(dataset, known)

    monkeypatch.setattr(CsvFile, "changes", noted)
    return looked


def test_a_file_is_looked_through_when_it_changed_and_else_not(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.settle()
    store.sites.sync("alice")
    looked = looks(store, monkeypatch)
    assert store.sites.sync("alice").detected == {}
    assert looked == []
    store.alice("pump", "bilge pump")
    assert store.sites.sync("alice").detected == {"parts": 1}
    assert store.sites.sync("alice").detected == {}
    assert len(looked) == 1
    store.bob("DELETE FROM parts WHERE no = '2'")
    store.settle()  # what we write ourselves is looked at once
    assert b"Jones" not in store.file.read_bytes()
    store.sites.sync("alice")
    looked.clear()
    store.sites.sync("alice")
    assert looked == []


def test_what_came_is_written_by_one_replacement_of_the_file(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(materialising, "ALONE_MAX", 2)
    for number in range(10, 17):
        store.bob(f"INSERT INTO parts VALUES ('{number}', 'Brown', 'valve', NULL)")
    real, written = CsvFile.apply, []

    def apply(dataset: CsvFile, writes: Sequence[Write]) -> list[Outcome]:
        written.append(len(writes))
        return real(dataset, writes)

    monkeypatch.setattr(CsvFile, "apply", apply)
    store.settle()
    assert written == [7]
    assert store.file.read_bytes().count(b"valve") == 7


@pytest.mark.parametrize("written", [0, 1])
def test_after_a_crash_the_file_is_looked_through_whatever_its_gate(
    store: Store, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    """Before the file was written, or after; then the file of before is back in its place."""
    store.settle()
    store.sites.sync("alice")
    before = store.file.read_bytes()
    store.bob("UPDATE parts SET name = 'valve' WHERE no = '1'")
    store.sites.sync("bob")
    store.sites.network.deliver_all()
    real = CsvFile.apply

    def crash(dataset: CsvFile, writes: Sequence[Write]) -> list[Outcome]:
        real(dataset, writes[:written])
        raise KeyboardInterrupt

    monkeypatch.setattr(CsvFile, "apply", crash)
    with pytest.raises(KeyboardInterrupt):
        store.sites.sync("alice")
    monkeypatch.setattr(CsvFile, "apply", real)
    assert (store.file.read_bytes() == before) is (written == 0)
    store.file.write_bytes(before)
    looked = looks(store, monkeypatch)
    store.settle()
    assert looked
    assert b"valve" in store.file.read_bytes()
    assert store.rows()[0][2] == "valve"


def test_the_file_of_before_our_write_in_its_place_again_is_an_edit(store: Store) -> None:
    store.settle()
    store.sites.sync("alice")
    before = store.file.read_bytes()
    store.bob("UPDATE parts SET name = 'valve' WHERE no = '1'")
    store.sites.sync("bob")
    store.sites.network.deliver_all()
    store.sites.sync("alice", Extent(sending=False))
    assert b"valve" in store.file.read_bytes()
    store.file.write_bytes(before)
    store.settle()
    assert store.file.read_bytes() == before
    assert store.rows()[0][2] == "pump"


def test_rows_that_cannot_be_read_are_named_again_in_every_cycle(store: Store) -> None:
    store.settle()
    store.file.write_bytes(FILE + b"3;Brown;a;b;c\r\n")
    for _ in range(3):
        report = store.sites.sync("alice")
        assert list(report.held["parts"]) == ["row 4"]


def test_a_file_behind_another_mapping_is_looked_through(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.settle()
    store.sites.sync("alice")
    looked = looks(store, monkeypatch)
    alice = store.sites.sites["alice"]
    names: dict[str, Source] = {name: Place(name) for name in ("no", "maker", "name")}
    alice.datasets["parts"] = mapped(alice.datasets["parts"], "csv", names, {})
    store.sites.sync("alice")
    assert len(looked) == 1
