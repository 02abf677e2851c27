"""What a table looks like, by reflection, and the statements made for it.

Identifiers come from the database's own catalogue and are quoted by the dialect; values are
parameters only. The statements are compiled once by SQLAlchemy Core from columns without a
type, so that no result or parameter is converted on its way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal

from sqlalchemy import (
    Dialect,
    Engine,
    Inspector,
    Integer,
    bindparam,
    column,
    delete,
    func,
    insert,
    inspect,
    select,
    table,
    update,
)
from sqlalchemy.sql import ClauseElement, ColumnElement

from mailsync.core.model import Key, Value
from mailsync.datasets.sqlkeys import key_text
from mailsync.errors import DatasetError, DatasetMissing

Keys = Literal["local", "shared"]

ROWS_AT_A_TIME: Final = 1000


class Statement:
    """One compiled statement; its parameters are given by name."""

    def __init__(self, construct: ClauseElement, dialect: Dialect) -> None:
        """Compile for the engine of ``dialect``."""
        compiled = construct.compile(dialect=dialect)
        self._text = str(compiled)
        self._order: Sequence[str] | None = getattr(compiled, "positiontup", None)

    def run(self, cursor: Any, values: Mapping[str, Value]) -> Any:
        """Execute on a driver's cursor; returns the cursor."""
        if self._order is None:
            cursor.execute(self._text, values)
        else:
            cursor.execute(self._text, tuple(values[name] for name in self._order))
        return cursor


@dataclass(frozen=True)
class Reference:
    """A foreign key: ``columns`` of ``child`` name a row of ``parent`` by ``targets``."""

    child: str
    columns: tuple[str, ...]
    parent: str
    targets: tuple[str, ...]


@dataclass(frozen=True)
class Shape:
    """A table's columns, except generated ones, and what is promised about them."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    local: bool
    """The key column is the site's own and no field."""
    nullable: frozenset[str]
    unique: frozenset[str]
    """Columns of unique constraints and indexes other than the primary key."""
    references: tuple[Reference, ...]
    """Foreign keys from this table and to it."""
    dialect: Dialect

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields of a record."""
        return tuple(name for name in self.columns if not (self.local and name in self.key))

    @cached_property
    def field_names(self) -> frozenset[str]:
        """The same as a set."""
        return frozenset(self.fields)

    @cached_property
    def key_places(self) -> tuple[int, ...]:
        """Where in a row the key values stand."""
        return tuple(self.columns.index(name) for name in self.key)

    def key_of(self, row: Sequence[Value]) -> Key:
        """The row's key."""
        return key_text([row[place] for place in self.key_places])

    def fields_of(self, row: Sequence[Value]) -> dict[str, Value]:
        """The row's fields."""
        named = dict(zip(self.columns, row, strict=True))
        return {name: named[name] for name in self.fields}

    @cached_property
    def all_rows(self) -> Statement:
        """Every row."""
        return self._compiled(select(*map(column, self.columns)).select_from(self._table))

    @cached_property
    def all_keys(self) -> Statement:
        """The key columns of every row."""
        return self._compiled(select(*map(column, self.key)).select_from(self._table))

    @cached_property
    def one_row(self) -> Statement:
        """The row of a key; parameters as ``parameters`` makes them."""
        return self._compiled(
            select(*map(column, self.columns)).select_from(self._table).where(*self._is_the_row)
        )

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
        return self._compiled(insert(self._table).values(self._assignments(names)))

    def alteration(self, names: tuple[str, ...]) -> Statement:
        """Update these columns of the row of a key."""
        return self._compiled(
            update(self._table).where(*self._is_the_row).values(self._assignments(names))
        )

    def parameters(self, key: Sequence[Value], values: Mapping[str, Value]) -> dict[str, Value]:
        """Parameters for a statement about the row of a key, and columns' values."""
        named = {f"key{place}": value for place, value in enumerate(key)}
        for name, value in values.items():
            named[self._parameter_names[name]] = value
        return named

    @cached_property
    def _parameter_names(self) -> dict[str, str]:
        """Names of our own making: a column's may be anything."""
        return {name: f"value{place}" for place, name in enumerate(self.columns)}

    @cached_property
    def _table(self) -> Any:
        return table(self.name, *map(column, self.columns))

    @cached_property
    def _is_the_row(self) -> list[ColumnElement[bool]]:
        return [
            self._table.c[name] == bindparam(f"key{place}") for place, name in enumerate(self.key)
        ]

    def _assignments(self, names: tuple[str, ...]) -> dict[Any, Any]:
        return {self._table.c[name]: bindparam(self._parameter_names[name]) for name in names}

    def _compiled(self, construct: ClauseElement) -> Statement:
        return Statement(construct, self.dialect)


def reflect(engine: Engine, name: str, keys: Keys | None) -> Shape:
    """The shape of the table ``name``.

    Raises :class:`DatasetMissing` if there is none, :class:`DatasetError` if its rows cannot be
    told apart or its key is not what ``keys`` says.
    """
    catalogue = inspect(engine)
    names = catalogue.get_table_names()
    if name not in names:
        raise DatasetMissing(f"there is no table {name!r}; there are: {', '.join(names) or 'none'}")
    described = catalogue.get_columns(name)
    own = [one for one in described if not one.get("computed")]
    key = tuple(catalogue.get_pk_constraint(name)["constrained_columns"])
    if not key:
        raise DatasetError(f"table {name!r} has no primary key; give it one, e.g. an id column")
    generated = len(key) == 1 and any(
        one["name"] == key[0] and isinstance(one["type"], Integer) for one in own
    )
    if keys == "local" and not generated:
        raise DatasetError(
            f'table {name!r}: keys = "local" needs a primary key of one integer column, '
            f'not {", ".join(key)}; use keys = "shared"'
        )
    return Shape(
        name=name,
        columns=tuple(one["name"] for one in own),
        key=key,
        local=generated if keys is None else keys == "local",
        nullable=frozenset(one["name"] for one in own if one["nullable"]),
        unique=_unique_columns(catalogue, name),
        references=tuple(_references(catalogue, name, names)),
        dialect=engine.dialect,
    )


def _unique_columns(catalogue: Inspector, name: str) -> frozenset[str]:
    found: set[str | None] = set()
    for constraint in catalogue.get_unique_constraints(name):
        found.update(constraint["column_names"])
    for index in catalogue.get_indexes(name):
        if index["unique"]:
            found.update(index["column_names"])
    return frozenset(one for one in found if one is not None)


def _references(catalogue: Inspector, name: str, tables: Sequence[str]) -> list[Reference]:
    return [
        Reference(
            child,
            tuple(one["constrained_columns"]),
            one["referred_table"],
            tuple(one["referred_columns"]),
        )
        for child in tables
        for one in catalogue.get_foreign_keys(child)
        if name in {child, one["referred_table"]}
    ]
