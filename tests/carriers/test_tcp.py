"""Links: who may, what arrives, what strangers get."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import random
import resource
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mailsync.carriers import channel as channel_module
from mailsync.carriers import tcp
from mailsync.carriers.base import NotHere, Retry, SendResult, Sent
from mailsync.carriers.channel import Channel, LinkSender
from mailsync.carriers.frames import BadFrame, Frame, FrameKind, read_frame, written
from mailsync.carriers.tcp import Identity, LinkRefused, Listener, call
from mailsync.core.introduction import Role, Session, prove
from mailsync.errors import DiskFull, Unreachable
from mailsync.keys import blank_certificate
from mailsync.names import HostPort
from tests.carriers.letters import container, letter
from tests.cycle.sites import keys_of

GUARD_SECONDS = 60


def identity(name: str, *peers: str) -> Identity:
    return Identity(keys_of(name), {peer: keys_of(peer).public for peer in peers})


@dataclass
class End:
    """One end of links: what arrived, and what happens to it."""

    arrived: list[bytes] = field(default_factory=list)
    refusing: Exception | None = None
    channels: list[Channel] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)

    def take(self, content: bytes) -> None:
        if self.refusing is not None:
            raise self.refusing
        self.arrived.append(content)

    async def serve(self, channel: Channel) -> None:
        self.channels.append(channel)
        self.ended.append(await channel.serve(self.take))


@dataclass
class Line:
    """A hub that listens, and where."""

    hub: End
    listener: Listener
    place: HostPort


@pytest.fixture(scope="module")
def certificate() -> bytes:
    return blank_certificate()


@contextlib.asynccontextmanager
async def listening(certificate: bytes, host: str = "127.0.0.1") -> AsyncIterator[Line]:
    hub = End()
    listener = Listener(identity("hub", "ship", "yacht"), certificate, hub.serve)
    async with asyncio.timeout(GUARD_SECONDS):
        [place] = await listener.start(HostPort(host, 0))
        try:
            yield Line(hub, listener, place)
        finally:
            await listener.close()


@pytest.fixture
async def line(certificate: bytes) -> AsyncIterator[Line]:
    async with listening(certificate) as found:
        yield found


@contextlib.asynccontextmanager
async def linked(line: Line, name: str = "ship") -> AsyncIterator[tuple[Channel, End]]:
    ship = End()
    channel = await call(line.place, identity(name, "hub"), "hub")
    serving = asyncio.create_task(ship.serve(channel))
    try:
        yield channel, ship
    finally:
        channel.close()
        await serving


async def until(claim: object) -> None:
    while not claim():  # type: ignore[operator]
        await asyncio.sleep(0.01)


# --- peers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_containers_go_both_ways_at_the_same_time(certificate: bytes, host: str) -> None:
    """Larger than every buffer between the ends."""
    outward = [container(3_000_000, n) for n in range(4)]
    inward = [container(3_000_000, n) for n in range(4, 8)]
    async with listening(certificate, host) as line, linked(line) as (channel, ship):
        await until(lambda: line.hub.channels)
        [other] = line.hub.channels
        assert (channel.peer, other.peer) == ("hub", "ship")

        async def all_of(end: Channel, contents: list[bytes]) -> list[SendResult]:
            return [await end.hand_over(one) for one in contents]

        results = await asyncio.gather(all_of(channel, outward), all_of(other, inward))
        assert list(results) == [[Sent(len(one)) for one in way] for way in (outward, inward)]
    assert (line.hub.arrived, ship.arrived) == (outward, inward)


async def test_what_could_not_be_made_durable_is_not_confirmed(line: Line) -> None:
    line.hub.refusing = DiskFull("the state store")
    async with linked(line) as (channel, _):
        result = await channel.hand_over(container(9))
        assert isinstance(result, Retry)
        assert result.uncertain
        with pytest.raises(NotHere):
            async with LinkSender(channel):
                raise AssertionError
    line.hub.refusing = None
    async with linked(line) as (channel, _), LinkSender(channel) as sender:
        assert await sender.send(letter("hub", container(9))) == Sent(len(container(9)))


async def test_one_container_is_on_its_way_at_a_time(line: Line) -> None:
    async with linked(line) as (channel, _):
        await until(lambda: line.hub.channels)
        ends = [asyncio.create_task(channel.hand_over(container(9, n))) for n in range(20)]
        while not all(one.done() for one in ends):
            assert len(channel._waiting) <= 1
            await asyncio.sleep(0)
    assert line.hub.arrived == [container(9, n) for n in range(20)]


async def test_a_link_that_breaks_tells_whoever_waits(line: Line) -> None:
    line.hub.refusing = OSError("somebody pulled the cable")
    async with linked(line) as (channel, ship):
        result = await channel.hand_over(container(9))
        assert isinstance(result, Retry) and result.uncertain
    assert (line.hub.ended, len(ship.ended)) == (["somebody pulled the cable"], 1)


async def test_a_mute_end_is_given_up(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_module, "ALIVE_SECONDS", 0.02)
    async with linked(line) as (channel, ship):
        await until(lambda: line.hub.channels)
        await asyncio.sleep(0.02 * channel_module.ALIVE_MISSES * 2)
        assert channel.is_open  # both say that they are alive
        line.hub.channels[0]._say = lambda _: None  # type: ignore[method-assign,assignment]
        await until(lambda: ship.ended)


async def test_a_container_may_take_longer_than_an_end_may_be_silent(
    certificate: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way is so slow that nothing whole is heard for as long as two silences."""
    monkeypatch.setattr(channel_module, "ALIVE_SECONDS", 0.02)
    silence = 0.02 * channel_module.ALIVE_MISSES
    content = container(400_000)
    async with listening(certificate) as line:

        async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there = await asyncio.open_connection(line.place.host, line.place.port)
            await asyncio.gather(
                _pass_on(reader, there[1], len(content) / 40, 2 * silence / 40),
                _pass_on(there[0], writer, 65_536, 0),
            )

        async with await asyncio.start_server(forward, "127.0.0.1", 0) as server:
            place = HostPort(*server.sockets[0].getsockname()[:2])
            async with linked(Line(line.hub, line.listener, place)) as (channel, _):
                assert await channel.hand_over(content) == Sent(len(content))
    assert line.hub.arrived == [content]


