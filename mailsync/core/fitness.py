"""What a record may be to travel at all. Anything else is held at its source, and named.

Rules
-----
* The bound on a record leaves room for it in a bundle, whatever else is in it.
* Nothing is bent to fit: a record that cannot travel exactly does not travel.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from mailsync.core.model import Fields
from mailsync.core.tokens import INTEGERS, is_name

SIZE_MAX: Final = 6 * 2**20
"""Bytes of a record's names and values; a bundle holds 8 MiB."""

FIELDS_MAX: Final = 10_000


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


@lru_cache(maxsize=64)  # a table's names come again with each of its rows
def _misnamed(names: tuple[str, ...]) -> str | None:
    return next((name for name in names if not is_name(name)), None)
