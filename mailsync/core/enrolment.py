"""Rows without a GUID, which users inserted: many at once as a rule.

Rules
-----
* A row without a GUID is new: it is enrolled, all of it written by the scan that finds it.
* A first look at a table enrols all of its rows, and nobody asks for any of them before they are
  stored. So they are kept as what each row is, and a record is made only of one that is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from mailsync.core.entries import woven
from mailsync.core.model import Dot, Etag, Fields, Guid, Key, Record, RecordId, Sighting


class Enrolled(NamedTuple):
    """What is of one row only."""

    guid: Guid
    key: Key
    fields: Fields
    etag: Etag | None


@dataclass(slots=True)
class Enrolment:
    """Rows that one scan found in a dataset, at positions one after the other."""

    dataset: str
    stroke: Dot
    """The dot of the scan's writes."""
    first: int
    """The position of the first row."""
    rows: Sequence[Enrolled]
    _places: dict[Guid, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Record]:
        return map(self.record, range(len(self.rows)))

    def record(self, place: int) -> Record:
        """The record of the row at this place, from 0."""
        row, position = self.rows[place], self.first + place
        return Record(
            self.dataset,
            row.guid,
            woven(row.fields, self.stroke),
            {self.stroke: Sighting(position)},
            position,
            key=row.key,
            etag=row.etag,
            shadow=row.fields,
        )

    def alike(self) -> Iterable[Sequence[int]]:
        """The places of the rows, those together whose fields have the same names in one order:
        their records differ by position and by what is in the rows, and in nothing else.
        """
        found: dict[tuple[str, ...], list[int]] = {}
        for place, row in enumerate(self.rows):
            found.setdefault(tuple(row.fields), []).append(place)
        return found.values()

    def find(self, record_id: RecordId) -> Record | None:
        """The record, if it is one of these."""
        if record_id.dataset != self.dataset:
            return None
        if not self._places:
            self._places = {row.guid: place for place, row in enumerate(self.rows)}
        place = self._places.get(record_id.guid)
        return None if place is None else self.record(place)
