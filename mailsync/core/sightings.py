"""Where a write came into our record, and which peers know of it.

Rules
-----
* A peer knows of a write that it showed us, and of one at whose position it confirmed our record.
* A peer may cover a position without being sent what came in there, as the record was not for it.
  Once it is, the write comes in anew for this peer, and where it was for all others.
"""

from __future__ import annotations

from typing import NamedTuple


class Sighting(NamedTuple):
    """Where a dot came into our record: at which of our positions, and which peers showed it.

    Position 0 stands for "at none of our positions": nobody can have learnt it from us.
    """

    position: int
    known: frozenset[str] = frozenset()
    later: frozenset[tuple[str, int]] = frozenset()
    """Peers for whom it came in at another position, as they covered this one without being sent
    it, and that position."""

    def for_peer(self, peer: str) -> int:
        """The position at which the dot came in for the peer."""
        return next((at for name, at in self.later if name == peer), self.position)