async def _pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, size: float, pause: float
) -> None:
    """Pieces of at most so many bytes, with a pause after each."""
    with contextlib.suppress(OSError):
        while piece := await reader.read(int(size)):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)
    writer.close()


# --- strangers -----------------------------------------------------------------------------


async def refused(line: Line, caller: Identity, peer: str = "hub") -> None:
    with pytest.raises(LinkRefused):
        await call(line.place, caller, peer)
    assert line.hub.channels == []


async def test_who_is_no_peer_gets_no_proof(line: Line) -> None:
    await refused(line, identity("stranger", "hub"))


async def test_who_means_another_site_gets_no_proof(line: Line) -> None:
    await refused(line, identity("ship", "island"), "island")


async def test_an_impostor_is_found_out(certificate: bytes) -> None:
    """It knows the caller, and the caller means another one."""
    hub = End()
    listener = Listener(identity("impostor", "ship"), certificate, hub.serve)
    [place] = await listener.start(HostPort("127.0.0.1", 0))
    try:
        await refused(Line(hub, listener, place), identity("ship", "hub"))
    finally:
        await listener.close()


async def test_whoever_sits_between_cannot_pass_proofs_on(line: Line, tmp_path: Path) -> None:
    """It ends TLS at both sides, under a certificate of its own, and copies every byte."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    outward = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    outward.check_hostname, outward.verify_mode = False, ssl.CERT_NONE
    (tmp_path / "own.pem").write_bytes(blank_certificate())
    context.load_cert_chain(tmp_path / "own.pem")

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while content := await reader.read(4096):
                writer.write(content)
        writer.close()

    async def between(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        place = line.place
        there = await asyncio.open_connection(
            place.host, place.port, ssl=outward, server_hostname=""
        )
        await asyncio.gather(copy(reader, there[1]), copy(there[0], writer))

    server = await asyncio.start_server(between, "127.0.0.1", 0, ssl=context)
    async with server:
        place = HostPort(*server.sockets[0].getsockname()[:2])
        with pytest.raises(LinkRefused):
            await call(place, identity("ship", "hub"), "hub")
    assert line.hub.channels == []


@dataclass
class Stranger:
    """Somebody who connects and says what he likes."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def at(cls, line: Line) -> Stranger:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        place = line.place
        return cls(
            *await asyncio.open_connection(place.host, place.port, ssl=context, server_hostname="")
        )

    async def heard(self) -> bytes:
        """Everything until the connection ends."""
        found = b""
        with contextlib.suppress(OSError):
            while content := await self.reader.read(65_536):
                found += content
        self.writer.transport.abort()
        return found


async def test_a_stranger_learns_nothing_but_a_fresh_number(line: Line) -> None:
    """Whatever he says: silence, nonsense, a proof that he once overheard."""
    caller = identity("ship", "hub")
    session = Session(bytes(32), bytes(32), bytes(32))
    proof = prove(Role.CALLER, session, sender=caller.keys, recipient=keys_of("hub").public)
    heard = []
    for words in (
        b"GET / HTTP/1.1\r\n\r\n",
        written(Frame(FrameKind.PROOF, bytes(32) + proof)),
        written(Frame(FrameKind.CONTAINER, bytes(8) + container(9))),
    ):
        stranger = await Stranger.at(line)
        stranger.writer.write(words)
        heard.append(await stranger.heard())
    assert {len(one) for one in heard} <= {0, 5 + 32}  # a reset may swallow even that
    assert line.hub.channels == []


