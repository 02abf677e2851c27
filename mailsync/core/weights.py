"""How much room records take in a bundle: bytes before compression, about.

Rules
-----
* A value of text or bytes counts with its length, any other with 8.
* No record that is not heavy can be too large for a bundle.
"""

from __future__ import annotations

from collections.abc import Mapping

from mailsync.core.model import (
    Absent,
    Bundle,
    DeleteOrder,
    Entry,
    Extraction,
    Record,
    Value,
    values_of,
)

SIZE_LIMIT = 2 * 1024 * 1024
"""Default bound on a bundle's values, in bytes before compression. What is beyond goes in the
next bundle, and each is acknowledged alone."""

HEAVY = 2**20
"""A record of less has room in a bundle: as it is written no character takes over 4 bytes, ..."""
PLACE = 128
"""... and a name with all but the value, or an ancestor, no more than four times that."""


def bulk(record: Record) -> int:
    """The most, in characters of up to four bytes, that the record can take in a bundle."""
    values = values_of(record.entries).values()
    length = sum(len(value) for value in values if isinstance(value, str | bytes))
    return length + PLACE * places(record)


def places(one: Record | Extraction | DeleteOrder) -> int:
    """Fields and ancestors of a record, and those of which it tells what was seen."""
    seen = sum(1 + len(glimpse.fields) for glimpse in one.glimpses)
    return len(one.entries) + len(one.context) + seen


def room_beside(record: Record) -> int:
    """What surely has room in a bundle with the record, in the measure of :func:`bulk`."""
    return HEAVY - bulk(record)


def is_heavy(record: Record) -> bool:
    """May it be too large for a bundle? Each record is asked that, and few are looked at closer."""
    return room_beside(record) <= 0


def weight(bundle: Bundle) -> int:
    """About how many bytes the bundle's records take before compression."""
    return sum(weight_of_entries(item.entries) for item in bundle.items)


def weight_of_entries(entries: Mapping[str, Entry]) -> int:
    """About how many bytes the entries take before compression."""
    return 24 + sum(
        3 if isinstance(entry.value, Absent) else len(name) + _size(entry.value)
        for name, entry in entries.items()
    )


def _size(value: Value) -> int:
    return len(value) if isinstance(value, str | bytes) else 8
