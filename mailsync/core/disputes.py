"""A conflict as a user's routine sees it, and what the routine says.

Rules
-----
* A routine is given values, and gives one back. What becomes of it is the policies' affair.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mailsync.core.model import Absent, Fields, Value


@dataclass(frozen=True, slots=True)
class Side:
    """One value of a conflict: what, and who wrote it when (a 64-bit number, milliseconds)."""

    value: Value | Absent
    site: int
    at: int


@dataclass(frozen=True, slots=True)
class Dispute:
    """What a routine decides about."""

    dataset: str
    field: str
    lost: Side
    stands: Side
    base: Value | Absent
    """What both sides replaced."""
    knows_base: bool
    """Is that known?"""
    record: Fields
    """The whole record as it stands."""


class Undecided(Exception):
    """A routine came to no value; the message says where and why."""


Decide = Callable[[Dispute], Value | Absent]
"""A user's routine. Raises :class:`Undecided`."""
