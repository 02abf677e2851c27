"""What a table looks like, and the statements made for it.

Identifiers come from the database's own catalogue and are quoted by the dialect; values are
parameters only. The statements are compiled once by SQLAlchemy Core from columns without a
type, so that no result or parameter is converted on its way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import chain
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    Dialect,
    Select,
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

from mailsync.core.filters import Applied
from mailsync.core.model import Fields, Key, Value, same_value
from mailsync.datasets.base import Field, Reference
from mailsync.datasets.rowkeys import key_text
from mailsync.datasets.spelling import Unfit, anything
from mailsync.datasets.sql.conditions import Question
from mailsync.datasets.sql.engine import LOOK, Column, EngineModule, ForeignKey, Scan, TableName
from mailsync.datasets.sql.statement import Statement, is_one_of


@dataclass(frozen=True)
class Shape:
    """A table's columns, except generated ones, and what is promised about them."""

    name: TableName
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

    def values_of(self, row: Sequence[Any]) -> Sequence[Value]:
        """The values of a row as the driver gives it."""
        return _converted(self._read, row)

    @cached_property
    def _read(self) -> list[_Conversion]:
        return _conversions([one.read for one in self.described])

    def key_of(self, row: Sequence[Any]) -> Key:
        """The row's key."""
        return self.key_of_values([row[place] for place in self.key_places])

    def key_of_values(self, values: Sequence[Any]) -> Key:
        """The key whose columns hold these values, as the driver gives them."""
        return key_text(self.key_values_of(values))

    def key_values_of(self, values: Sequence[Any]) -> Sequence[Value]:
        """What the key columns hold, from what the driver gives for them."""
        return _converted(self._read_in_key, values)

    @cached_property
    def _read_in_key(self) -> list[_Conversion]:
        return _conversions([self.by_name[name].read for name in self.key])

    def may_have_key(self, values: Sequence[Value]) -> bool:
        """May the key columns hold these values, just as they are?"""
        return len(values) == len(self.key) and not any(
            value is None or not same_value(self._spelled(name, value), value)
            for name, value in zip(self.key, values, strict=True)
        )

    def fields_of(self, row: Sequence[Any]) -> dict[str, Value]:
        """The row's fields."""
        return dict(zip(self.fields, self._of_the_fields(self.values_of(row)), strict=True))

    @cached_property
    def _of_the_fields(self) -> Callable[[Sequence[Value]], Sequence[Value]]:
        """Of a row's values, those that are fields."""
        places = [self.columns.index(name) for name in self.fields]
        if len(places) > 1:
            return itemgetter(*places)
        return lambda values: [values[place] for place in places]

    def spelled(self, fields: Fields) -> dict[str, Value]:
        """The fields as the columns spell them; what does not fit stays as it is."""
        spelled = dict(fields)
        for name in self._particular.keys() & fields.keys():
            spelled[name] = self._spelled(name, fields[name])
        return spelled

    @cached_property
    def _particular(self) -> dict[str, Column]:
        """Columns that do not hold whatever they are given, in the form in which it is given."""
        return {one.name: one for one in self.described if one.spell is not anything}

    def misfit(self, fields: Fields) -> str:
        """Why the columns do not take these fields; empty: they may."""
        try:
            self.fitting(fields)
        except Unfit as unfit:
            return str(unfit)
        return ""

    def fitting(self, fields: Fields) -> dict[str, Value]:
        """The fields as the columns spell them. Raises Unfit: what does not fit, and why."""
        if unknown := sorted(fields.keys() - self.held.keys()):
            raise Unfit(f"the table has no column {', '.join(unknown)}")
        spelled = dict(fields)
        for name in self._particular.keys() & fields.keys():
            value = fields[name]
            try:
                spelled[name] = self._form(name, value)
            except Unfit as unfit:
                raise Unfit(f"column {name} {unfit}, not {value!r:.80}") from unfit
        return spelled

    def _spelled(self, name: str, value: Value) -> Value:
        try:
            return self._form(name, value) if name in self.by_name else value
        except Unfit:
            return value

    def _form(self, name: str, value: Value) -> Value:
        """The column's form of a value; of an empty text it is NULL, where it holds no texts.

        Raises :class:`mailsync.datasets.spelling.Unfit`.
        """
        there = self.by_name[name]
        try:
            return None if value is None else there.spell(value)
        except Unfit:
            if value == "" and there.nullable:
                return None
            raise

    @cached_property
    def scan(self) -> Scan:
        """Every row, in the order of the key."""
        order = [self._table.c[name] for name in self.key]
        return self._scan(self._selected(self.columns), order)

    def scan_by_name(self, row_name: str) -> Scan:
        """Every row, behind its columns what the engine calls it, if it calls it anything."""
        names: list[ColumnElement[Any]] = [literal_column(row_name)] if row_name else []
        return self._scan([*self._selected(self.columns), *names], [])

    def _scan(
        self, columns: Sequence[ColumnElement[Any]], order: Sequence[ColumnElement[Any]]
    ) -> Scan:
        rows = select(*columns).select_from(self._table).order_by(*order)
        wanted = getattr(func, LOOK)(*columns)
        one: ColumnElement[Any] = literal_column("1")
        looking = select(one).select_from(self._table).where(wanted)
        return Scan(
            self._compiled(rows).text,
            self._compiled(looking.order_by(*order)).text,
            len(columns),
        )

    @cached_property
    def rows(self) -> Callable[[int], Statement]:
        """Of a number of keys, the statement that gives their rows.

        Its parameters are as ``parameters_of_keys`` makes them.
        """
        return cache(lambda count: self._compiled(self._rows_among(count)))

    @cached_property
    def rows_locked(self) -> Callable[[int], Statement]:
        """The same, and nobody else may write to the rows from then on."""
        return cache(lambda count: self._compiled(self._rows_among(count).with_for_update()))

    def _rows_among(self, count: int) -> Select[Any]:
        columns = self._selected(self.columns)
        key = [self._table.c[name] for name in self.key]
        return select(*columns).select_from(self._table).where(is_one_of(key, count))

    def parameters_of_keys(self, keys: Sequence[Sequence[Value]]) -> dict[str, Value]:
        """Parameters for a statement about the rows of these keys."""
        return {
            f"key{place}of{number}": value
            for number, key in enumerate(keys)
            for place, value in enumerate(_converted(self._bound_in_key, key))
        }

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

    def moved(self, before: Applied, now: Applied) -> tuple[Statement, dict[str, Any]] | None:
        """The keys of rows that are on another side of a filter now, or may be, and the
        parameters; None: the engine cannot be asked.
        """
        types = {name: self.by_name[name].type for name in self.fields}
        question = Question(self.dialect.name, types, lambda name: self._table.c[name])
        condition = question.moved(before, now)
        if condition is None:
            return None
        return self._compiled(self._selectable_keys(condition)), question.values

    def _selectable_keys(self, condition: ColumnElement[Any]) -> Select[Any]:
        return select(*self._selected(self.key)).select_from(self._table).where(condition)

    @cached_property
    def keys_with(self) -> Callable[[tuple[str, ...]], Statement]:
        """Of columns, the statement that gives the keys of the rows that hold certain values
        there; parameters as ``parameters_of_values`` makes them.
        """
        return cache(lambda names: self._compiled(self._keys_with(names)))

    def _keys_with(self, names: tuple[str, ...]) -> Select[Any]:
        held = [self._table.c[name] == bindparam(self._parameter_names[name]) for name in names]
        return select(*self._selected(self.key)).select_from(self._table).where(*held)

    @cached_property
    def removal(self) -> Statement:
        """Delete the row of a key."""
        return self._compiled(delete(self._table).where(*self._is_the_row))

    def removal_of(self, row_name: str) -> Statement:
        """Delete the row that the engine calls so; parameter ``row``."""
        is_it = literal_column(row_name) == bindparam("row")
        return self._compiled(delete(self._table).where(is_it))

    @cached_property
    def removal_of_one_like(self) -> Statement:
        """Delete one row that holds these values, in MariaDB; parameters as
        ``parameters_of_values`` makes them.
        """
        alike = [self._holds(one) for one in self.described]
        construct = delete(self._table).where(*alike)
        return Statement(construct, self.dialect, lambda text: f"{text} LIMIT 1")

    def _holds(self, described: Column) -> ColumnElement[bool]:
        """Exactly, in case and blanks too; NULL is NULL."""
        [there] = self._selected([described.name])
        if "CHAR" in described.type or "TEXT" in described.type:
            there = func.convert(there.op("USING")(literal_column("utf8mb4"))).op("COLLATE")(
                literal_column("utf8mb4_nopad_bin")
            )
        value: ColumnElement[Any] = bindparam(self._parameter_names[described.name])
        return there.bool_op("<=>")(value)

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
        bound = enumerate(_converted(self._bound_in_key, key))
        return {f"key{place}": value for place, value in bound} | self.parameters_of_values(values)

    def parameters_of_values(self, values: Mapping[str, Value]) -> dict[str, Any]:
        """Parameters for columns' values alone."""
        names = self._parameter_names
        said: dict[str, Any] = {names[name]: value for name, value in values.items()}
        for name in self._bound.keys() & values.keys():
            if values[name] is not None:
                said[names[name]] = self._bound[name](values[name])
        return said

    @cached_property
    def _bound(self) -> dict[str, Callable[[Any], Any]]:
        """How values are told the driver that are not told as they are."""
        return {one.name: one.bind for one in self.described if one.bind is not None}

    @cached_property
    def _bound_in_key(self) -> list[_Conversion]:
        return _conversions([self.by_name[name].bind for name in self.key])

    @cached_property
    def _parameter_names(self) -> dict[str, str]:
        """Names of our own making: a column's may be anything."""
        return {name: f"value{place}" for place, name in enumerate(self.columns)}

    @cached_property
    def _table(self) -> Any:
        return table(self.name.table, *map(column, self.columns), schema=self.name.schema)

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


_Conversion = tuple[int, Callable[[Any], Any]]
"""A place among values, and from one form of the value there to the other."""


def _conversions(each: Sequence[Callable[[Any], Any] | None]) -> list[_Conversion]:
    return [(place, convert) for place, convert in enumerate(each) if convert is not None]


def _converted(conversions: Sequence[_Conversion], given: Sequence[Any]) -> Sequence[Any]:
    if not conversions:
        return given
    values = list(given)
    for place, convert in conversions:
        if values[place] is not None:
            values[place] = convert(values[place])
    return values
