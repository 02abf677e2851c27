"""Record map -> bundles -> outbox.

A bundle is committed with its parts in the outbox, before anything is handed to the carrier.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from mailsync.core import container, delivery, outbound, sealing, wire
from mailsync.core.model import CONFLICTS, Bundle, Record, RecordId
from mailsync.core.offering import offer
from mailsync.core.parts import BUNDLE_SIZE, sign_part, split
from mailsync.core.positions import Positions
from mailsync.cycle.partly import forget_parts, label_of, receipts_for
from mailsync.cycle.site import Peer, Site
from mailsync.cycle.ways import largest_mail
from mailsync.store.history import Event
from mailsync.store.outbox import Queued
from mailsync.store.routes import Route
from mailsync.store.transaction import Transaction

ALWAYS = 1 << 62
"""A time by which everything is due."""

MAIL_OVERHEAD = 2_048
"""Bytes of a mail around its attachment, at most."""

BASE64_GROWTH = 1.3685
"""Of base64 in lines of 76 characters (RFC 2045, 6.8)."""


class Composed(NamedTuple):
    """One bundle on its way into the outbox. Counts are by dataset."""

    upserts: Counter[str]
    deletes: Counter[str]
    containers: list[bytes]


def compose_for(site: Site, peer: Peer, *, everything: bool, due_by: int) -> Iterator[Composed]:
    """The bundles due to a peer now, each committed with its parts in the outbox.

    ``everything``: also what is on its way and not confirmed yet. What waits in the outbox and
    was certainly not taken by any carrier is recalled first, if it is to be tried again by
    ``due_by`` (milliseconds since 1970) or there is more to tell by now: after an outage one
    up-to-date set goes, not its history.
    """
    start = site.surroundings.now()
    with site.store.transaction() as transaction:
        links = site.links(transaction)
        candidates = list(transaction.records.outside(links[peer.name].acked))
        more = outbound.is_due(
            links, peer.name, candidates, resend_before=0, owed_before=_owed_before(peer, start)
        )
        _recall(site, transaction, peer, ALWAYS if more else due_by)
    while True:
        with site.store.transaction() as transaction:
            composed = _compose_one(
                site, transaction, peer, candidates, start, everything=everything
            )
        if composed is None:
            return
        yield composed


def offer_widened(site: Site) -> None:
    """Make due what links carry that did not before: a section of the configuration was added."""
    now = site.surroundings.now()
    with site.store.transaction() as transaction:
        links = site.links(transaction)
        changed = {name: link for name, link in links.items() if link.datasets != link.offered}
        if not changed:
            return
        ledger = transaction.ledger()
        for name, link in changed.items():
            if link.sent and link.datasets - link.offered:
                offer(ledger, links, name, link.datasets - link.offered)
            changed[name] = replace(link, offered=link.datasets)
        transaction.save(ledger, now)
        transaction.save_links(changed)


def _recall(site: Site, transaction: Transaction, peer: Peer, due_by: int) -> None:
    """Take bundles back out of the outbox of which no part can have left."""
    items = transaction.outbox.items(peer.name)
    bound = {item.label for item in items if item.perhaps_taken or item.next_attempt_at > due_by}
    whole = Counter(item.label for item in items)
    recalled = [
        item for item in items if item.label not in bound and whole[item.label] == item.parts
    ]
    if recalled:
        ground(site, transaction, recalled)
    # what has not left yet is not overdue, however long a server holds it up
    waiting = Positions.covering(
        interval for item in items if item not in recalled for interval in item.positions.intervals
    )
    if waiting.intervals:
        link = site.links(transaction)[peer.name]
        now = site.surroundings.now()
        transaction.save_links({peer.name: delivery.renewed(link, waiting, now)})


def ground(site: Site, transaction: Transaction, items: list[Queued]) -> None:
    """These parts will not go: what they hold is not on its way any more, but due."""
    transaction.outbox.remove(item.number for item in items)
    links = site.links(transaction)
    for item in items:
        link = links[item.peer]
        flights = delivery.without(link.flights, item.positions)
        links[item.peer] = replace(link, flights=flights, owe_since=0)
    transaction.save_links(links)


def _compose_one(
    site: Site,
    transaction: Transaction,
    peer: Peer,
    candidates: Sequence[Record],
    start: int,
    *,
    everything: bool,
) -> Composed | None:
    now = max(site.surroundings.now(), start + 1)
    links = site.links(transaction)
    link = links[peer.name]
    patience = delivery.patience(link, peer.settings.resend_after * 1000)
    resend_before = start if everything else start - patience
    if not outbound.is_due(
        links,
        peer.name,
        candidates,
        resend_before=resend_before,
        owed_before=_owed_before(peer, now),
    ):
        return None
    tag, name = site.surroundings.bits(32), site.surroundings.octets(BUNDLE_SIZE)
    receipts, still_owed = receipts_for(site, transaction, peer, link, now)
    manifest = _manifest(transaction) if link.stale else None
    size_limit = outbound.SIZE_LIMIT
    preface, prior = transaction.bodies.next(peer.name)
    while True:
        ledger = transaction.ledger()
        bundle, changed = outbound.compose(
            ledger,
            links,
            peer.name,
            candidates,
            now=now,
            resend_before=resend_before,
            tag=tag,
            size_limit=size_limit,
            manifest=manifest,
        )
        route = transaction.routes.get(peer.name)
        told = replace(bundle.acknowledgement, stripped=route.stripped)
        bundle = replace(bundle, acknowledgement=told)
        written = wire.encode(bundle, preface, prior)
        containers = _containers(site, peer, written.content, route, name, receipts)
        count = len(bundle.extractions) + len(bundle.deletes)
        if len(containers) == 1 or count <= 1:
            break
        # what fits into one mail is confirmed, and if lost sent again, on its own
        size_limit = min(size_limit, outbound.weight(bundle)) * 2 // (3 * len(containers))
    transaction.save(ledger, now)
    transaction.save_links({peer.name: replace(changed, owe_since=still_owed)})
    transaction.bodies.sent(peer.name, preface.serial, written.body)
    _queue(site, transaction, peer, bundle, containers, label_of(name))
    _log(transaction, peer, bundle, now)
    return Composed(
        Counter(item.dataset for item in bundle.extractions),
        Counter(item.dataset for item in bundle.deletes),
        containers,
    )


def _owed_before(peer: Peer, now: int) -> int:
    """An acknowledgement owed since before this goes even alone (milliseconds since 1970)."""
    return now - peer.settings.acknowledge_after * 1000


def _manifest(transaction: Transaction) -> frozenset[RecordId]:
    return frozenset(i for i in transaction.records if i.dataset != CONFLICTS)


def _containers(
    site: Site, peer: Peer, content: bytes, route: Route, name: bytes, receipts: bytes
) -> list[bytes]:
    """A bundle as it travels: one container, or one for each part; receipts lie with the first.

    ``name``: 8 bytes that the parts are known by.
    """
    if peer.settings.seal:
        message = sealing.seal(
            content,
            sender=site.keys,
            recipient=peer.public,
            ephemeral=site.surroundings.octets(sealing.KEY_SIZE),
            nonce=site.surroundings.octets(sealing.NONCE_SIZE),
        )
    else:
        message = sealing.sign(content, sender=site.keys, recipient=peer.public)
    largest = largest_mail(route, peer.settings.max_message, site.surroundings.now())
    limit = int((largest - MAIL_OVERHEAD) / BASE64_GROWTH) - len(receipts)
    whole = container.frame(container.Kind.BUNDLE, message)
    if len(whole) <= limit:
        return [whole + receipts]
    pieces = [
        container.frame(
            container.Kind.PART, sign_part(part, sender=site.keys, recipient=peer.public)
        )
        for part in split(message, name, limit - 256)
    ]
    return [pieces[0] + receipts, *pieces[1:]]


def _queue(
    site: Site,
    transaction: Transaction,
    peer: Peer,
    bundle: Bundle,
    containers: list[bytes],
    label: str,
) -> None:
    positions = Positions.of(item.position for item in bundle.items)
    if positions.intervals:
        forget_parts(transaction, peer.name, positions)
    for number, content in enumerate(containers, start=1):
        transaction.outbox.add(
            Queued(
                peer=peer.name,
                label=label,
                part=number,
                parts=len(containers),
                container=content,
                positions=positions,
                message_id=site.message_id(),
                next_attempt_at=0,
            )
        )


def _log(transaction: Transaction, peer: Peer, bundle: Bundle, now: int) -> None:
    records = sum(item.dataset != CONFLICTS for item in bundle.extractions)
    what = f"{records} records, {len(bundle.deletes)} deletes"
    if not bundle.extractions and not bundle.deletes:
        what = "an acknowledgement"
    transaction.history.log(Event(now, "composed", peer.name, None, what))
