"""Proofs: what two sites tell each other to find out whether they hold the same, and in what not.

Rules
-----
* One site asks, the other answers; a tag says which question an answer is about. Everything here
  may come twice, late, or not at all.
* A digest is equal at both ends only if all that they share is. Whether it should be, while edits
  are on their way, is decided by a *cut*: what the author of a sketch had of both numberings.
* Records that one end does not know are called by 32 bits of a digest of their GUID.
"""

from __future__ import annotations

from typing import NamedTuple

from mailsync.core.positions import Positions


class Digest(NamedTuple):
    """All that a site shares with a peer."""

    size: int
    """Records."""
    total: int
    """Sum of 128-bit digests of the records, modulo 2**128."""
    without: tuple[str, ...] = ()
    """Datasets left out, in order: one of both sites lets not everything of them pass."""


class Cut(NamedTuple):
    """As of when a site says something of its record map."""

    top: int
    """Its own position."""
    cover: Positions
    """Positions of the reader's that it had covered."""


class Question(NamedTuple):
    """Is this the reader's digest, too?"""

    tag: int
    """32 random bits; digests are keyed with it."""
    urgent: bool
    """A person waits for the answer."""
    digest: Digest


class Alike(NamedTuple):
    """It is; or what was lacking is on its way."""

    tag: int


class Sketch(NamedTuple):
    """It is not: part of a sketch (see ``reconciliation``) of what the sender holds."""

    tag: int
    cut: Cut
    digest: Digest
    start: int
    """Number of the first symbol."""
    symbols: bytes


class MoreSymbols(NamedTuple):
    """So many symbols were not enough."""

    tag: int
    have: int


class Lacking(NamedTuple):
    """The sender lacks records of these names that the reader shares with it; none: all."""

    tag: int
    names: tuple[int, ...]


Proof = Question | Alike | Sketch | MoreSymbols | Lacking
"""What is said about equality."""
