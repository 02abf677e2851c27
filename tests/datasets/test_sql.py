from __future__ import annotations

import tracemalloc
from pathlib import Path
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsync.core.model import Fields, Key, Value, same_fields
from mailsync.core.places import place_of
from mailsync.datasets.base import Change, Newcomer, Unreadable, Write
from mailsync.datasets.rowkeys import key_text, key_values
from mailsync.datasets.sql.table import SqlTable
from mailsync.errors import DatasetBusy, DatasetError, DatasetMissing, DatasetReadOnly, DiskFull
from tests.datasets.database import GUID, REFUSED, WRITTEN, Database, contents, results, write
from tests.datasets.unprivileged import as_nobody, open_to_all

values = st.none() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text() | (
    st.binary()
)  # fmt: skip


@given(st.lists(values, min_size=1))
def test_keys_are_exact_by_type(parts: list[Value]) -> None:
    back = key_values(key_text(parts))
    assert [(type(one), one) for one in back] == [(type(one), one) for one in parts]


@given(st.text())
def test_what_is_no_key_is_a_value_error_and_nothing_else(text: str) -> None:
    try:
        key_values(Key(text))
    except ValueError:
        return


def test_names_full_of_quotes_are_only_names(tmp_path: Path) -> None:
    name = "drop\"; table ' `x` [y] %s :z ?"
    quoted = '"' + name.replace('"', '""') + '"'
    base = Database(
        tmp_path / "a.db", f"CREATE TABLE {quoted} ({quoted} TEXT PRIMARY KEY, 'select' TEXT)"
    )
    table = base.table(name)
    hostile = "'; DROP TABLE x; --"
    fields = {name: hostile, "select": hostile}
    [outcome] = table.apply([write(hostile, None, fields)])
    assert outcome.result is WRITTEN
    assert list(table.changes({key_text([hostile]): outcome.etag})) == []
    assert contents(table) == {key_text([hostile]): fields}
    changed = {name: hostile, "select": "x"}
    assert results(table, write(hostile, fields, changed)) == [WRITTEN]
    assert results(table, write(hostile, changed, None)) == [WRITTEN]


def test_a_change_of_type_alone_is_a_change(tmp_path: Path) -> None:
    base = Database(tmp_path / "a.db", "CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
    table = base.table("t")
    seen = []
    for value in (1, 1.0, "1", b"1", None, ""):
        base.connection.execute("REPLACE INTO t VALUES (1, ?)", (value,))
        [found] = table.changes({})
        assert isinstance(found, Change)
        assert same_fields(found.fields, {"v": value})
        seen.append(found.etag)
    assert len(set(seen)) == 6


def test_dates_and_decimals_stay_as_the_driver_gives_them(tmp_path: Path) -> None:
    base = Database(
        tmp_path / "a.db",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, d DATE, m DECIMAL(10,2), b BOOLEAN, j JSON);"
        "INSERT INTO t VALUES (1, 'not a date', 1.10, 7, '{');",
    )
    assert contents(base.table("t")) == {"[1]": {"d": "not a date", "m": 1.1, "b": 7, "j": "{"}}


def test_generated_columns_are_no_fields(tmp_path: Path) -> None:
    base = Database(
        tmp_path / "a.db",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT, b INT AS (a*2), c INT AS (a*3) STORED)",
    )
    table = base.table("t")
    assert results(table, write(1, None, {"a": 2})) == [WRITTEN]
    assert base.rows("SELECT * FROM t") == [(1, 2, 4, 6)]
    assert contents(table) == {"[1]": {"a": 2}}


def test_columns_only_a_peer_has_are_refused_by_name(tmp_path: Path) -> None:
    base = Database(tmp_path / "a.db", "CREATE TABLE t (id INTEGER PRIMARY KEY, a)")
    [outcome] = base.table("t").apply([write(1, None, {"a": 1, "extra": 2})])
    assert outcome.result is REFUSED
    assert "extra" in outcome.reason


def test_columns_a_peer_lacks_take_their_default_and_stay(tmp_path: Path) -> None:
    base = Database(
        tmp_path / "a.db", "CREATE TABLE t (id INTEGER PRIMARY KEY, a, own DEFAULT 'o')"
    )
    table = base.table("t")
    assert results(table, write(1, None, {"a": 1})) == [WRITTEN]
    assert results(table, write(1, {"a": 1}, {"a": 2})) == [WRITTEN]
    assert base.rows("SELECT a, own FROM t") == [(2, "o")]


