"""A dataset that lives in a dictionary: for tests, simulations and as the plain reference."""

from __future__ import annotations

import marshal
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Final

from mailsync.core.model import Etag, Fields, Key, same_fields
from mailsync.datasets.base import (
    Change,
    Newcomer,
    Outcome,
    Result,
    Unreadable,
    Write,
)
from mailsync.datasets.schemaless import Schemaless, keys_by_guid

MARSHAL_VERSION: Final = 2
"""Later versions encode object identity: equal values would give unequal bytes."""


def fields_digest(fields: Fields) -> bytes:
    """16 bytes that tell two records apart by the names, types and values of their fields."""
    content = marshal.dumps(sorted(fields.items()), MARSHAL_VERSION)
    return blake2b(content, digest_size=16).digest()


def _takes_everything(_key: Key, _wanted: Fields | None) -> str:
    return ""


class MemoryDataset(Schemaless):
    """Records in ``rows``; a test plays the user by changing ``rows`` between two calls.

    ``unreadable`` maps keys to the reason they cannot be read.
    """

    def __init__(
        self,
        rows: Mapping[Key, Fields] | None = None,
        *,
        refuses: Callable[[Key, Fields | None], str] = _takes_everything,
    ) -> None:
        """Start with ``rows``.

        ``refuses`` gets each write's key and wanted fields and answers why the dataset does
        not take it, or an empty text.
        """
        self.rows: dict[Key, Fields] = dict(rows or {})
        self.unreadable: dict[Key, str] = {}
        self.refuses = refuses

    def changes(self, known: Mapping[Key, Etag | None]) -> Iterator[Change | Unreadable]:
        """Everything that differs from ``known``."""
        known = dict(known.items())
        for key, reason in self.unreadable.items():
            yield Unreadable(key, reason)
        for key, fields in list(self.rows.items()):
            etag = Etag(fields_digest(fields))
            if key not in self.unreadable and known.get(key) != etag:
                yield Change(key, dict(fields), etag)
        for key in known:
            if key not in self.rows and key not in self.unreadable:
                yield Change(key, None, None)

    def propose_keys(self, records: Sequence[Newcomer], taken: Collection[Key]) -> list[Key]:
        """The GUIDs in hexadecimal, with a number behind where that is taken."""
        used = {*taken, *self.rows, *self.unreadable}
        return keys_by_guid(records, "", used.__contains__)

    def read(self, keys: Sequence[Key]) -> Mapping[Key, Change | Unreadable]:
        """What the dataset holds now for exactly these keys."""
        return {key: self._read(key) for key in keys}

    def _read(self, key: Key) -> Change | Unreadable:
        if key in self.unreadable:
            return Unreadable(key, self.unreadable[key])
        if key not in self.rows:
            return Change(key, None, None)
        return Change(key, dict(self.rows[key]), Etag(fields_digest(self.rows[key])))

    def apply(self, writes: Sequence[Write]) -> list[Outcome]:
        """Carry out the writes, one outcome each, in their order."""
        return [self._write(write) for write in writes]

    def _write(self, write: Write) -> Outcome:
        if write.key in self.unreadable:
            return Outcome(Result.REFUSED, reason=self.unreadable[write.key])
        if not same_fields(self.rows.get(write.key), write.expected):
            return Outcome(Result.CHANGED)
        if reason := self.refuses(write.key, write.wanted):
            return Outcome(Result.REFUSED, reason=reason)
        if write.wanted is None:
            self.rows.pop(write.key, None)
            return Outcome(Result.WRITTEN)
        self.rows[write.key] = dict(write.wanted)
        return Outcome(Result.WRITTEN, Etag(fields_digest(write.wanted)))
