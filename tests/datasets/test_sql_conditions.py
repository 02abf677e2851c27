"""What is asked of an engine is what the condition means, on rows of every kind."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailsync.core.conditions import holds
from mailsync.core.expressions import parse
from mailsync.core.filters import Applied, Filter
from mailsync.core.model import Fields, Key, Value
from mailsync.datasets.base import Change
from mailsync.datasets.sql.conditions import Question, Unasked
from mailsync.datasets.sql.table import SqlTable

DAY = 86_400_000
NOW = 1_790_000_000_000

TEXTS = [
    "",
    "a",
    "A",
    "b",
    "a ",
    "ä",
    "A%",
    "a_b",
    "ab",
    "5",
    "05",
    "1e1",
    "z\U0001f600",
    "!x",
    "\\",
]
NUMBERS = [0, 1, -1, 5, 12, 2**31 - 1]
MOMENTS = [
    "2026-09-21 14:13:20",
    "2026-09-20 23:59:59",
    "2026-06-23 14:13:20",
    "2026-06-20 00:00:00",
]
ODD: Sequence[Value] = ["text", 1.5, b"a", "7", 2**40]
"""What SQLite takes in a column of integers, too."""


@dataclass
class Engine:
    name: str
    table: SqlTable
    rows: dict[Key, Fields] = field(repr=False)


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "mariadb"])
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    lite = request.param == "sqlite"
    if lite:
        path = tmp_path_factory.mktemp("conditions") / "rows.db"
        url, user = f"sqlite:///{path}", sqlite3.connect(path, isolation_level=None)
    else:
        server = request.getfixturevalue(request.param)
        url = server.new()
        user = server.connect(url)
    cursor = user.cursor()
    moment = "timestamp" if request.param == "postgresql" else "datetime"
    cursor.execute(
        "CREATE TABLE person (id int PRIMARY KEY, n int, m int, t varchar(20), u text, at"
        f" {'text' if lite else moment})"
    )
    chance, mark = random.Random(1), "?" if lite else "%s"
    for number in range(150):
        n, m = (chance.choice([*NUMBERS, None]) for _ in range(2))
        texts = [chance.choice([*TEXTS, None]) for _ in range(2)]
        odd = chance.choice(ODD) if lite and chance.random() < 0.1 else n
        at = chance.choice([*MOMENTS, None])
        cursor.execute(
            f"INSERT INTO person VALUES ({', '.join([mark] * 6)})", (number, odd, m, *texts, at)
        )
    user.commit()
    table = SqlTable(url, "person", keys="shared")
    found = {one.key: one.fields for one in table.changes({}) if isinstance(one, Change)}
    yield Engine(request.param, table, {key: row for key, row in found.items() if row is not None})
    table.close()
    user.close()


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


signs = st.sampled_from(["=", "<>", "<", "<=", ">", ">="])
numbers = st.sampled_from([*map(str, NUMBERS), "4.5", "'5'", "'x'", "null", "true", "-0.25"])
texts = st.sampled_from(TEXTS).map(quoted)
patterns = st.sampled_from(["a%", "%", "_", "A\\%", "a\\_b", "%b", "!%", "", "\\\\"]).map(quoted)
atoms = st.one_of(
    st.tuples(st.sampled_from(["n", "m"]), signs, numbers).map(" ".join),
    st.tuples(numbers, signs, st.sampled_from(["n", "m"])).map(" ".join),
    st.tuples(st.just("n"), signs, st.just("m")).map(" ".join),
    st.tuples(st.sampled_from(["t", "u"]), signs, texts).map(" ".join),
    st.tuples(st.sampled_from(["t", "u"]), st.just("like"), patterns).map(" ".join),
    st.sampled_from(["n is null", "t is not null", "u is null", "1 = 1", "1 > null", "t = 5"]),
    st.lists(numbers, min_size=1, max_size=3).map(lambda some: f"n in ({', '.join(some)})"),
    st.lists(texts, min_size=1, max_size=3).map(lambda some: f"t not in ({', '.join(some)})"),
    st.tuples(numbers, numbers).map(lambda two: f"m between {two[0]} and {two[1]}"),
)
expressions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        inner.map(lambda one: f"not ({one})"),
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(
            lambda three: f"({three[0]}) {three[1]} ({three[2]})"
        ),
    ),
    max_leaves=5,
)
few = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def truths(engine: Engine, text: str) -> tuple[set[Key], set[Key]] | None:
    """The keys of rows of which the engine says that it is true, and that its opposite is."""
    shape = engine.table.shape
    types = {name: shape.by_name[name].type for name in shape.fields}
    found = []
    for expression in (text, f"not ({text})"):
        question = Question(engine.name, types, lambda name: shape._table.c[name])
        try:
            condition = question.truth(parse(expression))
        except Unasked:
            return None
        statement = shape._compiled(shape._selectable_keys(condition))
        with engine.table._connection() as connection:
            rows = statement.run(connection.cursor(), question.values).fetchall()
        found.append({shape.key_of_values(row) for row in rows})
    return found[0], found[1]


@few
@given(expressions)
def test_an_engine_says_of_each_row_what_the_condition_says(engine: Engine, text: str) -> None:
    said = truths(engine, text)
    if said is None:
        return
    condition = parse(text)
    for key, row in engine.rows.items():
        if type(row["n"]) not in (int, type(None)):
            continue  # such rows are looked at in any case
        truth = holds(condition, row, NOW)
        assert ((key in said[0]), (key in said[1])) == (truth is True, truth is False), (text, row)


@few
@given(expressions, expressions)
def test_no_row_that_a_changed_filter_moves_is_left_out(
    engine: Engine, one: str, other: str
) -> None:
    before, now = Applied(Filter(parse(one)), 0), Applied(Filter(parse(other)), 0)
    moved = engine.table.moved(before, now)
    if moved is None:
        return
    wanted = {
        key
        for key, row in engine.rows.items()
        if before.filter.passes(row, 0) != now.filter.passes(row, 0)
    }
    assert wanted <= set(moved)
    odd = {key for key, row in engine.rows.items() if type(row["n"]) not in (int, type(None))}
    assert set(moved) <= wanted | odd


AGEING: list[Callable[[], Filter]] = [
    lambda: Filter(max_age=90 * DAY, age_field="at"),
    lambda: Filter(parse("age(at) < '12h' or n = 5")),
    lambda: Filter(parse("not (t = 'a' and '2d' <= age(at))")),
    lambda: Filter(parse("at < now()")),
    lambda: Filter(parse("now() >= at and m is null"), 89 * DAY, "at"),
]


@few
@given(st.sampled_from(AGEING), st.integers(-3 * DAY, 3 * DAY), st.integers(-5 * DAY, 5 * DAY))
def test_no_row_that_time_moves_is_left_out(
    engine: Engine, make: Callable[[], Filter], start: int, passed: int
) -> None:
    found = make()
    then, now = Applied(found, NOW + start), Applied(found, NOW + start + passed)
    moved = engine.table.moved(then, now)
    assert moved is not None
    wanted = {
        key
        for key, row in engine.rows.items()
        if found.passes(row, then.at) != found.passes(row, now.at)
    }
    assert wanted <= set(moved)
    if passed < DAY:
        assert len(moved) < len(engine.rows), "not every row is near the edge"


@pytest.mark.parametrize("text", ["t like 'a%'", "t = 5", "t < n", "b = 'x'", "age(t) < '1d'"])
def test_what_means_something_else_there_is_not_asked(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rows.db"
    with sqlite3.connect(path) as user:
        user.execute("CREATE TABLE person (id INTEGER PRIMARY KEY, n int, t text)")
    table = SqlTable(f"sqlite:///{path}", "person")
    assert table.moved(Applied(Filter(parse(text)), 0), Applied(Filter(parse("n = 1")), 1)) is None
    table.close()


def test_names_and_values_are_never_part_of_the_statement(tmp_path: Path) -> None:
    path = tmp_path / "rows.db"
    name = 'x"; DROP TABLE person; --'
    quoted_name = '"' + name.replace('"', '""') + '"'
    with sqlite3.connect(path) as user:
        user.execute(f"CREATE TABLE person (id INTEGER PRIMARY KEY, {quoted_name} text)")
        user.execute("INSERT INTO person VALUES (1, ?)", ("' OR 1=1 --",))
    table = SqlTable(f"sqlite:///{path}", "person")
    filters = [Filter(parse(f"{quoted_name} = {quoted(one)}")) for one in ("' OR 1=1 --", "x")]
    found: list[Any] = [Applied(one, 0) for one in filters]
    assert table.moved(*found) == [Key("[1]")]
    table.close()
