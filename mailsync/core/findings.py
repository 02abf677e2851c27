"""Do both sites hold the same, and if not, what differs? Both ends' comparison.

Rules
-----
* Whose digest the other's is, proves equal, whatever else is on its way. Only the answer to a
  question is a sketch, as of its author's cut, which the asker must have covered.
* A record that changed at the asker since the peer covered its positions, in whichever way, is
  *in flight*: it differs for now, and tells nothing. So may be what the asker does not know at all,
  if it has purged something since.
* What even a whole sketch does not tell is called altogether different.
* To mend, both send whole what differs, and merging settles who is right: the newest write, and
  a delete of what the other never changed. A peer that purged a record did so because we had
  confirmed its end; so what we still hold was not deleted there but lost, and comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final, NamedTuple

from mailsync.core.comparing import left_out, name_of, named, shared, summary_of
from mailsync.core.model import Link, Record
from mailsync.core.positions import Positions
from mailsync.core.proofs import Cut, Digest
from mailsync.core.proving import FIRST, MANY, Finding, Inquiry, Reply
from mailsync.core.reconciliation import SYMBOL_SIZE, Difference, difference, symbols
from mailsync.core.scope import carries

FEW: Final = 256
"""Symbols of a whole sketch, at least; of more records, one for each: more are not worth it."""

Records = Callable[[], Iterable[Record]]
"""The record map, read from its beginning each time."""


def answer(
    reply: Reply, link: Link, records: Records, *, position: int, pending: bool, now: int
) -> Reply:
    """Compare the peer's digest with ours, at our ``position``. ``pending``: is more on its way
    to the peer, or about to be?
    """
    ours = summary_of(link, records(), reply.tag, left_out(link) | {*reply.asked.without})
    if ours.digest == reply.asked:
        return replace(reply, alike=True, at=now, due=True)
    size = _whole_size(ours.digest)
    narrower = ours.digest.without != reply.asked.without
    return replace(
        reply,
        alike=False,
        at=now,
        cut=Cut(position, link.cover),
        digest=ours.digest,
        sketch=symbols(ours.elements, 0, size),
        stop=0 if pending or narrower else min(_first_size(ours.digest, reply.asked), size),
        due=True,
    )


def _whole_size(answering: Digest) -> int:
    """Symbols of the whole sketch of who answers: both ends know how many there will be."""
    return max(FEW, min(answering.size, MANY))


def _first_size(one: Digest, other: Digest) -> int:
    """Some records differ, and as many as one has more; two symbols for each are enough."""
    few = min(FIRST, 3 * max(one.size, other.size) + 8)
    return max(few, 2 * abs(one.size - other.size))


class Concluded(NamedTuple):
    """The question after it was looked into, and the records of ours that are to go again."""

    inquiry: Inquiry
    again: list[Record]


def conclude(
    inquiry: Inquiry, link: Link, records: Records, *, horizon: int, now: int
) -> Concluded:
    """Look into what the peer said, if all it had at its cut is here. ``horizon``: the greatest
    position of a record that was purged here.
    """
    if inquiry.alike:
        return Concluded(_found(inquiry, link, Finding(now, equal=True)), [])
    theirs = inquiry.theirs
    if inquiry.cut is None or theirs is None or not _has_covered(link, inquiry.cut):
        return Concluded(inquiry, [])
    inquiry = replace(inquiry, unheeded=False)
    ours = summary_of(link, records(), inquiry.tag, theirs.without)
    if ours.digest == theirs:
        return Concluded(_found(inquiry, link, Finding(now, equal=True)), [])
    told = difference(ours.elements, inquiry.heard) if inquiry.heard else None
    if told is not None:
        return _told_apart(inquiry, link, records(), told, horizon, now)
    if len(inquiry.heard) < _whole_size(theirs) * SYMBOL_SIZE:
        return Concluded(replace(inquiry, said_at=0, said=0), [])
    size = max(ours.digest.size, theirs.size)
    finding = Finding(now, equal=False, differing=size, altogether=True)
    again = [each for each in records() if shared(link, each) is not None] if inquiry.repair else []
    return Concluded(_found(inquiry, link, finding, lacking=()), again)


def _has_covered(link: Link, cut: Cut) -> bool:
    """Is all here that the peer had? Of what is refused nobody can tell."""
    return Positions.up_to(cut.top) <= link.cover or bool(link.refusing)


def _told_apart(
    inquiry: Inquiry,
    link: Link,
    records: Iterable[Record],
    told: Difference,
    horizon: int,
    now: int,
) -> Concluded:
    """What differs, but for what is in flight."""
    assert inquiry.cut is not None  # noqa: S101 - there is a sketch
    ours, theirs = (frozenset(map(named, elements)) for elements in (told.ours, told.theirs))
    found: dict[int, list[Record]] = {name: [] for name in ours | theirs}
    for record in records:
        name = name_of(record.id, inquiry.tag)
        if name in found and carries(link, record):
            found[name].append(record)
    covered = inquiry.cut.cover
    purged = not Positions.up_to(horizon) <= covered
    moving = {
        name
        for name, those in found.items()
        if any(record.position not in covered for record in those) or (purged and not those)
    }
    differing = found.keys() - moving
    again = [each for name in sorted(differing) for each in found[name] if not each.withdrawn]
    finding = Finding(
        now,
        equal=not differing,
        differing=len(differing),
        in_flight=len(moving),
        records=tuple(record.id for record in again),
    )
    lacking = tuple(sorted(differing & (theirs - ours)))
    done = _found(inquiry, link, finding, lacking=lacking or None)
    return Concluded(done, again if inquiry.repair else [])


def _found(
    inquiry: Inquiry, link: Link, finding: Finding, lacking: tuple[int, ...] | None = None
) -> Inquiry:
    """The question with its answer. What either end holds back is in no dataset, so it differs."""
    theirs = inquiry.theirs
    without = tuple(sorted(left_out(link))) if theirs is None else theirs.without
    held = tuple(sorted((link.held | link.holding) - set(finding.records)))
    mending = inquiry.repair and finding.differing > 0
    finding = replace(
        finding,
        equal=finding.equal and not held,
        differing=finding.differing + len(held),
        records=(*finding.records, *held),
        mending=mending,
        without=without,
    )
    return replace(
        inquiry,
        heard=b"",
        unheeded=False,
        said_at=0,
        said=0,
        lacking=lacking if mending else None,
        finding=finding,
    )


def lacked(reply: Reply, link: Link, records: Iterable[Record]) -> list[Record]:
    """The records that the peer lacks, by their names."""
    names = frozenset(reply.lacking or ())
    return [
        record
        for record in records
        if shared(link, record) is not None
        and (not names or name_of(record.id, reply.tag) in names)
    ]
