"""How links come up: connections whose ends are proven by the keys of their pairing.

Rules
-----
* TLS 1.3 and nothing else. Its certificate says nothing and is believed by nobody: who is at the
  other end is proven inside, by ``core.introduction``, before anything else is said.
* Somebody who is not proven gets one fresh number and silence: few connections at a time, from one
  address fewer still, for seconds, with a kilobyte to say. The connection ends without a word.
* Whether the other machine is alive is asked of its system: a busy program may be silent for long.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import ssl
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from mailsync.carriers.channel import Channel
from mailsync.carriers.endpoint import one_line
from mailsync.carriers.frames import (
    Frame,
    FrameKind,
    read_frame,
    written,
)
from mailsync.core.introduction import NONCE_SIZE, Role, Session, prove, proven
from mailsync.core.sealing import PrivateKeys, PublicKeys
from mailsync.errors import Exit, MailsyncError, OperatorError, PeerError, Unreachable
from mailsync.names import HostPort

_log = logging.getLogger(__name__)

GREETING_SECONDS: Final = 20.0
"""From a connection to the proof of who is there."""
UNPROVEN_MAX: Final = 64
UNPROVEN_MAX_EACH: Final = 8
"""... from one address, or one IPv6 network of 64 bits."""
BUFFER_BYTES: Final = 65_536

_LACKING: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})
"""How a system says that it has no such kind of address, or not this one."""


class LinkRefused(OperatorError):
    """See that this is the peer's address, and that each site has added the other's card."""

    exit_code = Exit.LOGIN_REFUSED


@dataclass(frozen=True, slots=True)
class Identity:
    """Who we are, and who may be at the other end, by name."""

    keys: PrivateKeys
    peers: Mapping[str, PublicKeys]


# --- calling -----------------------------------------------------------------------------------


async def call(
    address: HostPort, identity: Identity, peer: str, seconds: float = GREETING_SECONDS
) -> Channel:
    """A link to a peer where it listens, within ``seconds``. Raises Unreachable, LinkRefused."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # who is there is proven below
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection(
                address.host,
                address.port,
                ssl=context,
                server_hostname="",
                limit=BUFFER_BYTES,
                happy_eyeballs_delay=0.25,
            )
            _prepare(writer.get_extra_info("socket"))
            await _introduce(reader, writer, identity, peer)
            return Channel(peer, reader, writer)
    except (ConnectionResetError, EOFError, PeerError) as error:
        _abort(writer)
        words = f"{address}: nobody there proved to be {peer}"
        raise LinkRefused(words) from error
    except BaseException as error:
        _abort(writer)
        if isinstance(error, OSError):
            raise _unreachable(address, error) from error
        raise


async def _introduce(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, identity: Identity, peer: str
) -> None:
    """Prove who we are, and see that the peer is there."""
    certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    hello = await read_frame(reader, FrameKind.HELLO)
    session = Session(sha256(certificate).digest(), hello.body, os.urandom(NONCE_SIZE))
    public = identity.peers[peer]
    proof = prove(Role.CALLER, session, sender=identity.keys, recipient=public)
    writer.write(written(Frame(FrameKind.PROOF, session.caller_nonce + proof)))
    await writer.drain()
    answer = await read_frame(reader, FrameKind.PROOF)
    proven(Role.LISTENER, answer.body, session, receiver=identity.keys, peers=[public])


# --- listening ---------------------------------------------------------------------------------


