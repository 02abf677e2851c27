"""Where letters are.

Rules
-----
* A place, once given to a letter, is never another one's.
"""

from __future__ import annotations

from typing import NamedTuple


class Place(NamedTuple):
    """Where a carrier keeps an arrived letter, for ever unambiguous (RFC 3501, 2.3.1.1)."""

    account: str
    folder: str
    validity: int
    number: int
