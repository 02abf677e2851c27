"""GUID schemes: identifiers made by the system, whatever ids the dataset has.

Rules
-----
* A GUID begins with the time of first sight, so a person can tell from it when a record came.
* 128 bits are unique for ever, also after a restore from a backup and with clocks that jump:
  besides time and site they hold a number drawn afresh for every scan, and a counter within the
  scan. Records first seen in one scan share all but the counter, which makes them cheap to send.
* 32 bits, for devices that need them, have no room for chance. The seconds since 1970 are a grid of
  64 classes, and a site gives only values of its own class (``value % 64``): two sites never give
  the same one, whatever their clocks say.
* A site gives each value of its class once: always a greater one than before. Where it needs more
  than one in 64 seconds it runs ahead of its clock. Once ahead it stays as far ahead as it is,
  at least: what it gave since a backup was made is behind it after a restore, too, as long as that
  was no more than one in 64 seconds.
* A site that is proven to have been restored goes ahead by ``RESTORED_AHEAD``: it may have given
  more than that in the meantime.
* Values end in the year 2106. Nothing is given twice then; another class has values left.

128-bit layout, big endian, in the spirit of UUIDv8 (RFC 9562, 5.8) but without its marker bits:
6 bytes milliseconds since 1970, 4 bytes site, 3 bytes scan number, 3 bytes counter.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from mailsync.core.model import Dot, Guid

COUNTER_LIMIT: Final = 1 << 24

CLASSES: Final = 64
"""So many sites may share records under 32-bit GUIDs."""

SIZE_32: Final = 4
VALUES_32: Final = 1 << 32

AHEAD_MAX: Final = 366 * 24 * 3600
"""Seconds ahead of the clock, from which on a person should know."""

RESTORED_AHEAD: Final = 366 * 24 * 3600
"""Seconds; as many as half a million records take."""


class Given(NamedTuple):
    """The last value a site gave, and its clock then, both in seconds since 1970."""

    value: int = -1
    at: int = 0


def next_given(before: Given, guid_class: int, now: int) -> Given | None:
    """The next value of this class, at ``now`` (seconds since 1970); None: there is none left."""
    last = (before.value - guid_class) // CLASSES
    ahead = max(last - _step(guid_class, before.at), 0)
    step = max(last + 1, _step(guid_class, now) + ahead)
    value = step * CLASSES + guid_class
    return Given(value, now) if value < VALUES_32 else None


def _step(guid_class: int, now: int) -> int:
    """The first step of the class's grid that is not before ``now``."""
    return -((guid_class - now) // CLASSES)


def given_since(before: Given, now: int) -> Given:
    """What a site may have given by ``now``, of which it was restored from a backup."""
    return Given(max(before.value, now) + RESTORED_AHEAD, now)


def guid_32(given: Given) -> Guid:
    """The value as a GUID."""
    return Guid(given.value.to_bytes(SIZE_32, "big"))


def class_of(guid: Guid) -> int | None:
    """The class of a 32-bit GUID."""
    return int.from_bytes(guid, "big") % CLASSES if len(guid) == SIZE_32 else None


def minted(first_sight: int, stroke: Dot) -> Iterator[Guid]:
    """GUIDs for the records first seen at ``first_sight`` (milliseconds since 1970) in the scan
    whose writes carry the dot ``stroke``; at most 2**24 of them, then StopIteration.
    """
    prefix = (
        (first_sight & (1 << 48) - 1).to_bytes(6, "big")
        + (stroke.site >> 32 & 0xFFFFFFFF).to_bytes(4, "big")
        + (stroke.number & 0xFFFFFF).to_bytes(3, "big")
    )
    for counter in range(COUNTER_LIMIT):
        yield Guid(prefix + counter.to_bytes(3, "big"))


def site_of(guid: Guid) -> int:
    """The upper half of the number of the site that first saw the record, of a 128-bit GUID."""
    return int.from_bytes(guid[6:10], "big")


def first_sight(guid: Guid) -> int:
    """When the record was first seen, in milliseconds since 1970; of a 32-bit GUID not before,
    for its site may have been ahead of its clock.
    """
    if len(guid) == SIZE_32:
        return int.from_bytes(guid, "big") * 1000
    return int.from_bytes(guid[:6], "big")
