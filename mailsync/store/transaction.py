"""All that one transaction of the state store can read and write, by what it is about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

from sqlalchemy import Connection, Table, delete, func, insert, select, update
from sqlalchemy.dialects import sqlite

from mailsync.core.ledger import Ledger
from mailsync.core.model import (
    ABSENT,
    CONFLICTS,
    Absent,
    Guid,
    Link,
    Place,
    Record,
    RecordId,
    SiteState,
    Stream,
    Value,
)
from mailsync.store import schema
from mailsync.store.codec import Peers, link_of, link_state, value_bytes, value_of
from mailsync.store.records import StoredRecords


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


class Waiting(NamedTuple):
    """One verified bundle in the inbox."""

    number: int
    peer: str
    content: bytes
    attempts: int


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


class JournalEntry(NamedTuple):
    """One conflict, and the value that had won when it was noted here."""

    note: Record
    winner: Value | Absent
    noted_at: int


class Transaction:
    """Reads and writes of one transaction."""

    def __init__(self, connection: Connection) -> None:
        """Within the connection's open transaction."""
        self._connection = connection

    # --- site, links, records

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
            self._journal(note_id.guid, note.winner, now)

    def save_links(self, links: Mapping[str, Link]) -> None:
        """Write the links."""
        for peer, link in links.items():
            same = schema.link.c.peer == peer
            self._connection.execute(update(schema.link).where(same).values(state=link_state(link)))

    # --- conflict journal

    def _journal(self, guid: Guid, winner: Value | Absent, now: int) -> None:
        values = {"guid": bytes(guid), "winner": value_bytes(winner), "noted_at": now}
        statement = sqlite.insert(schema.conflict).values(**values)
        self._connection.execute(statement.on_conflict_do_nothing())

    def journal_received(self, ledger: Ledger, now: int) -> int:
        """Enter the notes that came from a peer, with what stands here now as their winner.

        Returns how many were new. Call before :meth:`save`.
        """
        new = 0
        for record_id, note in list(ledger.changed.items()):
            if record_id.dataset != CONFLICTS or record_id in ledger.notes:
                continue
            if record_id in self.records:
                continue
            self._journal(record_id.guid, _standing(ledger, note), now)
            new += 1
        return new

    def journal(self) -> Iterator[JournalEntry]:
        """Every conflict, oldest first."""
        rows = {row.guid: row for row in self._connection.execute(select(schema.conflict)).all()}
        order = sorted(rows.values(), key=lambda row: (row.noted_at, row.guid))
        self.records.fetch(RecordId(CONFLICTS, Guid(row.guid)) for row in order)
        for row in order:
            note = self.records.get(RecordId(CONFLICTS, Guid(row.guid)))
            if note is not None:
                yield JournalEntry(note, value_of(row.winner), row.noted_at)

    # --- outbox

    def queue(self, item: Queued) -> None:
        """Put one part into the outbox (its number is given by the store)."""
        values = item._asdict()
        del values["number"]
        self._connection.execute(insert(schema.outbox).values(**values))

    def queued(self, peer: str | None = None) -> list[Queued]:
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

    def unqueue(self, number: int) -> None:
        """The part was taken by the carrier, or is given up."""
        self._connection.execute(delete(schema.outbox).where(schema.outbox.c.number == number))

    # --- inbox

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

    # --- mailbox places

    def settled_places(self) -> set[Place]:
        """Mails that need no second look."""
        columns = schema.place.c
        query = select(columns.account, columns.folder, columns.validity, columns.number)
        return {Place(*row) for row in self._connection.execute(query)}

    def settle_place(self, place: Place, state: str, note: str, now: int) -> None:
        """What became of a mail: ``ours``, ``foreign``, ``rejected`` or ``gone``."""
        values = {**place._asdict(), "state": state, "seen_at": now, "note": note}
        statement = sqlite.insert(schema.place).values(**values)
        self._connection.execute(
            statement.on_conflict_do_update(
                index_elements=["account", "folder", "validity", "number"],
                set_={"state": state, "note": note},
            )
        )

    def disposable_places(self, before: int) -> list[Place]:
        """Mails verified as ours, durably taken, whose grace time is over."""
        columns = schema.place.c
        query = select(columns.account, columns.folder, columns.validity, columns.number).where(
            columns.state == "ours", columns.seen_at <= before
        )
        return [Place(*row) for row in self._connection.execute(query)]

    def place_counts(self) -> dict[str, int]:
        """How many mails of each kind were seen."""
        query = select(schema.place.c.state, func.count()).group_by(schema.place.c.state)
        return {state: count for state, count in self._connection.execute(query)}  # noqa: C416

    # --- held, events, traffic

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

    def quarantined(self) -> list[tuple[int, str, str, int]]:
        """Bundles set aside: number, peer, reason, time."""
        columns = schema.inbox.c
        query = select(columns.number, columns.peer, columns.reason, columns.received_at)
        rows = self._connection.execute(query.where(columns.state == "quarantined"))
        return [(number, peer, reason, at) for number, peer, reason, at in rows]

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

    def forget(self, before: int) -> None:
        """Drop what was only kept for a while: done bundles, orphaned parts, old log lines."""
        done = (schema.inbox.c.state != "waiting") & (schema.inbox.c.state != "quarantined")
        for table, stale in (
            (schema.inbox, done & (schema.inbox.c.received_at <= before)),
            (schema.part, schema.part.c.received_at <= before),
            (schema.event, schema.event.c.at <= before),
        ):
            _delete(self._connection, table, stale)


def with_datasets(
    links: Mapping[str, Link], datasets: Mapping[str, Iterable[str]]
) -> dict[str, Link]:
    """The links with what the configuration says they carry."""
    return {
        peer: replace(
            link,
            datasets=frozenset(datasets[peer]),
            refusing=link.refusing - frozenset(datasets[peer]),
        )
        for peer, link in links.items()
        if peer in datasets
    }


def _standing(ledger: Ledger, note: Record) -> Value | Absent:
    """The value that stands now in the field a note is about."""
    dataset, guid, field = (
        note.entries[name].value if name in note.entries else ABSENT
        for name in ("dataset", "guid", "field")
    )
    if not isinstance(dataset, str) or not isinstance(guid, bytes) or not isinstance(field, str):
        return ABSENT
    record = ledger.get(RecordId(dataset, Guid(guid)))
    entry = record.entries.get(field) if record is not None else None
    return ABSENT if entry is None else entry.value


def _delete(connection: Connection, table: Table, condition: object) -> None:
    connection.execute(delete(table).where(condition))  # type: ignore[arg-type]


def _signed(number: int) -> int:
    """A 64-bit number as the engines keep it."""
    return number - (1 << 64) if number >= 1 << 63 else number


def _unsigned(number: int) -> int:
    return number + (1 << 64) if number < 0 else number
