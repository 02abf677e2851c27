"""A link between two sites: containers both ways within one proven connection.

Rules
-----
* A container is confirmed when it is durable at the other end, and one is on its way at a time: a
  slow reader slows the writer down, and never fills its memory.
* What was not confirmed when a link ended may have arrived: it goes again, and is known there.
* Whoever reads never waits for room to write, or both ends might wait for each other.
* An end that has no more to say for now says that it is alive. Once anything is handed over after
  that, it may have more to say again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final, Self

from mailsync.carriers.base import Letter, NotHere, Retry, SendResult, Sent
from mailsync.carriers.endpoint import one_line
from mailsync.carriers.frames import (
    NUMBER_SIZE,
    BadFrame,
    Frame,
    FrameKind,
    read_frame,
    written,
)
from mailsync.names import HostPort

CONFIRM_SECONDS: Final = 3_600.0
"""How long a container may wait for its confirmation: the way may be slow, the other end busy."""
ALIVE_SECONDS: Final = 60.0
ALIVE_MISSES: Final = 15
"""A link is given up after so many times ``ALIVE_SECONDS`` in which we heard not a byte, though we
listened."""

_ENDS: Final = (OSError, EOFError)

Take = Callable[[bytes], None]
"""Makes a container durable, or raises."""
Note = Callable[[], None]
"""Told when the other end has no more to say for now."""


def _unnoted() -> None:
    """Nobody wants to know."""


class Channel:
    """A connection to a proven peer: containers go both ways."""

    def __init__(
        self, peer: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """A connection whose other end is proven."""
        self.peer = peer
        self._reader = reader
        self._writer = writer
        self._turn = asyncio.Lock()
        self._waiting: dict[bytes, asyncio.Future[None]] = {}
        self._last = 0
        self._quiet = 0
        self._open = True
        self._rests_here = False
        self._rests_there = False

    @property
    def is_at_rest(self) -> bool:
        """Has the other end no more to say for now, as far as it has heard us?"""
        return self._rests_there

    @property
    def is_open(self) -> bool:
        """May something be handed over?"""
        return self._open and not self._writer.is_closing()

    @property
    def address(self) -> str:
        """Of the other end."""
        found = self._writer.get_extra_info("peername")
        return str(HostPort(found[0], found[1])) if found else "?"

    async def serve(self, take: Take, note: Note = _unnoted) -> str:
        """Read until the connection ends; why it did. ``take`` gets what arrives.

        Raises what ``take`` raises: then nothing was confirmed, and the connection ended.
        """
        alive = asyncio.create_task(self._keep_alive())
        try:
            while True:
                await self._read(take, note)
        except _ENDS as error:
            return one_line(str(error)) or "the connection was closed"
        except BadFrame as problem:
            return str(problem)
        finally:
            alive.cancel()
            self.close()

    async def hand_over(self, container: bytes) -> SendResult:
        """Send one container, and wait until it is durable at the other end."""
        async with self._turn:
            if not self.is_open:
                return Retry("the link is down")
            self._last += 1
            number = self._last.to_bytes(NUMBER_SIZE, "big")
            taken = asyncio.get_running_loop().create_future()
            self._waiting[number] = taken
            try:
                async with asyncio.timeout(CONFIRM_SECONDS):
                    self._say(Frame(FrameKind.CONTAINER, number + container))
                    await self._writer.drain()
                    await taken
            except _ENDS as error:  # TimeoutError is one
                self.close()
                return Retry(one_line(str(error)) or "the link was lost", uncertain=True)
            finally:
                self._waiting.pop(number, None)
            return Sent(len(container))

    def rest(self) -> None:
        """Say once that there is no more to say, until something more is handed over."""
        if self.is_open and not self._rests_here:
            self._say(Frame(FrameKind.ALIVE))
            self._rests_here = True

    def close(self) -> None:
        """End the connection; whoever waits for a confirmation hears of it."""
        self._open = False
        for taken in self._waiting.values():
            if not taken.done():
                taken.set_exception(ConnectionResetError("the link was lost"))
        if (transport := self._writer.transport) is not None:
            transport.abort()

    async def _read(self, take: Take, note: Note) -> None:
        expected = (FrameKind.CONTAINER, FrameKind.TAKEN, FrameKind.ALIVE)
        frame = await read_frame(self._reader, *expected, hear=self._hear)
        if frame.kind is FrameKind.ALIVE:
            self._rests_there = True
            note()
            return
        self._rests_here = self._rests_there = False
        if frame.kind is FrameKind.CONTAINER:
            take(frame.body[NUMBER_SIZE:])
            self._say(Frame(FrameKind.TAKEN, frame.body[:NUMBER_SIZE]))
            return
        taken = self._waiting.get(frame.body)
        if taken is not None and not taken.done():
            taken.set_result(None)

    def _hear(self) -> None:
        """On a slow way a container takes longer than an end may be silent."""
        self._quiet = 0

    def _say(self, frame: Frame) -> None:
        """Whoever reads must never wait for room to write: both ends would wait for each other."""
        if self._writer.is_closing():
            raise ConnectionResetError("the link was lost")
        self._writer.write(written(frame))

    async def _keep_alive(self) -> None:
        """Counts by waking up, not by the clock: while we were busy, nobody was silent."""
        while self._quiet < ALIVE_MISSES:
            await asyncio.sleep(ALIVE_SECONDS)
            self._quiet += 1
            with contextlib.suppress(ConnectionError):
                self._say(Frame(FrameKind.ALIVE))
        self.close()


class LinkSender:
    """The outward half of a link, as any carrier has one."""

    def __init__(self, channel: Channel) -> None:
        """Send on this link."""
        self._channel = channel

    async def __aenter__(self) -> Self:
        """See whether it is up. Raises NotHere."""
        if not self._channel.is_open:
            raise NotHere(f"the link to {self._channel.peer} is down")
        return self

    async def __aexit__(self, *exc: object) -> None:
        """The link stays up."""

    @property
    def size_limit(self) -> int | None:
        """Says nothing: containers are never as large as what a link takes."""
        return None

    async def send(self, letter: Letter) -> SendResult:
        """Hand over one letter; ``Sent`` once it is durable at the other end."""
        return await self._channel.hand_over(letter.container)
