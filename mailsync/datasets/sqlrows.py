"""Reading raw rows: streamed, one by key, and with texts that are no texts let through."""

from __future__ import annotations

import marshal
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from math import isnan
from typing import Any

from mailsync.core.model import Etag, Fields, Key, Value, same_value
from mailsync.datasets.memory import MARSHAL_VERSION
from mailsync.datasets.sqlengine import Undecodable
from mailsync.datasets.sqlkeys import key_values
from mailsync.datasets.sqlshape import ROWS_AT_A_TIME, Shape, Statement

Row = tuple[Any, ...]
"""As the driver gives it."""


def row_etag(row: Row) -> Etag:
    """16 bytes of BLAKE2b over the raw row."""
    return Etag(blake2b(marshal.dumps(row, MARSHAL_VERSION), digest_size=16).digest())


def stream(connection: Any, shape: Shape) -> Iterator[Sequence[Row]]:
    """Every row, in batches. Call it inside a transaction.

    The driver's fast decoding ends at the first text that is not UTF-8. The same query in the
    same transaction gives the rows in the same order, so it is asked once more from there on.
    """
    done = 0
    try:
        for batch in _batches(connection, shape, shape.all_rows):
            yield batch
            done += len(batch)
    except shape.engine.DRIVER_ERRORS as error:
        if not shape.engine.is_undecodable(error):
            raise
    else:
        return
    with shape.engine.tolerance(connection):
        skipped = 0
        for batch in _batches(connection, shape, shape.all_rows):
            yield batch[max(0, done - skipped) :]
            skipped += len(batch)


def all_keys(connection: Any, shape: Shape) -> Iterator[Key]:
    """The key of every row."""
    with shape.engine.tolerance(connection):
        for batch in _batches(connection, shape, shape.all_keys):
            yield from map(shape.key_of_values, batch)


def one_row(connection: Any, shape: Shape, key: Key, statement: Statement) -> Row | None:
    """The row of a key, if it has exactly this key: a collation may find a similar one."""
    values = usable_key(shape, key)
    if values is None:
        return None
    parameters = shape.parameters(values, {})
    try:
        row = statement.run(connection.cursor(), parameters).fetchone()
    except shape.engine.UNFIT_VALUES:
        return None
    except shape.engine.DRIVER_ERRORS as error:
        if not shape.engine.is_undecodable(error):
            raise
        with shape.engine.tolerance(connection):
            row = statement.run(connection.cursor(), parameters).fetchone()
    return row if row is not None and shape.key_of(row) == key else None


def usable_key(shape: Shape, key: Key) -> tuple[Value, ...] | None:
    """The values of a key; None if no row of the table can have it."""
    try:
        values = key_values(key)
    except ValueError:
        return None
    named = dict(zip(shape.key, values, strict=False))
    if len(values) != len(shape.key) or None in values:
        return None
    spelled = shape.spelled(named)
    return values if all(same_value(spelled[name], named[name]) for name in named) else None


def unreadable(fields: Fields) -> str:
    """Why a row with these fields cannot be taken; empty: it can."""
    for name, value in fields.items():
        if isinstance(value, Undecodable):
            return f"column {name} holds a text that is not UTF-8"
        if isinstance(value, float) and isnan(value):
            return f"column {name} holds NaN, of which nobody can say whether it has changed"
    return ""


def _batches(connection: Any, shape: Shape, statement: Statement) -> Iterator[Sequence[Row]]:
    with shape.engine.reading(connection) as cursor:
        statement.run(cursor, {})
        while batch := cursor.fetchmany(ROWS_AT_A_TIME):
            yield batch
