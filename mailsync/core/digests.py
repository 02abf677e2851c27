"""Match digests: what two sites tell each other before records of a dataset that both hold travel.

Rules
-----
* Digests say what a site holds, not under which GUIDs: one of the two, the *keeper*, finds out
  what both hold alike, and its GUIDs stay.
* Records are counted in the order of their digests: a *rank*, from 1, calls a record of the reader
  without its GUID, which the sender never learns.
* Everything here may come twice, late, or not at all; a tag says which digests are meant.
"""

from __future__ import annotations

from typing import NamedTuple

from mailsync.core.positions import Positions


class Digests(NamedTuple):
    """A sketch (see ``reconciliation``) of what the sender holds of a dataset."""

    dataset: str
    tag: int
    """32 random bits."""
    shared: bool
    """Do other sites have any of it from the sender, or the sender from them?"""
    size: int
    """Records."""
    start: int
    """Number of the first symbol."""
    symbols: bytes


class MoreDigests(NamedTuple):
    """So many symbols were not enough."""

    dataset: str
    tag: int
    have: int


class Matched(NamedTuple):
    """What the sender holds alike, of the digests it was told; it gives these records' GUIDs."""

    dataset: str
    tag: int
    ranks: Positions


class Likeness(NamedTuple):
    """A record is the reader's own record of this rank."""

    tag: int
    """Of the reader's digests: it may have made others since."""
    rank: int
    is_equal: bool
    """Its values are the reader's, and are not repeated."""


Word = Digests | MoreDigests | Matched
"""What is said of one dataset."""
