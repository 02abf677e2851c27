"""Filters: which records pass, and in which of their states.

Rules
-----
* A filter speaks of shared fields, and of a record as it was merged.
* Only what a condition is true of passes; what is unknown of it does not.
* A record that does not say its age has none: ``max_age`` does not keep it back.
* Deletes pass every filter. Whoever had the record hears of its end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from mailsync.core.conditions import Condition, fields_of, holds, is_timed, parts_of
from mailsync.core.model import Fields
from mailsync.core.moments import moment_of


@dataclass(frozen=True, slots=True)
class Filter:
    """What a section of the configuration says of the records that pass."""

    where: Condition | None = None
    max_age: int | None = None
    """Milliseconds since the moment in ``age_field``."""
    age_field: str | None = None
    over: Callable[[Fields], int | None] | None = None
    """When a record was over, where no single field says that (milliseconds since 1970)."""

    def passes(self, fields: Fields, now: int) -> bool:
        """Does a record with these fields pass? ``now``: milliseconds since 1970."""
        if self.where is not None and holds(self.where, fields, now) is not True:
            return False
        if self.max_age is None:
            return True
        if self.over is not None:
            moment = self.over(fields)
        else:
            moment = None if self.age_field is None else moment_of(fields.get(self.age_field))
        return moment is None or now - moment <= self.max_age

    @property
    def fields(self) -> frozenset[str]:
        """The fields it looks at."""
        looked_at = frozenset() if self.where is None else fields_of(self.where)
        return looked_at if self.age_field is None else looked_at | {self.age_field}

    @property
    def is_timed(self) -> bool:
        """May a record enter or leave while it stays as it is?"""
        if self.max_age is not None:
            return True
        return self.where is not None and any(map(is_timed, parts_of(self.where)))


class Applied(NamedTuple):
    """A filter, and the moment as of which it sorts records (milliseconds since 1970)."""

    filter: Filter
    at: int
