"""Streams, positions and acknowledgements: what a peer has, and what is due to it.

Rules
-----
* A peer *has* a record if it showed us exactly this state, or confirmed the record's position.
* Acknowledgements are taken only from the newest bundle of a stream, and never acknowledged.
* What was handed to the carrier is *in flight* until it is confirmed or its timer runs out;
  what is in flight is not sent again. The timer learns how long the way takes.
* A question (a full bundle, the one after our own restore, or the one that says that something
  will not come) is asked again by the same timer: it may be lost like others, and may hold no
  record whose timer would bring it again.
* A bundle names the marks of the bundles before it, back to the newest confirmed one. By them
  either end notices that the other was restored from a backup.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace

from mailsync.core.model import (
    CONFLICTS,
    Acknowledgement,
    Bundle,
    Dot,
    Flight,
    Link,
    Mark,
    Record,
    RecordId,
    RoundTrip,
    Sighting,
    dots_of,
    is_alive,
)
from mailsync.core.positions import NOWHERE, Positions
from mailsync.core.scope import carries, is_wanted, passes, terms_of, visible

HISTORY_LIMIT = 250
"""Marks a bundle names at most: at one bundle a day, eight months of a peer's silence."""

MEMORY_LIMIT = 1000
"""Marks remembered of our own stream, confirmed ones too: a restored peer may name an old one."""


def concerns(link: Link, record: Record) -> bool:
    """Must the peer hear of this state? Of the end of what it never had, and never was to have, it
    need not: in a ring of sites that would be told on for ever.
    """
    if is_alive(record.entries):
        return is_wanted(link, record) or must_drop(link, record) or is_on_its_way(link, record)
    return record.dataset == CONFLICTS or link.peer in record.had or passes(link, record)


def is_within(link: Link, record: Record) -> bool:
    """By our last word to the peer: has it the record, and is the record for it?"""
    return link.peer in record.had and link.peer not in record.outside


def knows_it_left(link: Link, record: Record) -> bool:
    """Has the peer confirmed that the record left its filter?"""
    told_at = record.outside.get(link.peer, 0)
    return told_at > 0 and told_at in link.acked


def must_drop(link: Link, record: Record) -> bool:
    """Must the peer be told that the record, which is not for it, left its filter?"""
    if record.withdrawn or terms_of(link, record.dataset).keeps:
        return False
    return link.peer in record.had and not knows_it_left(link, record)


def is_kept(link: Link, record: Record) -> bool:
    """Did the record just leave the filter of a peer that keeps it as it was?"""
    return (
        terms_of(link, record.dataset).keeps
        and carries(link, record)
        and is_within(link, record)
        and not is_wanted(link, record)
        and not is_on_its_way(link, record)
    )


def is_on_its_way(link: Link, record: Record) -> bool:
    """Did the record leave the filter of a peer that keeps it while it was being sent? It is sent
    until it is there: else nobody could tell if the peer has it, or covered its position unsent.
    """
    return (
        terms_of(link, record.dataset).keeps
        and is_within(link, record)
        and any(record.position in flight.positions for flight in link.flights)
    )


def left(link: Link, record: Record) -> Record:
    """The record once it left the filter of a peer that keeps it as it was."""
    return unsent(link, record, 0)


def unsent(link: Link, record: Record, position: int) -> Record:
    """The record once it is no longer sent to the peer, as it is no longer ours, from this position
    on, the next one.
    """
    record = as_confirmed(link, record, record.context.keys())
    return replace(record, outside={**record.outside, link.peer: -position})


def as_confirmed(link: Link, record: Record, dots: AbstractSet[Dot]) -> Record:
    """The record where the peer has seen, of these writes, just those that it has confirmed by now:
    from now on it covers their positions without being sent them.
    """
    context = {
        dot: sighting._replace(known=sighting.known | {link.peer})
        if dot in dots and has_seen(link, record, sighting)
        else sighting
        for dot, sighting in record.context.items()
    }
    return replace(record, context=context)


def returned(record: Record, peer: str, position: int) -> Record:
    """The record once it is for the peer, or is again, at this position: it goes whole, and what
    came in while it was not for the peer comes in there.
    """
    told_at = record.outside.get(peer, position if peer in record.had else 0)
    since = {dot for dot, one in record.context.items() if one.for_peer(peer) >= told_at}
    record = anew(record, peer, position, since)
    outside = {name: at for name, at in record.outside.items() if name != peer}
    return replace(record, outside=outside, whole_for=record.whole_for | {peer})


def anew(record: Record, peer: str, position: int, dots: AbstractSet[Dot]) -> Record:
    """The record where these writes come in for the peer at this position, if it did not show them
    itself.
    """
    context = dict(record.context)
    for dot in dots:
        sighting = context[dot]
        if peer not in sighting.known:
            others = {(name, at) for name, at in sighting.later if name != peer}
            context[dot] = sighting._replace(later=frozenset({*others, (peer, position)}))
    return replace(record, context=context)