@pytest.mark.parametrize(
    ("wanted", "column"),
    [
        ("01", "INTEGER"),
        (1, "TEXT"),
        (2**63, "INTEGER"),
        (float("nan"), "REAL"),
        ("\ud800", "TEXT"),
    ],
)
def test_a_value_the_column_would_alter_is_refused(
    tmp_path: Path, wanted: Value, column: str
) -> None:
    base = Database(tmp_path / "a.db", f"CREATE TABLE t (id INTEGER PRIMARY KEY, a {column}, b)")
    bad, good = write(1, None, {"a": wanted, "b": 1}), write(2, None, {"a": None, "b": 1})
    assert results(base.table("t"), bad, good) == [REFUSED, WRITTEN]
    assert base.rows("SELECT id FROM t") == [(2,)]


def test_a_key_beyond_what_the_engine_holds_is_refused(tmp_path: Path) -> None:
    base = Database(tmp_path / "a.db", "CREATE TABLE t (k INTEGER PRIMARY KEY, a)")
    table = SqlTable(f"sqlite:///{base.path}", "t", keys="shared")
    huge, fine = {"k": 2**70, "a": 1}, {"k": 7, "a": 1}
    assert results(table, write(2**70, None, huge), write(7, None, fine)) == [REFUSED, WRITTEN]


def test_a_shared_key_is_never_altered(tmp_path: Path) -> None:
    base = Database(
        tmp_path / "a.db", "CREATE TABLE t (k TEXT PRIMARY KEY); INSERT INTO t VALUES ('a')"
    )
    assert results(base.table("t"), write("a", {"k": "a"}, {"k": "b"})) == [REFUSED]
    assert base.rows("SELECT k FROM t") == [("a",)]


def test_a_key_equal_but_for_case_is_another_key(tmp_path: Path) -> None:
    base = Database(
        tmp_path / "a.db",
        "CREATE TABLE t (k TEXT PRIMARY KEY COLLATE NOCASE); INSERT INTO t VALUES ('a')",
    )
    table = base.table("t")
    assert table.read([key_text(["A"])])[key_text(["A"])] == Change(key_text(["A"]), None, None)
    assert results(table, write("A", None, {"k": "A"})) == [REFUSED]


def test_a_missing_file_is_missing_and_not_created(tmp_path: Path) -> None:
    path = tmp_path / "no.db"
    with pytest.raises(DatasetMissing, match=r"no\.db"):
        SqlTable(f"sqlite:///{path}", "t")
    assert not path.exists()


def test_a_missing_table_is_missing_and_the_present_ones_named(tmp_path: Path) -> None:
    base = Database(tmp_path / "a.db", "CREATE TABLE crew (id INTEGER PRIMARY KEY)")
    with pytest.raises(DatasetMissing, match="crew"):
        base.table("t")


