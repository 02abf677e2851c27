"""Streams, positions and acknowledgements: what a peer has, and what is due to it.

Rules
-----
* A peer *has* a record if it showed us exactly this state, or confirmed the record's position.
* Acknowledgements are taken only from the newest bundle of a stream, and never acknowledged.
* What was handed to the carrier is *in flight* until it is confirmed or its timer runs out;
  what is in flight is not sent again.
* A bundle names the marks of the bundles before it, back to the newest confirmed one. By them
  either end notices that the other was restored from a backup.
"""

from __future__ import annotations

from dataclasses import replace

from mailsync.core.merge import noted_dataset
from mailsync.core.model import (
    CONFLICTS,
    Acknowledgement,
    Bundle,
    Flight,
    Link,
    Mark,
    Record,
    Sighting,
    is_alive,
    merged_fields,
)
from mailsync.core.positions import NOWHERE, Positions

HISTORY_LIMIT = 250
"""Marks a bundle names at most: at one bundle a day, eight months of a peer's silence."""

MEMORY_LIMIT = 1000
"""Marks remembered of our own stream, confirmed ones too: a restored peer may name an old one."""


def carries(link: Link, record: Record) -> bool:
    """Does the link carry the record's dataset (for a note: the dataset it is about)?"""
    name = noted_dataset(record.entries) if record.dataset == CONFLICTS else record.dataset
    return name in link.datasets and name not in link.refused


def is_wanted(link: Link, record: Record) -> bool:
    """Is this state of the record within the peer's filter? Deletes and notes always are."""
    fields = merged_fields(record)
    if fields is None or record.dataset == CONFLICTS:
        return True
    if record.withdrawn:
        return False
    return link.outbound is None or link.outbound(record.dataset, fields)


def has(link: Link, record: Record) -> bool:
    """Does the peer certainly hold this state, or a newer one?"""
    return link.peer in record.known or record.position in link.acked


def is_settled(link: Link, record: Record) -> bool:
    """:func:`has`, and no older bundle of the peer can still be on its way."""
    if not carries(link, record):
        return True
    return has(link, record) and (link.last is None or link.cover.contiguous >= link.last.top)


def is_known(sighting: Sighting, peer: str, confirmed: Positions) -> bool:
    """Has the peer seen the write? ``confirmed``: our positions that it says it covered."""
    return peer in sighting.known or sighting.position in confirmed


def resighted(record: Record, position: int) -> Record:
    """The record as if all its writes had come in at ``position`` (0: nobody learnt them there).

    Needed where a peer covered positions without being sent what came in at them, because the
    record was not for it.
    """
    context = {dot: Sighting(position, was.known) for dot, was in record.context.items()}
    return replace(record, context=context)


def is_pending(link: Link, record: Record) -> bool:
    """Does the peer lack this state, or must it drop it?"""
    if not carries(link, record) or has(link, record):
        return False
    if not is_alive(record.entries) and not record.had:
        return False  # nobody ever had it: nobody needs to hear that it is gone
    return is_wanted(link, record) or (link.peer in record.had and not record.withdrawn)


def in_flight(link: Link, since: int) -> Positions:
    """Positions handed to the carrier after ``since`` (milliseconds since 1970), unconfirmed."""
    positions = NOWHERE
    for flight in link.flights:
        if flight.sent_at > since:
            positions = positions | flight.positions
    return positions


def next_mark(link: Link, top: int, tag: int) -> Mark:
    """The mark of the next bundle: one tag for each position of the stream."""
    return link.sent[-1] if link.sent and link.sent[-1].top == top else Mark(top, tag)


def history(link: Link) -> tuple[Mark, ...]:
    """The marks that the next bundle names."""
    confirmed = link.acked_last
    unconfirmed = [mark for mark in link.sent if confirmed is None or mark.top >= confirmed.top]
    return tuple(unconfirmed[-HISTORY_LIMIT:])


def acknowledgement(link: Link) -> Acknowledgement:
    """What we tell the peer of its stream."""
    return Acknowledgement(link.inbound, link.cover, link.last, link.lacking, link.refusing)


def sent(link: Link, bundle: Bundle, positions: Positions, now: int) -> Link:
    """The link after a bundle that holds records at ``positions`` was committed."""
    marks = link.sent if bundle.mark in link.sent else (*link.sent, bundle.mark)
    flights = without(link.flights, positions)
    if positions.intervals:
        flights = (*flights, Flight(bundle.mark, positions, now))
    fulls = link.fulls | {bundle.mark.tag} if bundle.manifest is not None else link.fulls
    return replace(link, sent=marks[-MEMORY_LIMIT:], flights=flights, owe_since=None, fulls=fulls)


def confirm(link: Link, acknowledgement: Acknowledgement) -> Link:
    """The link after the peer's newest word about our current stream."""
    acked = link.acked | acknowledgement.cover
    marks = [mark for mark in (link.acked_last, acknowledgement.last) if mark is not None]
    newest = max(marks, key=lambda mark: mark.top, default=None)
    flights = without(link.flights, acked)
    return replace(link, acked=acked, acked_last=newest, flights=flights, rejoin=False)


def without(flights: tuple[Flight, ...], positions: Positions) -> tuple[Flight, ...]:
    """The flights less the positions that are no longer on their way."""
    return tuple(
        flight._replace(positions=left)
        for flight in flights
        if (left := flight.positions - positions).intervals
    )


def owing(link: Link, now: int) -> Link:
    """The link with an acknowledgement due, since now if not since earlier."""
    return link if link.owe_since is not None else replace(link, owe_since=now)
