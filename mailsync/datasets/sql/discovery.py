"""What a database offers: its tables, how their rows are told apart, and what does not travel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Inspector

from mailsync.datasets.offers import LeftOut, Offer
from mailsync.datasets.sql.database import SqlDatabase
from mailsync.datasets.sql.engine import TableName
from mailsync.datasets.sql.keyless import KeylessTable
from mailsync.datasets.sql.losses import of_table
from mailsync.datasets.sql.notation import EVERY_COLUMN
from mailsync.datasets.sql.shape import Shape
from mailsync.datasets.sql.table import SqlTable
from mailsync.errors import DatasetError


def tables_of(database: SqlDatabase, source: str) -> list[Offer | LeftOut]:
    """Every table and view of a database, which ``source`` names. Raises DatasetError."""
    with database.looking():
        tables = {TableName(None, name): why for name, why in database.tables().items()}
        with database.explaining(database.place):
            views = database.catalogue.get_view_names()
            tables |= dict.fromkeys(_elsewhere(database.catalogue), "")
        found = [_table(database, source, name, internal) for name, internal in tables.items()]
    return [*found, *(LeftOut(view, "it is a view") for view in views)]


def _elsewhere(catalogue: Inspector) -> Iterator[TableName]:
    """Tables in other schemas of a PostgreSQL database; MariaDB's are databases of their own."""
    if catalogue.dialect.name == "postgresql":
        for schema in catalogue.get_schema_names():
            if schema not in {catalogue.default_schema_name, "information_schema"}:
                yield from (TableName(schema, one) for one in catalogue.get_table_names(schema))


def _table(database: SqlDatabase, source: str, name: TableName, internal: str) -> Offer | LeftOut:
    title = str(name)
    if internal:
        return LeftOut(title, internal)
    with database.explaining(database.place):
        described = database.catalogue.get_columns(name.table, name.schema)
        key = _declared_key(database.catalogue, name, described)
    try:
        is_keyless = key == EVERY_COLUMN
        table = KeylessTable(database, title) if is_keyless else SqlTable(database, title, key=key)
    except DatasetError as error:
        return LeftOut(title, str(error).removeprefix(f"table {title!r}").lstrip(": "))
    shape = table.shape
    keys, because = _keys(shape, key, described)
    return Offer(
        source=source,
        title=title,
        table=title,
        keys=keys,
        key=key,
        because=because,
        columns={one.name: one.type for one in shape.described},
        notes=(*_parents(shape), *of_table(table, frozenset(table.fields or ()))),
    )


def _declared_key(
    catalogue: Inspector, name: TableName, described: Sequence[Any]
) -> tuple[str, ...]:
    """What the configuration must name as a key; empty where there is a primary one.

    The fewest columns that an index keeps unique and that are never empty, else all of them. An
    index over some of the rows, or over what is computed of them, tells no rows apart.
    """
    if catalogue.get_pk_constraint(name.table, name.schema)["constrained_columns"]:
        return ()
    filled = {one["name"] for one in described if not one["nullable"] and not one.get("computed")}
    indexes: list[Any] = [
        *catalogue.get_unique_constraints(name.table, name.schema),
        *catalogue.get_indexes(name.table, name.schema),
    ]
    found: list[tuple[str, ...]] = [
        tuple(names)
        for index in indexes
        if index.get("unique", True)
        and set(names := index["column_names"]) <= filled
        and not any(option.endswith("_where") for option in index.get("dialect_options", {}))
    ]
    return min(found, key=lambda names: (len(names), names), default=EVERY_COLUMN)


def _keys(shape: Shape, key: tuple[str, ...], described: Sequence[Any]) -> tuple[str | None, str]:
    """Whose the keys are, None where ``key`` says it; and why we think so."""
    names = ", ".join(shape.key)
    if key == EVERY_COLUMN:
        return None, "it has no key: rows are told apart by all they hold; better give it one"
    if key:
        return None, f"it has no primary key, but {names} is unique and never empty"
    if not shape.local:
        return "shared", f"its key is data like the rest: {names}"
    [own] = (one for one in described if one["name"] == names)
    if not own.get("autoincrement", True):  # SQLite gives any such key by itself
        return "shared", f"nothing counts {names} up: who inserts a row gives the number"
    return "local", f"each site counts {names} up by itself"


def _parents(shape: Shape) -> Iterator[str]:
    for one in shape.parents:
        if one.table != str(shape.name):
            yield f"{', '.join(one.fields)} refers to {one.table}: take that one, too"
