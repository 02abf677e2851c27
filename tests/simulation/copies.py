"""What tells rows apart of which several sites begin with copies, as a value and as their
configurations say it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Copies:
    """How many different rows there are in the beginning, and what tells them apart."""

    count: int = 0
    telling: tuple[str, ...] = ()
    """Fields; none: nothing tells a row from another site's, whatever it holds."""
    is_declared: bool = False
    """Does the configuration say so? Else the kind of the dataset does."""

    @property
    def lines(self) -> str:
        """Of every dataset's section."""
        return f"match = {list(self.telling)}\n" if self.is_declared else ""

    @property
    def is_natural(self) -> bool:
        """Are these fields the keys, which are the same at all sites?"""
        return self.telling == ("id",)

    def marks(self, number: int) -> dict[str, str]:
        """What tells the row of this number from all others: all of it together, no part of it."""
        if self.is_natural:
            return {}
        if len(self.telling) < 2:
            return dict.fromkeys(self.telling, f"row {number}")
        first, *rest = self.telling
        return {first: f"row {number % 2}", **dict.fromkeys(rest, f"place {number // 2}")}

    def mark(self, row: Mapping[str, object]) -> tuple[object, ...]:
        """What tells this row from all others."""
        return tuple(row.get(name) for name in self.telling)


NO_COPIES: Final = Copies()

WAYS: Final = (
    (("name",), True),
    (("name",), True),
    (("name", "place"), True),
    (("uid",), False),
    (("id",), False),
    (("id",), True),
    ((), False),
)
"""Declared fields, one of the kind of dataset, keys that all sites share, nothing."""


def copies_of(chance: random.Random) -> Copies:
    """Of some schedule."""
    telling, is_declared = chance.choice(WAYS)
    return Copies(chance.choice([1, 2, 3]), telling, is_declared)
