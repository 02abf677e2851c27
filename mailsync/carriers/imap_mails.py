"""Fetching mails of the folder that is open: their outside in batches, their inside in chunks.

Rules
-----
* Everything is fetched with PEEK: it cannot change anything.
* One mail that the server cannot show does not hide the others.
* The server may ignore ranges, lie about sizes and send answers that nobody asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from mailsync.carriers.imap_connection import Declined, ImapConnection
from mailsync.carriers.imap_wire import fetched, uid_set

_BATCH: Final = 100
"""Mails per command; the library's cost grows with the square of an answer's lines."""
_CHUNK: Final = 262_144
_HEADER: Final = 8_192
_GLIMPSE: Final = 8_192
"""Bytes of body in which an unaltered mail of ours shows its attachment, several times over."""

_HEADER_ITEM: Final = (
    f"BODY.PEEK[HEADER.FIELDS (FROM SUBJECT MESSAGE-ID X-MAILSYNC CONTENT-TYPE)]<0.{_HEADER}>"
)
_TRACE: Final = re.compile(rb"(?i)mailsync|\.msync|iW1TeW5jDQ")


class Glance(NamedTuple):
    """What a look at a mail's outside shows."""

    number: int
    size: int
    header: bytes
    refusal: str = ""
    """Why the server does not even show that much; empty: it does."""


def batches(values: Sequence[int]) -> Iterator[Sequence[int]]:
    """So many mails at a time."""
    for start in range(0, len(values), _BATCH):
        yield values[start : start + _BATCH]


async def glances_of(session: ImapConnection, batch: Sequence[int], cap: int) -> list[Glance]:
    """Sizes and header fields of these mails, as far as they are there. Raises Unreachable."""
    try:
        answers = await _fetch(session, batch, f"(UID RFC822.SIZE {_HEADER_ITEM})", cap)
    except Declined as error:
        if len(batch) == 1:
            return [Glance(batch[0], 0, b"", str(error))]
        first, second = _halves(batch)
        glances = await glances_of(session, first, cap)
        return glances + await glances_of(session, second, cap)
    return [
        Glance(number, _number(answers[number].get("RFC822.SIZE")), _section(answers[number]))
        for number in batch
        if number in answers
    ]


async def with_trace(session: ImapConnection, batch: Sequence[int], cap: int) -> frozenset[int]:
    """Those whose body begins as if a container might lie in it, or that the server does not show:
    that may pass. Raises Unreachable.
    """
    try:
        answers = await _fetch(session, batch, f"(UID BODY.PEEK[TEXT]<0.{_GLIMPSE}>)", cap)
    except Declined:
        if len(batch) == 1:
            return frozenset(batch)
        first, second = _halves(batch)
        return await with_trace(session, first, cap) | await with_trace(session, second, cap)
    return frozenset(number for number in answers if _TRACE.search(_section(answers[number])))


async def whole(session: ImapConnection, number: int, cap: int) -> bytes | None:
    """A mail in chunks, as it is; a little beyond the cap where it is larger than it said.

    None if it is not there any more. Raises Declined, Unreachable.
    """
    raw = bytearray()
    while len(raw) <= cap:
        items = f"(UID BODY.PEEK[]<{len(raw)}.{_CHUNK}>)"
        answer = (await _fetch(session, [number], items, cap)).get(number)
        if answer is None:
            return None
        chunk = answer.get(f"BODY[]<{len(raw)}>")
        if chunk is None or len(chunk) > _CHUNK:  # the server ignored the range
            if raw and "BODY[]" not in answer and _section(answer):
                return await _undivided(session, number, cap)  # it gave another one
            return _section(answer) or bytes(raw)  # beyond the end some know no range
        raw += chunk
        if len(chunk) < _CHUNK:
            break
    return bytes(raw)


async def _undivided(session: ImapConnection, number: int, cap: int) -> bytes | None:
    """A mail in one piece, from a server that cannot cut it."""
    answer = (await _fetch(session, [number], "(UID BODY.PEEK[])", cap)).get(number)
    return None if answer is None else _section(answer)


async def beginning(session: ImapConnection, number: int, size: int) -> bytes | None:
    """The first ``size`` bytes of a mail; None if it is not there any more. Raises Unreachable."""
    try:
        answers = await _fetch(session, [number], f"(UID BODY.PEEK[]<0.{size}>)", size)
    except Declined:
        return b""
    return None if number not in answers else _section(answers[number])


async def _fetch(
    session: ImapConnection, batch: Sequence[int], items: str, size: int
) -> dict[int, dict[str, bytes]]:
    """FETCH answers by UID. The server may ignore ranges, hence the generous size."""
    lines = await session.command("FETCH", uid_set(batch), items, prefix="UID", size=size)
    # mails may come in several answers, among them some nobody asked for
    merged: dict[int, dict[str, bytes]] = {}
    for answer in fetched(lines[:-1]):
        if (number := _number(answer.get("UID"))) in batch:
            merged.setdefault(number, {}).update(answer)
    return merged


def _halves(batch: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
    middle = len(batch) // 2
    return batch[:middle], batch[middle:]


def _number(digits: bytes | None) -> int:
    return int(digits) if digits is not None and re.fullmatch(rb"\d{1,18}", digits) else 0


def _section(answer: dict[str, bytes]) -> bytes:
    """The content of the one body section that was asked for, whatever range it is said to be."""
    return next((value for name, value in answer.items() if name.startswith("BODY[")), b"")
