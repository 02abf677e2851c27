"""The shape of a table, from the database's own catalogue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from typing import Any, Literal, cast

from sqlalchemy import Connection, Dialect, Inspector, Integer
from sqlalchemy.exc import CompileError

from mailsync.datasets.base import Reference
from mailsync.datasets.spelling import blank
from mailsync.datasets.sql.engine import Column, EngineModule, ForeignKey, TableName
from mailsync.datasets.sql.notation import EVERY_COLUMN
from mailsync.datasets.sql.shape import Shape
from mailsync.errors import DatasetError, DatasetMissing

Keys = Literal["local", "shared"]


def reflect(
    module: EngineModule,
    catalogue: Inspector,
    words: str,
    keys: Keys | None,
    declared: Sequence[str] | None = None,
) -> Shape:
    """The shape of the table that is called so, by its schema and its name if need be.

    Raises :class:`DatasetMissing` if there is none, :class:`DatasetError` if its rows cannot be
    told apart or its key is not what ``keys`` says.
    """
    name = _found(catalogue, words)
    schema, table = name
    if reason := module.unusable(catalogue.get_table_options(table, schema)):
        raise DatasetError(f"table {words!r}: {reason}")
    described = catalogue.get_columns(table, schema)
    own = [one for one in described if not one.get("computed")]
    primary = tuple(catalogue.get_pk_constraint(table, schema)["constrained_columns"])
    if primary and declared == EVERY_COLUMN:
        raise DatasetError(
            f'table {words!r} has a primary key ({", ".join(primary)}): leave key = ["*"] out'
        )
    key = primary or _declared(words, declared, own)
    references = tuple(_references(module, catalogue, name))
    parents = tuple(_parents(catalogue, name, references, own))
    generated = (
        len(primary) == 1
        and any(one["name"] == key[0] and isinstance(one["type"], Integer) for one in own)
        and all(key[0] not in one.fields for one in parents)
    )
    if keys == "local" and not generated:
        raise DatasetError(
            f'table {words!r}: keys = "local" needs a primary key of one integer column that '
            f'refers to no other table, not {", ".join(key)}; use keys = "shared"'
        )
    return Shape(
        name=name,
        described=tuple(_described(module, catalogue.dialect, one) for one in own),
        computed=tuple(one["name"] for one in described if one.get("computed")),
        key=key,
        declared=not primary,
        local=generated if keys is None else keys == "local",
        unique=_unique_columns(catalogue, name),
        references=references,
        parents=parents,
        engine=module,
        dialect=catalogue.dialect,
    )


def _found(catalogue: Inspector, words: str) -> TableName:
    names = catalogue.get_table_names()
    if words in names:
        return TableName(None, words)
    schema, _, table = words.partition(".")
    if schema == catalogue.default_schema_name and table in names:
        raise DatasetError(f"table {words!r}: write {table!r}, it is looked for in {schema}")
    if table and schema in catalogue.get_schema_names():
        names = [f"{schema}.{one}" for one in catalogue.get_table_names(schema)]
        if words in names:
            return TableName(schema, table)
    raise DatasetMissing(f"there is no table {words!r}; there are: {', '.join(names) or 'none'}")


def _described(module: EngineModule, dialect: Dialect, one: Any) -> Column:
    """A column with its type and its default, and whether it must be given a value."""
    found = module.column(one)
    try:
        words = one["type"].compile(dialect=dialect)
    except CompileError:
        words = ""
    nothing = blank(found.spell, one.get("default"), nullable=found.nullable)
    given = (
        one.get("default") is not None or one.get("identity") or one.get("autoincrement") is True
    )
    needed = not (found.nullable or given)
    return replace(found, type=words, blank=nothing, needed=needed)


def _declared(
    name: str, declared: Sequence[str] | None, described: Sequence[Any]
) -> tuple[str, ...]:
    """The key that the configuration names."""
    if not declared:
        raise DatasetError(
            f"table {name!r} has no primary key; give it one, or name the columns that tell its "
            'rows apart: key = ["..."], or key = ["*"] if nothing but all of them does'
        )
    if tuple(declared) == EVERY_COLUMN:
        return tuple(one["name"] for one in described)
    if unknown := set(declared) - {one["name"] for one in described}:
        raise DatasetError(f"key: table {name!r} has no column {', '.join(sorted(unknown))}")
    return tuple(declared)


def _unique_columns(catalogue: Inspector, name: TableName) -> frozenset[str]:
    found: set[str | None] = set()
    for constraint in catalogue.get_unique_constraints(name.table, name.schema):
        found.update(constraint["column_names"])
    for index in catalogue.get_indexes(name.table, name.schema):
        if index["unique"]:
            found.update(index["column_names"])
    return frozenset(one for one in found if one is not None)


def _parents(
    catalogue: Inspector, name: TableName, keys: Sequence[ForeignKey], described: Sequence[Any]
) -> Iterator[Reference]:
    nullable = frozenset(one["name"] for one in described if one["nullable"])
    for one in keys:
        if one.child == name:
            schema, table = one.parent
            primary = catalogue.get_pk_constraint(table, schema)["constrained_columns"]
            is_key = tuple(primary) == one.targets
            empty = nullable.intersection(one.columns)
            yield Reference(one.columns, empty, str(one.parent), one.targets, is_key)


def _references(
    module: EngineModule, catalogue: Inspector, name: TableName
) -> Iterator[ForeignKey]:
    """Foreign keys from the table and to it; of those to it, the ones from other schemas need not
    be known: they only help to say who broke one.
    """
    connection = cast("Connection", catalogue.bind)
    usual = catalogue.default_schema_name
    for schema in dict.fromkeys((None, name.schema)):
        rows = connection.exec_driver_sql(module.FOREIGN_KEYS, (schema,))
        for _, constraint in groupby(rows, key=itemgetter(0, 1)):
            children, _, columns, schemas, parents, targets, acts = zip(*constraint, strict=True)
            referred = None if schemas[0] == usual else schemas[0]
            parent = TableName(referred, parents[0])
            child = TableName(schema, children[0])
            found = ForeignKey(child, columns, parent, targets, bool(acts[0]))
            if name in {found.child, parent}:
                yield found
