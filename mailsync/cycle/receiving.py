"""Mailbox -> inbox -> record map.

A mail counts as ours only when the signature of an accepted peer is verified; until then it is
neither flagged nor moved, and its bytes are bounded. What is verified is durable in the inbox
before the mailbox may forget it.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from mailsync.carriers.base import Arrival, Mailbox, Place
from mailsync.core import container, parts, sealing, wire
from mailsync.core.delivery import owing, unread
from mailsync.core.inbound import Received, Verdict, receive
from mailsync.core.model import Bundle, Link
from mailsync.core.positions import Positions
from mailsync.core.preface import Preface
from mailsync.core.preface import read as preface_of
from mailsync.cycle import asking, filling, matching, verifying
from mailsync.cycle.budget import day_of
from mailsync.cycle.holding import log_held
from mailsync.cycle.logbook import log_confirmed, log_disagreement, log_received
from mailsync.cycle.minting import go_ahead, without_namesakes
from mailsync.cycle.partly import forget_parts, owe_receipt, send_missing
from mailsync.cycle.report import Report
from mailsync.cycle.saving import Cause, save
from mailsync.cycle.site import Peer, Site
from mailsync.cycle.ways import (
    note_bounce,
    note_places,
    note_quota,
    note_stripped,
    step_up,
    suspicion,
)
from mailsync.errors import BadBundle, BadFormat, MailsyncError, OurError, UsageError
from mailsync.store.history import Event
from mailsync.store.inbox import Waiting
from mailsync.store.mailbox import Look
from mailsync.store.transaction import Transaction

ATTEMPTS = 3
"""How often a bundle is tried before it is set aside."""

LOOKS = tuple(minutes * 60_000 for minutes in (10, 60, 6 * 60, 24 * 60, 48 * 60))
"""When a mail that is not complete is looked at again, in milliseconds since it was first seen:
scanners put a placeholder first, and the mail itself minutes or days later."""

_log = logging.getLogger(__name__)


class _Verified(NamedTuple):
    """What a container proved to be; no content where it is one part of several, or a receipt."""

    peer: Peer
    content: bytes | None


async def collect(site: Site, mailbox: Mailbox, report: Report) -> None:
    """Take everything new from the mail account into the inbox. Raises Unreachable."""
    with site.store.transaction() as transaction:
        settled = transaction.mailbox.settled()
        now = site.surroundings.now()
        due = {one.place: one for one in transaction.mailbox.waiting() if one.look_at <= now}
    found = await take_arrivals(site, mailbox, settled, report)
    if due:
        sizes = {place: look.size for place, look in due.items()}
        async with aclosing(mailbox.again(sizes)) as arrivals:  # type: ignore[type-var]
            async for arrival in arrivals:
                due.pop(arrival.place, None)
                _try_to_admit(site, arrival, report, found)
    for look in due.values():
        with site.store.transaction() as transaction:
            _look_later(transaction, look.place, look.size, look.note, now, report)
    note_places(site, found, report)
    note_quota(site, await mailbox.quota(), report)


async def take_arrivals(
    site: Site, mailbox: Mailbox, settled: Collection[Place], report: Report
) -> dict[str, bool]:
    """Take everything that is not in ``settled``; whose it was, and whether some lay in Junk."""
    found: dict[str, bool] = {}
    async with aclosing(mailbox.arrivals(settled)) as arrivals:  # type: ignore[type-var]
        async for arrival in arrivals:
            _try_to_admit(site, arrival, report, found)
    return found


def _try_to_admit(site: Site, arrival: Arrival, report: Report, found: dict[str, bool]) -> None:
    """One mail, whatever is in it: a defect that it triggers must not hide the others."""
    try:
        peer = admit(site, arrival, report)
    except _DEFECTS as error:
        _log.exception("mail %s", arrival.message_id)
        words = f"{type(error).__name__}: {error}"
        with site.store.transaction() as transaction:
            now = site.surroundings.now()
            _look_later(transaction, arrival.place, 0, words, now, report)
    else:
        if peer:
            found[peer] = found.get(peer, False) or arrival.in_junk
    report.progress("receiving", 1)


def admit(site: Site, arrival: Arrival, report: Report) -> str:
    """One arrived letter: verified contents go to the inbox, in one transaction with its place.

    The name of the peer whose it proved to be; empty if it is nobody's.
    """
    now = site.surroundings.now()
    problem, peer = arrival.problem or suspicion(site, arrival), ""
    with site.store.transaction() as transaction:
        for content in arrival.containers:
            try:
                verified = _verify(site, transaction, content, now)
            except BadBundle as error:
                problem = str(error)
                continue
            peer = verified.peer.name
            _admit_content(transaction, verified, now)
        if peer:
            transaction.mailbox.settle(arrival.place, "ours", peer, now)
            if arrival.carrier == "mail":
                today = day_of(now, site.surroundings.zone)
                transaction.history.meter(peer, today, "received", arrival.size)
            report.peer(peer).received.count(arrival.carrier, arrival.size)
        elif problem is not None and arrival.unfinished:
            note_stripped(site, transaction, arrival, now)
            _look_later(transaction, arrival.place, arrival.size, problem, now, report)
        elif problem is not None:
            name = arrival.message_id or str(arrival.place.number)
            _reject(transaction, arrival.place, name, problem, now, report)
        elif arrival.bounce and note_bounce(site, transaction, arrival.bounce, report):
            transaction.mailbox.settle(arrival.place, "bounce", "", now)
        else:
            transaction.mailbox.settle(arrival.place, "foreign", "", now)
    return peer


def _reject(
    transaction: Transaction, place: Place, name: str, problem: str, now: int, report: Report
) -> None:
    words = f"mail {name}: {problem}"
    transaction.mailbox.settle(place, "rejected", problem, now)
    transaction.history.log(Event(now, "rejected", "", None, words))
    report.rejected.append(words)


def _look_later(
    transaction: Transaction, place: Place, size: int, problem: str, now: int, report: Report
) -> None:
    """The mail may yet become what it should be; given up after the last of ``LOOKS``."""
    before = transaction.mailbox.look(place)
    since, looks = (now, 0) if before is None else (before.since, before.looks + 1)
    if looks == len(LOOKS):
        _reject(transaction, place, str(place.number), problem, now, report)
        return
    look_at = max(since + LOOKS[looks], now)
    transaction.mailbox.wait(Look(place, since, looks, look_at, size, problem))
    if before is None:
        words = f"mail {place.number}: {problem}; it is looked at again"
        transaction.history.log(Event(now, "incomplete", "", None, words))
        report.rejected.append(words)


def arrival_of(path: Path, number: int) -> Arrival:
    """What is in a saved attachment or a whole mail. Raises UsageError if it cannot be read."""
    from mailsync.carriers.message import containers_in  # noqa: PLC0415  for files alone

    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    found = tuple(container.find(raw)) or containers_in(raw)
    problem = None if found else container.problem_in(raw) or "there is no bundle in it"
    place = Place("file", str(path.absolute()), int(path.stat().st_mtime), number)
    return Arrival(place, len(raw), found, message_id=str(path), problem=problem, carrier="folder")


def _admit_content(transaction: Transaction, verified: _Verified, now: int) -> None:
    if verified.content is None:
        return
    digest = hashlib.sha256(verified.content).digest()
    if not transaction.inbox.admit(verified.peer.name, digest, verified.content, now):
        words = "a bundle that was here before"
        transaction.history.log(Event(now, "repeated", verified.peer.name, None, words))


def _verify(site: Site, transaction: Transaction, content: bytes, now: int) -> _Verified:
    """Whose it is. Raises BadBundle if no accepted peer sent it to us."""
    taken = container.unframe(content)
    if taken.kind is container.Kind.BUNDLE:
        return _open(site, taken.body)
    publics = [peer.public for peer in site.peers.values()]
    if taken.kind is container.Kind.RECEIPT:
        public, receipt = parts.open_receipt(taken.body, receiver=site.keys, peers=publics)
        peer = _peer_of(site, public)
        send_missing(site, transaction, peer.name, receipt, now)
        return _Verified(peer, None)
    public, part = parts.open_part(taken.body, receiver=site.keys, peers=publics)
    peer = _peer_of(site, public)
    transaction.inbox.add_part(peer.name, part.bundle, part.number, part.count, part.slice, now)
    here = [
        parts.Part(part.bundle, number, count, piece)
        for number, count, piece in transaction.inbox.parts(peer.name, part.bundle)
    ]
    message = parts.assemble(here)
    if message is None:
        owe_receipt(site, transaction, peer.name, now)
        return _Verified(peer, None)
    transaction.inbox.drop_parts(peer.name, part.bundle)
    return _open(site, message)


def _open(site: Site, message: bytes) -> _Verified:
    opened = sealing.open_message(
        message,
        receiver=site.keys,
        peers=[peer.public for peer in site.peers.values()],
        sealing_required=frozenset(
            peer.public.thumbprint for peer in site.peers.values() if peer.settings.seal
        ),
    )
    return _Verified(_peer_of(site, opened.sender), opened.content)


def _peer_of(site: Site, public: sealing.PublicKeys) -> Peer:
    return next(peer for peer in site.peers.values() if peer.public == public)


def process_inbox(site: Site, report: Report) -> None:
    """Apply every waiting bundle to the record map, each in one transaction."""
    with site.store.transaction() as transaction:
        numbers = transaction.inbox.waiting()
    for number in numbers:
        with site.store.transaction() as transaction:
            waiting = transaction.inbox.take(number)
        try:
            _process(site, waiting, report)
        except (BadFormat, OurError, *_DEFECTS) as error:
            _set_aside(site, waiting, error, report)
        report.progress("merging bundles", 1, len(numbers))


_DEFECTS = (ArithmeticError, LookupError, TypeError, ValueError, RecursionError, AssertionError)
"""What a defect of ours may raise: a bundle that triggers one must not block the others."""


def _process(site: Site, waiting: Waiting, report: Report) -> None:
    now = site.surroundings.now()
    with site.store.transaction() as transaction:
        links = site.links(transaction)
        if waiting.peer not in links:
            transaction.inbox.finish(waiting.number, "ignored", "no peer any more")
            return
        preface, _ = preface_of(waiting.content)
        if not waiting.before and transaction.bodies.heard(waiting.peer, preface):
            links[waiting.peer] = unread(links[waiting.peer])
        bundle = _decode(transaction, waiting, preface, now)
        if bundle is None:
            link = owing(links[waiting.peer], now)
            if not waiting.before:  # nothing of the peer's can be read until it knows
                link = replace(link, owe_since=0)
            transaction.save_links({waiting.peer: link})
            return
        bundle = without_namesakes(site, transaction, waiting.peer, bundle, report)
        ledger = transaction.ledger()
        before = ledger.site.position
        transaction.records.fetch(item.id for item in bundle.items)
        whole = filling.fill(site, transaction, waiting.peer, bundle, report.read)
        received = receive(
            ledger, links, waiting.peer, whole.bundle, now=now, nonce=site.surroundings.bits(64)
        )
        _notice_restore(site, transaction, links[waiting.peer], received, now)
        stripped = bundle.acknowledgement.stripped
        link = step_up(transaction, received.links[waiting.peer], stripped, now)
        if received.verdict in {Verdict.EXPECTED, Verdict.RENEWED}:
            filling.pair(site, transaction, ledger, waiting.peer, whole.ours)
            link = matching.hear(transaction, ledger, _asking_for_rest(link, whole), bundle, now)
        if received.verdict is Verdict.EXPECTED:
            verifying.hear(transaction, link, bundle)
        if not waiting.before:
            link = asking.hear(transaction, link, bundle, report, now)
        log_held(transaction, links[waiting.peer], link, now)
        log_disagreement(transaction, links[waiting.peer], link, now)
        if link.acked != links[waiting.peer].acked:
            transaction.warnings.drop(f"route {waiting.peer}")
            forget_parts(transaction, waiting.peer, link.acked)
            log_confirmed(transaction, links[waiting.peer], link, now)
        conflicts = len(ledger.notes) + transaction.journal.enter_received(ledger, now)
        save(site, transaction, ledger, now, Cause(link, waiting.number))
        transaction.save_links({**received.links, waiting.peer: link})
        transaction.inbox.finish(waiting.number, "applied", received.verdict.name.lower())
        taken = Positions.up_to(ledger.site.position) - Positions.up_to(before)
        log_received(transaction, waiting, bundle, received, conflicts, taken, now)
    _count(report, waiting.peer, received, conflicts)


def _notice_restore(
    site: Site, transaction: Transaction, link: Link, received: Received, now: int
) -> None:
    """What else follows if this site, or the peer, was restored from a backup. ``link``: as it
    was.
    """
    if received.verdict is Verdict.RESTORED:
        go_ahead(site, transaction, now)
        matching.say_again(transaction, received.links)
    elif link.inbound not in {None, received.links[link.peer].inbound}:
        matching.forget_heard(transaction, link.peer)


def _asking_for_rest(link: Link, whole: filling.Filled) -> Link:
    """What could not be filled is asked for."""
    if not whole.lacking:
        return link
    return replace(link, lacking=link.lacking | whole.lacking, owe_since=0)


def _decode(
    transaction: Transaction, waiting: Waiting, preface: Preface, now: int
) -> Bundle | None:
    """The bundle; None if it counts on earlier ones that are not here.

    What was here before says nothing new of earlier ones: it may count on some long dropped.
    """
    bodies = transaction.bodies
    try:
        read = wire.decode(waiting.content, bodies.prior(waiting.peer, preface.prior))
    except wire.OtherPrior as problem:
        if not waiting.before:
            bodies.forgot(waiting.peer)
            words = f"a bundle {problem}; it will come again"
            transaction.history.log(Event(now, "unreadable", waiting.peer, None, words))
        transaction.inbox.finish(waiting.number, "unreadable", str(problem))
        return None
    if not waiting.before:
        bodies.received(waiting.peer, preface.serial, read.body)
    return read.bundle


def _count(report: Report, peer: str, received: Received, conflicts: int) -> None:
    counted = report.peer(peer)
    counted.received.bundles += 1
    counted.received.upserts += received.upserts
    counted.received.deletes += received.deletes
    counted.conflicts += conflicts


def _set_aside(site: Site, waiting: Waiting, error: Exception, report: Report) -> None:
    """A bundle that cannot be processed: at once if it is malformed, else after some tries."""
    words = f"bundle {waiting.number} of {waiting.peer}: {type(error).__name__}: {error}"
    if not isinstance(error, MailsyncError):
        _log.exception("bundle %d of %s", waiting.number, waiting.peer)
    final = isinstance(error, BadFormat) or waiting.attempts >= ATTEMPTS
    with site.store.transaction() as transaction:
        if final:
            transaction.inbox.finish(waiting.number, "quarantined", words)
        now = site.surroundings.now()
        kind = "quarantined" if final else "failed"
        transaction.history.log(Event(now, kind, waiting.peer, None, words))
    report.rejected.append(words)
    report.peer(waiting.peer).held += final


async def dispose_of_mails(site: Site, mailbox: Mailbox) -> None:
    """Remove from the mailbox what is used and old enough, as the configuration says."""
    mail = site.settings.mail
    if mail is None or mail.dispose == "keep":
        return
    folder = mail.dispose_folder if mail.dispose == "move" else None
    await dispose(site, mailbox, mail.dispose_after * 1000, folder)


async def dispose(site: Site, mailbox: Mailbox, grace: int = 0, folder: str | None = None) -> None:
    """Remove what was verified as ours and durably applied more than ``grace`` milliseconds ago."""
    now = site.surroundings.now()
    with site.store.transaction() as transaction:
        if transaction.inbox.waiting():
            return
        places = transaction.mailbox.disposable(now - grace)
    if not places:
        return
    gone = await mailbox.dispose(places, folder)
    with site.store.transaction() as transaction:
        for place in sorted(gone):
            transaction.mailbox.settle(place, "gone", "", now)
