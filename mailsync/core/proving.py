"""The exchange by which a site proves that a peer holds the same, or finds in what it does not.

Rules
-----
* The asker's question holds its digest. The peer compares it with its own, as of when it has
  merged all that came with the question, and answers with a sketch if they differ. Where more is
  on its way to the asker, with its digest alone: both may well be equal once that is there.
* Symbols that were not enough are followed by more of the same sketch.
* The asker alone has timers: the peer answers what it is asked, however often. Who is not
  answered gives up in the end.
* Numbers of positions mean nothing in another stream: where one of both streams was begun anew,
  the question is, too. A peer that must reconcile first is asked and told nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from mailsync.core.model import Link, RecordId, Stream
from mailsync.core.proofs import Alike, Cut, Digest, Lacking, MoreSymbols, Proof, Question, Sketch
from mailsync.core.reconciliation import SYMBOL_SIZE
from mailsync.core.timers import PATIENCE_MAX

FIRST: Final = 64
"""Symbols sent at first: 1 kB tells some 25 elements, and a changed record is two of them."""

GROWTH: Final = 4
"""So many times more each time they were not enough."""

MANY: Final = 2**14
"""Symbols of a whole sketch, at most."""

ASKED_MAX: Final = 6
"""How often the same is said in vain."""

RIDE_MS: Final = 7 * 24 * 3600 * 1000
"""So long a question that nobody waits for waits for a mail to ride on (milliseconds)."""


class Streams(NamedTuple):
    """In whose numbering a cut counts."""

    out: Stream
    inbound: Stream | None


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of a question. Times: milliseconds since 1970."""

    at: int
    equal: bool | None
    """None: the peer never answered."""
    differing: int = 0
    in_flight: int = 0
    records: tuple[RecordId, ...] = ()
    """Those that differ, as far as we know them."""
    altogether: bool = False
    """They are more than could be told: ``differing`` is as many as were compared."""
    mending: bool = False
    """They are on their way, both ways."""
    without: tuple[str, ...] = ()
    """Datasets that were not compared."""


@dataclass(frozen=True, slots=True)
class Inquiry:
    """A question of ours, and how far it has come."""

    tag: int
    asked_at: int
    urgent: bool
    repair: bool
    looked: bool = False
    """Were the datasets themselves looked through since?"""
    said_at: int = 0
    """When what is to be said next was said last; 0: not yet."""
    said: int = 0
    """How often."""
    cut: Cut | None = None
    streams: Streams | None = None
    """As they were when it was heard of."""
    theirs: Digest | None = None
    heard: bytes = b""
    """The peer's symbols so far."""
    unheeded: bool = False
    """Has the peer said something that was not compared yet?"""
    alike: bool = False
    """The peer says that it holds the same."""
    lacking: tuple[int, ...] | None = None
    """Names of what the peer is to send; they are said until it answers."""
    finding: Finding | None = None
    seen: bool = False
    """Was it shown to who asked?"""


@dataclass(frozen=True, slots=True)
class Reply:
    """A question of the peer's, and our answer."""

    tag: int
    urgent: bool
    asked: Digest
    streams: Streams
    looked: bool = False
    alike: bool | None = None
    """None: not compared yet."""
    at: int = 0
    """When it was."""
    cut: Cut | None = None
    digest: Digest | None = None
    sketch: bytes = b""
    """All symbols there will ever be."""
    start: int = 0
    stop: int = 0
    """Which of them are to be said."""
    due: bool = False
    lacking: tuple[int, ...] | None = None
    """Names of what the peer lacks, not yet sent."""
    mended: bool = False
    """They go with what is on its way."""


def streams_of(link: Link) -> Streams:
    """The streams as they are now."""
    return Streams(link.out, link.inbound)


def is_ready(link: Link) -> bool:
    """Can the link tell what the peer has? Not while either reconciles."""
    return not link.stale and not link.rejoin


def asking(tag: int, now: int, urgent: bool, repair: bool) -> Inquiry:  # noqa: FBT001  as kept
    """A new question. ``tag``: 32 random bits."""
    return Inquiry(tag, now, urgent, repair)


def hear_answer(inquiry: Inquiry, proof: Proof, link: Link) -> Inquiry:
    """The question after the peer said something of it."""
    if proof.tag != inquiry.tag:
        return inquiry
    if inquiry.finding is not None:
        return replace(inquiry, lacking=None) if isinstance(proof, Alike) else inquiry
    if isinstance(proof, Alike):
        return replace(inquiry, alike=True, unheeded=True)
    if not isinstance(proof, Sketch):
        return inquiry
    if proof.cut != inquiry.cut:
        inquiry = replace(
            inquiry,
            cut=proof.cut,
            streams=streams_of(link),
            theirs=proof.digest,
            heard=b"",
            unheeded=True,
        )
    known = inquiry.heard[: proof.start * SYMBOL_SIZE]
    heard = known + proof.symbols if len(known) == proof.start * SYMBOL_SIZE else b""
    if len(inquiry.heard) < len(heard) <= MANY * SYMBOL_SIZE:
        inquiry = replace(inquiry, heard=heard, unheeded=True)
    return inquiry


