"""Outbox -> a carrier of one peer alone: a link, a folder.

Rules
-----
* What is handed over by whatever carrier is the same stream: what was taken is on its way, what was
  not stays, and goes by the next carrier at the same position.
* A carrier that is not there now is no failure: what is due waits for it, or goes by another one.
* Budgets, limits and prices are of mails alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Final

from mailsync.carriers.base import CONTAINER_MAX, Kind, Letter, Retry, Sender, Sent
from mailsync.core import timers
from mailsync.cycle.partly import keep_part
from mailsync.cycle.report import Report
from mailsync.cycle.site import Peer, Site
from mailsync.store.history import Event
from mailsync.store.outbox import Queued
from mailsync.store.transaction import Transaction

LINK_CONTAINER_MAX: Final = 2**18
"""Bytes: what was under way when a link broke goes again, and links may be slow."""

_LARGEST: Final[Mapping[Kind, int]] = {"tcp": LINK_CONTAINER_MAX, "folder": CONTAINER_MAX}


def carriers_to(site: Site, peer: str, allowed: Collection[Kind] | None) -> list[Kind]:
    """What may take bundles to a peer now, in the order to try it: a link that is up goes first."""
    here = site.direct.get(peer, {})
    configured = site.peers[peer].settings.carrier
    order: list[Kind] = [kind for kind in here if kind not in configured]
    order += configured
    found = [
        kind
        for kind in sorted(order, key=lambda kind: kind != "tcp")
        if kind in here or (kind == "mail" and site.carrier is not None)
    ]
    return [kind for kind in found if allowed is None or kind in allowed]


def by_direct(peer: Peer, kind: Kind) -> Peer:
    """The peer as it is reached by such a carrier: other containers, no budget, no delay."""
    terms = {"budget": None, "acknowledge_after": 0}
    settings = peer.settings.model_copy(update=terms)
    return replace(peer, settings=settings, largest=_LARGEST[kind])


async def deliver_directly(
    site: Site, peer: Peer, kind: Kind, sender: Sender, report: Report
) -> bool:
    """Hand over what the outbox holds for the peer; False if the carrier ceased to take it."""
    with site.store.transaction() as transaction:
        queued = transaction.outbox.items(peer.name)
    for item in queued:
        if not await _hand_over(site, peer, kind, sender, item, report):
            return False
        report.progress(f"sending to {peer.name}", 1, len(queued))
    return True


async def _hand_over(
    site: Site, peer: Peer, kind: Kind, sender: Sender, item: Queued, report: Report
) -> bool:
    with site.store.transaction() as transaction:
        letter = begin_attempt(transaction, peer, item)
    result = await sender.send(letter)
    now = site.surroundings.now()
    with site.store.transaction() as transaction:
        if isinstance(result, Sent):
            note_taken(transaction, item, f"by {kind}: {item.label}", result.size, now)
            if kind == "folder":
                grace = site.peers[peer.name].settings.folder_time * 1000
                link = timers.carried(site.links(transaction)[peer.name], item.positions, grace)
                transaction.save_links({peer.name: link})
            report.peer(peer.name).sent.count(kind, result.size)
            return True
        uncertain = isinstance(result, Retry) and result.uncertain
        transaction.outbox.fail_attempt(
            item.number,
            item.next_attempt_at,
            result.reason,
            perhaps_taken=item.perhaps_taken or uncertain,
        )
        words = f"by {kind}: {result.reason}"
        transaction.history.log(Event(now, "not taken", item.peer, None, words))
    return False


def begin_attempt(transaction: Transaction, peer: Peer, item: Queued) -> Letter:
    """Count an attempt before it is made: the letter to be handed over."""
    transaction.outbox.begin_attempt(item.number)
    return Letter(
        recipient=peer.address,
        container=transaction.outbox.container(item.number),
        message_id=item.message_id,
        label=item.label,
        part=item.part,
        parts=item.parts,
    )


def note_taken(transaction: Transaction, item: Queued, what: str, size: int, now: int) -> None:
    """A carrier took one part: it is on its way."""
    if item.parts > 1:
        keep_part(transaction, item, now)
    else:
        transaction.outbox.remove([item.number])
    text = f"{what} part {item.part} of {item.parts}, {size} bytes"
    transaction.history.log(Event(now, "sent", item.peer, None, text))
