"""Peers in the record map: by the numbers of their links, and many of them in a few bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mailsync.core.model import Sighting

Seen = int | tuple[int, Sequence[tuple[int, int | None]]]
"""Who knows of a dot: the mask of the peers that showed it, and the numbers of those for whom it
came in elsewhere with how far before the record's own position that was, if there are any.
"""


class Peers:
    """Sets of peers <-> bit masks, by the numbers of their links."""

    def __init__(self, numbers: Mapping[str, int]) -> None:
        """``numbers``: link number by peer name."""
        self._numbers = numbers
        self._names = {number: name for name, number in numbers.items()}
        self._sets: dict[int, frozenset[str]] = {0: frozenset()}
        self._masks: dict[frozenset[str], int] = {}

    def mask(self, peers: frozenset[str]) -> int:
        """The bits of these peers; a peer that has no link any more is forgotten."""
        if peers not in self._masks:
            known = (self._numbers[name] for name in peers if name in self._numbers)
            self._masks[peers] = sum(1 << number for number in known)
        return self._masks[peers]

    def names(self, mask: int) -> frozenset[str]:
        """The peers of these bits."""
        if mask not in self._sets:
            self._sets[mask] = frozenset(
                name for number, name in self._names.items() if mask >> number & 1
            )
        return self._sets[mask]

    def numbered(self, positions: Mapping[str, int], own: int) -> dict[int, int | None]:
        """Positions told to peers, by the numbers of their links: how far before ``own``."""
        numbers = self._numbers
        return {
            numbers[name]: own - told_at if told_at else None
            for name, told_at in positions.items()
            if name in numbers
        }

    def positions(self, told: Sequence[tuple[int, int | None]], own: int) -> dict[str, int]:
        """The positions of :meth:`numbered`."""
        return {
            self._names[number]: 0 if back is None else own - back
            for number, back in told
            if number in self._names
        }

    def seen(self, sighting: Sighting, own: int) -> Seen:
        """Who knows of a dot, of a record at the position ``own``."""
        shown = self.mask(sighting.known)
        if not sighting.later:
            return shown
        return shown, tuple(sorted(self.numbered(dict(sighting.later), own).items()))

    def sighting(self, position: int, seen: Seen, own: int) -> Sighting:
        """The sighting of :meth:`seen`, at this position."""
        if isinstance(seen, int):
            return Sighting(position, self.names(seen))
        shown, later = seen
        return Sighting(position, self.names(shown), frozenset(self.positions(later, own).items()))
