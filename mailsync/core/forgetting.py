"""Forget what every peer has confirmed, so that state stays bounded.

Rules
-----
* Ancestors shrink to the current dots once every peer that is not stale has confirmed the state;
  but for some that a stale peer may hold by another's word, the oldest and the newest, and the
  newest that it is known to hold: when it returns, what overwrote them knowingly must not seem to
  have come about without them, nor be taken for new where the record was deleted.
* A tombstone, or a stub of a withdrawn record, is dropped when its retention time is over and
  every peer that is not stale has confirmed it. The horizon remembers the latest one dropped.
  A stub that others still hold the record of stays: to them we would seem to have deleted it.
* A record that goes before a peer ever heard of it is not waited for there.
* A peer silent for too long becomes stale: nobody waits for it. When it returns it reconciles
  by a full bundle, and only then are records unknown here taken from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace

from mailsync.core.delivery import has_seen, is_settled
from mailsync.core.desired import desired_fields
from mailsync.core.glimpses import of_dots
from mailsync.core.ledger import Ledger
from mailsync.core.merge import dots_of_deletes
from mailsync.core.model import (
    CONFLICTS,
    NO_MARKER,
    Dot,
    Link,
    Record,
    dots_of,
    is_alive,
)
from mailsync.core.positions import Positions
from mailsync.core.scope import carries, is_wanted

ANCESTORS_MAX = 16
"""So many are kept for stale peers: half of them of the time when they fell silent, half of now."""


def prune(ledger: Ledger, links: Mapping[str, Link], record: Record) -> None:
    """Forget the record's ancestors if every peer that is not stale has confirmed its state."""
    if record.withdrawn:
        return
    transmitted = record.had or is_alive(record.entries)
    # what won by a note is for the site that lost to know, whenever it returns
    is_note = record.dataset == CONFLICTS
    stale = {name for name, link in links.items() if link.stale and not is_note}
    for link in links.values():
        if (
            transmitted
            and link.peer not in stale
            and carries(link, record)
            and not (
                is_settled(link, record)
                and (link.peer in record.had or not is_wanted(link, record))
            )
        ):
            return
    kept = dots_of(record.entries)
    if not is_alive(record.entries):
        kept |= dots_of_deletes(record)
    kept |= _may_be_held(record, [links[name] for name in stale], kept)
    kept |= _held_since_it_left(record, links)
    context = {dot: sighting for dot, sighting in record.context.items() if dot in kept}
    glimpses = of_dots(record.glimpses, context.keys())
    pruned = replace(record, context=context, glimpses=glimpses, whole_for=record.whole_for & stale)
    if pruned != record:
        ledger.keep(pruned)


def _may_be_held(
    record: Record, stale: Iterable[Link], current: AbstractSet[Dot]
) -> frozenset[Dot]:
    """Ancestors that these peers may hold, though we never heard so: others may have sent them. And
    the newest that each holds: it tells that the peer had the record, if that is gone there.
    """
    interested = [link for link in stale if carries(link, record)]
    heard = [
        {dot for dot, sighting in record.context.items() if has_seen(link, record, sighting)}
        for link in interested
    ]
    unheard = sorted(
        dot
        for dot in record.context
        if dot not in current and not all(dot in dots for dots in heard)
    )
    half = ANCESTORS_MAX // 2
    newest = {max(dots) for dots in heard if dots}
    return frozenset(unheard[:half] + unheard[half:][-half:]) | newest


def _held_since_it_left(record: Record, links: Mapping[str, Link]) -> frozenset[Dot]:
    """What peers had seen when the record left their filter: they may show it when it comes back,
    and by then all is forgotten here that came of it.
    """
    outside = [
        link
        for name, link in links.items()
        if name in record.had and (name in record.outside or not is_wanted(link, record))
    ]
    seen = sorted(
        dot
        for dot, sighting in record.context.items()
        if any(has_seen(link, record, sighting) for link in outside)
    )
    return frozenset(seen[-ANCESTORS_MAX:])


def purge(ledger: Ledger, links: Mapping[str, Link], record: Record) -> dict[str, Link]:
    """Drop a tombstone or stub, past its retention time, that nobody needs any more.

    Returns the links afterwards.
    """
    unchanged = dict(links)
    if desired_fields(record) is not None or (is_alive(record.entries) and not record.withdrawn):
        return unchanged
    if record.shadow is not None or record.marker is not NO_MARKER:
        return unchanged
    if is_alive(record.entries) and not links.keys().isdisjoint(record.had - record.blind_to):
        return unchanged
    late = set()
    if record.had and not is_alive(record.entries):
        late = {name for name, link in links.items() if not is_settled(link, record)}
    if any(not links[name].stale for name in late):
        return unchanged
    ledger.site = replace(ledger.site, horizon=max(ledger.site.horizon, record.position))
    ledger.drop(record.id)
    return {
        name: replace(link, fulls=frozenset(), asked_at=None)
        if name in late
        else replace(link, acked=link.acked | Positions.of([record.position]))
        for name, link in links.items()
    }


def expire(link: Link) -> Link:
    """The peer has been silent for too long: stop waiting for it."""
    return link if link.stale else replace(link, stale=True, fulls=frozenset(), asked_at=None)
