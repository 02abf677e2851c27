"""What tables of database servers do beyond the conformance suite, alike on both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from mailsync.core.mapping import Place, Source
from mailsync.core.model import Fields, Key, Value
from mailsync.datasets.base import Change, Write
from mailsync.datasets.losses import losses
from mailsync.datasets.mapping import mapped
from mailsync.datasets.rowkeys import key_text
from mailsync.datasets.sql.table import SqlTable
from mailsync.errors import (
    BadConfiguration,
    DatasetBusy,
    DatasetError,
    DatasetMissing,
    DatasetUnreachable,
)
from tests.datasets.database import GUID, REFUSED, WRITTEN, contents, results, write
from tests.servers.databases import DatabaseServer


class Served:
    """A new database and its user."""

    def __init__(self, server: DatabaseServer) -> None:
        self.url = server.new()
        self.connection = server.connect(self.url)
        self.is_postgresql = self.url.startswith("postgresql")
        self._tables: list[SqlTable] = []

    def run(self, *statements: str) -> list[tuple[Any, ...]]:
        cursor = self.connection.cursor()
        for statement in statements:
            cursor.execute(statement)
        return [tuple(row) for row in cursor.fetchall()] if cursor.description else []

    def table(self, name: str = "t", patience: float = 5.0) -> SqlTable:
        self._tables.append(SqlTable(self.url, name, patience=patience))
        return self._tables[-1]

    def close(self) -> None:
        self.connection.close()
        for table in self._tables:
            table.close()


@pytest.fixture(params=["postgresql", "mariadb"])
def base(request: pytest.FixtureRequest) -> Iterator[Served]:
    with closing(Served(request.getfixturevalue(request.param))) as served:
        yield served


@pytest.fixture
def maria(mariadb: DatabaseServer) -> Iterator[Served]:
    with closing(Served(mariadb)) as served:
        yield served


@pytest.fixture
def postgres(postgresql: DatabaseServer) -> Iterator[Served]:
    with closing(Served(postgresql)) as served:
        yield served


@pytest.mark.parametrize(
    "bad", [{"u": "taken", "c": 0}, {"u": None, "c": 0}, {"u": "new", "c": 10}, {"u": "x", "c": 7}]
)
def test_a_violated_constraint_refuses_one_write_only(base: Served, bad: Fields) -> None:
    base.run(
        "CREATE TABLE t (id int PRIMARY KEY, u varchar(9) NOT NULL UNIQUE, c int CHECK (c < 10))",
        "INSERT INTO t VALUES (100, 'taken', 0)",
    )
    meddle(base)
    good = [write(n, None, {"u": f"u{n}", "c": 0}) for n in range(1, 200) if n != 100]
    outcomes = results(base.table(), *good[:70], write(500, None, bad), *good[70:])
    assert outcomes.pop(70) is REFUSED
    assert set(outcomes) == {WRITTEN}
    assert base.run("SELECT count(*), max(id) FROM t") == [(199, 199)]


def meddle(base: Served) -> None:
    """A trigger that makes 8 of every 7."""
    if base.is_postgresql:
        base.run(
            "CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN IF NEW.c = 7 THEN NEW.c := 8; END IF; RETURN NEW; END $$",
            "CREATE TRIGGER meddle BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION meddle()",
        )
    else:
        base.run(
            "CREATE TRIGGER meddle BEFORE INSERT ON t FOR EACH ROW"
            " SET NEW.c = IF(NEW.c = 7, 8, NEW.c)"
        )


def test_what_a_trigger_refuses_by_a_code_of_its_own_is_refused_alone(base: Served) -> None:
    base.run("CREATE TABLE t (id int PRIMARY KEY, v text)")
    if not base.is_postgresql:
        base.run(
            "CREATE TRIGGER wary BEFORE INSERT ON t FOR EACH ROW IF NEW.v = 'bad' THEN"
            " SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 30001, MESSAGE_TEXT = 'not this one';"
            " END IF"
        )
    else:
        base.run(
            "CREATE FUNCTION wary() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " IF NEW.v = 'bad' THEN RAISE 'not this one' USING ERRCODE = 'U0001'; END IF;"
            " RETURN NEW; END $$"
        )
        base.run("CREATE TRIGGER wary BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION wary()")
    [good, bad] = base.table().apply([write(1, None, {"v": "good"}), write(2, None, {"v": "bad"})])
    assert (good.result, bad.result) == (WRITTEN, REFUSED)
    assert "not this one" in bad.reason


def test_mariadb_refuses_what_is_no_place_or_no_row_and_nothing_else(maria: Served) -> None:
    wide = ", ".join(f"c{n} varchar(200)" for n in range(120))
    maria.run("SET SESSION innodb_strict_mode = 0")
    maria.run("CREATE TABLE places (id int PRIMARY KEY, place point)")
    maria.run(
        f"CREATE TABLE t (id int PRIMARY KEY, {wide}) ROW_FORMAT=COMPACT CHARACTER SET latin1"
    )
    places = maria.table("places")
    assert results(places, write(1, None, {"place": "here"}), write(2, None, {"place": None})) == [
        REFUSED,
        WRITTEN,
    ]
    full: Fields = {f"c{n}": "x" * 200 for n in range(120)}
    assert results(maria.table(), write(1, None, full), write(2, None, {"c1": "x"})) == [
        REFUSED,
        WRITTEN,
    ]


def test_options_of_the_driver_may_stand_in_the_url(maria: Served) -> None:
    maria.run("CREATE TABLE t (id int PRIMARY KEY, v text)")
    for options in ("charset=utf8mb4&connect_timeout=9", "use_unicode=1&local_infile=0"):
        with closing(SqlTable(f"{maria.url}?{options}", "t")) as table:
            assert list(table.changes({})) == []
    for options in ("nonsense=9", "connect_timeout=long"):
        with pytest.raises(BadConfiguration):
            SqlTable(f"{maria.url}?{options}", "t")


@pytest.mark.parametrize("null", ["NULL", "NOT NULL"])
def test_records_can_exchange_unique_values(base: Served, null: str) -> None:
    base.run(
        f"CREATE TABLE t (id int PRIMARY KEY, u varchar(20) {null}, UNIQUE (u))",
        "INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')",
    )
    pairs = ((1, "a", "b"), (2, "b", "c"), (3, "c", "a"))
    turn = [write(n, {"u": old}, {"u": new}) for n, old, new in pairs]
    assert results(base.table(), *turn) == [WRITTEN] * 3
    assert base.run("SELECT u FROM t ORDER BY id") == [("b",), ("c",), ("a",)]


FAMILY = (
    "CREATE TABLE parent (id int PRIMARY KEY, v text)",
    "CREATE TABLE child (id int PRIMARY KEY, p int, FOREIGN KEY (p) REFERENCES parent (id))",
    "CREATE TABLE tree (id int PRIMARY KEY, up int, FOREIGN KEY (up) REFERENCES tree (id))",
    "INSERT INTO parent VALUES (1, 'a'), (2, 'b')",
    "INSERT INTO child VALUES (10, 1)",
)


def test_foreign_keys_refuse_what_breaks_them_and_nothing_else(base: Served) -> None:
    base.run(*FAMILY)
    orphans = [write(11, None, {"p": 99}), write(12, None, {"p": 2}), write(13, None, {"p": None})]
    assert results(base.table("child"), *orphans) == [REFUSED, WRITTEN, WRITTEN]
    fathers = [write(1, {"v": "a"}, None), write(3, None, {"v": "c"})]
    assert results(base.table("parent"), *fathers) == [REFUSED, WRITTEN]


def test_a_tree_is_planted_and_felled_in_any_order(base: Served) -> None:
    base.run(*FAMILY)
    rows: dict[int, Value] = {1: 3, 2: 1, 3: 4, 4: None, 5: 5}
    table = base.table("tree")
    assert results(table, *(write(n, None, {"up": up}) for n, up in rows.items())) == [WRITTEN] * 5
    base.run("INSERT INTO tree VALUES (6, NULL), (7, 6)", "UPDATE tree SET up = 7 WHERE id = 6")
    rows |= {6: 7, 7: 6}
    felled = [write(n, {"up": up}, None) for n, up in rows.items()]
    assert results(table, *felled) == [WRITTEN] * 7


def test_deferrable_constraints_are_deferred_and_the_guilty_found(postgres: Served) -> None:
    postgres.run(
        "CREATE TABLE t (id int PRIMARY KEY, up int REFERENCES t DEFERRABLE INITIALLY IMMEDIATE)"
    )
    circle = [write(1, None, {"up": 2}), write(2, None, {"up": 1}), write(3, None, {"up": 9})]
    assert results(postgres.table(), *circle) == [WRITTEN, WRITTEN, REFUSED]
    assert postgres.run("SELECT id FROM t ORDER BY id") == [(1,), (2,)]


def test_a_locked_row_is_busy_in_the_end(base: Served) -> None:
    base.run("CREATE TABLE t (id int PRIMARY KEY, v int)", "INSERT INTO t VALUES (1, 1)")
    table = base.table(patience=1.0)
    base.run("BEGIN", "UPDATE t SET v = 2")
    with pytest.raises(DatasetBusy):
        table.apply([write(1, {"v": 1}, {"v": 3})])
    base.run("ROLLBACK")
    assert results(table, write(1, {"v": 1}, {"v": 3})) == [WRITTEN]


ODD = ("drop\"; table ' [y] %s :z ?", "größe %(a)s, `b` {c}", "two words %%", "select", "a.b")


@pytest.mark.parametrize("name", ODD)
def test_names_full_of_quotes_are_only_names(base: Served, name: str) -> None:
    def quoted(words: str) -> str:
        mark = '"' if base.is_postgresql else "`"
        return f"{mark}{words.replace(mark, mark * 2)}{mark}"

    table, child = quoted(name[:40]), quoted(name[:40] + "2")
    key = "int GENERATED BY DEFAULT AS IDENTITY" if base.is_postgresql else "int AUTO_INCREMENT"
    field = name.replace("`", "")
    column = quoted(field)
    base.run(
        f"CREATE TABLE {table} ({column} {key} PRIMARY KEY, v int)",
        f"CREATE TABLE {child} ({column} varchar(50) PRIMARY KEY, up int, UNIQUE (up, {column}),"
        f" FOREIGN KEY (up) REFERENCES {table} ({column}))",
    )
    parent, children = base.table(name[:40]), base.table(name[:40] + "2")
    assert children.references[0].table == name[:40]
    assert results(parent, write(7, None, {"v": 1}), write(8, None, {"v": 2})) == [WRITTEN] * 2
    base.run(f"INSERT INTO {table} (v) VALUES (3)")
    assert contents(parent).keys() == {"[7]", "[8]", "[9]"}
    row: Fields = {field: "'; DROP TABLE x; --", "up": 7}
    assert results(children, write(row[field], None, row)) == [WRITTEN]
    assert contents(children) == {key_text([row[field]]): row}
    wrong: Fields = {field: "b", "up": 5}
    assert results(children, write("b", None, wrong)) == [REFUSED]
    assert results(parent, write(7, {"v": 1}, None), write(8, {"v": 2}, {"v": 5})) == [
        REFUSED, WRITTEN
    ]  # fmt: skip


def test_a_table_of_another_schema_is_named_with_it(base: Served) -> None:
    usual = base.run("SELECT current_schema()" if base.is_postgresql else "SELECT database()")[0][0]
    other = f"crew_of_{usual}"
    key = "serial" if base.is_postgresql else "bigint unsigned AUTO_INCREMENT"
    base.run(
        f"CREATE SCHEMA {other}",
        f"CREATE TABLE person (id {key} PRIMARY KEY, v int)",
        f"CREATE TABLE {other}.person (id {key} PRIMARY KEY, v int)",
        f"CREATE TABLE {other}.watch (id {key} PRIMARY KEY, who {WHO[base.is_postgresql]},"
        f" old {WHO[base.is_postgresql]}, FOREIGN KEY (who) REFERENCES {other}.person (id),"
        " FOREIGN KEY (old) REFERENCES "
        + ("public.person (id))" if base.is_postgresql else f"{usual}.person (id))"),
    )
    person, watch = base.table(f"{other}.person"), base.table(f"{other}.watch")
    assert {one.table for one in watch.references} == {"person", f"{other}.person"}
    assert results(person, write(4, None, {"v": 1})) == [WRITTEN]
    assert base.run(f"INSERT INTO {other}.person (v) VALUES (2)") == []
    assert contents(person) == {"[4]": {"v": 1}, "[5]": {"v": 2}}
    assert contents(base.table("person")) == {}
    one: Fields = {"who": 5, "old": None}
    assert results(watch, write(1, None, one), write(2, None, {**one, "old": 4})) == [
        WRITTEN, REFUSED
    ]  # fmt: skip
    with pytest.raises(DatasetError, match="write 'person'"):
        base.table(f"{usual}.person")
    with pytest.raises(DatasetMissing, match=rf"{other}.person, {other}.watch"):
        base.table(f"{other}.none")


WHO = ("bigint unsigned", "int")


def test_empty_values_are_never_alike_and_others_of_several_columns_are(base: Served) -> None:
    base.run("CREATE TABLE t (id int PRIMARY KEY, a int, b varchar(9), UNIQUE (a, b))")
    table = base.table()
    rows: list[Fields] = [{"a": 1, "b": None}, {"a": 1, "b": None}, {"a": 1, "b": ""}]
    new = [write(number, None, row) for number, row in enumerate([*rows, rows[2]])]
    assert results(table, *new) == [WRITTEN, WRITTEN, WRITTEN, REFUSED]
    turn = [
        write(0, rows[0], rows[2]), write(2, rows[2], {"a": 2, "b": "x"}),
        write(3, None, {"a": 1, "b": "y"}), write(1, rows[1], {"a": 2, "b": None}),
    ]  # fmt: skip
    assert results(table, *turn) == [WRITTEN] * 4


def test_what_looks_like_marks_of_the_way_it_is_read_is_text(base: Served) -> None:
    base.run("CREATE TABLE t (id int PRIMARY KEY, v text)")
    texts = [
        "\\",
        "\\N",
        "\\.",
        "\t",
        "\n",
        "\r\n",
        "\b\f\v",
        "\\t",
        "%s %% %(v)s",
        "",
        None,
        "\x01",
    ]
    table = base.table()
    rows: dict[Key, Fields] = {key_text([n]): {"v": one} for n, one in enumerate(texts)}
    outcomes = table.apply([Write(GUID, key, None, fields) for key, fields in rows.items()])
    assert contents(table) == rows
    assert list(table.changes(dict(zip(rows, (one.etag for one in outcomes), strict=True)))) == []


def test_what_is_missing_or_out_of_reach_is_said_so(base: Served) -> None:
    base.run("CREATE TABLE crew (id int PRIMARY KEY)")
    with pytest.raises(DatasetMissing, match="crew"):
        base.table("none")
    with pytest.raises(DatasetMissing, match="nowhere"):
        SqlTable(base.url.rpartition("/")[0] + "/nowhere", "t")
    with pytest.raises(DatasetUnreachable):
        SqlTable(base.url.replace(base.url.rpartition(":")[2], "1/x"), "t")


def test_memory_does_not_grow_with_the_table(base: Served) -> None:
    base.run("CREATE TABLE t (id int PRIMARY KEY, v text)")
    for start in range(0, 20_000, 5_000):
        rows = ", ".join(f"({start + n}, '{start + n}')" for n in range(5_000))
        base.run(f"INSERT INTO t VALUES {rows}")
    changes = base.table().changes({})
    assert isinstance(next(changes), Change)
    changes.close()  # type: ignore[attr-defined]
    assert sum(1 for _ in base.table().changes({})) == 20_000


def test_mariadb_s_own_column_types_are_exact(maria: Served) -> None:
    maria.run(
        "CREATE TABLE t (id int PRIMARY KEY, u bigint unsigned, bits bit(9), zero date, narrow"
        " float, pick enum('a', 'b'), many set('x', 'y'), born year, twice int AS (u * 2),"
        " stamp timestamp NOT NULL DEFAULT current_timestamp ON UPDATE current_timestamp)"
    )
    table = maria.table()
    row: Fields = {
        "u": 2**62, "bits": 257, "zero": "0000-00-00", "narrow": 0.1, "pick": "b",
        "many": "x,y", "born": 1999, "stamp": "2026-01-02 03:04:05+00:00",
    }  # fmt: skip
    assert results(table, write(1, None, {**row, "u": 5})) == [WRITTEN]
    assert results(table, write(1, {**row, "u": 5}, {**row, "u": 7})) == [WRITTEN]
    assert contents(table) == {"[1]": {**row, "u": 7}}
    assert results(table, write(2, None, {**row, "pick": "c"})) == [REFUSED]


def test_postgresql_s_own_column_types_are_exact(postgres: Served) -> None:
    postgres.run(
        "CREATE TYPE mood AS ENUM ('calm', 'rough')",
        "CREATE DOMAIN short AS varchar(3)",
        "CREATE TABLE t (id int PRIMARY KEY, sea mood, list int[], net inet, span interval,"
        " far date, fixed char(5), label short, twin int GENERATED ALWAYS AS (id * 2) STORED)",
    )
    table = postgres.table()
    row: Fields = {
        "sea": "rough", "list": "{1,NULL,3}", "net": "10.0.0.0/8", "span": "P1Y2DT3.5S",
        "far": "0044-03-15 BC", "fixed": "ab", "label": "abc",
    }  # fmt: skip
    assert results(table, write(1, None, row)) == [WRITTEN]
    assert contents(table) == {"[1]": row}
    assert results(table, write(2, None, {**row, "sea": "wild"})) == [REFUSED]
    assert results(table, write(2, None, {**row, "label": "long"})) == [REFUSED]


def test_a_table_without_transactions_is_no_dataset(maria: Served) -> None:
    maria.run("CREATE TABLE t (id int PRIMARY KEY) ENGINE = MyISAM")
    with pytest.raises(DatasetError, match="InnoDB"):
        maria.table()


def test_a_driver_that_is_not_there_is_named() -> None:
    with pytest.raises(BadConfiguration, match="driver"):
        SqlTable("mariadb+asyncmy://u@h/d", "t")


def test_what_does_not_travel_is_said_before_anything_runs(
    base: Served, recwarn: pytest.WarningsRecorder
) -> None:
    extra = "picture oid" if base.is_postgresql else "picture point"
    number = "serial" if base.is_postgresql else "bigint auto_increment UNIQUE"
    base.run(
        f"CREATE TABLE t (code varchar(9) PRIMARY KEY, n {number}, rank integer NOT NULL,"
        f" since timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP, {extra},"
        " twice integer GENERATED ALWAYS AS (rank * 2) STORED)"
    )
    computed, picture = losses(base.table())
    assert computed == "computed by the database, so it does not travel: twice"
    assert picture.startswith("column picture: ")
    sources: dict[str, Source] = {"code": Place("code"), "made": Place("since")}
    unmapped, _, held = losses(mapped(base.table(), "sql", sources, {}))
    assert unmapped == "not mapped, so it stays here: n, rank, picture"
    assert "held: rank must have a value" in held
    assert not recwarn.list
