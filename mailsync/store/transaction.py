"""All that one transaction of the state store can read and write, by what it is about."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from sqlalchemy import Connection, Table, delete, insert, select, update

from mailsync.core.ledger import Ledger
from mailsync.core.model import Link, SiteState, Stream
from mailsync.store import schema
from mailsync.store.codec import Peers, link_of, link_state
from mailsync.store.history import History
from mailsync.store.inbox import Inbox
from mailsync.store.journal import Journal
from mailsync.store.mailbox import MailboxState
from mailsync.store.outbox import Outbox
from mailsync.store.records import StoredRecords
from mailsync.store.routes import Routes
from mailsync.store.warnings import Warnings


class Transaction:
    """Reads and writes of one transaction."""

    def __init__(self, connection: Connection) -> None:
        """Within the connection's open transaction."""
        self._connection = connection

    def site(self) -> SiteState:
        """The site's counters."""
        row = self._connection.execute(select(schema.site)).one()
        return SiteState(_unsigned(row.number), row.position, row.stamp, row.horizon)

    def found_site(self, number: int) -> None:
        """Write a new site's counters, once."""
        if self._connection.execute(select(schema.site.c.number)).first() is None:
            values = {"number": _signed(number), "position": 0, "stamp": 0, "horizon": 0}
            self._connection.execute(insert(schema.site).values(**values))

    @cached_property
    def _numbers(self) -> dict[str, int]:
        rows = self._connection.execute(select(schema.link.c.peer, schema.link.c.number))
        return {peer: number for peer, number in rows}  # noqa: C416 - rows are not pairs to mypy

    def links(self) -> dict[str, Link]:
        """Every link, by peer."""
        rows = self._connection.execute(select(schema.link.c.peer, schema.link.c.state))
        return {peer: link_of(peer, state) for peer, state in rows}

    def add_link(self, peer: str, stream: Stream) -> None:
        """A link to a new peer."""
        link = Link(peer, frozenset(), stream)
        self._connection.execute(insert(schema.link).values(peer=peer, state=link_state(link)))
        self.__dict__.pop("_numbers", None)
        self.__dict__.pop("records", None)

    @cached_property
    def records(self) -> StoredRecords:
        """The record map."""
        return StoredRecords(self._connection, Peers(self._numbers))

    def ledger(self) -> Ledger:
        """A working copy of counters and record map."""
        return Ledger(self.site(), self.records)

    def save(self, ledger: Ledger, now: int) -> None:
        """Write what the ledger gathered: counters, records, journal."""
        site = ledger.site
        self._connection.execute(
            update(schema.site).values(
                position=site.position, stamp=site.stamp, horizon=site.horizon
            )
        )
        self.records.save(list(ledger.changed.values()), ledger.dropped, now)
        for note_id, note in ledger.notes.items():
            self.journal.enter(note_id.guid, note.winner, now)

    def save_links(self, links: Mapping[str, Link]) -> None:
        """Write the links."""
        for peer, link in links.items():
            same = schema.link.c.peer == peer
            self._connection.execute(update(schema.link).where(same).values(state=link_state(link)))

    @cached_property
    def outbox(self) -> Outbox:
        """Parts on their way to a carrier."""
        return Outbox(self._connection)

    @cached_property
    def routes(self) -> Routes:
        """What was learnt about the ways to the peers."""
        return Routes(self._connection)

    @cached_property
    def warnings(self) -> Warnings:
        """What a person should know."""
        return Warnings(self._connection)

    @cached_property
    def inbox(self) -> Inbox:
        """Verified bundles on their way to the record map."""
        return Inbox(self._connection)

    @cached_property
    def mailbox(self) -> MailboxState:
        """What became of each mail."""
        return MailboxState(self._connection)

    @cached_property
    def journal(self) -> Journal:
        """The conflicts."""
        return Journal(self._connection, self.records)

    @cached_property
    def history(self) -> History:
        """Log, held records, meter."""
        return History(self._connection)

    def forget(self, before: int) -> None:
        """Drop what was only kept for a while: done bundles, orphaned parts, old log lines."""
        done = (schema.inbox.c.state != "waiting") & (schema.inbox.c.state != "quarantined")
        for table, stale in (
            (schema.inbox, done & (schema.inbox.c.received_at <= before)),
            (schema.part, schema.part.c.received_at <= before),
            (schema.event, schema.event.c.at <= before),
            (schema.dispatch, schema.dispatch.c.sent_at <= before),
        ):
            _delete(self._connection, table, stale)


def _delete(connection: Connection, table: Table, condition: object) -> None:
    connection.execute(delete(table).where(condition))  # type: ignore[arg-type]


def _signed(number: int) -> int:
    """A 64-bit number as the engines keep it."""
    return number - (1 << 64) if number >= 1 << 63 else number


def _unsigned(number: int) -> int:
    return number + (1 << 64) if number < 0 else number
