"""What a record may be to travel at all. Anything else is held at its source, and named.

Rules
-----
* The bound on a record leaves room for it in a bundle, whatever else is in it.
* Nothing is bent to fit: a record that cannot travel exactly does not travel.
* What is merged may be more than any site wrote: it is held from the peers that lack so much of it,
  until it is small again.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from mailsync.core.model import DeleteOrder, Entry, Extraction, Fields
from mailsync.core.noise import escapes
from mailsync.core.tokens import INTEGERS, is_name
from mailsync.core.weights import places

SIZE_MAX: Final = 6 * 2**20
"""Bytes of a record's names and values; a bundle holds 8 MiB."""

FIELDS_MAX: Final = 10_000

GOING_MAX: Final = 15 * 2**19
"""Bytes of a bundle that one record may take: the rest is for what else the bundle says."""

PLACE_SIZE: Final = 48
"""Bytes that a value's head, its name's and its dot take at most; and an ancestor."""

NAMED_MAX: Final = 3
"""Fields that are named of a record that is too large."""


def unfit(fields: Fields) -> str | None:
    """Why a record with these fields cannot travel; None if it can."""
    if len(fields) > FIELDS_MAX:
        return f"it has {len(fields)} fields; {FIELDS_MAX} is the most"
    misnamed = _misnamed(tuple(fields))
    if misnamed is not None:
        return f"the field name {misnamed!r} is too long or has control characters"
    size = sum(map(len, fields))
    for name, value in fields.items():
        if isinstance(value, str):
            try:
                size += len(value) if value.isascii() else len(value.encode())
            except UnicodeEncodeError:
                return f"{name}: the text is not valid Unicode"
        elif type(value) is int and value not in INTEGERS:
            return f"{name}: the number has more than 64 bits"
        else:
            size += len(value) if isinstance(value, bytes) else 9
    return f"it takes {size} bytes; {SIZE_MAX} is the most" if size > SIZE_MAX else None


def too_large(item: Extraction | DeleteOrder) -> str | None:
    """Why what is to go of a record has no room in a bundle; None if it has."""
    size = size_in_bundle(item)
    if size <= GOING_MAX:
        return None
    sizes = {name: _written_size(name, entry) for name, entry in item.entries.items()}
    largest = sorted(sizes.items(), key=lambda pair: (-pair[1], pair[0]))[:NAMED_MAX]
    named = ", ".join(f"{name} {each}" for name, each in largest)
    return f"{size} bytes of it would go at once, {GOING_MAX} is the most ({named})"


def size_in_bundle(item: Extraction | DeleteOrder) -> int:
    """Bytes that fields and ancestors of what is to go of a record take, at most."""
    sizes = (_written_size(name, entry) for name, entry in item.entries.items())
    return PLACE_SIZE * places(item) + sum(sizes)


def _written_size(name: str, entry: Entry) -> int:
    """Bytes of a name and a value in a bundle, at most."""
    value = entry.value
    if isinstance(value, str):
        return len(name.encode()) + len(value.encode()) + escapes(value)
    return len(name.encode()) + (len(value) if isinstance(value, bytes) else 0)


@lru_cache(maxsize=64)  # a table's names come again with each of its rows
def _misnamed(names: tuple[str, ...]) -> str | None:
    return next((name for name in names if not is_name(name)), None)
