"""Guards: what looks like an accident is not taken over before a person says that it is meant.

Rules
-----
* Compared is what one look at a dataset shows with what the record map knows of it. A dataset of
  which nothing is known yet has nothing to lose: a first look is never suspect.
* A few records come and go every day: fewer than ``FEW`` are never all of a dataset.
* The number of records that are gone counts, and a person's word is for a number: more than was
  said is suspect again.
* A dataset is another one if nearly all that is known of it is gone or holds something else in
  nearly all fields, as a file of another ship under the same name does.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from mailsync.core.model import Fields, same_value

FEW: Final = 5
"""Records that may all go at once without a question."""

NEARLY_ALL: Final = 0.9
"""Of the known records are gone or hold something else."""

UNLIKE: Final = 0.25
"""A smaller part of its fields is still the same where another record is in one's place."""

TELLING: Final = 3
"""Fields on average of a record, from which on that can be told."""


class Kind(enum.Enum):
    """What looks like an accident."""

    EMPTIED = "emptied"
    """All is gone."""
    REKEYED = "rekeyed"
    """All is gone, and as many others are there."""
    REPLACED = "replaced"
    """Nearly all records hold something else."""
    DELETES = "deletes"
    """More is gone than is allowed at once."""
    RECEIVED = "received"
    """Peers deleted more than is allowed at once."""


class Suspicion(NamedTuple):
    """What looks like an accident, and how many records it is about."""

    kind: Kind
    records: int
    text: str


@dataclass(slots=True)
class Likeness:
    """How much of the known records is still in its place, by a sample."""

    records: int = 0
    fields: int = 0
    same: int = 0

    def compare(self, known: Fields, shown: Fields) -> None:
        """A known record, and what stands in its place now."""
        names = known.keys() | shown.keys()
        self.records += 1
        self.fields += len(names)
        self.same += sum(
            name in known and name in shown and same_value(known[name], shown[name])
            for name in names
        )

    @property
    def is_another(self) -> bool:
        """Are these other records?"""
        return (
            self.records >= FEW
            and self.fields >= TELLING * self.records
            and self.same < UNLIKE * self.fields
        )


@dataclass(slots=True)
class Tally:
    """What one look at a dataset shows beside what is known of it."""

    known: int
    """Records with rows, as far as we know."""
    gone: int = 0
    """Of their rows, those that users removed."""
    vanished: int = 0
    """Rows that are not there, whoever removed them."""
    others: int = 0
    """Rows that are new or differ."""
    sampled: int = 0
    """Of those, so many were looked at,"""
    likeness: Likeness = field(default_factory=Likeness)
    """... and this is how like they are to the known ones in whose places they stand."""

    @property
    def replaced(self) -> int:
        """Rows that hold another record than before, about."""
        if not self.likeness.is_another:
            return 0
        return self.others * self.likeness.records // self.sampled


def suspicion(tally: Tally, limit: int | None, meant: int) -> Suspicion | None:
    """What looks like an accident. ``limit``: so many records may be gone; None: any number.
    ``meant``: so many may be gone or replaced, said a person.
    """
    if limit is None or not tally.known:
        return None
    found = _suspicion(tally, limit)
    return None if found is None or found.records <= meant else found


def _suspicion(tally: Tally, limit: int) -> Suspicion | None:
    known, gone, others = tally.known, tally.gone, tally.others
    if tally.vanished >= known and gone >= FEW:
        if others >= gone:
            text = f"all {gone} records are gone, and {others} others are there under new keys"
            return Suspicion(Kind.REKEYED, gone, text)
        rest = f", and {others} others are there" if others else ""
        return Suspicion(Kind.EMPTIED, gone, f"all {gone} records are gone{rest}")
    if tally.replaced and gone + tally.replaced >= NEARLY_ALL * known:
        text = (
            f"{gone} of {known} records are gone, {tally.replaced} hold something else altogether"
        )
        return Suspicion(Kind.REPLACED, gone + tally.replaced, f"{text}: is it another dataset?")
    if gone > limit:
        text = f"{gone} of {known} records are gone, max_delete takes {limit} at once"
        return Suspicion(Kind.DELETES, gone, text)
    return None


def suspicion_received(known: int, deleted: int, limit: int | None, meant: int) -> Suspicion | None:
    """The same of what peers deleted, or withdrew, of ``known`` records with rows here."""
    if limit is None or deleted <= max(limit, meant):
        return None
    text = (
        f"peers deleted {deleted} of {known} records, more than max_delete takes at once ({limit})"
    )
    return Suspicion(Kind.RECEIVED, deleted, text)
