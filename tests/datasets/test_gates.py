"""A file's gate: it passes what has certainly not changed, and nothing else."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailsync.core.model import Etag, Guid
from mailsync.datasets import gates
from mailsync.datasets.base import Change, Write
from mailsync.datasets.csvfile.dataset import CsvFile
from mailsync.datasets.csvfile.text import Line, Read, Table, nothing_more
from mailsync.datasets.files import utc_now
from mailsync.datasets.gates import Watched
from mailsync.datasets.rowkeys import key_text
from mailsync.datasets.sql.table import SqlTable
from mailsync.datasets.texts.contentline import Malformed
from mailsync.errors import DatasetBusy

GUID = Guid(bytes(16))
TEXT = b"no,name\n1,a\n2,b\n"


def much_later() -> datetime:
    """By then nobody can have changed the file within the same moment."""
    return utc_now() + timedelta(hours=1)


def looked_through(path: Path, text: bytes = TEXT) -> tuple[CsvFile, bytes]:
    """A file of two rows that was looked through long after it was written."""
    path.write_bytes(text)
    dataset = CsvFile(path, ["no"], much_later)
    list(dataset.changes({}))
    assert dataset.gate is not None
    return dataset, dataset.gate


def wait_for_the_next_moment(path: Path) -> None:
    """Until a file that is written now gets another time than this one has."""
    other, before = path.with_name("clock"), path.stat().st_ctime_ns
    while True:
        other.write_bytes(b"")
        if other.stat().st_ctime_ns != before:
            return


def test_a_file_of_an_equal_status_is_not_even_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, gate = looked_through(tmp_path / "a.csv")
    monkeypatch.setattr(Watched, "read", None)
    assert dataset.still(gate) == gate


def test_a_file_that_was_only_touched_is_read_once_more(tmp_path: Path) -> None:
    dataset, gate = looked_through(tmp_path / "a.csv")
    wait_for_the_next_moment(dataset.path)
    dataset.path.touch()
    renewed = dataset.still(gate)
    assert renewed is not None
    assert renewed != gate
    assert dataset.still(renewed) == renewed


def test_a_change_is_seen_though_size_and_time_are_those_of_before(tmp_path: Path) -> None:
    dataset, gate = looked_through(tmp_path / "a.csv")
    before = dataset.path.stat()
    wait_for_the_next_moment(dataset.path)
    dataset.path.write_bytes(TEXT.replace(b"b", b"c"))
    os.utime(dataset.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert dataset.path.stat().st_mtime_ns == before.st_mtime_ns
    assert dataset.still(gate) is None


def test_a_copy_in_its_place_passes_if_its_content_does(tmp_path: Path) -> None:
    dataset, gate = looked_through(tmp_path / "a.csv")
    other = tmp_path / "b.csv"
    for text, passes in ((TEXT, True), (TEXT.replace(b"a\n", b"x\n"), False)):
        other.write_bytes(text)
        other.replace(dataset.path)
        assert (dataset.still(gate) is not None) is passes


def test_a_file_written_just_now_may_change_again_unnoticed_and_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(TEXT)
    dataset = CsvFile(path, ["no"])
    list(dataset.changes({}))
    assert dataset.gate is not None
    assert dataset.still(dataset.gate) is not None
    status = path.stat()
    path.write_bytes(TEXT.replace(b"b", b"c"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert dataset.still(dataset.gate) is None


def test_another_key_is_another_gate(tmp_path: Path) -> None:
    dataset, gate = looked_through(tmp_path / "a.csv")
    wait_for_the_next_moment(dataset.path)
    dataset.path.touch()
    assert CsvFile(dataset.path, ["name"], much_later).still(gate) is None


def test_there_is_no_gate_before_the_end_and_none_after_a_write(tmp_path: Path) -> None:
    dataset, gate = looked_through(tmp_path / "a.csv")
    found = dataset.changes({})
    next(found)
    assert dataset.gate is None
    list(found)
    assert dataset.gate == gate


def test_a_file_written_to_while_it_is_read_is_read_again_later(tmp_path: Path) -> None:
    """Rows that are not known are read twice; what was counted must be what is told."""
    long = b"x" * 2_000_000
    dataset, _ = looked_through(tmp_path / "a.csv", b"no,name\n1," + long + b"\n2," + long + b"\n")
    found = dataset.changes({})
    next(found)
    with dataset.path.open("r+b") as file:
        file.seek(-3, os.SEEK_END)
        file.write(b"y")
    with pytest.raises(DatasetBusy, match="another program"):
        list(found)
    assert dataset.gate is None


def test_known_rows_and_strangers_come_from_one_reading(tmp_path: Path) -> None:
    dataset, gate = looked_through(tmp_path / "a.csv")
    known = {one.key: one.etag for one in dataset.changes({}) if isinstance(one, Change)}
    assert list(dataset.changes(known)) == []
    assert dataset.gate == gate
    [gone] = dataset.changes({**known, key_text(["3"]): None})
    assert gone == Change(key_text(["3"]), None, None)


# --- a database of one file ------------------------------------------------------------------


@pytest.fixture(params=["WAL", "DELETE"])
def user(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[sqlite3.Connection]:
    """Somebody who has the database open all the time."""
    with closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as connection:
        connection.execute(f"PRAGMA journal_mode = {request.param}")
        connection.execute("CREATE TABLE t (no TEXT PRIMARY KEY, name TEXT)")
        connection.execute("CREATE TABLE other (no TEXT PRIMARY KEY, name TEXT)")
        connection.execute("INSERT INTO t VALUES ('1', 'a')")
        yield connection


def table_at(path: Path, name: str = "t") -> SqlTable:
    return SqlTable(f"sqlite:///{path}", name)


def test_a_database_passes_until_somebody_commits(
    tmp_path: Path, user: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gates, "RACY", -(10**15))  # as if everything had happened long ago
    path = tmp_path / "a.db"
    commits = [
        "UPDATE t SET name = 'b'",
        "PRAGMA wal_checkpoint(TRUNCATE); DELETE FROM t",
        "BEGIN; INSERT INTO t VALUES ('2', 'c'); COMMIT",
        "",
        "INSERT INTO other VALUES ('4', 'e')",
    ]
    for statements in commits:
        table = table_at(path)
        known = {one.key: one.etag for one in table.changes({}) if isinstance(one, Change)}
        table.close()
        table = table_at(path)
        assert list(table.changes(known)) == []
        gate = table.gate
        assert gate is not None
        assert table.still(gate) == gate
        assert table_at(path, "other").still(gate) is None
        user.execute("SELECT * FROM t").fetchall()
        user.executescript("BEGIN; SELECT * FROM t; ROLLBACK")
        assert table.still(gate) == gate
        wait_for_the_next_moment(path)
        for log in path.parent.glob("*-wal"):
            wait_for_the_next_moment(log)
        user.executescript(statements)
        if not statements:  # we write
            table.apply([Write(GUID, key_text(["3"]), None, {"no": "3", "name": "d"})])
        assert table.still(gate) is None
        table.close()


def test_a_database_reached_by_a_link_has_the_gate_of_the_file(
    tmp_path: Path, user: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gates, "RACY", -(10**15))
    link = tmp_path / "links" / "b.db"
    link.parent.mkdir()
    link.symlink_to(tmp_path / "a.db")
    with closing(table_at(link)) as table:
        list(table.changes({}))
        gate = table.gate
        assert gate is not None
        for path in tmp_path.glob("a.db*"):
            wait_for_the_next_moment(path)
        user.execute("UPDATE t SET name = 'b'")
        assert table.still(gate) is None


def test_a_database_written_to_just_now_has_no_gate(
    tmp_path: Path, user: sqlite3.Connection
) -> None:
    table = table_at(tmp_path / "a.db")
    list(table.changes({}))
    assert table.gate is None
    table.close()


# --- a text in pieces ------------------------------------------------------------------------

pieces = st.lists(
    st.sampled_from(['1,"', "1,a", "2,", "3", '"', '""', ",", "b", "\n", "\r", "\r\n"]), max_size=12
)


@settings(max_examples=300, deadline=None)
@given(pieces, st.integers(1, 9), st.sets(st.integers(0, 9)))
def test_a_text_read_in_pieces_has_the_rows_of_the_whole(
    snippets: list[str], size: int, known: set[int]
) -> None:
    text = ("no,name\n" + "".join(snippets)).encode()
    whole = Table(text, ["no"])
    rows, _ = rows_of(whole, set(), nothing_more)
    assert all(text[row.begin :].startswith(row.text) for row in rows)
    etags = {whole.etag(row.text) for number, row in enumerate(rows) if number in known}
    beginning = text[: len("no,name\n")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mailsync.datasets.csvfile.text._PIECE", size)
        source = BytesIO(text[len(beginning) :])
        found = rows_of(Table(beginning, ["no"]), set(etags), source.read)
    assert found == rows_of(whole, set(etags), nothing_more)


def rows_of(table: Table, known: set[Etag], read: Read) -> tuple[list[Line], str]:
    """The rows that are not known, and what keeps from reading on."""
    rows = []
    try:
        for row in table.strangers(known, read):
            rows.append(row)  # noqa: PERF402 - also those before it fails
    except Malformed as error:
        return rows, str(error)
    return rows, ""