def passed(link: Link, record: Record) -> frozenset[Dot]:
    """The writes that came in before the newest bundle to the peer: it may cover them unsent."""
    top = link.sent[-1].top if link.sent else 0
    places = ((dot, one.for_peer(link.peer)) for dot, one in record.context.items())
    return frozenset(dot for dot, place in places if 0 < place <= top)


def was_passed_over(link: Link, record: Record) -> bool:
    """May the peer, which never had the record, cover writes of it without being sent them? Not
    what came in where the record is: there it goes now.
    """
    if link.peer in record.had:
        return False
    places = {record.context[dot].for_peer(link.peer) for dot in passed(link, record)}
    if terms_of(link, record.dataset).wanted is None:
        places = {place for place in places if place in link.acked}
    return not places <= {record.position}


def seen_at(link: Link, record: Record, cover: Positions) -> Positions:
    """Of our positions that the peer covered, those at which it has seen what came in: not those
    since the record does not go to it, nor that at which it was told so, which shows no value. If
    it was not told, those that it covers by bundles from before that.
    """
    if not carries(link, record):
        return NOWHERE
    told_at = record.outside.get(link.peer)
    if told_at is None or (told_at < 0 and -told_at not in cover):
        return cover
    return cover & Positions.up_to(told_at - 1) if told_at > 0 else NOWHERE


def has(link: Link, record: Record) -> bool:
    """Does the peer certainly hold this state, or a newer one?"""
    return link.peer in record.known or record.position in link.acked


def has_seen_all(link: Link, record: Record) -> bool:
    """Was the peer sent the record, and has it seen every write of it, though the record has
    moved to another position since, for the sake of another peer?
    """
    peer = link.peer
    return (
        peer in record.had
        and peer not in record.whole_for
        and peer not in record.blind_to
        and peer not in record.outside
        and not any(entry.killed for entry in record.entries.values())
        and _has_seen_visible(link, record)
    )


def _has_seen_visible(link: Link, record: Record) -> bool:
    """Has the peer seen every write of what goes to it, and of what it descends from, but for what
    lost when it came here? Of that it would not have heard if the record had not moved.
    """
    current = dots_of(visible(link, record))
    with_ancestors = terms_of(link, record.dataset).shown is None  # what stays here has some, too
    return all(
        is_known(sighting, link.peer, link.acked)
        for dot, sighting in record.context.items()
        if dot in current or (with_ancestors and sighting.for_peer(link.peer))
    )


def has_seen_some(link: Link, record: Record) -> bool:
    """Has the peer certainly seen some write of the record?"""
    return any(is_known(one, link.peer, link.acked) for one in record.context.values())


def has_seen_fields(link: Link, record: Record, names: Iterable[str]) -> bool:
    """Has the peer certainly seen what was last written into each of these fields?"""
    dots = {record.entries[name].dot for name in names}
    return all(is_known(record.context[dot], link.peer, link.acked) for dot in dots)


def other_holders(links: Mapping[str, Link], record: Record, peer: str) -> frozenset[str]:
    """The peers besides this one that certainly hold the record's state."""
    return frozenset(name for name, link in links.items() if name != peer and has(link, record))


def is_settled(link: Link, record: Record) -> bool:
    """Has the peer all of the record, and can no older bundle of it still be on its way?"""
    if not carries(link, record):
        return True
    has_all = has(link, record) or has_seen_all(link, record) or not concerns(link, record)
    if link.last is None or link.refusing:  # what we refuse stays a gap for ever
        return has_all
    return has_all and link.cover.contiguous >= link.last.top


def has_seen(link: Link, record: Record, sighting: Sighting) -> bool:
    """Has the peer seen this write of the record, by what it has confirmed so far?"""
    return is_known(sighting, link.peer, seen_at(link, record, link.acked))


def is_known(sighting: Sighting, peer: str, confirmed: Positions) -> bool:
    """Has the peer seen the write? ``confirmed``: our positions that it says it covered."""
    return peer in sighting.known or sighting.for_peer(peer) in confirmed


def is_pending(link: Link, record: Record) -> bool:
    """Does the peer lack this state, or must it drop it?"""
    if not carries(link, record) or has(link, record):
        return False
    if not is_alive(record.entries) and not record.had:
        return False  # nobody ever had it: nobody needs to hear that it is gone
    if is_alive(record.entries) and not is_wanted(link, record):
        return concerns(link, record)
    return concerns(link, record) and not has_seen_all(link, record)


