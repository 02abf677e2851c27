"""What one write says of a row, compared with what the row is."""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

from mailsync.core.model import ABSENT, Fields, Value, same_fields, same_value
from mailsync.datasets.base import Write
from mailsync.datasets.sql.shape import Shape


class Meant(NamedTuple):
    """A write in the columns' own spelling."""

    write: Write
    news: Fields
    """What the row does not hold yet."""


def meant(shape: Shape, write: Write, present: Fields | None) -> Meant | None:
    """What is to be written to a row that is as ``present`` says; None: it is not what the write
    expects. What it shows already is spelled so; what is no longer wanted is to hold nothing.

    Raises :class:`mailsync.datasets.spelling.Unfit` for what the table does not hold.
    """
    expected, wanted = write.expected, write.wanted
    if present is None or expected is None:
        if present is not expected:
            return None
        news = {} if wanted is None else shape.fitting(wanted)
        return Meant(write if wanted is None else write._replace(wanted=news), news)
    if difference(expected, present):
        expected = shape.spelled(expected)
        wanted = None if wanted is None else shape.spelled(wanted)
        if difference(expected, present):
            return None
    if wanted is None:
        return Meant(write._replace(expected=expected), {})
    news = shape.fitting(difference(wanted, expected))
    if not expected.keys() <= wanted.keys():
        emptied = (expected.keys() - wanted.keys()) & shape.held.keys()
        news |= {name: shape.nothing_in(name) for name in emptied}
    if not all(_is_free(shape, present, name, news[name]) for name in news.keys() - expected):
        return None
    whole = Write(write.guid, write.key, expected, {**wanted, **news})
    return Meant(whole, difference(news, expected))


def _is_free(shape: Shape, present: Fields, name: str, value: Value) -> bool:
    """Did nobody else write to a column to which we write for the first time?"""
    there = present[name]
    return there is None or same_value(there, shape.held[name].blank) or same_value(there, value)


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
