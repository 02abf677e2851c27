"""What a table looks like, and the statements made for it.

Identifiers come from the database's own catalogue and are quoted by the dialect; values are
parameters only. The statements are compiled once by SQLAlchemy Core from columns without a
type, so that no result or parameter is converted on its way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, Final, cast

from sqlalchemy import (
    Dialect,
    bindparam,
    column,
    delete,
    func,
    insert,
    literal_column,
    select,
    table,
    update,
)
from sqlalchemy.sql import ClauseElement, ColumnElement

from mailsync.core.model import Fields, Key, Value
from mailsync.datasets.base import Field, Reference
from mailsync.datasets.sqlengine import Column, EngineModule
from mailsync.datasets.sqlkeys import key_text
from mailsync.datasets.sqlspelling import Unfit

ROWS_AT_A_TIME: Final = 1000


class Statement:
    """One compiled statement; its parameters are given by name."""

    def __init__(
        self, construct: ClauseElement, dialect: Dialect, edit: Callable[[str], str] = str
    ) -> None:
        """Compile for the engine of ``dialect``; ``edit`` has the last word on the text."""
        compiled = construct.compile(dialect=dialect)
        self._text = edit(str(compiled))
        self._order: Sequence[str] | None = getattr(compiled, "positiontup", None)

    def run(self, cursor: Any, values: Mapping[str, Value]) -> Any:
        """Execute on a driver's cursor; returns the cursor."""
        if self._order is None:
            cursor.execute(self._text, values)
        else:
            cursor.execute(self._text, tuple(values[name] for name in self._order))
        return cursor


@dataclass(frozen=True)
class ForeignKey:
    """A foreign key: ``columns`` of ``child`` name a row of ``parent`` by ``targets``."""

    child: str
    columns: tuple[str, ...]
    parent: str
    targets: tuple[str, ...]


