"""What a dataset looks like, and what became of its fields since it was last seen.

Rules
-----
* What a dataset no longer holds is not what users deleted: nothing follows from it for others.
* What is empty in a column that was made anew, or given another type, is not what users emptied.
  A column that stands behind others that it stood before was made anew.
* A key made of other fields is another key: every record would look new, and every old one gone.
  That is never taken for what users did.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import NamedTuple

from mailsync.core.model import Value, same_value


class Columns(NamedTuple):
    """The fields a dataset holds, for reading its records."""

    blanks: Mapping[str, tuple[Value, ...]]
    """By name what a record shows there where nobody wrote: NULL, a column's default."""
    renewed: AbstractSet[str] = frozenset()
    """Those made anew since all records were last read."""

    def is_blank(self, name: str, value: Value) -> bool:
        """May the value stand there without that anybody wrote it?"""
        return any(same_value(value, blank) for blank in self.blanks.get(name, ()))


class Layout(NamedTuple):
    """The fields a dataset holds, in their order, each with its type in the dataset's own words;
    and its key.
    """

    fields: Mapping[str, str]
    key: tuple[str, ...]
    """Names of what tells its records apart, whether or not these are fields."""


@dataclass(frozen=True, slots=True)
class Drift:
    """How a layout differs from the one before."""

    gone: tuple[str, ...]
    new: tuple[str, ...]
    retyped: Mapping[str, tuple[str, str]]
    """Field -> its type before and now."""
    moved: tuple[str, ...]
    """Behind others that they stood before."""

    @property
    def renewed(self) -> frozenset[str]:
        """Fields in which what is empty was not emptied by users."""
        return frozenset((*self.new, *self.retyped, *self.moved))

    def __bool__(self) -> bool:
        """Does it differ at all?"""
        return bool(self.gone or self.renewed)


def drift(before: Layout, now: Layout) -> Drift:
    """What became of the fields."""
    place = {name: number for number, name in enumerate(before.fields)}
    both = [name for name in now.fields if name in place]
    retyped = {
        name: (before.fields[name], now.fields[name])
        for name in both
        if before.fields[name] != now.fields[name]
    }
    moved, furthest = [], -1
    for name in both:
        if place[name] < furthest and name not in retyped:
            moved.append(name)
        furthest = max(furthest, place[name])
    return Drift(
        gone=tuple(name for name in before.fields if name not in now.fields),
        new=tuple(name for name in now.fields if name not in place),
        retyped=retyped,
        moved=tuple(moved),
    )