def hear_question(reply: Reply | None, proof: Proof, link: Link) -> Reply | None:
    """Our answer after the peer asked something."""
    if isinstance(proof, Question):
        if reply is None or reply.tag != proof.tag:
            return Reply(proof.tag, proof.urgent, proof.digest, streams_of(link))
        if reply.alike is None:
            return replace(reply, asked=proof.digest)
        return replace(reply, start=0, due=True)
    if reply is None or reply.tag != proof.tag:
        return reply
    if isinstance(proof, MoreSymbols) and reply.sketch:
        size = len(reply.sketch) // SYMBOL_SIZE
        stop = max(reply.stop, min(max(FIRST, proof.have * GROWTH), size))
        return replace(reply, start=min(proof.have, stop), stop=stop, due=True)
    if isinstance(proof, Lacking):
        return replace(reply, due=True) if reply.mended else replace(reply, lacking=proof.names)
    return reply


def renewed(inquiry: Inquiry, link: Link, tag: int, now: int) -> Inquiry:
    """The question, begun anew where a cut is of streams that are no more; without times to come
    (a clock was set).
    """
    is_open = inquiry.finding is None and inquiry.cut is not None
    if is_open and inquiry.streams != streams_of(link):
        return replace(asking(tag, now, inquiry.urgent, inquiry.repair), looked=inquiry.looked)
    said_at, asked_at = min(inquiry.said_at, now), min(inquiry.asked_at, now)
    return replace(inquiry, said_at=said_at, asked_at=asked_at)


def given_up(inquiry: Inquiry, now: int, patience: int) -> Inquiry:
    """The question, done with if it was asked in vain too often."""
    if inquiry.said < ASKED_MAX or not _is_overdue(inquiry, now, patience):
        return inquiry
    if inquiry.finding is None:
        return replace(inquiry, heard=b"", finding=Finding(now, equal=None))
    return replace(inquiry, lacking=None)


def next_to_say(inquiry: Inquiry, now: int, patience: int) -> type[Proof] | None:
    """What is to be said to the peer of our question now, if anything."""
    if not _is_overdue(inquiry, now, patience) or inquiry.said >= ASKED_MAX:
        return None
    if inquiry.finding is not None:
        return None if inquiry.lacking is None else Lacking
    if inquiry.cut is not None:  # it comes with all that the peer had, or waits for that
        return MoreSymbols if not inquiry.unheeded else None
    return Question if inquiry.looked else None


def _is_overdue(inquiry: Inquiry, now: int, patience: int) -> bool:
    wait = min(patience << max(inquiry.said - 1, 0), PATIENCE_MAX)
    return inquiry.said_at == 0 or inquiry.said_at + wait <= now


def said_of(inquiry: Inquiry, kind: type[Proof], digest: Digest | None) -> Proof:
    """What is said; ``digest``: ours as of now, for a question."""
    if kind is Lacking:
        return Lacking(inquiry.tag, inquiry.lacking or ())
    if kind is MoreSymbols:
        return MoreSymbols(inquiry.tag, len(inquiry.heard) // SYMBOL_SIZE)
    assert digest is not None  # noqa: S101 - see above
    return Question(inquiry.tag, inquiry.urgent, digest)


def is_worth_a_mail(inquiry: Inquiry, now: int) -> bool:
    """Does what is to be said go even alone?"""
    begun = inquiry.cut is not None or inquiry.finding is not None
    return inquiry.urgent or begun or inquiry.asked_at + RIDE_MS <= now


def asked(inquiry: Inquiry, now: int) -> Inquiry:
    """The question once what was to be said is on its way."""
    return replace(inquiry, said_at=now, said=inquiry.said + 1)


def said_in_reply(reply: Reply) -> Proof | None:
    """Our answer, if one is due."""
    if not reply.due:
        return None
    if reply.alike or reply.mended:
        return Alike(reply.tag)
    assert reply.cut is not None  # noqa: S101 - it was compared
    assert reply.digest is not None  # noqa: S101 - as well
    part = reply.sketch[reply.start * SYMBOL_SIZE : reply.stop * SYMBOL_SIZE]
    return Sketch(reply.tag, reply.cut, reply.digest, reply.start, part)


def mended(reply: Reply) -> Reply:
    """The reply once what the peer lacks is due to it."""
    return replace(reply, lacking=None, mended=True, due=True, sketch=b"")


def forgotten(reply: Reply, now: int) -> Reply:
    """The reply without a sketch of which nobody asks for more any longer."""
    is_old = reply.at + ASKED_MAX * PATIENCE_MAX <= now
    return replace(reply, sketch=b"") if is_old and not reply.due else reply


def answered(reply: Reply) -> Reply:
    """The reply once it is on its way."""
    return replace(reply, start=reply.stop, due=False)


def unasked(inquiry: Inquiry) -> Inquiry:
    """The question when what was said last did not leave after all."""
    return replace(inquiry, said_at=0, said=max(inquiry.said - 1, 0))


def unanswered(reply: Reply) -> Reply:
    """The reply when what was said last did not leave after all."""
    return replace(reply, start=0, due=reply.alike is not None)
