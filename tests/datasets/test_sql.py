from __future__ import annotations

import sqlite3
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsync.core.model import Fields, Guid, Key, Value, same_fields
from mailsync.datasets.base import Change, Result, Unreadable, Write
from mailsync.datasets.sql import SqlTable
from mailsync.datasets.sqlkeys import key_text, key_values
from mailsync.errors import DatasetBusy, DatasetError, DatasetMissing, DatasetReadOnly, DiskFull
from tests.datasets.unprivileged import as_nobody, open_to_all

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
    assert all(one.reason for one in outcomes if one.result is Result.REFUSED)
    return [one.result for one in outcomes]


def contents(table: SqlTable) -> dict[Key, Fields | None]:
    return {one.key: one.fields for one in table.changes({}) if isinstance(one, Change)}


WRITTEN, CHANGED, REFUSED = Result.WRITTEN, Result.CHANGED, Result.REFUSED

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
    [("1", "INTEGER"), (1, "TEXT"), (2**63, "INTEGER"), (float("nan"), "REAL"), ("\ud800", "TEXT")],
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


CONSTRAINTS = """
CREATE TABLE t (
    id INTEGER PRIMARY KEY, u UNIQUE, n NOT NULL DEFAULT 0, c CHECK (c < 10)
);
CREATE TRIGGER grumpy BEFORE INSERT ON t WHEN NEW.n = 13 BEGIN SELECT RAISE(ABORT, 'unlucky'); END;
CREATE TRIGGER angry BEFORE INSERT ON t WHEN NEW.n = 14 BEGIN SELECT RAISE(ROLLBACK, 'out'); END;
CREATE TRIGGER silent BEFORE INSERT ON t WHEN NEW.n = 15 BEGIN SELECT RAISE(IGNORE); END;
CREATE TRIGGER meddling AFTER INSERT ON t WHEN NEW.n = 16
    BEGIN UPDATE t SET n = 17 WHERE id = NEW.id; END;
INSERT INTO t VALUES (100, 'taken', 0, 0);
"""


@pytest.mark.parametrize(
    "bad",
    [
        {"u": "taken", "n": 0, "c": 0},
        {"u": 1, "n": None, "c": 0},
        {"u": 1, "n": 0, "c": 10},
        *({"u": 1, "n": number, "c": 0} for number in (13, 14, 15, 16)),
    ],
)
def test_a_violated_constraint_refuses_one_write_only(tmp_path: Path, bad: Fields) -> None:
    base = Database(tmp_path / "a.db", CONSTRAINTS)
    good = [write(n, None, {"u": f"u{n}", "n": 0, "c": 0}) for n in range(1, 200) if n != 100]
    table = base.table("t")
    outcomes = results(table, *good[:70], write(500, None, bad), *good[70:])
    assert outcomes.pop(70) is REFUSED
    assert set(outcomes) == {WRITTEN}
    assert base.rows("SELECT count(*), max(id) FROM t") == [(199, 199)]


UNIQUE = "CREATE TABLE t (id INTEGER PRIMARY KEY, u TEXT {}, UNIQUE (u));"


@pytest.mark.parametrize("null", ["NULL", "NOT NULL"])
def test_records_can_exchange_unique_values(tmp_path: Path, null: str) -> None:
    base = Database(
        tmp_path / "a.db", UNIQUE.format(null) + "INSERT INTO t VALUES (1,'a'),(2,'b'),(3,'c')"
    )
    turn = [
        write(n, {"u": a}, {"u": b}) for n, a, b in ((1, "a", "b"), (2, "b", "c"), (3, "c", "a"))
    ]
    table = base.table("t")
    outcomes = table.apply(turn)
    assert [one.result for one in outcomes] == [WRITTEN] * 3
    assert base.rows("SELECT u FROM t ORDER BY id") == [("b",), ("c",), ("a",)]
    known = {one.key: outcome.etag for one, outcome in zip(turn, outcomes, strict=True)}
    assert list(table.changes(known)) == []


def test_an_exchange_goes_on_without_the_record_that_cannot_take_part(tmp_path: Path) -> None:
    base = Database(
        tmp_path / "a.db",
        UNIQUE.format("") + "INSERT INTO t VALUES (1,'a'),(2,'b'),(3,'c'),(4,'d')",
    )
    pairs = ((1, "a", "b"), (2, "b", "a"), (3, "c", "d"))
    turn = [write(n, {"u": a}, {"u": b}) for n, a, b in pairs]
    assert results(base.table("t"), *turn) == [WRITTEN, WRITTEN, REFUSED]
    assert base.rows("SELECT u FROM t ORDER BY id") == [("b",), ("a",), ("c",), ("d",)]


