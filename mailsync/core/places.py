"""The order in which a dataset and the record map are read side by side.

Rules
-----
* It is about that in which tables sort their rows, for speed. Nothing relies on it to be the same.
"""

from __future__ import annotations

import re
from typing import Final

from mailsync.core.model import Key

_NUMBERED: Final = re.compile(r"\[(-?[0-9]{1,18})[],]")


def place_of(key: Key) -> tuple[int, str]:
    """A key's place among others: by the number in front, then as text."""
    found = _NUMBERED.match(key)
    return int(found[1]) if found else 0, key


def says_all(number: int, key: Key) -> bool:
    """Is the key nothing but this number, by which it has its place?"""
    return number != 0 and key == f"[{number}]"  # 0 is also where keys without a number are
