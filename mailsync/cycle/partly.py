"""Bundles of several parts, of which only some arrived: the reader tells, the sender adds.

Rules
-----
* The sender keeps the parts it handed over until the peer confirms what they hold, or it is sent
  anew. The same bytes go again; where they are kept no longer, everything goes when the time for
  an answer is over.
* A receipt rides where an acknowledgement does, and after the same time, so that what is only
  late is not asked for.
* A receipt counts if it names a part that was not known to have arrived: an old one, a copy of
  one, or one about other parts moves nothing.
"""

from __future__ import annotations

from mailsync.core import container
from mailsync.core.delivery import owing
from mailsync.core.model import Link
from mailsync.core.parts import Receipt, sign_receipt
from mailsync.core.positions import Positions
from mailsync.core.timers import renewed
from mailsync.cycle.site import Peer, Site
from mailsync.store.history import Event
from mailsync.store.outbox import Queued
from mailsync.store.transaction import Transaction

RECEIPTS_MAX = 4
"""In one mail; what is missing besides is sent anew in its time."""


def owe_receipt(site: Site, transaction: Transaction, peer: str, now: int) -> None:
    """A part arrived and others are missing: if it stays so, the peer should hear of it."""
    transaction.save_links({peer: owing(site.links(transaction)[peer], now)})


def receipts_for(
    site: Site, transaction: Transaction, peer: Peer, link: Link, now: int
) -> tuple[bytes, int | None]:
    """The receipts due to a peer, as containers; and since when those are owed that are not due."""
    if link.owe_since is None:
        return b"", None
    incomplete = transaction.inbox.incomplete(peer.name, link.owe_since)
    if incomplete and link.owe_since > now - peer.settings.acknowledge_after * 1000:
        return b"", link.owe_since
    signed = (
        sign_receipt(Receipt(*each), sender=site.keys, recipient=peer.public)
        for each in incomplete[-RECEIPTS_MAX:]
    )
    return b"".join(container.frame(container.Kind.RECEIPT, one) for one in signed), None


def send_missing(
    site: Site, transaction: Transaction, peer: str, receipt: Receipt, now: int
) -> None:
    """A peer told which parts of a bundle it holds: the others go again, in mails of their own."""
    label = label_of(receipt.bundle)
    kept = [item for item in transaction.outbox.kept(peer) if item.label == label]
    arrived = [item.number for item in kept if item.part in receipt.held]
    missing = [item for item in kept if item.part not in receipt.held]
    transaction.outbox.remove(arrived)
    if not arrived or not missing:
        return
    link, positions = site.links(transaction)[peer], missing[0].positions
    if not any((flight.positions & positions).intervals for flight in link.flights):
        return  # it goes anew already
    for item in missing:
        transaction.outbox.put_back(item.number, site.message_id())
    transaction.save_links({peer: renewed(link, positions, now)})
    words = f"{len(missing)} of {receipt.count} parts of {label} did not arrive; they go again"
    transaction.history.log(Event(now, "missing", peer, None, words))


def keep_part(transaction: Transaction, item: Queued, now: int) -> None:
    """A carrier took one of several parts: it is kept as long as the peer may ask for it. Not one
    that went once more while the confirmation came, which nobody asks for any more.
    """
    link = transaction.links().get(item.peer)
    if link is not None and (item.positions & link.acked).intervals:
        transaction.outbox.remove([item.number])
    else:
        transaction.outbox.keep(item.number, now)


def forget_parts(transaction: Transaction, peer: str, positions: Positions) -> None:
    """What is at these positions was confirmed, or goes anew: no part of it is asked for again."""
    kept = transaction.outbox.kept(peer)
    transaction.outbox.remove(
        item.number for item in kept if (item.positions & positions).intervals
    )


def label_of(bundle: bytes) -> str:
    """What people see of a bundle's name."""
    return bundle[:4].hex()
