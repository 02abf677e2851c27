"""The inbox: what was verified as a peer's, durable before the mailbox may forget it."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, delete, select, update
from sqlalchemy.dialects import sqlite

from mailsync.store import schema


class Waiting(NamedTuple):
    """One verified bundle in the inbox."""

    number: int
    peer: str
    content: bytes
    attempts: int


class Inbox:
    """Verified bundles and parts of bundles, in the order they came."""

    def __init__(self, connection: Connection) -> None:
        """Within the connection's open transaction."""
        self._connection = connection

    def admit(self, peer: str, digest: bytes, content: bytes, now: int) -> bool:
        """Put a verified bundle into the inbox; False if it has been here before.

        Then it is processed once more: it changes nothing, but its sender, who seems not to have
        heard of it, is owed an acknowledgement.
        """
        before = select(schema.inbox.c.number).where(schema.inbox.c.digest == digest)
        repeated = self._connection.execute(before).first() is not None
        values = {
            "peer": peer,
            "digest": digest,
            "content": content,
            "state": "waiting",
            "attempts": 0,
            "received_at": now,
            "reason": "",
        }
        statement = sqlite.insert(schema.inbox).values(**values)
        again = {name: values[name] for name in ("content", "state", "attempts", "received_at")}
        self._connection.execute(
            statement.on_conflict_do_update(
                index_elements=["digest"],
                set_=again,
                where=schema.inbox.c.state.in_(["applied", "ignored"]),
            )
        )
        return not repeated

    def waiting(self) -> list[int]:
        """Numbers of the bundles to process, in the order they came."""
        query = select(schema.inbox.c.number).where(schema.inbox.c.state == "waiting")
        return list(self._connection.execute(query.order_by(schema.inbox.c.number)).scalars())

    def take(self, number: int) -> Waiting:
        """One bundle of the inbox, its attempt counted."""
        same = schema.inbox.c.number == number
        self._connection.execute(
            update(schema.inbox).where(same).values(attempts=schema.inbox.c.attempts + 1)
        )
        row = self._connection.execute(select(schema.inbox).where(same)).one()
        return Waiting(row.number, row.peer, row.content, row.attempts)

    def finish(self, number: int, state: str, reason: str = "") -> None:
        """The bundle was ``applied``, ``ignored`` or ``quarantined``; only the latter is kept."""
        values: dict[str, str | bytes] = {"state": state, "reason": reason}
        if state != "quarantined":
            values["content"] = b""
        same = schema.inbox.c.number == number
        self._connection.execute(update(schema.inbox).where(same).values(**values))

    def reopen(self, number: int, state: str) -> None:
        """A person decided on a quarantined bundle: ``waiting`` again, or ``ignored``."""
        values: dict[str, str | int | bytes] = {"state": state, "attempts": 0, "reason": ""}
        if state == "ignored":
            values["content"] = b""
        same = schema.inbox.c.number == number
        self._connection.execute(update(schema.inbox).where(same).values(**values))

    def quarantined(self) -> list[tuple[int, str, str, int]]:
        """Bundles set aside: number, peer, reason, time."""
        columns = schema.inbox.c
        query = select(columns.number, columns.peer, columns.reason, columns.received_at)
        rows = self._connection.execute(query.where(columns.state == "quarantined"))
        return [(number, peer, reason, at) for number, peer, reason, at in rows]

    def add_part(
        self, peer: str, bundle: bytes, number: int, count: int, piece: bytes, now: int
    ) -> None:
        """Keep one part of a bundle until the others are here."""
        values = {
            "peer": peer,
            "bundle": bundle,
            "part": number,
            "parts": count,
            "slice": piece,
            "received_at": now,
        }
        statement = sqlite.insert(schema.part).values(**values).on_conflict_do_nothing()
        self._connection.execute(statement)

    def parts(self, peer: str, bundle: bytes) -> list[tuple[int, int, bytes]]:
        """The parts of a bundle that are here: number, count, slice."""
        columns = schema.part.c
        query = select(columns.part, columns.parts, columns.slice).where(
            columns.peer == peer, columns.bundle == bundle
        )
        return [(number, count, piece) for number, count, piece in self._connection.execute(query)]

    def drop_parts(self, peer: str, bundle: bytes) -> None:
        """The bundle is whole: its parts are not needed any more."""
        columns = schema.part.c
        same = (columns.peer == peer) & (columns.bundle == bundle)
        self._connection.execute(delete(schema.part).where(same))
