"""Sets of positions, kept as sorted, disjoint, non-adjacent closed intervals.

Rules
-----
* A position is a positive integer. Sets are immutable and compare by content.
* Every operation is linear in the number of intervals, never in the number of positions:
  a link that confirmed a million positions holds one interval.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Positions:
    """An immutable set of positions."""

    intervals: tuple[tuple[int, int], ...] = ()

    @staticmethod
    def of(numbers: Iterable[int]) -> Positions:
        """The set of these numbers."""
        return Positions.covering((number, number) for number in numbers)

    @staticmethod
    def up_to(top: int) -> Positions:
        """Positions 1 to ``top``."""
        return Positions(((1, top),)) if top > 0 else NOWHERE

    @staticmethod
    def covering(intervals: Iterable[tuple[int, int]]) -> Positions:
        """The union of closed intervals, in any order, overlapping or not."""
        joined: list[tuple[int, int]] = []
        for low, high in sorted(intervals):
            if joined and low <= joined[-1][1] + 1:
                joined[-1] = (joined[-1][0], max(joined[-1][1], high))
            else:
                joined.append((low, high))
        return Positions(tuple(joined))

    def __contains__(self, number: int) -> bool:
        """Is the position in the set?"""
        index = bisect_right(self.intervals, (number, float("inf"))) - 1
        return index >= 0 and number <= self.intervals[index][1]

    def __iter__(self) -> Iterator[int]:
        """Every position, ascending. For small sets."""
        for low, high in self.intervals:
            yield from range(low, high + 1)

    def __len__(self) -> int:
        """How many positions."""
        return sum(high - low + 1 for low, high in self.intervals)

    def __or__(self, other: Positions) -> Positions:
        """Union."""
        if not other.intervals:
            return self
        return Positions.covering((*self.intervals, *other.intervals))

    def __sub__(self, other: Positions) -> Positions:
        """Positions of this set that are not in the other."""
        kept: list[tuple[int, int]] = []
        cuts = list(other.intervals)
        at = 0
        for low, high in self.intervals:
            start = low
            while at < len(cuts) and cuts[at][1] < start:
                at += 1
            index = at
            while index < len(cuts) and cuts[index][0] <= high:
                if cuts[index][0] > start:
                    kept.append((start, cuts[index][0] - 1))
                start = max(start, cuts[index][1] + 1)
                index += 1
            if start <= high:
                kept.append((start, high))
        return Positions(tuple(kept))

    def __and__(self, other: Positions) -> Positions:
        """Intersection."""
        return self - (self - other)

    def __le__(self, other: Positions) -> bool:
        """Is every position also in the other set?"""
        return not (self - other).intervals

    @property
    def contiguous(self) -> int:
        """The greatest n such that all of 1..n are in the set; 0 if 1 is not."""
        return self.intervals[0][1] if self.intervals and self.intervals[0][0] == 1 else 0


class Gathering:
    """Positions gathered one by one, in any order; it costs least where they ascend."""

    def __init__(self) -> None:
        """None yet."""
        self._runs: list[tuple[int, int]] = []

    def add(self, number: int) -> None:
        """One more; it may be there already."""
        if self._runs:
            low, high = self._runs[-1]
            if low <= number <= high + 1:
                self._runs[-1] = (low, max(high, number))
                return
        self._runs.append((number, number))

    def positions(self) -> Positions:
        """All of them."""
        return Positions.covering(self._runs)


NOWHERE: Final = Positions()
"""The empty set."""
