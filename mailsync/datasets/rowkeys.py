"""Keys of rows as canonical text: a JSON array of the key values, exact by type.

Integers, floats and texts stand for themselves (``[1]``, ``[1.0]``, ``["1"]`` are three keys),
a blob is ``{"blob":"00ff"}``, a text that is not UTF-8 ``{"undecodable":"ff"}``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from mailsync.core.model import Key, Value


class Undecodable(bytes):
    """A text that is none in its encoding."""

    __slots__ = ()


_NUMBER: Final = re.compile(r"\[(0|-?[1-9][0-9]{0,18})\]", re.ASCII)
_written: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def key_text(values: Sequence[Value]) -> Key:
    """The key made of these values."""
    if len(values) == 1 and type(values[0]) is int:
        return Key(f"[{values[0]}]")
    return Key(_written([_tagged(value) for value in values]))


@lru_cache(maxsize=4096)
def key_values(key: Key) -> tuple[Value, ...]:
    """The values the key was made of; ValueError if it was not made here."""
    if _NUMBER.fullmatch(key):  # as most are
        return (int(key[1:-1]),)
    try:
        return tuple(_plain(value) for value in json.loads(key))
    except (RecursionError, TypeError) as error:
        raise ValueError(f"{key!r} is no key of a row") from error


def _tagged(value: Value) -> Any:
    match value:
        case Undecodable():
            return {"undecodable": value.hex()}
        case bytes():
            return {"blob": value.hex()}
        case _:
            return value


def _plain(value: Any) -> Value:
    match value:
        case {"undecodable": text}:
            return Undecodable(bytes.fromhex(text))
        case {"blob": text}:
            return bytes.fromhex(text)
        case None | int() | float() | str():
            return value
        case _:
            raise TypeError
