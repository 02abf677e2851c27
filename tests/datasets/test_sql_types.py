"""Values from every engine to every other and back: exact, or refused and named."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from itertools import permutations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailsync.core.model import Fields, Value, same_fields
from mailsync.datasets.base import Change, Result, Write
from mailsync.datasets.rowkeys import key_text
from mailsync.datasets.spelling import shortest_single
from mailsync.datasets.sql.table import SqlTable
from tests.datasets.database import GUID
from tests.servers.databases import DatabaseServer

ENGINES = ("sqlite", "postgresql", "mariadb")

TYPES = {
    "whole": ("INTEGER", "bigint", "bigint"),
    "small": ("SMALLINT", "smallint", "smallint"),
    "money": ("DECIMAL(12, 3)", "numeric(12, 3)", "decimal(12, 3)"),
    "wide": ("REAL", "double precision", "double"),
    "narrow": ("REAL", "real", "float"),
    "words": ("TEXT", "text", "longtext"),
    "name": ("VARCHAR(40)", "varchar(40)", "varchar(40)"),
    "raw": ("BLOB", "bytea", "longblob"),
    "flag": ("BOOLEAN", "boolean", "boolean"),
    "day": ("DATE", "date", "date"),
    "clock": ("TIME", "time", "time(6)"),
    "moment": ("DATETIME", "timestamp", "datetime(6)"),
    "instant": ("TIMESTAMP", "timestamptz", "timestamp(6) NULL"),
    "uuid": ("UUID", "uuid", "uuid"),
    "json": ("JSON", "jsonb", "json"),
    "span": ("TEXT", "interval", "varchar(60)"),
}


@pytest.fixture(scope="module")
def tables(
    postgresql: DatabaseServer, mariadb: DatabaseServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, SqlTable]]:
    path = tmp_path_factory.mktemp("types") / "a.db"
    urls = [f"sqlite:///{path}", postgresql.new(), mariadb.new()]
    opened = {}
    for place, (engine, url) in enumerate(zip(ENGINES, urls, strict=True)):
        columns = ", ".join(f"{name} {types[place]}" for name, types in TYPES.items())
        server = {"postgresql": postgresql, "mariadb": mariadb}.get(engine)
        connection = server.connect(url) if server else sqlite3.connect(path)
        connection.cursor().execute(f"CREATE TABLE t (id BIGINT PRIMARY KEY, {columns})")
        connection.close()
        opened[engine] = SqlTable(url, "t", keys="shared")
    yield opened
    for table in opened.values():
        table.close()


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
singles = st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False)
moments = st.datetimes(datetime(1971, 1, 1), datetime(2037, 12, 31))  # noqa: DTZ001


def shown(moment: datetime | time) -> str:
    return moment.isoformat(" ") if isinstance(moment, datetime) else moment.isoformat()


documents = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)

VALUES: dict[str, st.SearchStrategy[Value]] = {
    "whole": st.integers(-(2**63), 2**63 - 1),
    "small": st.integers(-(2**15), 2**15 - 1),
    "money": st.decimals(-(10**9) + 1, 10**9 - 1, places=3).map(str),
    "wide": st.floats(allow_nan=False, allow_infinity=False),
    "narrow": singles.map(shortest_single),
    "words": texts,
    "name": texts,
    "raw": st.binary(max_size=40),
    "flag": st.booleans(),
    "day": st.dates(date(1, 1, 1)).map(str),
    "clock": st.times().map(shown),
    "moment": st.datetimes(datetime(1, 1, 1)).map(shown),  # noqa: DTZ001
    "instant": moments.map(lambda one: shown(one.replace(tzinfo=UTC))),
    "uuid": st.uuids(version=4).map(str),
    "json": documents.map(lambda one: json.dumps(one, ensure_ascii=False)),
    "span": st.sampled_from(["P1DT2H", "P1Y2M", "PT0S", "PT1.5S", "P-1DT-2H"]),
}
fields = st.sampled_from(sorted(VALUES)).flatmap(
    lambda name: st.fixed_dictionaries({name: st.none() | VALUES[name]})
)


def stored(table: SqlTable, row: int, wanted: Fields) -> Fields:
    """What the table holds once it has taken these fields as a new row."""
    key = key_text([row])
    whole = {"id": row, **wanted}
    [outcome] = table.apply([Write(GUID, key, None, whole)])
    assert outcome.result is Result.WRITTEN, (outcome, wanted)
    found = table.read([key])[key]
    assert isinstance(found, Change)
    assert found.fields is not None
    assert same_fields(table.spelled(found.fields), found.fields), "spelt twice is spelt once"
    return {name: found.fields[name] for name in wanted}


def emptied(table: SqlTable) -> None:
    keys = {one.key: one.fields for one in table.changes({}) if isinstance(one, Change)}
    outcomes = table.apply([Write(GUID, key, row, None) for key, row in keys.items()])
    assert all(one.result is Result.WRITTEN for one in outcomes)


@pytest.mark.parametrize(("one", "other"), list(permutations(ENGINES, 2)))
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)
@given(rows=st.lists(fields, min_size=1, max_size=20))
def test_every_value_crosses_over_and_back(
    tables: dict[str, SqlTable], one: str, other: str, rows: list[Fields]
) -> None:
    here, there = tables[one], tables[other]
    for table in (here, there):
        emptied(table)
    for number, row in enumerate(rows):
        ours = stored(here, number, row)
        theirs = stored(there, number, ours)
        assert same_fields(there.spelled(ours), theirs), "what is written is known again"
        back = here.spelled(theirs)
        assert same_fields(there.spelled(back), theirs), "and is the same there again"
        if one != "sqlite" and "json" not in row:  # both keep texts as somebody wrote them
            assert same_fields(back, ours), "what comes back is what went"


REFUSED: list[tuple[str, Fields]] = [
    ("postgresql", {"words": "a\0b"}),
    ("postgresql", {"json": '"\\u0000"'}),
    ("postgresql", {"small": 40000}),
    ("postgresql", {"whole": 2**63}),
    ("postgresql", {"whole": "1.5"}),
    ("postgresql", {"money": "1.2345"}),
    ("postgresql", {"money": "1" * 20}),
    ("postgresql", {"narrow": 0.123456789}),
    ("postgresql", {"flag": 2}),
    ("postgresql", {"day": "0000-00-00"}),
    ("postgresql", {"day": "2026-02-30"}),
    ("postgresql", {"name": "x" * 41}),
    ("postgresql", {"words": 1}),
    ("postgresql", {"raw": "text"}),
    ("postgresql", {"moment": "2026-01-01 10:00:00.1234567"}),
    ("postgresql", {"uuid": "no uuid"}),
    ("postgresql", {"json": "{"}),
    ("mariadb", {"wide": float("inf")}),
    ("mariadb", {"small": 40000}),
    ("mariadb", {"whole": 2**63}),
    ("postgresql", {"json": '"\\ud800"'}),  # half a character
    ("mariadb", {"money": "1.2345"}),
    ("mariadb", {"day": "2026-02-30"}),
    ("mariadb", {"day": "infinity"}),
    ("mariadb", {"instant": "1600-01-01 00:00:00+00:00"}),
    ("mariadb", {"name": "x" * 41}),
    ("mariadb", {"json": "{"}),
    ("mariadb", {"clock": "24:00:00.0000001"}),
    ("mariadb", {"raw": "text"}),
    ("mariadb", {"uuid": "85750621-02fb-cd4f-357f-bc5af71a1bfc"}),  # of no version there is
    ("sqlite", {"money": "123456789012345678.901"}),
    ("sqlite", {"whole": "9223372036854775808"}),
    ("sqlite", {"words": 1}),
]


@pytest.mark.parametrize(("engine", "wanted"), REFUSED)
def test_what_a_column_cannot_hold_is_refused_and_named(
    tables: dict[str, SqlTable], engine: str, wanted: Fields
) -> None:
    table = tables[engine]
    emptied(table)
    good = Write(GUID, key_text([2]), None, {"id": 2, "words": "fine"})
    bad = Write(GUID, key_text([1]), None, {"id": 1, **wanted})
    outcomes = table.apply([bad, good])
    assert [one.result for one in outcomes] == [Result.REFUSED, Result.WRITTEN]
    [name] = wanted
    assert name in outcomes[0].reason or str(wanted[name]) in outcomes[0].reason


SPELT: list[tuple[str, Fields, Fields]] = [
    ("postgresql", {"money": 5}, {"money": "5.000"}),
    ("postgresql", {"money": 1.1}, {"money": "1.100"}),
    ("postgresql", {"flag": 1}, {"flag": True}),
    ("postgresql", {"flag": "0"}, {"flag": False}),
    *(
        (engine, {name: ""}, {name: None})
        for engine in ("postgresql", "mariadb")
        for name in ("whole", "money", "wide", "raw", "flag", "day", "clock", "moment", "instant",
                     "uuid")
    ),
    ("postgresql", {"json": ""}, {"json": None}),
    ("postgresql", {"words": ""}, {"words": ""}),
    ("sqlite", {"day": ""}, {"day": ""}),
    ("postgresql", {"whole": "5.00"}, {"whole": 5}),
    ("postgresql", {"wide": 5}, {"wide": 5.0}),
    ("postgresql", {"moment": "2026-01-02T03:04"}, {"moment": "2026-01-02 03:04:00"}),
    ("postgresql", {"instant": "2026-01-02 03:04:05"}, {"instant": "2026-01-02 03:04:05+00:00"}),
    ("postgresql", {"instant": "2026-01-02T05:04Z"}, {"instant": "2026-01-02 05:04:00+00:00"}),
    ("postgresql", {"uuid": "6BA7B8109DAD11D180B400C04FD430C8"},
     {"uuid": "6ba7b810-9dad-11d1-80b4-00c04fd430c8"}),
    ("postgresql", {"json": '{"bb":1e2,"a":[1.10,null]}'},
     {"json": '{"a": [1.10, null], "bb": 100}'}),
    ("postgresql", {"day": "infinity"}, {"day": "infinity"}),
    ("postgresql", {"wide": float("-inf")}, {"wide": float("-inf")}),
    ("mariadb", {"flag": True}, {"flag": 1}),
    ("mariadb", {"day": "0000-00-00"}, {"day": "0000-00-00"}),
    ("mariadb", {"instant": "2026-01-02 03:04:05+02:00"}, {"instant": "2026-01-02 01:04:05+00:00"}),
    ("mariadb", {"words": "a\0b"}, {"words": "a\0b"}),
    ("sqlite", {"money": "1.100"}, {"money": 1.1}),
    ("sqlite", {"flag": True}, {"flag": 1}),
    ("sqlite", {"moment": "2026-01-02T03:04"}, {"moment": "2026-01-02T03:04"}),
    ("sqlite", {"raw": "loose"}, {"raw": "loose"}),
]  # fmt: skip


@pytest.mark.parametrize(("engine", "given_fields", "held"), SPELT)
def test_the_same_meaning_takes_the_column_s_form(
    tables: dict[str, SqlTable], engine: str, given_fields: Fields, held: Fields
) -> None:
    emptied(tables[engine])
    assert same_fields(stored(tables[engine], 1, given_fields), held)
