"""Filters as they are applied in a cycle, with the operator's own routines behind them.

Rules
-----
* A routine sees the record and says whether it passes: None or False drops it.
* What comes in it may rewrite: it gives the record with other values, and our dataset holds those.
  The record itself stays as it is at all sites.
* What goes out nobody rewrites. A write would have one value here and another there, and sites
  that hear of it by several ways could never agree which.
* What is written does not depend on the peer: by which of them a write comes first is chance.
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
from mailsync.core.fitness import unfit
from mailsync.core.mapping import Unconvertible
from mailsync.core.model import Fields, Link, Record, same_fields, values_of
from mailsync.core.scope import terms_of
from mailsync.errors import BadConfiguration
from mailsync.routines import PLAIN, Routine, RoutineFailed, read_routines, routine

Direction = Literal["send", "receive"]

_UNKNOWN: Final = "it gave neither the record nor None"
_OUTWARD: Final = (
    "what is sent cannot be rewritten, for a write has one value at all sites; a site can rewrite "
    "what comes in (receive), and send.fields leaves fields out"
)
_OF_ONE_PEER: Final = (
    "what comes in is rewritten for all peers alike, by the routine in the dataset's own section"
)
_BY_PEER: Final = "what it writes depends on the peer, and a record may come by any of them"
_OTHER_FIELDS: Final = "it must give a value to each field of the record, and to no others"


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
    rewrites: bool = False
    """May the routine say what our dataset is to hold?"""

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
        wrong = "" if answer is True else self._mistake(answer, fields)
        return Verdict(not wrong, wrong and f"{self.place}: {wrong}")

    def _mistake(self, answer: object, fields: Fields) -> str:
        """What is wrong with what the routine gave for a record that it does not drop."""
        if not isinstance(answer, Offered):
            return _UNKNOWN
        if same_fields(answer.fields, fields):
            return ""
        if not self.rewrites:
            return _OUTWARD if self.direction == "send" else _OF_ONE_PEER
        try:
            made = rewritten(self.place, self.dataset, fields)
        except Unconvertible as problem:
            return str(problem).removeprefix(f"{self.place}: ")
        return "" if same_fields(made, answer.fields) else _BY_PEER


def rewritten(place: str, dataset: str, fields: Fields) -> Fields:
    """What our dataset is to hold instead of these fields, says a routine; what it drops stays as
    it is. Raises :class:`Unconvertible`.
    """
    offered = Offered(dataset, dict(fields), "", "receive")
    try:
        answer = _routine(place, _digest(place))(offered)
    except (RoutineFailed, BadConfiguration) as problem:
        raise Unconvertible(str(problem)) from problem
    if not isinstance(answer, Offered):
        return fields
    made = answer.fields
    if made.keys() != fields.keys():
        raise Unconvertible(f"{place}: {_OTHER_FIELDS}")
    odd = next((name for name, value in made.items() if type(value) not in PLAIN), None)
    reason = unfit(made) if odd is None else f"{odd}: a field holds a text or a number"
    if reason is not None:
        raise Unconvertible(f"{place}: {reason}")
    return made


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
