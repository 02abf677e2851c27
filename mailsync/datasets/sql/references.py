"""Which writes of a batch break a foreign key, when the engine only says that some do.

Deferred foreign keys are checked when the transaction ends, and the engine's error names
nobody. So every written row's own references are looked up, and every removed row's children.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import ColumnElement, bindparam, column, exists, literal_column, select, table

from mailsync.core.model import Fields, Value
from mailsync.datasets.sql.engine import ForeignKey, TableName
from mailsync.datasets.sql.shape import Shape
from mailsync.datasets.sql.statement import Statement

Name = tuple[TableName, tuple[str, ...], tuple[Value, ...]]
"""A row as foreign keys name it: its table, columns of it, and what they hold."""


class References:
    """Looks up both ends of a table's foreign keys."""

    def __init__(self, shape: Shape, cursor: Any) -> None:
        """Look at a table of this shape through a cursor in the open transaction."""
        self._cursor = cursor
        self._upwards = [
            (one, _lookup(one.parent, one.targets, shape))
            for one in shape.references
            if one.child == shape.name
        ]
        self._downwards = [
            (one, _lookup(one.child, one.columns, shape))
            for one in shape.references
            if one.parent == shape.name
        ]

    def fault(self, before: Fields | None, after: Fields | None) -> str:
        """Why a row that was ``before`` and is ``after`` breaks a reference; empty: it does not.

        Both with the key columns among them.
        """
        return next(self._faults(before or {}, after or {}), "")

    def names(self, fields: Fields) -> Iterator[Name]:
        """By what rows refer to a row with these fields."""
        for reference, _ in self._downwards:
            if values := _pick(fields, reference.targets):
                yield reference.parent, reference.targets, tuple(values.values())

    def referred(self, fields: Fields) -> Iterator[Name]:
        """The names of the rows that a row with these fields refers to."""
        for reference, _ in self._upwards:
            if values := _pick(fields, reference.columns):
                yield reference.parent, reference.targets, tuple(values.values())

    def _faults(self, before: Fields, after: Fields) -> Iterator[str]:
        for reference, statement in self._upwards:
            values = _pick(after, reference.columns)
            if values and not self._finds(statement, values):
                yield f"no row of {reference.parent} for {_named(reference.columns)}"
        for reference, statement in self._downwards:
            values = _pick(before, reference.targets)
            if values and values != _pick(after, reference.targets):
                yield from self._orphans(reference, statement, values)

    def _orphans(
        self, reference: ForeignKey, statement: Statement, values: Mapping[str, Value]
    ) -> Iterator[str]:
        if self._finds(statement, values):
            yield f"rows of {reference.child} refer to it by {_named(reference.columns)}"

    def _finds(self, statement: Statement, values: Mapping[str, Value]) -> bool:
        return statement.run(self._cursor, values).fetchone() is not None


def _lookup(name: TableName, columns: tuple[str, ...], shape: Shape) -> Statement:
    there = table(name.table, *map(column, columns), schema=name.schema)
    conditions = [there.c[one] == bindparam(f"value{place}") for place, one in enumerate(columns)]
    one: ColumnElement[Any] = literal_column("1")
    found = exists(select(one).select_from(there).where(*conditions))
    return Statement(select(one).where(found), shape.dialect)


def _pick(fields: Fields, columns: tuple[str, ...]) -> dict[str, Value]:
    """Parameters for a lookup; none where a column is NULL: that refers to nothing."""
    values = {f"value{place}": fields.get(name) for place, name in enumerate(columns)}
    return {} if None in values.values() else values


def _named(columns: tuple[str, ...]) -> str:
    return ", ".join(columns)
