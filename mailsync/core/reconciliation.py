"""Sketches: find in which elements two large sets differ, from bytes that grow with the difference.

Rules
-----
* An element is a 64-bit number that is as good as random: a digest of something.
* A sketch is the beginning of an endless sequence of symbols (rateless invertible Bloom lookup
  table: Yang, Gilad and Alizadeh, "Practical Rateless Set Reconciliation", SIGCOMM 2024). Some
  1.4 symbols for each element that only one side has are enough; where they are not, the next
  symbols of the same sequence are added, and nothing that was sent is lost.
* Whoever subtracts the symbols of its own set is left with a sketch of the difference.
* It tells a difference or nothing: never a wrong one, but for a chance of 2**-32 a symbol.

::

    symbols = (sum(8 bytes) check(4 bytes) count(4 bytes, signed))*        big endian
"""

from __future__ import annotations

import math
import struct
from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

_SYMBOL: Final = struct.Struct(">QIi")
SYMBOL_SIZE: Final = _SYMBOL.size
"""Bytes of a symbol."""

ELEMENTS: Final = 2**64
"""Elements are below this."""

_WORD: Final = ELEMENTS - 1
_STEP: Final = 0xDA942042E4DD58B5


class Difference(NamedTuple):
    """In what two sets differ."""

    theirs: frozenset[int]
    """Only they have these."""
    ours: frozenset[int]
    """Only we have these."""


class _Cells:
    """Symbols as they are worked on: sums, checks and counts."""

    def __init__(self, size: int) -> None:
        self.sums = [0] * size
        self.checks = [0] * size
        self.counts = [0] * size

    def add(self, element: int, sign: int) -> None:
        """Add the element to, or take it from, every symbol it belongs to."""
        check = _check(element)
        for place in _places(element, len(self.sums)):
            self.sums[place] ^= element
            self.checks[place] ^= check
            self.counts[place] += sign

    def sole(self, place: int) -> int:
        """How often (1 or -1) the one element is there that the symbol holds; 0: not just one."""
        count = self.counts[place]
        is_sole = count in {1, -1} and self.checks[place] == _check(self.sums[place])
        return count if is_sole else 0

    def is_empty(self) -> bool:
        """Is nothing left?"""
        return not (any(self.sums) or any(self.checks) or any(self.counts))


def symbols(elements: Collection[int], start: int, stop: int) -> bytes:
    """The symbols of a set from number ``start`` up to ``stop`` exclusively."""
    cells = _Cells(stop)
    for element in elements:
        cells.add(element, 1)
    rows = zip(cells.sums, cells.checks, cells.counts, strict=True)
    return b"".join(_SYMBOL.pack(*row) for row in list(rows)[start:])


def difference(elements: Collection[int], theirs: bytes) -> Difference | None:
    """In what our set differs from the one whose first symbols these are; None: too few symbols.

    A last symbol that is not whole is ignored.
    """
    size = len(theirs) // SYMBOL_SIZE
    cells = _Cells(size)
    for place, row in enumerate(_SYMBOL.iter_unpack(theirs[: size * SYMBOL_SIZE])):
        cells.sums[place], cells.checks[place], cells.counts[place] = row
    for element in elements:
        cells.add(element, -1)
    found: tuple[set[int], set[int]] = (set(), set())
    to_look_at = list(range(size))
    while to_look_at:
        place = to_look_at.pop()
        sign = cells.sole(place)
        if not sign:
            continue
        element = cells.sums[place]
        if element in found[0] or element in found[1] or len(found[0]) + len(found[1]) == size:
            return None  # these are not the symbols of any set
        found[sign < 0].add(element)
        cells.add(element, -sign)
        to_look_at.extend(_places(element, size))
    if size == 0 or not cells.is_empty():
        return None
    return Difference(frozenset(found[0]), frozenset(found[1]))


def _places(element: int, size: int) -> Iterator[int]:
    """The symbols, of the first ``size``, that the element belongs to: the later, the fewer."""
    place, chance = 0, element
    while place < size:
        yield place
        chance = chance * _STEP & _WORD
        step = math.ceil((place + 1.5) * (2**32 / math.sqrt(chance + 1) - 1))
        place += max(step, 1)


def _check(element: int) -> int:
    """32 bits of the element's own, whatever others are added to it (SplitMix64's mixing)."""
    element = (element ^ element >> 30) * 0xBF58476D1CE4E5B9 & _WORD
    element = (element ^ element >> 27) * 0x94D049BB133111EB & _WORD
    return (element ^ element >> 31) & 0xFFFFFFFF
