"""The frame in which a bundle or a part of one travels inside a mail attachment.

Rules
-----
* A container tells its own length, so gateways may add bytes before, between and after.
* The magic holds an eighth bit and a CR LF, as PNG's does: a transport that strips bits or
  converts line ends is noticed, not guessed at.
* The check finds accidents, not attackers; those are the signature's business (``sealing``).
* Reading costs time linear in the data, whatever the data is: failed checks draw on a budget.

::

    offset  size   what
    0       8      magic 89 6D 53 79 6E 63 0D 0A
    8       1      kind: 1 bundle, 2 part of a bundle, 3 receipt for parts
    9       1-5    length of the body in bytes, unsigned LEB128, shortest form
    ...     length body
    ...     4      check: the first 4 bytes of SHA-256(body)
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from hashlib import sha256
from typing import Final, NamedTuple

from mailsync.errors import BadContainer, OurError

MAGIC: Final = b"\x89mSync\r\n"
STEM: Final = MAGIC[:6]
"""What is left of the magic when a transport converted line ends."""

CHECK_SIZE: Final = 4
LENGTH_SIZE: Final = 5
"""A length takes at most this many bytes."""

MAX_BODY: Final = 64 * 2**20
"""Bytes of body accepted unless the caller says otherwise."""

HASHING_BUDGET: Final = 8
"""How often the whole data may be hashed in search of intact containers."""


class Kind(IntEnum):
    """What a container's body is."""

    BUNDLE = 1
    PART = 2
    RECEIPT = 3


class Container(NamedTuple):
    """A container taken apart."""

    kind: Kind
    body: bytes


class _Fault(Exception):
    """Why no intact container starts at some place; its text completes "it is ..."."""


class _Extent(NamedTuple):
    """Where a container's body lies, and what it is."""

    kind: Kind
    start: int
    end: int


def frame(kind: Kind, body: bytes) -> bytes:
    """The container of a body. Raises OurError if its length cannot be written."""
    length = _leb128(len(body))
    if len(length) > LENGTH_SIZE:
        raise OurError(f"a body of {len(body)} bytes is too long for a container")
    return b"".join((MAGIC, bytes((kind,)), length, body, _check(memoryview(body))))


def find(data: bytes, max_body: int = MAX_BODY) -> list[bytes]:
    """Every intact container in the data, in order; what is not one is passed over."""
    return [found for found in _search(data, max_body) if isinstance(found, bytes)]


def problem_in(data: bytes, max_body: int = MAX_BODY) -> str | None:
    """What happened to the only containers in the data: "cut", "altered" or "too large".

    None: there is an intact one, or nothing that ever was a container.
    """
    problem = None
    for found in _search(data, max_body):
        if isinstance(found, bytes):
            return None
        problem = problem or found
    return problem


def unframe(container: bytes, max_body: int = MAX_BODY) -> Container:
    """Take apart exactly one container. Raises BadContainer if it is anything else."""
    try:
        extent = _extent(container, 0, max_body)
        _verify(container, extent)
    except _Fault as fault:
        raise BadContainer(f"the container in the attachment is {fault}") from None
    if extent.end + CHECK_SIZE != len(container):
        raise BadContainer("foreign bytes follow the container")
    return Container(extent.kind, container[extent.start : extent.end])


def _search(data: bytes, max_body: int) -> Iterator[bytes | str]:
    """The containers in the data; for each place that only looks like one, what is wrong."""
    budget = HASHING_BUDGET * len(data)
    at = data.find(STEM)
    while at >= 0:
        after = at + len(STEM)
        try:
            extent = _extent(data, at, max_body)
            budget -= extent.end - extent.start
            if budget < 0:
                return
            _verify(data, extent)
        except _Fault as fault:
            yield str(fault)
        else:
            after = extent.end + CHECK_SIZE
            yield data[at:after]
        at = data.find(STEM, after)


def _extent(data: bytes, at: int, max_body: int) -> _Extent:
    """Read the head at a place. Raises _Fault if the whole container cannot lie there."""
    head = data[at : at + len(MAGIC) + 1 + LENGTH_SIZE]
    magic, kind, length = head[: len(MAGIC)], head[len(MAGIC) :][:1], head[len(MAGIC) + 1 :]
    if not MAGIC.startswith(magic):
        raise _Fault("altered")
    if not kind:
        raise _Fault("cut")
    if kind[0] not in Kind._value2member_map_:
        raise _Fault("altered")
    size, width = _read_leb128(length)
    start = at + len(MAGIC) + 1 + width
    if size > max_body:
        raise _Fault("too large")
    if start + size + CHECK_SIZE > len(data):
        raise _Fault("cut")
    return _Extent(Kind(kind[0]), start, start + size)


def _verify(data: bytes, extent: _Extent) -> None:
    """Raise _Fault unless the body at this extent has the check that follows it."""
    body = memoryview(data)[extent.start : extent.end]
    if _check(body) != data[extent.end : extent.end + CHECK_SIZE]:
        raise _Fault("altered")


def _check(body: memoryview) -> bytes:
    return sha256(body).digest()[:CHECK_SIZE]


def _leb128(number: int) -> bytes:
    """Unsigned LEB128, shortest form: seven bits a byte, least significant first."""
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_leb128(head: bytes) -> tuple[int, int]:
    """The number at the start of at most LENGTH_SIZE bytes, and how many bytes it took."""
    number = 0
    for width, byte in enumerate(head, start=1):
        number |= (byte & 0x7F) << 7 * (width - 1)
        if byte < 0x80:
            if byte == 0 and width > 1:
                raise _Fault("altered")
            return number, width
    raise _Fault("altered" if len(head) == LENGTH_SIZE else "cut")
