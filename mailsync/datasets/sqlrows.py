"""Reading raw rows: streamed, one by key, and with texts that are no texts let through."""

from __future__ import annotations

import marshal
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Any

from mailsync.core.model import Etag, Key, Value
from mailsync.datasets import sqlite
from mailsync.datasets.memory import MARSHAL_VERSION
from mailsync.datasets.sqlkeys import key_text, key_values
from mailsync.datasets.sqlshape import ROWS_AT_A_TIME, Shape

Row = tuple[Value, ...]


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
        for batch in _batches(connection, shape):
            yield batch
            done += len(batch)
    except sqlite.DRIVER_ERRORS as error:
        if not sqlite.is_undecodable(error):
            raise
    else:
        return
    with sqlite.tolerance(connection):
        skipped = 0
        for batch in _batches(connection, shape):
            yield batch[max(0, done - skipped) :]
            skipped += len(batch)


def all_keys(connection: Any, shape: Shape) -> Iterator[Key]:
    """The key of every row."""
    with sqlite.tolerance(connection):
        cursor = shape.all_keys.run(connection.cursor(), {})
        while rows := cursor.fetchmany(ROWS_AT_A_TIME):
            yield from map(key_text, rows)


def one_row(connection: Any, shape: Shape, key: Key) -> Row | None:
    """The row of a key, if it has exactly this key: a collation may find a similar one."""
    try:
        values = key_values(key)
    except ValueError:
        return None
    if len(values) != len(shape.key):
        return None
    parameters = shape.parameters(values, {})
    try:
        row = shape.one_row.run(connection.cursor(), parameters).fetchone()
    except sqlite.UNFIT_VALUES:
        return None
    except sqlite.DRIVER_ERRORS as error:
        if not sqlite.is_undecodable(error):
            raise
        with sqlite.tolerance(connection):
            row = shape.one_row.run(connection.cursor(), parameters).fetchone()
    return row if row is not None and shape.key_of(row) == key else None


def undecodable(shape: Shape, row: Row) -> str:
    """Why the row cannot be read; empty: it can."""
    for name, value in zip(shape.columns, row, strict=True):
        if isinstance(value, sqlite.Undecodable):
            return f"column {name} holds a text that is not UTF-8"
    return ""


def _batches(connection: Any, shape: Shape) -> Iterator[Sequence[Row]]:
    cursor = shape.all_rows.run(connection.cursor(), {})
    while batch := cursor.fetchmany(ROWS_AT_A_TIME):
        yield batch
