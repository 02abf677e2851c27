"""What of the store is read by every transaction and changes seldom.

Rules
-----
* A connection that stays open keeps it from one transaction to the next, as long as nobody else
  committed anything (SQLite's ``data_version``) and none of its own transactions was undone.
* Whatever writes one of these rows enters it here, or forgets it here, in the same step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from mailsync.core.drift import Layout
from mailsync.core.ledger import SiteState
from mailsync.core.model import Link
from mailsync.store.peers import Peers
from mailsync.store.record_rows import Names


class StoredLink(NamedTuple):
    """What the store holds of a link."""

    number: int
    state: bytes


class Kept(NamedTuple):
    """What is kept of a dataset."""

    number: int
    layout: Layout | None
    holds: frozenset[str] | None
    """The fields it holds at all; None: any."""
    renewed: frozenset[str]
    """Fields made anew since all of it was last looked through."""
    unheld: frozenset[str]
    """Fields of its records that it did not hold when they were saved."""


@dataclass(slots=True)
class Standing:
    """As last read or written; None: to be read."""

    version: int | None = None
    """Of the database's content, as others changed it."""
    site: SiteState | None = None
    links: dict[str, StoredLink] | None = None
    decoded: dict[str, Link] | None = None
    peers: Peers | None = None
    datasets: dict[str, Kept] | None = None
    dataset_names: dict[int, str] | None = None
    namings: dict[int, Names] | None = None

    def as_of(self, version: int) -> Standing:
        """The same if nobody else changed anything since, else nothing."""
        return self if version == self.version else Standing(version)