@dataclass(frozen=True)
class Shape:
    """A table's columns, except generated ones, and what is promised about them."""

    name: str
    described: tuple[Column, ...]
    computed: tuple[str, ...]
    """Names of the generated columns."""
    key: tuple[str, ...]
    local: bool
    """The key column is the site's own and no field."""
    declared: bool
    """The key is no primary key: only the configuration says that it tells rows apart."""
    unique: frozenset[str]
    """Columns of unique constraints and indexes other than the primary key."""
    references: tuple[ForeignKey, ...]
    """Foreign keys from this table and to it."""
    parents: tuple[Reference, ...]
    """The foreign keys from this table, as fields."""
    engine: EngineModule
    dialect: Dialect

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, in their order in a row."""
        return tuple(self.by_name)

    @cached_property
    def by_name(self) -> dict[str, Column]:
        """The columns by their names."""
        return {one.name: one for one in self.described}

    @cached_property
    def nullable(self) -> frozenset[str]:
        """Columns that take NULL."""
        return frozenset(one.name for one in self.described if one.nullable)

    @cached_property
    def restless(self) -> frozenset[str]:
        """Columns that every update alters that does not name them."""
        return frozenset(one.name for one in self.described if one.restless)

    @cached_property
    def referring(self) -> frozenset[str]:
        """Columns beside the key by which rows refer to other rows."""
        own = (one.columns for one in self.references if one.child == self.name)
        return frozenset(chain.from_iterable(own)) - frozenset(self.key)

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields of a record."""
        return tuple(name for name in self.columns if not (self.local and name in self.key))

    @cached_property
    def held(self) -> dict[str, Field]:
        """The fields as a dataset tells them."""
        return {one: Field(self.by_name[one].type, self.by_name[one].blank) for one in self.fields}

    def nothing_in(self, name: str) -> Value:
        """What a column is given that a record no longer has as a field."""
        return None if name in self.nullable else self.held[name].blank

    @cached_property
    def key_places(self) -> tuple[int, ...]:
        """Where in a row the key values stand."""
        return tuple(self.columns.index(name) for name in self.key)

    @cached_property
    def reads_plainly(self) -> bool:
        """Are all values just what the driver gives?"""
        return all(one.read is None for one in self.described)

    def values_of(self, row: Sequence[Any]) -> Sequence[Value]:
        """The values of a row as the driver gives it."""
        if self.reads_plainly:
            return row
        return [_read(one, value) for one, value in zip(self.described, row, strict=True)]

    def key_of(self, row: Sequence[Any]) -> Key:
        """The row's key."""
        return self.key_of_values([row[place] for place in self.key_places])

    def key_values_of(self, values: Sequence[Any]) -> list[Value]:
        """What the key columns hold, from what the driver gives for them."""
        columns = (self.by_name[name] for name in self.key)
        return [_read(one, value) for one, value in zip(columns, values, strict=True)]

    def key_of_values(self, values: Sequence[Any]) -> Key:
        """The key whose columns hold these values, as the driver gives them."""
        return key_text(self.key_values_of(values))

    def fields_of(self, row: Sequence[Any]) -> dict[str, Value]:
        """The row's fields."""
        named = dict(zip(self.columns, self.values_of(row), strict=True))
        return {name: named[name] for name in self.fields}

    def spelled(self, fields: Fields) -> dict[str, Value]:
        """The fields as the columns spell them; what does not fit stays as it is."""
        return {name: self._spelled(name, value) for name, value in fields.items()}

    def misfit(self, fields: Fields) -> str:
        """Why the columns do not take these fields; empty: they may."""
        if unknown := sorted(fields.keys() - self.held.keys()):
            return f"the table has no column {', '.join(unknown)}"
        for name, value in fields.items():
            try:
                if value is not None:
                    self.by_name[name].spell(value)
            except Unfit as unfit:
                return f"column {name} {unfit}, not {value!r:.80}"
        return ""

    def _spelled(self, name: str, value: Value) -> Value:
        column_there = self.by_name.get(name)
        if value is None or column_there is None:
            return value
        try:
            return column_there.spell(value)
        except Unfit:
            return value

    @cached_property
    def all_rows(self) -> Statement:
        """Every row."""
        return self._compiled(select(*self._selected(self.columns)).select_from(self._table))

    @cached_property
    def all_keys(self) -> Statement:
        """The key columns of every row."""
        return self._compiled(select(*self._selected(self.key)).select_from(self._table))

    @cached_property
    def one_row(self) -> Statement:
        """The row of a key; parameters as ``parameters`` makes them."""
        return self._compiled(self._the_row)

    @cached_property
    def one_row_locked(self) -> Statement:
        """The same, and nobody else may write to it from then on."""
        return self._compiled(self._the_row.with_for_update())

    @cached_property
    def double(self) -> Statement:
        """A key that several rows have."""
        columns: list[Any] = [column(name) for name in self.key]
        several = func.count() > literal_column("1")
        found = select(*columns).select_from(self._table).group_by(*columns).having(several)
        return self._compiled(found)

    @cached_property
    def greatest_key(self) -> Statement:
        """The greatest value of a key of one column."""
        return self._compiled(select(func.max(column(self.key[0]))).select_from(self._table))

    @cached_property
    def removal(self) -> Statement:
        """Delete the row of a key."""
        return self._compiled(delete(self._table).where(*self._is_the_row))

    def addition(self, names: tuple[str, ...]) -> Statement:
        """Insert a row with values for these columns."""
        construct = insert(self._table).values(self._assignments(names))
        return Statement(construct, self.dialect, self.engine.addition)

    def alteration(self, names: tuple[str, ...]) -> Statement:
        """Update these columns of the row of a key."""
        return self._compiled(
            update(self._table).where(*self._is_the_row).values(self._assignments(names))
        )

    def parameters(self, key: Sequence[Value], values: Mapping[str, Value]) -> dict[str, Value]:
        """Parameters for a statement about the row of a key, and columns' values."""
        named = {
            f"key{place}": _bound(self.by_name[name], value)
            for place, (name, value) in enumerate(zip(self.key, key, strict=True))
        }
        for name, value in values.items():
            named[self._parameter_names[name]] = _bound(self.by_name[name], value)
        return named

    @cached_property
    def _parameter_names(self) -> dict[str, str]:
        """Names of our own making: a column's may be anything."""
        return {name: f"value{place}" for place, name in enumerate(self.columns)}

    @cached_property
    def _table(self) -> Any:
        return table(self.name, *map(column, self.columns))

    @cached_property
    def _the_row(self) -> Any:
        return (
            select(*self._selected(self.columns)).select_from(self._table).where(*self._is_the_row)
        )

    def _selected(self, names: Sequence[str]) -> list[ColumnElement[Any]]:
        wanted = ((self._table.c[name], self.by_name[name].select) for name in names)
        return [one if change is None else change(one) for one, change in wanted]

    @cached_property
    def _is_the_row(self) -> list[ColumnElement[bool]]:
        return [
            self._table.c[name] == bindparam(f"key{place}") for place, name in enumerate(self.key)
        ]

    def _assignments(self, names: tuple[str, ...]) -> dict[Any, Any]:
        return {self._table.c[name]: bindparam(self._parameter_names[name]) for name in names}

    def _compiled(self, construct: ClauseElement) -> Statement:
        return Statement(construct, self.dialect)


def _read(described: Column, value: Any) -> Value:
    if value is None or described.read is None:
        return cast("Value", value)
    return described.read(value)


def _bound(described: Column, value: Value) -> Any:
    return value if value is None or described.bind is None else described.bind(value)
