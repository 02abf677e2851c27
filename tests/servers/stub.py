"""Scripted SMTP and IMAP servers, for the faults a real server does not produce on request.

Both speak clear text on loopback. A script maps the first word of a command (for IMAP without
the tag, ``UID FETCH`` being ``FETCH``) to an answer; commands without one get a sane default.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from mailsync.carriers.endpoint import Endpoint, Security


class Hangup(Exception):
    """Raised by a script: close the connection here, without an answer."""


Answer = Callable[[str], bytes]
"""The bytes to send for a command line (IMAP: after the tag), or ``Hangup``."""


@dataclass
class Stub:
    """What the client was seen to do, and where the stub listens."""

    endpoint: Endpoint
    commands: list[str] = field(default_factory=list)
    mails: list[bytes] = field(default_factory=list)
    connections: list[asyncio.StreamWriter] = field(default_factory=list)
    idling: asyncio.Event = field(default_factory=asyncio.Event)

    def cut(self) -> None:
        """Break every connection, as a failing network does."""
        for connection in self.connections:
            connection.transport.abort()


Talk = Callable[[Stub, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def smtp_stub(
    script: Mapping[str, Answer] | None = None, *, extensions: tuple[str, ...] = ("AUTH PLAIN",)
) -> AsyncIterator[Stub]:
    """An SMTP server that takes everything, except for what ``script`` says.

    The answer for ``.`` is the one after the final dot; ``greeting`` stands for the connection.
    """
    async with _serving(_Smtp(script or {}, extensions).talk) as stub:
        yield stub


@contextlib.asynccontextmanager
async def imap_stub(
    script: Mapping[str, Answer] | None = None, *, capabilities: str = "IDLE UIDPLUS MOVE"
) -> AsyncIterator[Stub]:
    """An IMAP server with an empty inbox, except for what ``script`` says.

    ``TAG`` at the start of an answer's line becomes the command's tag; ``greeting`` stands for
    the connection.
    """
    async with _serving(_Imap(script or {}, capabilities).talk) as stub:
        yield stub


@contextlib.asynccontextmanager
async def _serving(talk: Talk) -> AsyncIterator[Stub]:
    stub: Stub
    over = asyncio.Semaphore(0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stub.connections.append(writer)
        try:
            with contextlib.suppress(Hangup, ConnectionError, asyncio.IncompleteReadError):
                await talk(stub, reader, writer)
        finally:
            writer.close()
            over.release()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=2**26)
    port = server.sockets[0].getsockname()[1]
    stub = Stub(Endpoint("127.0.0.1", port, "user", Security.CLEAR))
    try:
        yield stub
    finally:
        server.close()
        stub.cut()
        for _ in stub.connections:
            await over.acquire()


async def _line(stub: Stub, reader: asyncio.StreamReader) -> str:
    line = (await reader.readuntil(b"\r\n"))[:-2].decode()
    stub.commands.append(line)
    return line


@dataclass
class _Smtp:
    script: Mapping[str, Answer]
    extensions: tuple[str, ...]

    async def talk(
        self, stub: Stub, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(self._answer("greeting", b"220 stub\r\n"))
        while True:
            line = await _line(stub, reader)
            verb = line.split()[0].upper()
            if verb == "DATA":
                answer = self._answer(line, b"354 go on\r\n")
                writer.write(answer)
                if not answer.startswith(b"354"):
                    continue
                stub.mails.append((await reader.readuntil(b"\r\n.\r\n"))[:-3])
                writer.write(self._answer(".", b"250 2.0.0 taken\r\n"))
            elif verb == "EHLO":
                lines = ["stub", *self.extensions]
                default = "".join(f"250-{name}\r\n" for name in lines[:-1]) + f"250 {lines[-1]}\r\n"
                writer.write(self._answer(line, default.encode()))
            else:
                default_code = {"AUTH": b"235", "QUIT": b"221"}.get(verb, b"250")
                writer.write(self._answer(line, default_code + b" 2.0.0 well\r\n"))

    def _answer(self, line: str, default: bytes) -> bytes:
        answer = self.script.get(line.split(maxsplit=1)[0])
        return default if answer is None else answer(line)


@dataclass
class _Imap:
    script: Mapping[str, Answer]
    capabilities: str

    async def talk(
        self, stub: Stub, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        greeting = self.script.get("greeting")
        writer.write(b"* OK stub\r\n" if greeting is None else greeting("greeting"))
        while True:
            tag, _, line = (await _line(stub, reader)).partition(" ")
            words = line.upper().split() or [tag]  # DONE has no tag
            verb = words[1] if words[0] == "UID" else words[0]
            answer: Answer | None = self.script.get(verb)
            text = self._default(verb) if answer is None else answer(line)
            writer.write(re.sub(rb"(?m)^TAG ", tag.encode() + b" ", text))
            if verb == "IDLE":
                stub.idling.set()
                if answer is None:
                    await _line(stub, reader)
                    writer.write(f"{tag} OK done\r\n".encode())

    def _default(self, verb: str) -> bytes:
        untagged = {
            "CAPABILITY": f"* CAPABILITY IMAP4rev1 {self.capabilities}\r\n",
            "EXAMINE": "* 0 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n",
            "SELECT": "* 0 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n",
            "SEARCH": "* SEARCH\r\n",
            "LOGOUT": "* BYE\r\n",
        }.get(verb, "")
        if verb == "IDLE":
            return b"+ idling\r\n"
        return f"{untagged}TAG OK done\r\n".encode()
