"""What a dataset looks like, and what became of its fields since it was last seen.

Rules
-----
* What a dataset no longer holds is not what users deleted: nothing follows from it for others.
* A key made of other fields is another key: every record would look new, and every old one gone.
  That is never taken for what users did.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple


class Layout(NamedTuple):
    """The fields a dataset holds, each with its type in the dataset's own words; and its key."""

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

    def __bool__(self) -> bool:
        """Does it differ at all?"""
        return bool(self.gone or self.new or self.retyped)


def drift(before: Layout, now: Layout) -> Drift:
    """What became of the fields."""
    both = before.fields.keys() & now.fields.keys()
    return Drift(
        gone=tuple(sorted(before.fields.keys() - now.fields.keys())),
        new=tuple(sorted(now.fields.keys() - before.fields.keys())),
        retyped={
            name: (before.fields[name], now.fields[name])
            for name in sorted(both)
            if before.fields[name] != now.fields[name]
        },
    )
