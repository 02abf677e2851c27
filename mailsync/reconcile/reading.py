"""How the records of a pair are read: all of them once, and again those that differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from mailsync.core.model import Key
from mailsync.datasets.base import Change, Unreadable
from mailsync.datasets.memory import fields_digest
from mailsync.reconcile.pairing import Pair, Side

STRIDE: Final = 1_000
"""Records between two signs of progress."""

Progress = Callable[[str, int], None]
"""Told what is under way and how many more are done."""


class Line(NamedTuple):
    """One record: what both sides call it, the dataset's own key, the digest of its content.

    ``digest`` None: it cannot be read.
    """

    name: str
    key: Key
    digest: bytes | None


class Reading(Protocol):
    """Reads both sides of a pair."""

    records: Counter[Side]
    """How many each side held that could be read, once its lines were consumed."""

    def lines(self, side: Side) -> Iterator[Line]:
        """All records of one side; those that are equal to their counterparts may be left out
        at both. Raises DatasetError.
        """
        ...

    def read(self, side: Side, keys: Sequence[Key]) -> Mapping[Key, Change | Unreadable]:
        """What one side holds now for exactly these keys. Raises DatasetError."""
        ...


class PlainReading:
    """Both sides as their datasets give them."""

    def __init__(self, pair: Pair, progress: Progress) -> None:
        """Nothing is read yet."""
        self._pair = pair
        self._progress = progress
        self.records: Counter[Side] = Counter()

    def lines(self, side: Side) -> Iterator[Line]:
        """All records of one side."""
        for number, found in enumerate(self._pair.datasets[side].changes({}), 1):
            if isinstance(found, Unreadable):
                yield Line(self._pair.name_of_key(side, found.key), found.key, None)
            elif found.fields is not None:
                normal = self._pair.normal(found.fields)
                yield Line(self._pair.name(found.key, normal), found.key, fields_digest(normal))
                self.records[side] += 1
            if number % STRIDE == 0:
                self._progress(f"reading the {side}", STRIDE)

    def read(self, side: Side, keys: Sequence[Key]) -> Mapping[Key, Change | Unreadable]:
        """What one side holds now for exactly these keys."""
        return self._pair.datasets[side].read(keys)