def in_flight(link: Link, since: int) -> Positions:
    """Positions handed to the carrier after ``since`` (milliseconds since 1970), unconfirmed."""
    positions = NOWHERE
    for flight in link.flights:
        if flight.awaited_from > since:
            positions = positions | flight.positions
    return positions


def missed(link: Link, since: int) -> Positions:
    """Our positions that the peer misses by its own word, but for what is on its way since then
    (milliseconds since 1970).
    """
    if link.acked_last is None:
        return NOWHERE
    return Positions.up_to(link.acked_last.top) - link.acked - in_flight(link, since)


def is_question_due(link: Link, resend_before: int) -> bool:
    """Must the peer be asked, or asked again what went no later than ``resend_before``
    (milliseconds since 1970)?
    """
    if not (link.stale or link.rejoin or link.voided.intervals):
        return False
    return link.asked_at is None or link.asked_at <= resend_before


def next_mark(link: Link, top: int, tag: int) -> Mark:
    """The mark of the next bundle: one tag for each position of the stream."""
    return link.sent[-1] if link.sent and link.sent[-1].top == top else Mark(top, tag)


def history(link: Link) -> tuple[Mark, ...]:
    """The marks that the next bundle names."""
    confirmed = link.acked_last
    unconfirmed = [mark for mark in link.sent if confirmed is None or mark.top >= confirmed.top]
    return tuple(unconfirmed[-HISTORY_LIMIT:])


def holding(link: Link, records: frozenset[RecordId], now: int) -> Link:
    """The link once our datasets hold back these records of the peer's, and no others. It is told
    at once of the first one, of the rest with the next bundle or acknowledgement.
    """
    told = owing(link, now) if link.holding else replace(link, owe_since=0)
    return replace(told, holding=records)


def acknowledgement(link: Link) -> Acknowledgement:
    """What we tell the peer of its stream."""
    return Acknowledgement(
        link.inbound,
        link.cover,
        link.last,
        link.lacking,
        link.refusing,
        held=link.holding,
        denied=link.denying,
    )


def sent(link: Link, bundle: Bundle, positions: Positions, now: int) -> Link:
    """The link after a bundle that holds records at ``positions`` was committed."""
    marks = link.sent if bundle.mark in link.sent else (*link.sent, bundle.mark)
    flights = without(link.flights, positions)
    before = [one for one in link.flights if (one.positions & positions).intervals]
    again = bool(before)
    if positions.intervals:
        since = min([now, *(one.unconfirmed_since for one in before)])
        flights = (*flights, Flight(bundle.mark, positions, now, since, again))
    fulls = link.fulls | {bundle.mark.tag} if bundle.manifest is not None else link.fulls
    asks = bundle.manifest is not None or bundle.ask
    asks_again = asks and link.asked_at is not None and not positions.intervals
    return replace(
        link,
        sent=marks[-MEMORY_LIMIT:],
        flights=flights,
        misses=link.misses + (again or asks_again),
        owe_since=None,
        fulls=fulls,
        asked_at=now if asks else link.asked_at,
    )


def confirm(link: Link, acknowledgement: Acknowledgement, now: int) -> Link:
    """The link after the peer's newest word, heard ``now``, about our current stream."""
    acked = link.acked | acknowledgement.cover
    marks = [mark for mark in (link.acked_last, acknowledgement.last) if mark is not None]
    newest = max(marks, key=lambda mark: mark.top, default=None)
    return replace(
        link,
        acked=acked,
        acked_last=newest,
        flights=without(link.flights, acked),
        voided=link.voided - acked,
        round_trip=_measured(link, acked, now),
        misses=link.misses if acked == link.acked and not link.rejoin else 0,
        rejoin=False,
    )


def _measured(link: Link, acked: Positions, now: int) -> RoundTrip | None:
    """The round trip after these confirmations (RFC 6298, section 2; Karn's algorithm)."""
    known = link.round_trip
    for flight in link.flights:
        if flight.again or flight.grace or not flight.positions <= acked:
            continue
        sample = max(now - flight.sent_at, 0)
        if known is None:
            known = RoundTrip(sample, sample // 2)
        else:
            deviation = (3 * known.deviation + abs(known.mean - sample)) // 4
            known = RoundTrip((7 * known.mean + sample) // 8, deviation)
    return known


def without(flights: tuple[Flight, ...], positions: Positions) -> tuple[Flight, ...]:
    """The flights less the positions that are no longer on their way."""
    return tuple(
        flight._replace(positions=left)
        for flight in flights
        if (left := flight.positions - positions).intervals
    )


def unread(link: Link) -> Link:
    """The link once the peer said that it cannot read what is on its way: all that is due again."""
    return replace(link, flights=(), fulls=frozenset(), asked_at=None)


def owing(link: Link, now: int) -> Link:
    """The link with an acknowledgement due, since now if not since earlier."""
    return link if link.owe_since is not None else replace(link, owe_since=now)
