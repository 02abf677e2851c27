"""A table's rows met with what the record map knows of them, both in about the same order.

Rules
-----
* An etag says all of a row, its key too. Where both sides show the same etag in turn, the row is
  unchanged, and nothing else is made of it.
* Order makes this fast, never right: engines and collations sort in their own ways. A row whose
  key is not met in turn is looked up before it counts as new, and a key whose row is not met in
  turn is looked for in the table before it counts as vanished.
* Memory holds only what is out of turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from mailsync.core.model import Etag, Key
from mailsync.core.places import place_of

CROWD: Final = 1000
"""So many keys not met in turn are looked for at once."""

_END: Final = (None, None)
_UNKNOWN: Final = Etag(b"")
"""No row has it."""


class Comparison:
    """One pass over a table."""

    def __init__(self, known: Mapping[Key, Etag | None], key_of: Callable[[Any], Key]) -> None:
        """``key_of``: the key of a row as ``differs`` is given it."""
        self._known = known
        self._key_of = key_of
        self._entries = iter(known.items())
        self._key: Key | None
        self._etag: Etag | None
        self._key, self._etag = next(self._entries, _END)
        self._nothing_known = self._key is None
        self._unmet: dict[Key, None] = {}

    def differs(self, etag: bytes, row: Any) -> bool:
        """Does the row, which has this etag, differ from what is known?"""
        if etag == self._etag:
            self._key, self._etag = next(self._entries, _END)
            return False
        return self._nothing_known or self._known_etag(self._key_of(row)) != etag

    def crowd(self) -> list[Key]:
        """Known keys whose rows were not met in turn, once there are many; each only once."""
        return self._take_unmet() if len(self._unmet) >= CROWD else []

    def rest(self) -> Iterator[list[Key]]:
        """All others such, after the last row."""
        while self._key is not None:
            self._pass_by()
            yield self.crowd()
        yield self._take_unmet()

    def _known_etag(self, key: Key) -> Etag | None:
        place = place_of(key)
        while self._key is not None and self._key != key and place_of(self._key) < place:
            self._pass_by()
        if self._key == key:
            etag = self._etag
            self._key, self._etag = next(self._entries, _END)
            return etag
        self._unmet.pop(key, None)
        return self._known.get(key, _UNKNOWN)

    def _pass_by(self) -> None:
        assert self._key is not None  # noqa: S101 - nobody passes by the end
        self._unmet[self._key] = None
        self._key, self._etag = next(self._entries, _END)

    def _take_unmet(self) -> list[Key]:
        taken = list(self._unmet)
        self._unmet.clear()
        return taken
