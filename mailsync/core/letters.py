"""Where letters are."""

from __future__ import annotations

from typing import NamedTuple


class Place(NamedTuple):
    """Where a carrier keeps an arrived letter, for ever unambiguous (RFC 3501, 2.3.1.1)."""

    account: str
    folder: str
    validity: int
    number: int
