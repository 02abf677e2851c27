"""What was learnt about the way to each peer."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, select
from sqlalchemy.dialects import sqlite

from mailsync.store import schema


class Route(NamedTuple):
    """What the way to a peer takes."""

    max_message: int | None = None
    """Bytes of the largest whole mail that some server on the way takes; None: no refusal yet."""
    step: int = 0
    """Step of the carrier ladder: 0 attachment, 1 text attachment, 2 text in the body."""


class Routes:
    """Every peer's route."""

    def __init__(self, connection: Connection) -> None:
        """Within the connection's open transaction."""
        self._connection = connection

    def get(self, peer: str) -> Route:
        """What is known of the way to the peer."""
        columns = schema.route.c
        query = select(columns.max_message, columns.step).where(columns.peer == peer)
        row = self._connection.execute(query).first()
        return Route() if row is None else Route(row.max_message, row.step)

    def learn(self, peer: str, route: Route) -> None:
        """Remember this of the way to the peer."""
        values = route._asdict()
        statement = sqlite.insert(schema.route).values(peer=peer, **values)
        self._connection.execute(
            statement.on_conflict_do_update(index_elements=["peer"], set_=values)
        )
