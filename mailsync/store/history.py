"""What happened, what is held, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.dialects import sqlite

from mailsync.store import schema


class Event(NamedTuple):
    """One line of the log."""

    at: int
    kind: str
    peer: str
    guid: bytes | None
    text: str


class HeldItem(NamedTuple):
    """Something that waits for a person: a record, a file, a bundle."""

    dataset: str
    name: str
    reason: str
    since: int


class History:
    """The log, the list of what waits for a person, and the meter."""

    def __init__(self, connection: Connection) -> None:
        """Within the connection's open transaction."""
        self._connection = connection

    def log(self, event: Event) -> None:
        """One line for the log."""
        self._connection.execute(insert(schema.event).values(**event._asdict()))

    def events(self, *, peer: str | None = None, guid: bytes | None = None) -> list[Event]:
        """The log, oldest first, of one peer or one record if given."""
        columns = schema.event.c
        query = select(columns.at, columns.kind, columns.peer, columns.guid, columns.text)
        if peer is not None:
            query = query.where(columns.peer == peer)
        if guid is not None:
            query = query.where(columns.guid == guid)
        return [Event(*row) for row in self._connection.execute(query.order_by(columns.number))]

    def hold(self, dataset: str, reasons: Mapping[str, str], now: int) -> None:
        """Exactly these records or files of the dataset are held now, for these reasons."""
        columns = schema.held.c
        before = {item.name: item for item in self.held() if item.dataset == dataset}
        self._connection.execute(delete(schema.held).where(columns.dataset == dataset))
        for name, reason in sorted(reasons.items()):
            known = before.get(name)
            since = known.since if known is not None and known.reason == reason else now
            values = {"dataset": dataset, "name": name, "reason": reason, "since": since}
            self._connection.execute(insert(schema.held).values(**values))

    def held(self) -> list[HeldItem]:
        """Everything that waits for a person."""
        query = select(schema.held).order_by(schema.held.c.dataset, schema.held.c.name)
        return [HeldItem(*row) for row in self._connection.execute(query)]

    def meter(self, peer: str, day: str, direction: str, size: int) -> None:
        """Count one mail of ``size`` bytes, ``sent`` or ``received``, on a day (ISO 8601)."""
        values = {"peer": peer, "day": day, "direction": direction, "mails": 1, "bytes": size}
        table = schema.traffic
        statement = sqlite.insert(table).values(**values)
        self._connection.execute(
            statement.on_conflict_do_update(
                index_elements=["peer", "day", "direction"],
                set_={"mails": table.c.mails + 1, "bytes": table.c.bytes + size},
            )
        )

    def traffic(self) -> list[tuple[str, str, str, int, int]]:
        """Peer, day, direction, mails, bytes."""
        query = select(schema.traffic).order_by(schema.traffic.c.day, schema.traffic.c.peer)
        return [
            (peer, day, direction, mails, size)
            for peer, day, direction, mails, size in self._connection.execute(query)
        ]