def test_an_exchange_under_triggers_is_refused_whole(tmp_path: Path) -> None:
    base = Database(
        tmp_path / "a.db",
        UNIQUE.format("")
        + "CREATE TABLE log (x); INSERT INTO t VALUES (1,'a'),(2,'b');"
        + "CREATE TRIGGER w AFTER UPDATE ON t BEGIN INSERT INTO log VALUES (NEW.u); END;",
    )
    turn = [write(1, {"u": "a"}, {"u": "b"}), write(2, {"u": "b"}, {"u": "a"})]
    assert results(base.table("t"), *turn) == [REFUSED, REFUSED]
    assert base.rows("SELECT * FROM log") == []


def test_a_value_freed_by_a_later_write_can_be_taken(tmp_path: Path) -> None:
    base = Database(
        tmp_path / "a.db", UNIQUE.format("") + "INSERT INTO t VALUES (1,'a'),(2,'b'),(3,'c')"
    )
    chain = [
        write(1, {"u": "a"}, {"u": "b"}),
        write(2, {"u": "b"}, {"u": "c"}),
        write(3, {"u": "c"}, None),
        write(0, None, {"u": "a"}),
    ]
    assert results(base.table("t"), *chain) == [WRITTEN] * 4


FAMILY = """
CREATE TABLE parent (id INTEGER PRIMARY KEY, v);
CREATE TABLE child (id INTEGER PRIMARY KEY, p REFERENCES parent {when}, v);
CREATE TABLE tree (id INTEGER PRIMARY KEY, up INTEGER REFERENCES tree(id) {when});
INSERT INTO parent VALUES (1, 'a'), (2, 'b');
INSERT INTO child VALUES (10, 1, 'x');
"""


@pytest.fixture(params=["", "DEFERRABLE INITIALLY DEFERRED", "ON DELETE RESTRICT"])
def family(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    return Database(tmp_path / "a.db", FAMILY.format(when=request.param))


def test_a_child_without_parent_is_refused_and_the_rest_written(family: Database) -> None:
    orphan: Fields = {"p": 99, "v": "y"}
    fine: Fields = {"p": 2, "v": "z"}
    loose: Fields = {"p": None, "v": "z"}
    writes = [write(11, None, orphan), write(12, None, fine), write(13, None, loose)]
    assert results(family.table("child"), *writes) == [REFUSED, WRITTEN, WRITTEN]
    assert family.rows("SELECT id FROM child ORDER BY id") == [(10,), (12,), (13,)]


def test_a_parent_with_children_is_not_deleted(family: Database) -> None:
    outcomes = results(
        family.table("parent"), write(1, {"v": "a"}, None), write(2, {"v": "b"}, None)
    )
    assert outcomes == [REFUSED, WRITTEN]
    assert family.rows("SELECT id FROM parent") == [(1,)]


def test_a_tree_is_planted_and_felled_in_any_order(family: Database) -> None:
    table = family.table("tree")
    rows: dict[int, Value] = {1: 3, 2: 1, 3: 4, 4: None, 5: 5, 6: 7, 7: 6}
    assert results(table, *(write(n, None, {"up": up}) for n, up in rows.items())) == [WRITTEN] * 7
    felled = [write(n, {"up": up}, None) for n, up in rows.items() if n < 5]
    assert results(table, *felled) == [WRITTEN] * 4


def test_what_depends_on_a_refused_record_is_refused_too(family: Database) -> None:
    writes = [write(2, None, {"up": 1}), write(1, None, {"up": 99}), write(3, None, {"up": None})]
    assert results(family.table("tree"), *writes) == [REFUSED, REFUSED, WRITTEN]


def test_children_deleted_by_cascade_count_as_deleted(tmp_path: Path) -> None:
    base = Database(tmp_path / "a.db", FAMILY.format(when="ON DELETE CASCADE"))
    table = base.table("tree")
    results(table, write(1, None, {"up": None}), write(2, None, {"up": 1}))
    felled = [write(1, {"up": None}, None), write(2, {"up": 1}, None)]
    assert results(table, *felled) == [WRITTEN, WRITTEN]


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
    with pytest.raises(DatasetError, match="not a database"):
        SqlTable(f"sqlite:///{tmp_path / 'a.db'}", "t")


def test_a_table_without_primary_key_says_what_to_do(tmp_path: Path) -> None:
    base = Database(tmp_path / "a.db", "CREATE TABLE t (a)")
    with pytest.raises(DatasetError, match="primary key"):
        base.table("t")


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
    assert table.propose_key(GUID, {}, frozenset()) == "[8]"
    taken = frozenset(key_text([n]) for n in range(1, 1000))
    assert table.propose_key(GUID, {}, taken) == "[1000]"


def test_an_undecodable_text_far_down_hides_no_other_row(tmp_path: Path) -> None:
    base = Database(tmp_path / "a.db", "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")
    base.connection.executemany("INSERT INTO t VALUES (?, 'v')", [(n,) for n in range(3000)])
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
    connection = table._engine.raw_connection()
    connection.cursor().execute("PRAGMA max_page_count = 10")
    connection.close()
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
