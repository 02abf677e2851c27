"""Filters as they are applied in a cycle, with the operator's own routines behind them.

Rules
-----
* A routine sees the record and says whether it passes: None or False drops it. It changes nothing:
  a rewritten value would be another one at each site.
* What a routine raises holds the record, in its own words: it goes nowhere and comes in nowhere
  until the routine knows better. Everything else goes on.
* Which routine is asked is the configuration's alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal, NamedTuple

from mailsync.core.filters import Filter
from mailsync.core.model import Fields, Link, Record, values_of
from mailsync.core.scope import terms_of
from mailsync.errors import BadConfiguration
from mailsync.routines import Routine, RoutineFailed, read_routines, routine

Direction = Literal["send", "receive"]

_UNKNOWN: Final = "it gave neither the record nor None: a routine keeps a record or drops it"


class Offered(NamedTuple):
    """What a routine is asked about."""

    dataset: str
    fields: Fields
    peer: str
    direction: Direction


class Verdict(NamedTuple):
    """What became of one record."""

    passes: bool
    problem: str = ""
    """Why nobody knows; empty: it is known."""


@dataclass(frozen=True)
class Sieve:
    """A filter at one end of a link, for one dataset."""

    filter: Filter
    at: int
    """The moment as of which it sorts records (milliseconds since 1970)."""
    place: str
    """Of a routine, ``FILE:NAME``; empty: none."""
    dataset: str
    peer: str
    direction: Direction

    def __call__(self, fields: Fields) -> bool:
        """Does it pass? What a routine gives up on stays where it is: as if it passed outward,
        and as if it did not inward.
        """
        verdict = self.judge(fields)
        return self.direction == "send" if verdict.problem else verdict.passes

    def judge(self, fields: Fields) -> Verdict:
        """Does it pass, and if that is not known, why?"""
        if not self.filter.passes(fields, self.at):
            return Verdict(passes=False)
        if not self.place:
            return Verdict(passes=True)
        offered = Offered(self.dataset, dict(fields), self.peer, self.direction)
        try:
            answer = _routine(self.place, _digest(self.place))(offered)
        except (RoutineFailed, BadConfiguration) as problem:
            return Verdict(passes=False, problem=str(problem))
        if answer is None or answer is False:
            return Verdict(passes=False)
        unchanged = answer is True or answer == offered
        return Verdict(unchanged, "" if unchanged else f"{self.place}: {_UNKNOWN}")


def held_outward(link: Link, record: Record) -> str:
    """Why it is not known whether the record is for the peer; empty: it is."""
    wanted = terms_of(link, record.dataset).wanted
    return wanted.judge(values_of(record.entries)).problem if isinstance(wanted, Sieve) else ""


def held_inward(links: Iterable[Link], record: Record) -> str:
    """Why it is not known whether the record is for our dataset; empty: it is."""
    for link in links:
        admits = terms_of(link, record.dataset).admits
        if isinstance(admits, Sieve) and link.peer in record.had:
            problem = admits.judge(values_of(record.entries)).problem
            if problem:
                return problem
    return ""


def state_of(place: str | None) -> str:
    """What tells whether a routine is another one than before."""
    return "" if not place else f"{place} {_digest(place)}"


def _digest(place: str) -> str:
    try:
        return hashlib.sha256(Path(place.rpartition(":")[0]).read_bytes()).hexdigest()
    except OSError:
        return ""


@lru_cache(maxsize=64)
def _routine(place: str, _digest: str) -> Routine:
    """The routine, read anew when its file changed. Raises BadConfiguration."""
    path, _, name = place.rpartition(":")
    return routine(Path(path), read_routines(Path(path)), name)
