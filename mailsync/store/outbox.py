"""The outbox: parts composed, and not yet taken by a carrier."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, delete, insert, select, update

from mailsync.store import schema


class Queued(NamedTuple):
    """One part in the outbox."""

    number: int
    peer: str
    label: str
    part: int
    parts: int
    container: bytes
    message_id: str
    attempts: int
    next_attempt_at: int
    reason: str


class Outbox:
    """What waits to be handed to a carrier, in the order it was composed."""

    def __init__(self, connection: Connection) -> None:
        """Within the connection's open transaction."""
        self._connection = connection

    def add(self, item: Queued) -> None:
        """Put one part into the outbox (its number is given by the store)."""
        values = item._asdict()
        del values["number"]
        self._connection.execute(insert(schema.outbox).values(**values))

    def items(self, peer: str | None = None) -> list[Queued]:
        """The outbox in the order it was filled."""
        query = select(schema.outbox).order_by(schema.outbox.c.number)
        if peer is not None:
            query = query.where(schema.outbox.c.peer == peer)
        return [Queued(*row) for row in self._connection.execute(query)]

    def attempt(self, number: int, next_attempt_at: int, reason: str, message_id: str) -> None:
        """Count an attempt, before or after it is made; say when to try again."""
        same = schema.outbox.c.number == number
        values = {
            "attempts": schema.outbox.c.attempts + (1 if not reason else 0),
            "next_attempt_at": next_attempt_at,
            "reason": reason,
            "message_id": message_id,
        }
        self._connection.execute(update(schema.outbox).where(same).values(**values))

    def remove(self, number: int) -> None:
        """The part was taken by the carrier, or is given up."""
        self._connection.execute(delete(schema.outbox).where(schema.outbox.c.number == number))
