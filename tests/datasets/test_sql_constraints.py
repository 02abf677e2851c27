from __future__ import annotations

from pathlib import Path

import pytest

from mailsync.core.model import Fields, Value
from tests.datasets.database import REFUSED, WRITTEN, Database, results, write

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


def test_a_branch_that_nobody_cut_holds_the_tree(tmp_path: Path) -> None:
    base = Database(tmp_path / "a.db", FAMILY.format(when="ON DELETE CASCADE"))
    base.connection.execute("INSERT INTO tree VALUES (1, NULL), (2, 1), (3, 2), (4, 4)")
    felled = [write(1, {"up": None}, None), write(2, {"up": 1}, None), write(4, {"up": 4}, None)]
    assert results(base.table("tree"), *felled) == [REFUSED, REFUSED, WRITTEN]
    assert base.rows("SELECT id FROM tree") == [(1,), (2,), (3,)]


def test_children_deleted_by_cascade_count_as_deleted(tmp_path: Path) -> None:
    base = Database(tmp_path / "a.db", FAMILY.format(when="ON DELETE CASCADE"))
    table = base.table("tree")
    results(table, write(1, None, {"up": None}), write(2, None, {"up": 1}))
    felled = [write(1, {"up": None}, None), write(2, {"up": 1}, None)]
    assert results(table, *felled) == [WRITTEN, WRITTEN]