@dataclass(slots=True)
class Listener:
    """Waits for calls, and makes links of those whose callers prove to be peers."""

    identity: Identity
    certificate: bytes
    """A certificate that says nothing, and its private key, PEM."""
    welcome: Callable[[Channel], Awaitable[None]]
    """Gets each link, and keeps it for as long as it lasts."""
    _sockets: list[socket.socket] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _unproven: Counter[str] = field(default_factory=Counter)

    async def start(self, address: HostPort) -> list[HostPort]:
        """Listen; where. Raises Unreachable."""
        context = _context(ssl.PROTOCOL_TLS_SERVER)
        context.num_tickets = 0
        with tempfile.NamedTemporaryFile(suffix=".pem") as file:  # ssl reads files only
            file.write(self.certificate)
            file.flush()
            context.load_cert_chain(file.name)
        binding = sha256(ssl.PEM_cert_to_DER_cert(_certificate_in(self.certificate))).digest()
        host = None if address.host == "*" else address.host
        loop = asyncio.get_running_loop()
        try:
            places = await loop.getaddrinfo(
                host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            self._sockets += _listening_at([(one[0], one[4]) for one in dict.fromkeys(places)])
        except OSError as error:
            await self.close()
            raise _unreachable(address, error) from error
        for one in self._sockets:
            self._keep(self._accept(one, context, binding))
        return [HostPort(*one.getsockname()[:2]) for one in self._sockets]

    async def close(self) -> None:
        """End: no more calls, and no more links."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for one in self._sockets:
            one.close()
        self._sockets.clear()

    def _keep(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(
        self, listening: socket.socket, context: ssl.SSLContext, binding: bytes
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, place = await loop.sock_accept(listening)
            except OSError as error:  # too many open files: others will end
                _log.debug("not accepted: %s", error)
                await asyncio.sleep(1)
                continue
            origin = _origin(place[0])
            crowded = self._unproven.total() >= UNPROVEN_MAX
            if crowded or self._unproven[origin] >= UNPROVEN_MAX_EACH:
                connection.close()
                continue
            self._unproven[origin] += 1
            self._keep(self._greet(connection, origin, context, binding))

    async def _greet(
        self, connection: socket.socket, origin: str, context: ssl.SSLContext, binding: bytes
    ) -> None:
        """From a connection to a link, or to silence."""
        channel = None
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(GREETING_SECONDS):
                _prepare(connection)
                reader, writer = await _secured(connection, context)
                peer = await self._recognise(reader, writer, binding)
                channel = Channel(peer, reader, writer)
        except (OSError, EOFError, PeerError) as error:
            _log.debug("a caller from %s: %s", origin, error)
        finally:
            self._unproven[origin] -= 1
            self._unproven += Counter()  # without those of whom there are none
            if channel is None:
                _abort(writer)
                connection.close()
        if channel is not None:
            try:
                await self.welcome(channel)
            except MailsyncError as problem:
                _log.debug("a link ended: %s", problem)
            finally:
                channel.close()

    async def _recognise(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, binding: bytes
    ) -> str:
        """The peer that calls. Raises PeerError."""
        nonce = os.urandom(NONCE_SIZE)
        writer.write(written(Frame(FrameKind.HELLO, nonce)))
        said = (await read_frame(reader, FrameKind.PROOF)).body
        session = Session(binding, nonce, said[:NONCE_SIZE])
        keys, peers = self.identity.keys, self.identity.peers
        public = proven(
            Role.CALLER, said[NONCE_SIZE:], session, receiver=keys, peers=list(peers.values())
        )
        answer = prove(Role.LISTENER, session, sender=keys, recipient=public)
        writer.write(written(Frame(FrameKind.PROOF, answer)))
        await writer.drain()
        return next(name for name, one in peers.items() if one == public)


async def _secured(
    connection: socket.socket, context: ssl.SSLContext
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=BUFFER_BYTES, loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport, _ = await loop.connect_accepted_socket(
        lambda: protocol, connection, ssl=context, ssl_handshake_timeout=GREETING_SECONDS
    )
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def _listening_at(places: Sequence[tuple[int, Any]]) -> list[socket.socket]:
    """Sockets at all of them that this machine has: many have no IPv6. Raises OSError."""
    found: list[socket.socket] = []
    lacking: OSError | None = None
    try:
        for family, place in places:
            try:
                found.append(_listening(family, place))
            except OSError as error:
                if error.errno not in _LACKING:
                    raise
                lacking = error
        if lacking is not None and not found:
            raise lacking
    except OSError:
        for one in found:
            one.close()
        raise
    return found


def _listening(
    family: int, place: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
) -> socket.socket:
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        found.bind(place)
        found.listen()
        found.setblocking(False)
    except OSError:
        found.close()
        raise
    return found


def _prepare(connection: socket.socket) -> None:
    """Let the systems of both ends find out that a connection is dead, within a minute or so."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    wanted = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 60_000}
    for name, value in wanted.items():
        if hasattr(socket, name):  # not on every system
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _origin(host: str) -> str:
    """What is counted as one caller's: its IPv4 address, its IPv6 network of 64 bits."""
    if ":" not in host or "." in host:
        return host.rpartition(":")[2]
    packed = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    return packed[:8].hex()


def _certificate_in(pem: bytes) -> str:
    text = pem.decode()
    return text[text.index("-----BEGIN CERTIFICATE-----") :]


def _abort(writer: asyncio.StreamWriter | None) -> None:
    if writer is not None:
        writer.transport.abort()


def _unreachable(address: HostPort, error: OSError) -> Unreachable:
    match error:
        case ssl.SSLError():
            words = f"no TLS 1.3 could be agreed on: {error.reason or error}"
        case TimeoutError():
            words = "no answer in time"
        case OSError(errno=int(number)) if number > 0:  # asyncio has words of its own
            words = os.strerror(number)
        case _:
            words = error.strerror or str(error) or type(error).__name__
    return Unreachable(f"{address}: {one_line(words)}")
