"""What one write says of a row, compared with what the row is."""

from __future__ import annotations

from hashlib import blake2b

from mailsync.core.model import ABSENT, Fields, Value, same_fields, same_value
from mailsync.datasets.base import Write
from mailsync.datasets.sql.rows import usable_key
from mailsync.datasets.sql.shape import Shape


def misfit(shape: Shape, write: Write) -> str:
    """Why no row with this key is what the write wants; empty: one may be."""
    if write.wanted is None:
        return ""
    key = usable_key(shape, write.key)
    if key is None:
        return f"no row can have the key {write.key} ({', '.join(shape.key)})"
    named = dict(zip(shape.key, key, strict=True))
    if not shape.local and any(
        not same_value(named[name], write.wanted.get(name)) for name in named
    ):
        return f"its key columns say another key than {write.key}"
    return ""


def news(write: Write) -> Fields:
    """What the row does not hold yet, if it is what the write expects."""
    wanted = write.wanted or {}
    return wanted if write.expected is None else difference(wanted, write.expected)


def spelled(shape: Shape, write: Write, present: Fields | None) -> Write:
    """The write in the columns' own spelling; what is no longer wanted is to hold nothing.

    What ``present``, the row as it is, shows already is spelled so.
    """
    expected, wanted = write.expected, write.wanted
    if expected is None or present is None or difference(expected, present):
        expected = None if expected is None else shape.spelled(expected)
        wanted = None if wanted is None else shape.spelled(wanted)
    elif wanted is not None:
        wanted = {**wanted, **shape.spelled(news(write))}
    if expected is not None and wanted is not None:
        emptied = (expected.keys() - wanted.keys()) & shape.held.keys()
        wanted = {**wanted, **{name: shape.nothing_in(name) for name in emptied}}
    return write._replace(expected=expected, wanted=wanted)


def is_expected(shape: Shape, present: Fields | None, write: Write) -> bool:
    """Is the row what the write expects? Where it writes for the first time, nobody else did."""
    if present is None or write.expected is None:
        return present is None and write.expected is None
    if difference(write.expected, present):
        return False
    return all(
        present[name] is None
        or same_value(present[name], shape.held[name].blank)
        or same_value(present[name], value)
        for name, value in (write.wanted or {}).items()
        if name in present and name not in write.expected
    )


def difference(wanted: Fields, present: Fields) -> dict[str, Value]:
    """The fields of ``wanted`` that are not in ``present``, or not the same there."""
    if same_fields(wanted, present):
        return {}
    return {
        name: value
        for name, value in wanted.items()
        if (there := present.get(name, ABSENT)) is not value
        and (type(there) is not type(value) or there != value)
    }


def stand_in(value: Value, key: str) -> Value:
    """A value of the same type that only this key's row has."""
    digest = blake2b(key.encode(), digest_size=8).digest()
    match value:
        case str():
            return digest.hex()
        case bytes():
            return digest
        case float():
            return float(int.from_bytes(digest))
        case _:
            return int.from_bytes(digest, signed=True)
