"""A mail system that moves whole mails as bytes, and does to each what a test says."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, Self

from mailsync.carriers.base import (
    Arrival,
    Letter,
    Mailbox,
    Place,
    Quota,
    Sender,
    SendResult,
    Sent,
)
from mailsync.carriers.bounce import bounce_in, is_report
from mailsync.carriers.endpoint import Endpoint
from mailsync.carriers.hints import addresses_in, header_field
from mailsync.carriers.message import compose_message, contents_of
from mailsync.carriers.smtp import SmtpSender
from mailsync.cycle.report import Report
from mailsync.cycle.run import Extent, run_cycle
from mailsync.store.history import Event
from tests.cycle.sites import Sites, pair

Alter = Callable[[bytes], Iterable[bytes]]
"""What becomes of a mail on its way: nothing, itself, something else, several."""


def as_it_is(raw: bytes) -> Iterable[bytes]:
    return [raw]


class Box(Protocol):
    """The mails of one address."""

    @property
    def mails(self) -> Mapping[int, bytes]:
        """What lies in it, by number."""

    @property
    def downloads(self) -> int:
        """How many mails its owner fetched."""

    def put(self, raw: bytes) -> object:
        """Deliver this mail; it has the next number."""

    def remove(self, number: int) -> object:
        """Another program deletes this mail."""

    def renumber(self) -> None:
        """The server builds it anew: another validity, numbers from 1."""


@dataclass
class MemoryBox:
    """A box in memory."""

    mails: dict[int, bytes] = field(default_factory=dict)
    validity: int = 1
    last: int = 0
    downloads: int = 0

    def put(self, raw: bytes) -> int:
        self.last += 1
        self.mails[self.last] = raw
        return self.last

    def remove(self, number: int) -> None:
        self.mails.pop(number, None)

    def renumber(self) -> None:
        mails = list(self.mails.values())
        self.validity, self.last, self.mails = self.validity + 1, 0, {}
        for raw in mails:
            self.put(raw)


@dataclass
class Post:
    """All mailboxes, and what the way does."""

    alter: Alter = as_it_is
    boxes: dict[str, Box] = field(default_factory=dict)
    sent: list[bytes] = field(default_factory=list)
    """Every mail handed over."""
    quota: Quota | None = None
    hold: bool = False
    """Nothing is delivered by itself."""

    def box(self, name: str) -> Box:
        return self.boxes.setdefault(f"{name}@example.org", MemoryBox())

    def deliver(self, raw: bytes) -> None:
        header = raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        (address,) = addresses_in(header_field(header, "to"))
        for altered in self.alter(raw):
            self.boxes.setdefault(address, MemoryBox()).put(altered)


@dataclass
class PostSender:
    post: Post
    address: str

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        pass

    @property
    def size_limit(self) -> int | None:
        return None

    async def send(self, letter: Letter) -> SendResult:
        raw = compose_message(
            letter,
            sender=self.address,
            date=datetime(2026, 11, 23, tzinfo=UTC),
            boundary="=_edge",
            site=self.address.partition("@")[0],
        )
        self.post.sent.append(raw)
        if not self.post.hold:
            self.post.deliver(raw)
        return Sent(len(raw))


@dataclass
class PostMailbox:
    post: Post
    address: str

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        pass

    @property
    def box(self) -> MemoryBox:
        box = self.post.boxes.setdefault(self.address, MemoryBox())
        assert isinstance(box, MemoryBox)
        return box

    async def arrivals(self, settled: Collection[Place]) -> AsyncIterator[Arrival]:
        for number, raw in list(self.box.mails.items()):
            if self._place(number) not in settled:
                yield self._arrival(number, raw)

    async def again(self, places: Mapping[Place, int]) -> AsyncIterator[Arrival]:
        for number, raw in list(self.box.mails.items()):
            if len(raw) != places.get(self._place(number), len(raw)):
                yield self._arrival(number, raw)

    async def dispose(self, places: Collection[Place], folder: str | None) -> frozenset[Place]:
        for place in places:
            self.box.remove(place.number)
        return frozenset(places)

    def vanished(self, places: Collection[Place]) -> frozenset[Place]:
        present = {self._place(number) for number in self.box.mails}
        return frozenset(place for place in places if place.account == self.address) - present

    async def quota(self) -> Quota | None:
        return self.post.quota

    async def wait(self, seconds: float) -> bool:
        return False

    def _place(self, number: int) -> Place:
        return Place(self.address, "INBOX", self.box.validity, number)

    def _arrival(self, number: int, raw: bytes) -> Arrival:
        self.box.downloads += 1
        header = raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        arrival = Arrival(
            self._place(number),
            len(raw),
            message_id=header_field(header, "message-id"),
            sender=next(iter(addresses_in(header_field(header, "from"))), ""),
        )
        if is_report(header):
            return replace(arrival, bounce=bounce_in(raw))
        return replace(arrival, **contents_of(raw)._asdict())


@dataclass
class Carrier:
    """Both halves, each from wherever a test wants it."""

    sender: Callable[[], Sender]
    mailbox: Callable[[], Mailbox]


def by_post(directory: Path, lines: str = "") -> tuple[Sites, Post]:
    """Alice and Bob, whose mails travel as bytes."""
    sites = pair(directory, lines)
    return sites, posted(sites)


def posted(sites: Sites) -> Post:
    """From now on the mails of these sites travel as bytes."""
    post = Post()
    for name, site in sites.sites.items():
        address = f"{name}@example.org"
        site.carrier = Carrier(
            lambda address=address: PostSender(post, address),  # type: ignore[misc]
            lambda address=address: PostMailbox(post, address),  # type: ignore[misc]
        )
    return post


def submit_to(sites: Sites, post: Post, endpoint: Endpoint, timeout: float = 5) -> None:
    """From now on Alice hands her mails over by SMTP."""

    def sender() -> SmtpSender:
        return SmtpSender(
            endpoint,
            "secret",
            address="alice@example.org",
            site="alice",
            clock=lambda: datetime.fromtimestamp(sites.clock.now / 1000, UTC),
            timeout=timeout,
            final_timeout=5,
            minimum_rate=10_000,
        )

    sites.sites["alice"].carrier = Carrier(sender, lambda: PostMailbox(post, "alice@example.org"))


def read_from(sites: Sites, post: Post, mailbox: Callable[[], Mailbox]) -> None:
    """From now on Bob reads this mailbox."""
    sites.sites["bob"].carrier = Carrier(lambda: PostSender(post, "bob@example.org"), mailbox)


async def cycle(sites: Sites, name: str, extent: Extent | None = None) -> Report:
    """One cycle of which parts may fail."""
    return await run_cycle(sites.sites[name], extent or Extent(), Report())


def logged(sites: Sites, name: str, kind: str) -> list[Event]:
    with sites.sites[name].store.transaction() as transaction:
        return [event for event in transaction.history.events() if event.kind == kind]


def message_id(raw: bytes) -> str:
    return header_field(raw.partition(b"\r\n\r\n")[0] + b"\r\n", "message-id")


Pump = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""Moves what comes from one end of a connection to the other."""


@contextlib.asynccontextmanager
async def relayed(endpoint: Endpoint, out: Pump, back: Pump) -> AsyncIterator[Endpoint]:
    """The same server behind a line that does this to what goes out and comes back."""

    async def pump(move: Pump, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await move(source, target)
        target.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(endpoint.host, endpoint.port)
        await asyncio.gather(pump(out, reader, far_writer), pump(back, far_reader, writer))

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield replace(endpoint, port=port)
    finally:
        server.close()


def at(rate: float) -> Pump:
    """So many bytes/s."""

    async def move(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(16_384):
            await asyncio.sleep(len(data) / rate)
            target.write(data)

    return move


async def until_a_mail_is_taken(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """The server's answers up to the one after the final dot, which is lost."""
    taking = False
    while (line := await source.readline()) and not taking:
        target.write(line)
        taking = line.startswith(b"354")


def unstuffed(raw: bytes) -> bytes:
    """A mail as it was before its transfer (RFC 5321, 4.5.2)."""
    return re.sub(rb"(?m)^\.\.", b".", raw)
