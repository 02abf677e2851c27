"""What became of each mail of the mailbox."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, func, select
from sqlalchemy.dialects import sqlite

from mailsync.core.model import Place
from mailsync.store import schema


class Look(NamedTuple):
    """A mail that seems to be ours and is not complete yet."""

    place: Place
    since: int
    """When it was first seen (milliseconds since 1970)."""
    looks: int
    """How often it was looked at since then."""
    look_at: int
    """When to look again."""
    size: int
    """In bytes, at the last look."""
    note: str
    """What is wrong with it."""


class MailboxState:
    """Mails by account, folder, UIDVALIDITY and UID."""

    def __init__(self, connection: Connection) -> None:
        """Within the connection's open transaction."""
        self._connection = connection

    def settled(self) -> set[Place]:
        """Mails that need no look for now: those with an end, and those that wait for theirs."""
        columns = schema.place.c
        query = select(columns.account, columns.folder, columns.validity, columns.number)
        return {Place(*row) for row in self._connection.execute(query)}

    def settle(self, place: Place, state: str, note: str, now: int) -> None:
        """What became of a mail: ``ours``, ``foreign``, ``rejected`` or ``gone``."""
        values = {**place._asdict(), "state": state, "seen_at": now, "note": note}
        statement = sqlite.insert(schema.place).values(**values)
        self._connection.execute(
            statement.on_conflict_do_update(
                index_elements=["account", "folder", "validity", "number"],
                set_={"state": state, "note": note, "seen_at": now, "look_at": None},
            )
        )

    def wait(self, look: Look) -> None:
        """Look again at a mail at its time."""
        values = {
            **look.place._asdict(),
            "state": "waiting",
            "seen_at": look.since,
            "note": look.note,
            "look_at": look.look_at,
            "looks": look.looks,
            "size": look.size,
        }
        statement = sqlite.insert(schema.place).values(**values)
        self._connection.execute(
            statement.on_conflict_do_update(
                index_elements=["account", "folder", "validity", "number"], set_=values
            )
        )

    def waiting(self) -> list[Look]:
        """The mails that are not complete yet."""
        return self._looks(schema.place.c.state == "waiting")

    def look(self, place: Place) -> Look | None:
        """What is known of a mail that is not complete yet."""
        columns = schema.place.c
        same = and_(*(columns[name] == value for name, value in place._asdict().items()))
        return next(iter(self._looks(same & (columns.state == "waiting"))), None)

    def _looks(self, condition: ColumnElement[bool]) -> list[Look]:
        return [
            Look(
                Place(row.account, row.folder, row.validity, row.number),
                row.seen_at,
                row.looks,
                row.look_at,
                row.size,
                row.note,
            )
            for row in self._connection.execute(select(schema.place).where(condition))
        ]

    def disposable(self, before: int) -> list[Place]:
        """Mails verified as ours, durably taken, whose grace time is over."""
        columns = schema.place.c
        query = select(columns.account, columns.folder, columns.validity, columns.number).where(
            columns.state == "ours", columns.seen_at <= before
        )
        return [Place(*row) for row in self._connection.execute(query)]

    def counts(self) -> dict[str, int]:
        """How many mails of each kind were seen."""
        query = select(schema.place.c.state, func.count()).group_by(schema.place.c.state)
        return {state: count for state, count in self._connection.execute(query)}  # noqa: C416
