"""The frames of a link: what two sites say to each other within one connection.

Rules
-----
* A frame says its length first, and is refused by it before a byte of it is kept.
* Before the other end is proven the only frames are those that prove it, and they are small.

::

    offset  size    what
    0       1       kind
    1       4       length of the body in bytes, big endian
    5       length  body

    1 hello      listener: 32 fresh random bytes
    2 proof      caller: 32 fresh random bytes, then its proof; listener: its proof
    3 container  8 bytes that number it, then what one attachment would hold
    4 taken      the number of a container that is durably in the inbox, or was found unusable
    5 alive      nothing
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import IntEnum
from typing import Final, NamedTuple

from mailsync.carriers.base import CONTAINER_MAX
from mailsync.errors import PeerError

HEAD_SIZE: Final = 5
NUMBER_SIZE: Final = 8
GREETING_MAX: Final = 1_024
"""Bytes of a frame from somebody who is not proven."""
BODY_MAX: Final = NUMBER_SIZE + CONTAINER_MAX
PIECE_SIZE: Final = 65_536


class BadFrame(PeerError):
    """The link was closed, and is made again; the peer may run another version of mailsync."""


class FrameKind(IntEnum):
    """What a frame is."""

    HELLO = 1
    PROOF = 2
    CONTAINER = 3
    TAKEN = 4
    ALIVE = 5


class Frame(NamedTuple):
    """One frame."""

    kind: FrameKind
    body: bytes = b""


_SIZES: Final = {
    FrameKind.HELLO: (32, 32),
    FrameKind.PROOF: (1, GREETING_MAX),
    FrameKind.CONTAINER: (NUMBER_SIZE, BODY_MAX),
    FrameKind.TAKEN: (NUMBER_SIZE, NUMBER_SIZE),
    FrameKind.ALIVE: (0, 0),
}
"""The least and the most bytes of a body."""


def written(frame: Frame) -> bytes:
    """The bytes of a frame."""
    return bytes((frame.kind,)) + len(frame.body).to_bytes(4, "big") + frame.body


async def read_frame(
    reader: asyncio.StreamReader, *expected: FrameKind, hear: Callable[[], None] = lambda: None
) -> Frame:
    """The next frame, which must be of one of these kinds; ``hear`` is called for each piece of it.

    Raises BadFrame, and EOFError (IncompleteReadError) when the connection ends.
    """
    head = await reader.readexactly(HEAD_SIZE)
    if head[0] not in expected:
        raise BadFrame(f"a frame of kind {head[0]} where none may be")
    kind = FrameKind(head[0])
    size = int.from_bytes(head[1:], "big")
    least, most = _SIZES[kind]
    if not least <= size <= most:
        raise BadFrame(f"a frame of kind {head[0]} with {size} bytes")
    hear()
    body = bytearray()
    while len(body) < size:
        piece = await reader.read(min(size - len(body), PIECE_SIZE))
        if not piece:
            raise asyncio.IncompleteReadError(bytes(body), size)
        hear()
        body += piece
    return Frame(kind, bytes(body))
