"""GUID schemes: identifiers made by the system, whatever ids the dataset has.

Rules
-----
* A GUID begins with the time of first sight, so a person can tell from it when a record came.
* It is unique for ever, also after a restore from a backup and with clocks that jump: besides
  time and site it holds a number drawn afresh for every scan, and a counter within the scan.
* Records first seen in one scan share all but the counter, which makes them cheap to send.

128-bit layout, big endian, in the spirit of UUIDv8 (RFC 9562, 5.8) but without its marker bits:
6 bytes milliseconds since 1970, 4 bytes site, 3 bytes scan number, 3 bytes counter.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from mailsync.core.model import Dot, Guid

COUNTER_LIMIT: Final = 1 << 24


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


def first_sight(guid: Guid) -> int:
    """When the record was first seen, in milliseconds since 1970."""
    return int.from_bytes(guid[:6], "big")
