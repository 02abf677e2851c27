"""Outbox -> carrier. Every attempt is counted before it is made."""

from __future__ import annotations

from dataclasses import replace

from mailsync.carriers.base import Refused, Retry, Sender, SendResult, Sent
from mailsync.cycle.budget import day_of, within_budgets
from mailsync.cycle.direct import begin_attempt, note_taken
from mailsync.cycle.pacing import cleared, pause_route, resume_route, sending
from mailsync.cycle.packing import BASE64_GROWTH, MAIL_OVERHEAD
from mailsync.cycle.recalling import ground
from mailsync.cycle.report import Report
from mailsync.cycle.site import Site
from mailsync.cycle.ways import learn_size, note_announced, note_size_taken
from mailsync.errors import Exit, MailsyncError, OperatorError
from mailsync.store.history import Event
from mailsync.store.outbox import Queued
from mailsync.store.transaction import Transaction

RETRY_AFTER_MS = 10 * 60 * 1000
"""An uncertain submission is tried again after at least ten minutes (RFC 5321, 4.5.3.2.6)."""


class MailNotTaken(OperatorError):
    """The mail waits in the outbox and is tried again; see mailsync status."""


class TemporarilyNotTaken(MailNotTaken):
    """The mail waits in the outbox; the next sync tries again."""

    exit_code = Exit.TEMPORARY


class TooLarge(MailNotTaken):
    """The next sync sends it in smaller parts; set max_message for the peer to save the attempt."""

    exit_code = Exit.TEMPORARY


async def deliver(site: Site, peers: frozenset[str], report: Report, *, due_by: int) -> None:
    """Hand over what the outbox holds for these peers and is due by ``due_by`` (milliseconds).

    Raises Unreachable, LoginRefused, BadCertificate when the carrier cannot be used at all.
    """
    with site.store.transaction() as transaction:
        queued = [item for item in transaction.outbox.items() if item.peer in peers]
        queued = [item for item in queued if item.next_attempt_at <= due_by]
        queued = within_budgets(site, transaction, queued)
        queued, waiting, report.more_mails_at = cleared(site, transaction, queued)
    report.problems += [TemporarilyNotTaken(words) for words in waiting]
    if not queued or site.carrier is None:
        return
    async with sending(site, site.carrier, queued) as sender:
        if sender.size_limit is not None:
            with site.store.transaction() as transaction:
                note_announced(transaction, {item.peer for item in queued}, sender.size_limit)
        given_up: set[str] = set()
        paused: set[str] = set()
        for item in queued:
            if item.label in given_up or item.peer in paused:
                continue
            result = await _hand_over(site, sender, item, report)
            if isinstance(result, Retry) and result.throttled:
                paused.add(item.peer)
            if isinstance(result, Refused) and result.too_large:
                given_up.add(item.label)
            report.progress("sending mails", 1, len(queued))
    if paused:
        with site.store.transaction() as transaction:
            cleared(site, transaction, [item for item in queued if item.peer in paused])


async def _hand_over(site: Site, sender: Sender, item: Queued, report: Report) -> SendResult:
    """One attempt."""
    peer = site.peers[item.peer]
    with site.store.transaction() as transaction:
        letter = begin_attempt(transaction, peer, item)
        begun_at = site.surroundings.now()
        transaction.routes.dispatch(item.message_id, item.peer, _mail_size(item), begun_at)
        step = transaction.routes.get(item.peer).step
    result = await sender.send(replace(letter, profile=peer.settings.form, step=step))
    now = site.surroundings.now()
    with site.store.transaction() as transaction:
        if isinstance(result, Sent):
            note_taken(transaction, item, f"mail {item.label}", result.size, now)
            resume_route(transaction, item.peer)
            note_size_taken(transaction, item.peer, result.size, now)
            _meter(site, transaction, item.peer, result.size, now)
            report.peer(item.peer).sent.count("mail", result.size)
        else:
            report.problems.append(_put_back(site, transaction, item, result, now))
    return result


def _put_back(
    site: Site, transaction: Transaction, item: Queued, result: Retry | Refused, now: int
) -> MailsyncError:
    """The mail was not, or not certainly, taken: when to try again, and what to say."""
    later = now + RETRY_AFTER_MS * 2 ** min(item.attempts, 5)
    uncertain = isinstance(result, Retry) and result.uncertain
    if uncertain:
        _meter(site, transaction, item.peer, _mail_size(item), now)  # it may have gone
    else:
        transaction.routes.retract(item.message_id)
    if isinstance(result, Retry) and result.throttled:
        later = pause_route(transaction, item.peer, result.reason, now)
    transaction.outbox.fail_attempt(item.number, later, result.reason, perhaps_taken=uncertain)
    transaction.history.log(Event(now, "not taken", item.peer, None, result.reason))
    words = f"mail {item.label} to {item.peer}: {result.reason}"
    if isinstance(result, Retry):
        return TemporarilyNotTaken(words)
    if result.too_large:
        if result.limit is None:
            learn_size(transaction, item.peer, _mail_size(item), now)
        else:
            note_announced(transaction, [item.peer], result.limit)
        bundle = [
            other for other in transaction.outbox.items(item.peer) if other.label == item.label
        ]
        ground(site, transaction, bundle)
        return TooLarge(words)
    return MailNotTaken(words)


def _meter(site: Site, transaction: Transaction, peer: str, size: int, now: int) -> None:
    transaction.history.meter(peer, day_of(now, site.surroundings.zone), "sent", size)


def _mail_size(item: Queued) -> int:
    """Bytes of the whole mail, about."""
    return int(item.size * BASE64_GROWTH) + MAIL_OVERHEAD