def test_a_file_that_is_no_database_is_an_error_of_the_dataset(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_text("no database at all, " * 100)
    with pytest.raises(DatasetError, match=r"not a database$"):  # and no statement with it
        SqlTable(f"sqlite:///{tmp_path / 'a.db'}", "t")


def test_a_table_without_primary_key_says_what_to_do(tmp_path: Path) -> None:
    base = Database(tmp_path / "a.db", "CREATE TABLE t (a)")
    with pytest.raises(DatasetError, match="primary key"):
        base.table("t")


def test_a_declared_key_stands_in_for_a_primary_one(tmp_path: Path) -> None:
    base = Database(tmp_path / "a.db", "CREATE TABLE t (a TEXT, b INTEGER, v TEXT)")
    table = SqlTable(f"sqlite:///{base.path}", "t", key=["a", "b"])
    first: Fields = {"a": "x", "b": 1, "v": "one"}
    second: Fields = {"a": "x", "b": 2, "v": "two"}
    keys = table.propose_keys([Newcomer(GUID, first), Newcomer(GUID, second)], frozenset())
    assert keys == [key_text(["x", 1]), key_text(["x", 2])]
    writes = [Write(GUID, key, None, row) for key, row in zip(keys, (first, second), strict=True)]
    assert [one.result for one in table.apply(writes)] == [WRITTEN, WRITTEN]
    base.connection.execute("INSERT INTO t VALUES ('x', 2, 'again')")
    with pytest.raises(DatasetError, match="several rows"):
        list(table.changes({}))
    with pytest.raises(DatasetError, match="several rows"):
        table.apply([Write(GUID, keys[1], second, None)])
    assert base.rows("SELECT count(*) FROM t") == [(3,)]


def test_a_foreign_key_is_known_however_it_is_written(tmp_path: Path) -> None:
    script = (
        "CREATE TABLE Parent (Id INTEGER PRIMARY KEY);"
        "CREATE TABLE pair (a, b, PRIMARY KEY (b, a));"
        "CREATE TABLE child (id INTEGER PRIMARY KEY, up REFERENCES parent, other REFERENCES"
        " PARENT (ID), x, y, FOREIGN KEY (x, y) REFERENCES pair)"
    )
    found = Database(tmp_path / "a.db", script).table("child").references
    assert {(one.fields, one.table, one.columns, one.is_key) for one in found} == {
        (("up",), "Parent", ("Id",), True),
        (("other",), "Parent", ("Id",), True),
        (("x", "y"), "pair", ("b", "a"), True),
    }


def test_a_declared_key_names_columns_there_are(tmp_path: Path) -> None:
    base = Database(tmp_path / "a.db", "CREATE TABLE t (a)")
    with pytest.raises(DatasetError, match="no column b"):
        SqlTable(f"sqlite:///{base.path}", "t", key=["b"])


def test_a_row_without_key_says_what_to_do(tmp_path: Path) -> None:
    base = Database(
        tmp_path / "a.db", "CREATE TABLE t (k TEXT PRIMARY KEY); INSERT INTO t VALUES (NULL)"
    )
    with pytest.raises(DatasetError, match="give it one"):
        list(base.table("t").changes({}))


def test_local_keys_need_one_integer_column(tmp_path: Path) -> None:
    base = Database(tmp_path / "a.db", "CREATE TABLE t (a INTEGER, b, PRIMARY KEY (a, b))")
    with pytest.raises(DatasetError, match="shared"):
        SqlTable(f"sqlite:///{base.path}", "t", keys="local")


def test_local_keys_follow_the_greatest_and_skip_the_taken(tmp_path: Path) -> None:
    base = Database(
        tmp_path / "a.db", "CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (7)"
    )
    table = base.table("t")
    assert table.propose_keys([Newcomer(GUID, {})], frozenset())[0] == "[8]"
    taken = frozenset(key_text([n]) for n in range(1, 1000))
    assert table.propose_keys([Newcomer(GUID, {})], taken)[0] == "[1000]"


def test_an_undecodable_text_far_down_hides_no_other_row(tmp_path: Path) -> None:
    base = Database(tmp_path / "a.db", "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")
    base.connection.execute("BEGIN")  # else each row waits for the disk
    base.connection.executemany("INSERT INTO t VALUES (?, 'v')", [(n,) for n in range(3000)])
    base.connection.execute("COMMIT")
    base.connection.execute("UPDATE t SET v = CAST(x'ff' AS TEXT) WHERE id IN (1500, 2900)")
    found = list(base.table("t").changes({}))
    assert len(found) == len({one.key for one in found}) == 3000
    bad = [one for one in found if isinstance(one, Unreadable)]
    assert [one.key for one in bad] == ["[1500]", "[2900]"]
    assert "v" in bad[0].reason


def test_an_undecodable_key_is_held(tmp_path: Path) -> None:
    base = Database(
        tmp_path / "a.db",
        "CREATE TABLE t (k TEXT PRIMARY KEY, v);"
        "INSERT INTO t VALUES (CAST(x'ff' AS TEXT), 1), ('a', 1)",
    )
    table = base.table("t")
    found = {one.key: one for one in table.changes({})}
    [bad] = [key for key, one in found.items() if isinstance(one, Unreadable)]
    again = list(table.changes(dict.fromkeys([*found, key_text(["gone"])])))
    assert {one.key: isinstance(one, Unreadable) for one in again} == {
        bad: True, key_text(["a"]): False, key_text(["gone"]): False,
    }  # fmt: skip


def test_a_locked_database_is_busy_in_the_end(tmp_path: Path) -> None:
    base = Database(tmp_path / "a.db", "CREATE TABLE t (id INTEGER PRIMARY KEY, a)")
    table = base.table("t", patience=0.05)
    base.connection.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatasetBusy):
        table.apply([write(1, None, {"a": 1})])
    base.connection.execute("ROLLBACK")
    assert results(table, write(1, None, {"a": 1})) == [WRITTEN]


