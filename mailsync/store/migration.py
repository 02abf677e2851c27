"""The numbered steps that made the state store's tables what they are.

Rules
-----
* A step, once released, is never changed; a new shape is a new step. Each runs in one
  transaction with the version it leads to.
* A store written by a newer mailsync is refused, not guessed at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection, insert, inspect, select, text, update
from sqlalchemy.schema import CreateColumn

from mailsync.errors import OperatorError
from mailsync.store.schema import conflict, held, metadata, version


class NewerState(OperatorError):
    """Run the mailsync that wrote this state store, or a newer one."""


def _create(connection: Connection) -> None:
    metadata.create_all(connection)
    connection.execute(insert(version).values(number=0))


def _tell_from_whom(connection: Connection) -> None:
    """What is held says from whom. Every cycle finds out anew what is."""
    held.drop(connection)
    held.create(connection)


def _count_conflicts(connection: Connection) -> None:
    """Conflicts say what of their notes is counted, once each has been looked at."""
    there = {column["name"] for column in inspect(connection).get_columns(conflict.name)}
    for column in conflict.columns:
        if column.name not in there:
            defined = CreateColumn(column).compile(dialect=connection.dialect)
            connection.execute(text(f"ALTER TABLE {conflict.name} ADD COLUMN {defined}"))
    for index in conflict.indexes:
        index.create(connection, checkfirst=True)


STEPS: Final[tuple[Callable[[Connection], None], ...]] = (
    _create,
    _tell_from_whom,
    _count_conflicts,
)
"""Step n leads from version n to version n + 1."""


def current_version(connection: Connection) -> int:
    """The version of the store; 0 for an empty one."""
    if not inspect(connection).has_table(version.name):
        return 0
    return int(connection.execute(select(version.c.number)).scalar_one())


def migrate(connection: Connection) -> None:
    """Bring the store to the newest version. Raises NewerState for one from the future."""
    found = current_version(connection)
    if found > len(STEPS):
        raise NewerState(
            f"the state store has version {found}, this mailsync knows up to {len(STEPS)}"
        )
    for number in range(found, len(STEPS)):
        STEPS[number](connection)
        connection.execute(update(version).values(number=number + 1))


def is_sound(connection: Connection) -> bool:
    """Does the database engine find the store intact?"""
    if connection.dialect.name != "sqlite":
        return True
    return str(connection.execute(text("PRAGMA quick_check")).scalar_one()) == "ok"
