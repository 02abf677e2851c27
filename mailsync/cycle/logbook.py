"""What the log says of bundles that went and came."""

from __future__ import annotations

from mailsync.core.inbound import Received, Verdict
from mailsync.core.model import CONFLICTS, Bundle, Link
from mailsync.core.positions import Positions
from mailsync.store.history import Event
from mailsync.store.inbox import Waiting
from mailsync.store.transaction import Transaction


def log_composed(transaction: Transaction, peer: str, bundle: Bundle, now: int) -> None:
    """A bundle is on its way."""
    records = sum(item.dataset != CONFLICTS for item in bundle.extractions)
    words = _in_words(bundle, f"{records} records, {len(bundle.deletes)} deletes")
    if bundle.request is not None:
        words += f"; asks {bundle.request.words}"
    if bundle.answered is not None:
        words += "; answers what was asked for"
    positions = Positions.of(item.position for item in bundle.items)
    transaction.history.log(Event(now, "composed", peer, None, words, positions))


def log_confirmed(transaction: Transaction, before: Link, after: Link, now: int) -> None:
    """The peer holds more of ours than before."""
    news = after.acked - before.acked
    if news.intervals:
        words = f"our changes up to {after.acked.contiguous}"
        transaction.history.log(Event(now, "confirmed", after.peer, None, words, news))


def log_received(
    transaction: Transaction,
    waiting: Waiting,
    bundle: Bundle,
    received: Received,
    conflicts: int,
    taken: Positions,
    now: int,
) -> None:
    """A bundle came, and this became of it. ``taken``: our positions of what it changed."""
    peer = waiting.peer
    counted = f"{received.upserts} records, {received.deletes} deletes, {conflicts} conflicts"
    words = _in_words(bundle, f"bundle {waiting.number}: {counted}")
    if received.verdict is not Verdict.EXPECTED:
        words += f"; {received.verdict.value}"
    transaction.history.log(Event(now, "received", peer, None, words, taken))
    for name in sorted(received.refused - {CONFLICTS}):
        words = f"offers the dataset {name}, which this site does not take from it"
        transaction.history.log(Event(now, "refused", peer, None, words))
    for order in bundle.deletes:
        text = f"{order.dataset}: {order.reason.value} at {peer}"
        transaction.history.log(Event(now, "delete order", peer, bytes(order.guid), text))


def _in_words(bundle: Bundle, counted: str) -> str:
    if bundle.words:
        return f"match digests, {counted}"
    if bundle.proofs:
        return f"a check of equality, {counted}"
    if not bundle.extractions and not bundle.deletes:
        return "an acknowledgement"
    return counted


def log_disagreement(transaction: Transaction, before: Link, link: Link, now: int) -> None:
    """The peer's policies are others than they were, and others than ours."""
    if link.agreement == before.agreement:
        return
    for name, here, there in link.agreement.differences(link.datasets):
        words = f"{name}: its conflict policy is {there}, here it is {here}"
        transaction.history.log(Event(now, "policies differ", link.peer, None, words))
