"""Statements of the store: written with SQLAlchemy, compiled once, executed by the driver itself.

Rules
-----
* A statement is a constant of its module. Building one anew, or only looking it up among the
  compiled ones, costs SQLAlchemy ten times what SQLite takes to execute it.
* A statement can be said in SQLite's and in PostgreSQL's dialect. Of both, PostgreSQL's
  ``insert`` is the one that the compilers of both understand.
* Values are what drivers take by themselves: integers, text, bytes, None.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from sqlalchemy import BindParameter, Dialect, Table, bindparam
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement

Parameters = Sequence[object] | Mapping[str, object]
"""Of one execution, as the driver wants them: in order, or by name."""


@dataclass(frozen=True)
class _Compiled:
    """A statement in one dialect."""

    compiler: SQLCompiler
    literals: dict[str, object]
    """Parameters whose values are part of the statement."""
    order: Sequence[str] | None
    """None: the driver takes parameters by name."""
    lists: tuple[str, ...]
    """Parameters that are lists."""
    expanded: dict[tuple[int, ...], tuple[str, Sequence[str] | None]] = field(default_factory=dict)
    """Text and order by the lengths of lists."""

    def said(self, values: Mapping[str, object]) -> tuple[str, Parameters]:
        """What the driver is told."""
        given = {**self.literals, **values} if self.literals else values
        if self.order is not None and not self.lists:
            return self.compiler.string, [given[name] for name in self.order]
        return self._listed(dict(given))

    def _listed(self, given: dict[str, object]) -> tuple[str, Parameters]:
        text, order = self.compiler.string, self.order
        lists = {name: _evened(given[name]) for name in self.lists}
        if lists:
            given |= lists
            text, order = self._expanded(given, tuple(map(len, lists.values())))
            for name, items in lists.items():
                given |= {f"{name}_{number}": item for number, item in enumerate(items, 1)}
        if order is None:
            return text, {name: one for name, one in given.items() if name not in lists}
        return text, [given[name] for name in order]

    def _expanded(
        self, values: dict[str, object], lengths: tuple[int, ...]
    ) -> tuple[str, Sequence[str] | None]:
        """For lists of these lengths SQLAlchemy writes names like ``keys_1``, ``keys_2``."""
        if lengths not in self.expanded:
            state = self.compiler.construct_expanded_state(values)
            self.expanded[lengths] = state.statement, state.positiontup
        return self.expanded[lengths]


def _evened(items: object) -> list[object]:
    """The same set of values, as one of few lengths: of each a statement is kept."""
    assert isinstance(items, Collection)  # noqa: S101 - what is among others is given as such
    values = list(items)
    return values + values[-1:] * ((1 << max(len(values) - 1, 0).bit_length()) - len(values))


class Statement:
    """One statement. Its parameters are the ``bindparam`` in it, each given at every execution."""

    def __init__(self, clause: ClauseElement) -> None:
        """Compiled at first use: importing the store stays fast."""
        self._clause = clause
        self._compiled: dict[str, _Compiled] = {}

    def said(self, dialect: Dialect, values: Mapping[str, object]) -> tuple[str, Parameters]:
        """Text and parameters of an execution with these values."""
        return self._in(dialect).said(values)

    def said_often(self, dialect: Dialect) -> tuple[str, Sequence[str] | None]:
        """Text of many executions, and the order of their parameters; None: they go by name."""
        compiled = self._in(dialect)
        return compiled.compiler.string, compiled.order

    def _in(self, dialect: Dialect) -> _Compiled:
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = self._compiled[dialect.name] = self._compile(dialect)
        return compiled

    def _compile(self, dialect: Dialect) -> _Compiled:
        compiler = self._clause.compile(dialect=dialect)
        assert isinstance(compiler, SQLCompiler)  # noqa: S101 - no statement here is DDL
        literals = {name: bind.value for name, bind in compiler.binds.items() if not bind.required}
        lists = (compiler.bind_names[bind] for bind in compiler.post_compile_params)
        return _Compiled(compiler, literals, compiler.positiontup, tuple(lists))


class Session:
    """The open transaction of a connection of the driver's."""

    def __init__(self, connection: DBAPIConnection, dialect: Dialect) -> None:
        """Whoever opened the transaction ends it."""
        self._cursor: Any = connection.cursor()
        self._dialect = dialect

    def rows(self, statement: Statement, **values: object) -> list[Any]:
        """All rows of a query, each a tuple of its columns."""
        self.run(statement, **values)
        found: list[Any] = self._cursor.fetchall()
        return found

    def run(self, statement: Statement, **values: object) -> None:
        """Execute the statement."""
        self._cursor.execute(*statement.said(self._dialect, values))

    def run_each(self, statement: Statement, rows: Iterable[Mapping[str, object]]) -> None:
        """Execute the statement for each of these values."""
        said = [statement.said(self._dialect, row) for row in rows]
        if said:
            self._cursor.executemany(said[0][0], [parameters for _, parameters in said])

    def run_all(
        self, statement: Statement, names: Sequence[str], rows: Iterable[Sequence[object]]
    ) -> None:
        """Execute the statement for each of these rows of values, which are called so."""
        text, order = statement.said_often(self._dialect)
        values: Iterable[Parameters] = rows
        if order is None:
            values = [dict(zip(names, row, strict=True)) for row in rows]
        elif tuple(order) != tuple(names):
            values = map(itemgetter(*map(names.index, order)), rows)
        self._cursor.executemany(text, values)


def parameters(table: Table, *without: str) -> dict[str, BindParameter[Any]]:
    """One parameter for each column, named as the column is."""
    return {column.name: bindparam(column.name) for column in table.c if column.name not in without}
