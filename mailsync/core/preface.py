"""The preface of a bundle: what can be read of it without any earlier bundle.

Rules
-----
* Each end numbers its bundles to a peer (*serials*) and says which of the other's it still holds
  the bodies of. A body may be compressed against earlier ones only if the reader said it holds
  them, and the preface names them (*prior*) with a check: the signature covers the compressed
  bytes and cannot notice that the two ends remember different bodies.
* What is said of bodies held adds to what was said before, unless it is *all*: then the sender
  of the preface lost some, and the reader must not count on them any more.

::

    content = version(1 byte) flags serial held [prior check(4 bytes)] [noise] packed
    held, prior = count (gap length)*            each interval: gap and length, less one

    flags  1  the body is compressed             2  against earlier bodies: prior and check follow
           4  held is all that is held          8  noise stands before it (see ``wire``)

Numbers are LEB128 (see ``varints``); a gap is counted from the interval before.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final, NamedTuple

from mailsync.core.positions import NOWHERE, Positions
from mailsync.core.varints import Octets, varint
from mailsync.errors import BadFormat

VERSION: Final = 1

CHECK_SIZE: Final = 4
SERIALS: Final = 2**53
INTERVALS_MAX: Final = 256

_COMPRESSED: Final = 1
_AGAINST: Final = 2
_ALL: Final = 4
_NOISE: Final = 8
_FLAGS: Final = 16


class Preface(NamedTuple):
    """What a bundle says before its body."""

    serial: int = 1
    """Of this bundle, from 1."""
    held: Positions = NOWHERE
    """Serials of the reader's bundles of which the sender holds the bodies."""
    held_is_all: bool = False
    """It holds no others, whatever it said before."""
    prior: Positions = NOWHERE
    """Serials of earlier bundles against whose bodies this one's is compressed."""
    check: bytes = b""
    """Of their bodies; empty without a prior."""
    is_compressed: bool = False
    has_noise: bool = False
    """Something was kept out of the body, and stands before it."""


def check_of(prior: bytes) -> bytes:
    """What tells whether both ends mean the same by a prior."""
    return sha256(prior).digest()[:CHECK_SIZE] if prior else b""


def written(preface: Preface) -> bytes:
    """The preface as bytes, the version first."""
    flags = _COMPRESSED * preface.is_compressed | _ALL * preface.held_is_all
    flags |= _NOISE * preface.has_noise
    octets = varint(preface.serial) + _intervals(preface.held)
    if preface.check:
        flags |= _AGAINST
        octets += _intervals(preface.prior) + preface.check
    return bytes((VERSION, flags)) + octets


def read(content: bytes) -> tuple[Preface, bytes]:
    """The preface, and the packed body after it.

    Raises BadFormat, also for a format newer than this mailsync knows.
    """
    version = content[0] if content else 0
    if version > VERSION:
        raise BadFormat(
            f"the bundle is in format {version}; this mailsync reads up to {VERSION}: update it"
        )
    if version != VERSION:
        raise BadFormat("this is not a bundle of mailsync")
    octets = Octets(content[1:])
    flags = octets.number(_FLAGS)
    serial = octets.number(SERIALS)
    held = _read_intervals(octets)
    prior, check = NOWHERE, b""
    if flags & _AGAINST:
        prior, check = _read_intervals(octets), octets.take(CHECK_SIZE)
    preface = Preface(
        serial,
        held,
        bool(flags & _ALL),
        prior,
        check,
        bool(flags & _COMPRESSED),
        bool(flags & _NOISE),
    )
    return preface, octets.rest()


def _intervals(positions: Positions) -> bytes:
    octets, before = varint(len(positions.intervals)), -1
    for low, high in positions.intervals:
        octets += varint(low - before - 2) + varint(high - low)
        before = high
    return octets


def _read_intervals(octets: Octets) -> Positions:
    intervals: list[tuple[int, int]] = []
    before = -1
    for _ in range(octets.number(INTERVALS_MAX + 1)):
        low = before + 2 + octets.number(SERIALS)
        before = low + octets.number(SERIALS)
        intervals.append((low, before))
    return Positions(tuple(intervals))
