"""Statements: compiled once, said in every dialect, complete or refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from importlib import import_module
from pkgutil import iter_modules

import pytest
from sqlalchemy import Dialect, bindparam, create_engine, select
from sqlalchemy.dialects import postgresql, sqlite

from mailsync import store
from mailsync.store import record_statements, schema, transaction
from mailsync.store.statements import Session, Statement

DIALECTS: list[Dialect] = [
    sqlite.dialect(),
    postgresql.dialect(),  # type: ignore[no-untyped-call]
]


def statements() -> dict[str, Statement]:
    found = {}
    for module in iter_modules(store.__path__):
        for name, value in vars(import_module(f"mailsync.store.{module.name}")).items():
            several = value if isinstance(value, list) else [value]
            for number, one in enumerate(several):
                if isinstance(one, Statement):
                    found[f"{module.name}.{name}.{number}"] = one
    return found


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("name", statements())
def test_every_statement_can_be_said_in_every_dialect(name: str, dialect: Dialect) -> None:
    assert statements()[name]._compile(dialect).compiler.string


@pytest.fixture
def session() -> Iterator[Session]:
    engine = create_engine("sqlite://")
    schema.metadata.create_all(engine)
    connection = engine.raw_connection()
    connection.cursor().execute("insert into link (peer, state) values ('hub', 1), ('ship', 2)")
    yield Session(connection, engine.dialect)
    connection.close()


PEERS = select(schema.link.c.peer).order_by(schema.link.c.number)


def test_a_parameter_takes_another_value_each_time(session: Session) -> None:
    one = Statement(PEERS.where(schema.link.c.peer == bindparam("name")))
    assert [session.rows(one, name=name) for name in ("hub", "ship", "?")] == [
        [("hub",)],
        [("ship",)],
        [],
    ]


def test_a_list_may_have_any_length(session: Session) -> None:
    some = Statement(PEERS.where(schema.link.c.peer.in_(bindparam("names", expanding=True))))
    assert session.rows(some, names=["ship"]) == [("ship",)]
    assert session.rows(some, names=["ship", "hub"]) == [("hub",), ("ship",)]
    assert session.rows(some, names=[]) == []


def test_a_value_that_is_missing_is_not_taken_for_null(session: Session) -> None:
    with pytest.raises(KeyError, match="name"):
        session.rows(Statement(PEERS.where(schema.link.c.peer == bindparam("name"))))


@pytest.mark.parametrize(
    ("name", "index", "values"),
    [
        ("UNWRITTEN", "record_unwritten", {"dataset": 1, "after": 0, "limit": 9, "gone": [0, 1]}),
        ("PRUNABLE", "record_prunable", {"after": 0, "limit": 9}),
        ("GONE", "record_gone", {"before": 9, "after": 0, "limit": 9}),
        ("AGE", "record_gone", {"now": 9}),
    ],
)
def test_what_every_cycle_asks_reads_only_records_that_want_something(
    name: str, index: str, values: dict[str, object]
) -> None:
    (step,) = plan(vars(record_statements)[name], values)
    assert f"USING INDEX {index}" in step


def test_records_are_found_by_their_keys_without_reading_others() -> None:
    step = plan(record_statements.BY_KEY, {"dataset": 1, "number": 1, "keys": ["[1,2]"] * 9})[0]
    assert "USING INDEX record_place (dataset=? AND number=? AND key=?)" in step
    step = plan(record_statements.BY_NUMBER, {"dataset": 1, "numbers": list(range(9))})[0]
    assert "USING INDEX record_place (dataset=? AND number=?)" in step


@pytest.mark.parametrize("statement", transaction._FORGET)
def test_what_is_old_is_found_without_reading_what_is_not(statement: Statement) -> None:
    (step,) = plan(statement, {"before": 9})
    assert "USING INDEX" in step or "outbox" in step  # which is emptied all the time


def plan(statement: Statement, values: dict[str, object]) -> list[str]:
    """The steps in which SQLite would execute this."""
    engine = create_engine("sqlite://")
    schema.metadata.create_all(engine)
    text, given = statement.said(engine.dialect, values)
    with closing(engine.raw_connection()) as connection:
        cursor = connection.cursor()
        cursor.execute(f"explain query plan {text}", given)
        return [step[3] for step in cursor.fetchall()]


def test_a_list_that_is_part_of_the_statement_is_said_with_it(session: Session) -> None:
    written = Statement(PEERS.where(schema.link.c.peer.in_(["ship", "?", "hub"])))
    assert session.rows(written) == [("hub",), ("ship",)]


def test_lists_of_many_lengths_make_few_statements(session: Session) -> None:
    some = Statement(PEERS.where(schema.link.c.peer.in_(bindparam("names", expanding=True))))
    for length in range(1, 100):
        assert session.rows(some, names=["?"] * (length - 1) + ["hub"]) == [("hub",)]
    [compiled] = some._compiled.values()
    assert len(compiled.expanded) == 8
