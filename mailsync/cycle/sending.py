"""Record map -> bundles -> outbox -> carrier.

A bundle is committed with the parts in the outbox before anything is handed to the carrier,
and every attempt is counted before it is made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from mailsync.carriers.base import Letter, Refused, Retry, Sender, Sent
from mailsync.core import container, outbound, sealing, wire
from mailsync.core.model import CONFLICTS, Bundle, RecordId
from mailsync.core.parts import BUNDLE_SIZE, sign_part, split
from mailsync.cycle.report import Report
from mailsync.cycle.site import Peer, Site
from mailsync.errors import Exit, MailsyncError, OperatorError
from mailsync.store.history import Event
from mailsync.store.outbox import Queued
from mailsync.store.transaction import Transaction

MAIL_OVERHEAD = 2_048
"""Bytes of a mail around its attachment, at most."""

BASE64_GROWTH = 1.3685
"""Of base64 in lines of 76 characters (RFC 2045, 6.8)."""

RETRY_AFTER_MS = 10 * 60 * 1000
"""An uncertain submission is tried again after at least ten minutes (RFC 5321, 4.5.3.2.6)."""


class MailNotTaken(OperatorError):
    """The mail waits in the outbox and is tried again; see mailsync status."""


class TemporarilyNotTaken(MailNotTaken):
    """The mail waits in the outbox; the next sync tries again."""

    exit_code = Exit.TEMPORARY


class Composed(NamedTuple):
    """One bundle on its way into the outbox. Counts are by dataset."""

    upserts: Counter[str]
    deletes: Counter[str]
    containers: list[bytes]


def compose_for(site: Site, peer: Peer, *, everything: bool) -> Iterator[Composed]:
    """The bundles due to a peer now, each committed with its parts in the outbox.

    ``everything``: also what is on its way and not confirmed yet.
    """
    start = site.surroundings.now()
    while True:
        with site.store.transaction() as transaction:
            composed = _compose_one(site, transaction, peer, start, everything=everything)
        if composed is None:
            return
        yield composed


def _compose_one(
    site: Site, transaction: Transaction, peer: Peer, start: int, *, everything: bool
) -> Composed | None:
    now = max(site.surroundings.now(), start + 1)
    resend_before = start if everything else start - peer.settings.resend_after * 1000
    links = site.links(transaction)
    link = links[peer.name]
    candidates = list(transaction.records.outside(link.acked))
    if not outbound.is_due(
        links,
        peer.name,
        candidates,
        resend_before=resend_before,
        owed_before=now - peer.settings.acknowledge_after * 1000,
    ):
        return None
    ledger = transaction.ledger()
    bundle, changed = outbound.compose(
        ledger,
        links,
        peer.name,
        candidates,
        now=now,
        resend_before=resend_before,
        tag=site.surroundings.bits(32),
        manifest=_manifest(transaction) if link.stale else None,
    )
    containers = _containers(site, peer, bundle)
    transaction.save(ledger, now)
    transaction.save_links({peer.name: changed})
    _queue(site, transaction, peer, containers, now)
    _log(transaction, peer, bundle, now)
    return Composed(
        Counter(item.dataset for item in bundle.extractions),
        Counter(item.dataset for item in bundle.deletes),
        containers,
    )


def _manifest(transaction: Transaction) -> frozenset[RecordId]:
    return frozenset(i for i in transaction.records if i.dataset != CONFLICTS)


def _containers(site: Site, peer: Peer, bundle: Bundle) -> list[bytes]:
    """The bundle as it travels: one container, or one for each part."""
    content = wire.encode(bundle)
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
    limit = int((peer.settings.max_message - MAIL_OVERHEAD) / BASE64_GROWTH)
    whole = container.frame(container.Kind.BUNDLE, message)
    if len(whole) <= limit:
        return [whole]
    name = site.surroundings.octets(BUNDLE_SIZE)
    return [
        container.frame(
            container.Kind.PART, sign_part(part, sender=site.keys, recipient=peer.public)
        )
        for part in split(message, name, limit - 256)
    ]


def _queue(
    site: Site, transaction: Transaction, peer: Peer, containers: list[bytes], now: int
) -> None:
    label = site.surroundings.octets(4).hex()
    for number, content in enumerate(containers, start=1):
        transaction.outbox.add(
            Queued(
                number=0,
                peer=peer.name,
                label=label,
                part=number,
                parts=len(containers),
                container=content,
                message_id=_message_id(site),
                attempts=0,
                next_attempt_at=now,
                reason="",
            )
        )


def _message_id(site: Site) -> str:
    address = site.settings.mail.address if site.settings.mail is not None else "local"
    return f"<{site.surroundings.octets(12).hex()}@{address.rpartition('@')[2]}>"


def _log(transaction: Transaction, peer: Peer, bundle: Bundle, now: int) -> None:
    records = sum(item.dataset != CONFLICTS for item in bundle.extractions)
    what = f"{records} records, {len(bundle.deletes)} deletes"
    if not bundle.extractions and not bundle.deletes:
        what = "an acknowledgement"
    transaction.history.log(Event(now, "composed", peer.name, None, what))


async def deliver(site: Site, peers: frozenset[str], report: Report, *, due_by: int) -> None:
    """Hand over what the outbox holds for these peers and is due by ``due_by`` (milliseconds).

    Raises Unreachable, LoginRefused, BadCertificate when the carrier cannot be used at all.
    """
    with site.store.transaction() as transaction:
        queued = [item for item in transaction.outbox.items() if item.peer in peers]
    queued = [item for item in queued if item.next_attempt_at <= due_by]
    if not queued or site.carrier is None:
        return
    async with site.carrier.sender() as sender:
        for item in queued:
            await _hand_over(site, sender, item, report)
            report.progress("sending", 1)


async def _hand_over(site: Site, sender: Sender, item: Queued, report: Report) -> None:
    peer = site.peers[item.peer]
    now = site.surroundings.now()
    with site.store.transaction() as transaction:
        transaction.outbox.attempt(item.number, now + RETRY_AFTER_MS, "", item.message_id)
    letter = Letter(
        recipient=peer.address,
        container=item.container,
        message_id=item.message_id,
        label=item.label,
        part=item.part,
        parts=item.parts,
        profile=peer.settings.profile,
    )
    result = await sender.send(letter)
    now = site.surroundings.now()
    with site.store.transaction() as transaction:
        if isinstance(result, Sent):
            transaction.outbox.remove(item.number)
            transaction.history.meter(item.peer, day_of(now), "sent", result.size)
            text = f"mail {item.label} part {item.part} of {item.parts}, {result.size} bytes"
            transaction.history.log(Event(now, "sent", item.peer, None, text))
            sent = report.peer(item.peer).sent
            sent.mails += 1
            sent.bytes += result.size
        else:
            report.problems.append(_put_back(transaction, item, result, now))


def _put_back(
    transaction: Transaction, item: Queued, result: Retry | Refused, now: int
) -> MailsyncError:
    """The mail was not, or not certainly, taken: when to try again, and what to say."""
    later = now + RETRY_AFTER_MS * 2 ** min(item.attempts, 5)
    transaction.outbox.attempt(item.number, later, result.reason, item.message_id)
    transaction.history.log(Event(now, "not taken", item.peer, None, result.reason))
    words = f"mail {item.label} to {item.peer}: {result.reason}"
    return TemporarilyNotTaken(words) if isinstance(result, Retry) else MailNotTaken(words)


def day_of(now: int) -> str:
    """The day of a time, ISO 8601 in UTC."""
    return datetime.fromtimestamp(now / 1000, UTC).date().isoformat()
