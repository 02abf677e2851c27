"""One table that a batch writes to: its rows by their keys, and what writes mean to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, cached_property, partial
from typing import Any

from mailsync.core.model import Fields, Key, Value, same_value
from mailsync.datasets.base import Write
from mailsync.datasets.spelling import Unfit
from mailsync.datasets.sql.engine import Row
from mailsync.datasets.sql.references import References
from mailsync.datasets.sql.rows import rows_of, usable_key, usable_keys
from mailsync.datasets.sql.shape import Shape
from mailsync.datasets.sql.statement import Statement
from mailsync.datasets.sql.writes import Meant, meant


class Target:
    """One table that the batch writes to."""

    def __init__(self, connection: Any, shape: Shape, rank: int) -> None:
        """``rank``: its place among the tables, parents first."""
        self._connection = connection
        self.shape = shape
        self.rank = rank
        self.addition: Callable[[tuple[str, ...]], Statement] = cache(shape.addition)
        self.alteration: Callable[[tuple[str, ...]], Statement] = cache(shape.alteration)
        self.key: Callable[[Key], tuple[Value, ...] | None] = cache(partial(usable_key, shape))

    def rows(self, keys: Sequence[Key]) -> dict[Key, Row]:
        """The rows of these keys."""
        wanted = usable_keys(keys, self.key)
        return rows_of(self._connection, self.shape, wanted, self.shape.rows)

    def rows_locked(self, keys: Sequence[Key]) -> dict[Key, Row]:
        """The same, and nobody else may write to them from then on."""
        wanted = usable_keys(keys, self.key)
        return rows_of(self._connection, self.shape, wanted, self.shape.rows_locked)

    def meant(self, write: Write, present: Fields | None) -> Meant | None:
        """As :func:`mailsync.datasets.sql.writes.meant`, of a row that can have the key."""
        found = meant(self.shape, write, present)
        if found is not None:
            self._check_key(found.write)
        return found

    def _check_key(self, write: Write) -> None:
        names, values, wanted = self.shape.key, self.key(write.key), write.wanted
        if values is None:
            raise Unfit(f"no row can have the key {write.key} ({', '.join(names)})")
        if wanted is None or self.shape.local:
            return
        own = zip(values, map(wanted.get, names), strict=True)
        if not all(same_value(value, told) for value, told in own):
            raise Unfit(f"its key columns say another key than {write.key}")

    @cached_property
    def has_triggers(self) -> bool:
        """Does writing to it set something else in motion?"""
        return self.shape.engine.has_triggers(self._connection, self.shape.name)

    @cached_property
    def references(self) -> References:
        """Its foreign keys."""
        return References(self.shape, self._connection.cursor())
