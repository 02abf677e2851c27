"""What became of each mail of the mailbox."""

from __future__ import annotations

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects import sqlite

from mailsync.core.model import Place
from mailsync.store import schema


class MailboxState:
    """Mails by account, folder, UIDVALIDITY and UID."""

    def __init__(self, connection: Connection) -> None:
        """Within the connection's open transaction."""
        self._connection = connection

    def settled(self) -> set[Place]:
        """Mails that need no second look."""
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
                set_={"state": state, "note": note},
            )
        )

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
