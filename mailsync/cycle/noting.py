"""Notes of datasets' adapters: given to them before a scan, stored after it and after writing.

An adapter may ask for its notes at any time, also within a transaction of the store; so they
are in memory while it works.
"""

from __future__ import annotations

from collections import UserDict
from collections.abc import Mapping


class Noted(UserDict[str, bytes]):
    """The notes of one dataset, and which of them are others than in the store."""

    def __init__(self) -> None:
        """None yet."""
        super().__init__()
        self._changed: set[str] = set()

    def __setitem__(self, name: str, content: bytes) -> None:
        if self.data.get(name) != content:
            self.data[name] = content
            self._changed.add(name)

    def __delitem__(self, name: str) -> None:
        del self.data[name]
        self._changed.add(name)

    def recall(self, stored: Mapping[str, bytes]) -> None:
        """These are the notes, whatever was noted and not stored."""
        self.data = dict(stored)
        self._changed.clear()

    def taken(self) -> dict[str, bytes | None]:
        """What is to be stored, as if it were by now; None: that note is dropped."""
        changed = {name: self.data.get(name) for name in self._changed}
        self._changed.clear()
        return changed
