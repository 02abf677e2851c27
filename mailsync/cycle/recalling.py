"""Bundles are taken back out of the outbox: what they hold is composed anew, as it is by then."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from mailsync.core import answering, delivery, timers
from mailsync.core.positions import Positions
from mailsync.cycle.budget import fits_no_day
from mailsync.cycle.packing import room_for
from mailsync.cycle.site import Peer, Site
from mailsync.store.outbox import Queued
from mailsync.store.routes import Route
from mailsync.store.transaction import Transaction


def recall(site: Site, transaction: Transaction, peer: Peer, due_by: int) -> None:
    """Take bundles back out of the outbox of which no part can have left."""
    items = transaction.outbox.items(peer.name)
    bound = {
        item.label
        for item in items
        if (item.perhaps_taken or item.next_attempt_at > due_by)
        and not fits_no_day(site, transaction, peer, item)
    }
    whole = Counter(item.label for item in items)
    recalled = [
        item for item in items if item.label not in bound and whole[item.label] == item.parts
    ]
    if recalled:
        ground(site, transaction, recalled)
        transaction.matches.unsaid(peer.name)
        transaction.proofs.unsaid(peer.name)
    # what has not left yet is not overdue, however long a server holds it up
    waiting = [item for item in items if item not in recalled]
    if waiting:
        positions = Positions.covering(
            interval for item in waiting for interval in item.positions.intervals
        )
        link = site.links(transaction)[peer.name]
        now = site.surroundings.now()
        transaction.save_links({peer.name: timers.renewed(link, positions, now)})


def recall_oversized(site: Site, transaction: Transaction, peer: Peer, now: int) -> None:
    """Take back what was composed for a carrier of larger containers, which is not there now."""
    limit = room_for(peer, Route(), now)
    items = transaction.outbox.items(peer.name)
    labels = {item.label for item in items if item.size > limit}
    if labels:
        ground(site, transaction, [item for item in items if item.label in labels])
        transaction.matches.unsaid(peer.name)


def ground(site: Site, transaction: Transaction, items: list[Queued]) -> None:
    """These parts will not go: what they hold is not on its way any more, but due."""
    transaction.outbox.remove(item.number for item in items)
    links = site.links(transaction)
    for item in items:
        link = links[item.peer]
        flights = delivery.without(link.flights, item.positions)
        links[item.peer] = answering.unsaid(
            replace(link, flights=flights, owe_since=0, asked_at=None)
        )
    transaction.save_links(links)
