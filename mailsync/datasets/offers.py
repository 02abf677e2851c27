"""What a place offers to synchronize, as a section of the configuration would say it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Offer:
    """Something that can be a dataset."""

    source: str
    title: str
    """What people call it: a table, a file or a folder."""
    table: str | None = None
    keys: str | None = None
    """A guess: "local", "shared"; None: the kind has no choice."""
    key: tuple[str, ...] = ()
    """Columns that the configuration must name; a guess as well."""
    because: str = ""
    """Why ``keys`` or ``key`` was guessed so."""
    columns: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Each column with its type in the dataset's own words; empty where it has none."""
    notes: tuple[str, ...] = ()
    """What else a person should know of it."""


class LeftOut(NamedTuple):
    """Something that is there and cannot be a dataset as it is."""

    title: str
    reason: str
