"""What a reconciliation finds, and what is to be done about it. Pure.

Rules
-----
* The prevailing side is copied to the other one. Which one prevails is said by the direction; in
  both directions the one that has the record, and nobody where both have it, unless one is
  preferred: nothing tells which is newer.
* That a record is missing prevails only if deleting was asked for.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mailsync.core.model import Key
from mailsync.reconcile.pairing import Both, Side


class Direction(enum.StrEnum):
    """Which way records are copied."""

    SOURCE_TO_TARGET = "source-to-target"
    TARGET_TO_SOURCE = "target-to-source"
    BOTH = "both"


class Difference(NamedTuple):
    """A record that is not the same at both sides; ``fields`` are those that differ."""

    name: str
    held: Both
    fields: Sequence[str]

    @property
    def kind(self) -> str:
        """As seen from the target: ``added``, ``changed`` or ``missing``."""
        if Side.TARGET not in self.held:
            return "added"
        return "changed" if Side.SOURCE in self.held else "missing"


class Ambiguous(NamedTuple):
    """Records that cannot be told apart, so that nobody knows which belong together."""

    name: str
    counts: Mapping[Side, int]
    keys: Mapping[Side, Sequence[Key]]
    """The first of each side."""

    @property
    def kind(self) -> str:
        """As a difference's."""
        return "ambiguous"


class Refused(NamedTuple):
    """A record of one side that could not be read, or not be made like the other side's."""

    name: str
    side: Side
    key: Key | None
    """None: it was to be added."""
    reason: str

    @property
    def kind(self) -> str:
        """As a difference's."""
        return "refused"


Finding = Difference | Ambiguous | Refused


class Plan(NamedTuple):
    """What to write."""

    direction: Direction = Direction.SOURCE_TO_TARGET
    prefer: Side | None = None
    """Which side prevails in both directions where records differ."""
    delete: bool = False

    def prevailing(self, held: Both) -> Side | None:
        """Whose version of the record both sides are to have; None: both stay as they are."""
        side = self._prevailing(held)
        return side if side in held or self.delete else None

    def _prevailing(self, held: Both) -> Side | None:
        match self.direction:
            case Direction.SOURCE_TO_TARGET:
                return Side.SOURCE
            case Direction.TARGET_TO_SOURCE:
                return Side.TARGET
        return self.prefer if len(held) > 1 else next(iter(held))
