"""From what a section says of a table to its adapter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

from mailsync.datasets.sql.database import SqlDatabase
from mailsync.datasets.sql.keyless import KeylessTable
from mailsync.datasets.sql.notation import EVERY_COLUMN
from mailsync.datasets.sql.table import SqlTable
from mailsync.errors import BadConfiguration


def open_table(
    database: SqlDatabase, table: str | None, keys: str | None, key: Sequence[str] | None
) -> SqlTable | KeylessTable:
    """The table of this name. Raises :class:`mailsync.errors.BadConfiguration`, DatasetError."""
    if not table:
        raise BadConfiguration(f'{database.place}: name its table, e.g. table = "defects"')
    if keys not in {None, "local", "shared"}:
        raise BadConfiguration(f'keys = "{keys}": write "local" or "shared"')
    if tuple(key or ()) == EVERY_COLUMN:
        if keys is not None:
            raise BadConfiguration(
                f'keys = "{keys}": leave it out, with key = ["*"] there are none'
            )
        return KeylessTable(database, table)
    chosen = cast("Literal['local', 'shared'] | None", keys)
    return SqlTable(database, table, keys=chosen, key=key)
