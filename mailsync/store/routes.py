"""What was learnt about the way to each peer, and which mails went it."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects import sqlite

from mailsync.store import schema


class Route(NamedTuple):
    """What the way to a peer takes, and what became of mails on the way from it."""

    max_message: int | None = None
    """Bytes of the largest whole mail that some server on the way takes; None: no refusal yet."""
    step: int = 0
    """Step of the carrier ladder: 0 attachment, 1 text attachment, 2 text in the body."""
    stripped: int = 0
    """One more than the highest step at which the peer's mails came without their containers."""


class Dispatched(NamedTuple):
    """A mail that was handed over."""

    peer: str
    size: int
    """Bytes of the whole mail, about."""


class Routes:
    """Every peer's route."""

    def __init__(self, connection: Connection) -> None:
        """Within the connection's open transaction."""
        self._connection = connection

    def get(self, peer: str) -> Route:
        """What is known of the way to the peer."""
        columns = schema.route.c
        query = select(columns.max_message, columns.step, columns.stripped)
        row = self._connection.execute(query.where(columns.peer == peer)).first()
        return Route() if row is None else Route(row.max_message, row.step, row.stripped)

    def learn(self, peer: str, route: Route) -> None:
        """Remember this of the way to the peer."""
        values = route._asdict()
        statement = sqlite.insert(schema.route).values(peer=peer, **values)
        self._connection.execute(
            statement.on_conflict_do_update(index_elements=["peer"], set_=values)
        )

    def dispatch(self, message_id: str, peer: str, size: int, now: int) -> None:
        """A mail is about to be handed over: a bounce may come of it."""
        values = {"message_id": message_id, "peer": peer, "size": size, "sent_at": now}
        statement = sqlite.insert(schema.dispatch).values(**values)
        self._connection.execute(
            statement.on_conflict_do_update(index_elements=["message_id"], set_={"sent_at": now})
        )

    def dispatched(self, message_ids: tuple[str, ...]) -> tuple[str, Dispatched] | None:
        """The first of these mails that is one of ours, with its identifier."""
        columns = schema.dispatch.c
        query = select(schema.dispatch).where(columns.message_id.in_(message_ids)).limit(1)
        row = self._connection.execute(query).first()
        return None if row is None else (row.message_id, Dispatched(row.peer, row.size))

    def bounced(self, message_id: str) -> None:
        """One report of a mail is enough: further ones are not about a mail of ours."""
        same = schema.dispatch.c.message_id == message_id
        self._connection.execute(delete(schema.dispatch).where(same))