def test_a_full_disk_undoes_the_batch(tmp_path: Path) -> None:
    base = Database(tmp_path / "a.db", "CREATE TABLE t (id INTEGER PRIMARY KEY, a)")
    table = base.table("t")
    with table.database.connection() as connection:
        connection.cursor().execute("PRAGMA max_page_count = 10")
    with pytest.raises(DiskFull):
        table.apply([write(n, None, {"a": b"x" * 9000}) for n in range(20)])
    assert base.rows("SELECT count(*) FROM t") == [(0,)]


@pytest.mark.parametrize("mode", [0o444, 0o666])
def test_without_write_permission_it_is_read_only(tmp_path: Path, mode: int) -> None:
    """The file is not writable, or only the folder where the journal would have to be."""
    base = Database(
        tmp_path / "a.db", "CREATE TABLE t (id INTEGER PRIMARY KEY, a); INSERT INTO t VALUES (1, 1)"
    )
    base.table("t").close()
    open_to_all(tmp_path)
    base.path.chmod(mode)
    tmp_path.chmod(0o555)

    def work() -> None:
        table = base.table("t")
        assert contents(table) == {"[1]": {"a": 1}}
        with pytest.raises(DatasetReadOnly):
            table.apply([write(2, None, {"a": 1})])

    as_nobody(work)
    tmp_path.chmod(0o755)


def test_memory_does_not_grow_with_the_table(tmp_path: Path) -> None:
    base = Database(tmp_path / "a.db", "CREATE TABLE t (id INTEGER PRIMARY KEY, a)")
    base.connection.execute(
        "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n LIMIT 60000)"
        "INSERT INTO t SELECT i, hex(randomblob(100)) FROM n"
    )
    table = base.table("t")
    known = {one.key: one.etag for one in table.changes({}) if isinstance(one, Change)}
    tracemalloc.start()
    assert list(table.changes(known)) == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


@pytest.mark.parametrize(
    "columns",
    [
        "k TEXT COLLATE NOCASE PRIMARY KEY, v",
        "k INTEGER PRIMARY KEY, v",
        "k NUMERIC, v",  # its rows are sorted
        f"k TEXT PRIMARY KEY, v, {', '.join(f'c{n}' for n in range(120))}",
    ],
)
def test_keys_are_met_in_whatever_order_the_table_has_them(tmp_path: Path, columns: str) -> None:
    base = Database(tmp_path / "a.db", f"CREATE TABLE t ({columns})")
    number = "INTEGER" in columns or "NUMERIC" in columns
    values = [n * 7 % 3001 - 1500 if number else f"{'aB b'[n % 4]}{n:x}" for n in range(3000)]
    base.connection.execute("BEGIN")
    base.connection.executemany("INSERT INTO t (k, v) VALUES (?, 1)", [(one,) for one in values])
    base.connection.execute("COMMIT")
    table = SqlTable(f"sqlite:///{base.path}", "t", key=["k"])
    known = {one.key: one.etag for one in table.changes({}) if isinstance(one, Change)}
    assert len(known) == 3000
    ordered = {key: known[key] for key in sorted(known, key=place_of)}
    assert list(table.changes(ordered)) == []
    gone = {key_text([one]) for one in values[::3]}
    base.connection.execute("BEGIN")
    base.connection.executemany("DELETE FROM t WHERE k = ?", [(one,) for one in values[::3]])
    base.connection.executemany("UPDATE t SET v = 2 WHERE k = ?", [(one,) for one in values[1::3]])
    base.connection.execute("COMMIT")
    found = list(table.changes(ordered))
    assert len(found) == len({one.key for one in found}) == 2000
    assert {one.key for one in found if one == Change(one.key, None, None)} == gone


def test_what_goes_wrong_while_rows_are_looked_at_is_what_is_raised(tmp_path: Path) -> None:
    base = Database(
        tmp_path / "a.db", "CREATE TABLE t (id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, 1)"
    )
    known = Mock(wraps={})
    known.items.return_value = iter([(key_text([0]), None)])
    known.get.side_effect = DiskFull("the state store is full")
    with pytest.raises(DiskFull, match="state store"):
        list(base.table("t").changes(known))