async def test_a_slow_stranger_is_cut_off_and_a_crowd_keeps_no_peer_out(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp, "GREETING_SECONDS", 0.5)
    crowd = [
        await asyncio.open_connection(line.place.host, line.place.port)
        for _ in range(tcp.UNPROVEN_MAX_EACH + 5)
    ]
    await until(lambda: line.listener._unproven.total() <= tcp.UNPROVEN_MAX_EACH)
    for reader, writer in crowd:  # each of them is closed, without a word
        with contextlib.suppress(OSError):
            assert await reader.read() == b""
        writer.close()
    await until(lambda: not line.listener._unproven)
    monkeypatch.setattr(tcp, "GREETING_SECONDS", 20.0)
    async with linked(line) as (channel, _):
        assert isinstance(await channel.hand_over(container(9)), Sent)


@pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
async def test_a_machine_without_ipv6_waits_at_the_addresses_it_has(
    certificate: bytes, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    real = tcp._listening

    def lacking(family: int, place: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(number, "not here")
        return real(family, place)

    monkeypatch.setattr(tcp, "_listening", lacking)
    async with listening(certificate, "*") as line:
        assert line.place.host == "0.0.0.0"
    with pytest.raises(Unreachable):
        async with listening(certificate, "::1"):
            pass


async def test_nobody_there_is_said_in_one_line(line: Line) -> None:
    await line.listener.close()
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:\d+: "):
        await call(line.place, identity("ship", "hub"), "hub")


async def test_what_speaks_no_tls_is_no_peer() -> None:
    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        place = HostPort(*server.sockets[0].getsockname()[:2])
        with pytest.raises(Unreachable, match="no TLS"):
            await call(place, identity("ship", "hub"), "hub")


# --- fuzz ----------------------------------------------------------------------------------


async def test_noise_from_strangers_costs_neither_memory_nor_a_word_in_the_log(
    line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    """Bytes of any kind before TLS, within it, and TLS that stops halfway."""
    caplog.set_level("WARNING")
    chance = random.Random(7)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(150):
        noise = chance.randbytes(chance.choice([0, 1, 5, 100, 5_000, 100_000]))
        with contextlib.suppress(OSError):
            if number % 3:
                _, writer = await asyncio.open_connection(line.place.host, line.place.port)
                if number % 3 == 1:
                    noise = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + noise  # ClientHello
                writer.write(noise)
                writer.write_eof()
            else:
                stranger = await Stranger.at(line)
                writer = stranger.writer
                kind = chance.choice([1, 2, 3, 4, 5, chance.randrange(256)])
                size = chance.choice([len(noise), 0, 2**32 - 1, 1_024])
                writer.write(bytes((kind,)) + size.to_bytes(4, "big") + noise)
            await writer.drain()
            writer.transport.abort()
    await until(lambda: not line.listener._unproven)
    assert line.hub.channels == []
    assert [one for one in caplog.records if one.name != "asyncio" or one.exc_info] == []
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 50_000  # KiB
    async with linked(line) as (channel, _):
        assert isinstance(await channel.hand_over(container(9)), Sent)


@pytest.mark.parametrize("seed", range(40))
async def test_noise_from_a_proven_peer_ends_the_link_and_nothing_else(
    line: Line, seed: int
) -> None:
    """Frames of any kind, with any length; what claims to be too large is refused by its head."""
    chance = random.Random(seed)
    async with linked(line) as (channel, ship):
        for _ in range(20):
            kind = chance.choice([3, 4, 5, chance.randrange(256)])
            body = chance.randbytes(chance.choice([0, 7, 8, 9, 1_000]))
            size = chance.choice([len(body), len(body), chance.randrange(2**32)])
            channel._writer.write(bytes((kind,)) + size.to_bytes(4, "big") + body)
        channel._writer.write_eof() if channel._writer.can_write_eof() else channel.close()
        await until(lambda: line.hub.ended and ship.ended)
    async with linked(line) as (channel, _):
        assert isinstance(await channel.hand_over(container(9)), Sent)


async def test_a_frame_is_refused_by_its_length_before_it_is_read() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(bytes((3,)) + (2**31).to_bytes(4, "big"))  # and no body at all
    with pytest.raises(BadFrame, match="frame of kind 3"):
        await read_frame(reader, FrameKind.CONTAINER)
