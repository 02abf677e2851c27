"""Which earlier bodies the next one is compressed against, and how long each is kept.

Rules
-----
* Only bodies that the reader said it holds are counted on; the newest, up to ``WINDOW`` bytes.
* Either end keeps more than that (``KEPT``), so that what the other still counts on is not
  dropped for newer bodies that are on their way.
* Of a body larger than the window only its end is kept, by both ends alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from mailsync.core.positions import Positions

WINDOW: Final = 2**20
"""Bytes of earlier bodies; beyond, more of them gain little and cost much time."""

KEPT: Final = 4 * WINDOW
"""Bytes of bodies that either end keeps of each direction of a link."""

BODY_COST: Final = 1024
"""Bytes that keeping a body costs besides its own; so there are never many of them."""

NAMED: Final = 8
"""Intervals of serials that a body is compressed against at most: each costs two bytes, and
where many mails are lost there would be many."""

ANNOUNCED: Final = 4
"""Intervals of serials that a preface names; older ones were named before."""


def kept(body: bytes) -> bytes:
    """What is kept of a body."""
    return body[-WINDOW:]


def chosen(sizes: Mapping[int, int]) -> Positions:
    """The serials to compress against, of those the reader holds (serial: bytes kept)."""
    room, serials = WINDOW, []
    for serial in sorted(sizes, reverse=True):
        if room <= 0:
            break
        serials.append(serial)
        room -= sizes[serial]
    return Positions(Positions.of(serials).intervals[-NAMED:])


def joined(bodies: Iterable[bytes]) -> bytes:
    """The prior made of these bodies, oldest first."""
    return b"".join(bodies)[-WINDOW:]


def surplus(sizes: Mapping[int, int]) -> list[int]:
    """The serials that need not be kept any more (serial: bytes kept)."""
    room, serials = KEPT, []
    for serial in sorted(sizes, reverse=True):
        room -= sizes[serial] + BODY_COST
        if room < 0:
            serials.append(serial)
    return serials


def announced(serials: Iterable[int]) -> Positions:
    """The newest of the serials held, as a preface names them."""
    return Positions(Positions.of(serials).intervals[-ANNOUNCED:])
