"""Record map -> bundles -> outbox.

A bundle is committed with its parts in the outbox, before anything is handed to the carrier.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

from mailsync.core import delivery, outbound, timers, weights, wire
from mailsync.core.ledger import Ledger
from mailsync.core.matching import is_alike
from mailsync.core.merge import subject_of
from mailsync.core.model import CONFLICTS, Bundle, Link, Record, RecordId
from mailsync.core.parts import BUNDLE_SIZE
from mailsync.core.positions import NOWHERE, Positions
from mailsync.core.proofs import Proof
from mailsync.core.tokens import TooMuch
from mailsync.cycle import matching, verifying
from mailsync.cycle.budget import allowance, share
from mailsync.cycle.logbook import log_composed
from mailsync.cycle.packing import containers, room_for
from mailsync.cycle.partly import forget_parts, label_of, receipts_for
from mailsync.cycle.pending import Pending, look_for
from mailsync.cycle.pricing import mail_sizes
from mailsync.cycle.recalling import recall, recall_oversized
from mailsync.cycle.report import Report, Waiting
from mailsync.cycle.site import Peer, Site
from mailsync.errors import Exit, OperatorError
from mailsync.store.history import Event
from mailsync.store.outbox import Queued
from mailsync.store.transaction import Transaction

ALWAYS = 1 << 62
"""A time by which everything is due."""

COMPRESSION_MAX = 16
"""A set hardly ever shrinks more than so many times; it costs time to try larger ones."""

_UNLISTED = "list for "

FILL = 0.9
"""Of a mail is aimed at: sets of one size do not shrink to one size."""


class TooManyToList(OperatorError):
    """Give some of its datasets to a site of their own, or pair both anew under other names."""

    exit_code = Exit.PARTLY


class Composed(NamedTuple):
    """One bundle on its way into the outbox. Counts are by dataset."""

    upserts: Counter[str]
    deletes: Counter[str]
    alike: Counter[str]
    """Of the former those that the peer has already: it only learns their GUIDs."""
    matching: frozenset[str]
    """Datasets of which it is told digests."""
    containers: list[bytes]


def compose_for(
    site: Site, peer: Peer, report: Report, *, everything: bool, due_by: int
) -> Iterator[Composed]:
    """The bundles due to a peer now, each committed with its parts in the outbox.

    ``everything``: also what is on its way and not confirmed yet. What waits in the outbox and
    was certainly not taken by any carrier is recalled first, if it is to be tried again by
    ``due_by`` (milliseconds since 1970) or there is more to tell by now: after an outage one
    up-to-date set goes, not its history. What the peer's budget holds back is in the report.
    """
    with site.store.transaction() as transaction:
        if not site.links(transaction)[peer.name].stale:
            transaction.warnings.drop(f"{_UNLISTED}{peer.name}")
        recall_oversized(site, transaction, peer, site.surroundings.now())
        if everything:
            link = site.links(transaction)[peer.name]
            link = timers.carried(link, delivery.in_flight(link, 0), 0)
            transaction.save_links({peer.name: link})
        pending = look_for(site, transaction, peer, report, everything=everything)
        more = pending.is_due(transaction, pending.surveyed.pending, resend_before=0)
        if allowance(site, transaction, peer).left != 0:
            recall(site, transaction, peer, ALWAYS if more else due_by)
        is_due = pending.is_due_now(transaction)
        total = pending.count_fitting(transaction) if is_due else 0
    while is_due:
        with site.store.transaction() as transaction:
            composed = _compose_one(pending, transaction)
            is_due = composed is not None and pending.is_due_now(transaction)
        if composed is None:
            break
        records = composed.upserts.total() + composed.deletes.total()
        report.progress(f"composing for {peer.name}, records", records, total)
        yield composed
    if peer.settings.budget is not None:
        with site.store.transaction() as transaction:
            waiting = _waiting(pending, transaction)
        if waiting is not None:
            report.waiting[peer.name] = waiting


class _Draft(NamedTuple):
    """A bundle as it could go, and what would follow from that."""

    bundle: Bundle
    ledger: Ledger
    link: Link
    body: bytes
    containers: list[bytes]

    @property
    def records(self) -> int:
        """How many records it holds."""
        return len(self.bundle.extractions) + len(self.bundle.deletes)

    @property
    def size(self) -> int:
        """Bytes of all containers."""
        return sum(map(len, self.containers))


class _Window:
    """Records read one by one as somebody wants to see more of them, and kept."""

    def __init__(self, source: Iterator[Record]) -> None:
        """None is read yet."""
        self._source = source
        self._read: list[Record] = []

    def __iter__(self) -> Iterator[Record]:
        yield from self._read
        for record in self._source:
            self._read.append(record)
            yield record


class _Desk:
    """Where one bundle is drafted, smaller and smaller, until it fits. Nothing is written."""

    def __init__(self, pending: Pending, transaction: Transaction) -> None:
        """As things are in the transaction."""
        site, peer = pending.site, pending.peer
        self._pending, self.transaction = pending, transaction
        self.now = max(site.surroundings.now(), pending.start + 1)
        self.links = site.links(transaction)
        self.link = self.links[peer.name]
        self.window = _Window(pending.fitting(transaction))
        self._abridgement = matching.Abridgement(site, transaction, pending.standings)
        self._words = pending.words(transaction, pending.resend_before(self.link))
        self._due = pending.count_fitting(transaction)
        self._tag = site.surroundings.bits(32)
        self.name = site.surroundings.octets(BUNDLE_SIZE)
        self._receipts, self.still_owed = receipts_for(site, transaction, peer, self.link, self.now)
        is_asked = delivery.is_question_due(self.link, pending.resend_before(self.link))
        self.manifest = _manifest(transaction) if self.link.stale and is_asked else None
        self.preface, self._prior = transaction.bodies.next(peer.name)
        self._route = transaction.routes.get(peer.name)
        self.room = room_for(peer, self._route, site.surroundings.now()) - len(self._receipts)

    @cached_property
    def bare(self) -> _Draft:
        """What there is to say besides records. Raises TooMuch."""
        return self.draft(0, ())

    @cached_property
    def can_list(self) -> bool:
        """Does a bundle hold the list of all, where it is to go?"""
        try:
            return self.manifest is None or bool(self.bare)
        except TooMuch:
            return False

    @cached_property
    def _proofs(self) -> tuple[Proof, ...]:
        """Said behind all that is due: only then can the peer compare."""
        pending = self._pending
        return verifying.proofs_due(self.transaction, pending.peer, self.link, self.now)

    def _holds_all_due(self, bundle: Bundle) -> bool:
        """Does it leave out nothing? Notes on their way go once more with their records."""
        flying = delivery.in_flight(self.link, self._pending.resend_before(self.link))
        return sum(item.position not in flying for item in bundle.items) >= self._due

    @property
    def says_more(self) -> bool:
        """Is there anything to say now that need not be said again with the next bundle?"""
        return self.manifest is not None or bool(self._words)

    def draft(self, size_limit: int, records: Iterable[Record]) -> _Draft:
        """The bundle of this size, bytes before compression."""
        pending, ledger = self._pending, self.transaction.ledger()
        bundle, changed = outbound.compose(
            ledger,
            self.links,
            pending.peer.name,
            pending.surveyed,
            records,
            now=self.now,
            resend_before=pending.resend_before(self.link),
            tag=self._tag,
            size_limit=size_limit,
            abridge=self._abridgement.of,
            manifest=self.manifest,
        )
        told = replace(bundle.acknowledgement, stripped=self._route.stripped)
        bundle = replace(
            bundle,
            acknowledgement=told,
            words=self._words,
            proofs=self._proofs if self._holds_all_due(bundle) else (),
        )
        written = wire.encode(bundle, self.preface, self._prior)
        packed = containers(pending.site, pending.peer, written.content, self.name, self.room)
        packed[0] += self._receipts
        link = replace(changed, owe_since=self.still_owed)
        return _Draft(bundle, ledger, link, written.body, packed)

    def price(self, draft: _Draft) -> int:
        """Bytes of the whole mails that would carry it."""
        pending = self._pending
        return sum(mail_sizes(pending.site, pending.peer, draft.containers, self._route.step))


def _compose_one(pending: Pending, transaction: Transaction) -> Composed | None:
    site, peer = pending.site, pending.peer
    left = _left(pending, transaction)
    if left == 0:
        return None
    desk = _Desk(pending, transaction)
    if not desk.can_list:
        _note_unlisted(pending, desk)
        if not desk.link.rejoin and not pending.is_due_now(transaction):
            return None
        desk = _Desk(pending, transaction)
    largest = min(desk.room * COMPRESSION_MAX, weights.SIZE_LIMIT)
    draft = _fullest(desk, pending, largest) if left is None else _affordable(desk, pending, left)
    if draft is None:
        return None
    transaction.save(draft.ledger, desk.now)
    transaction.save_links({peer.name: draft.link})
    transaction.bodies.sent(peer.name, desk.preface.serial, draft.body)
    matching.note_said(transaction, peer.name, draft.bundle.words, desk.now)
    verifying.note_said(transaction, peer.name, draft.bundle.proofs, desk.now)
    _queue(site, transaction, peer, draft.bundle, draft.containers, label_of(desk.name))
    log_composed(transaction, peer.name, draft.bundle, desk.now)
    return Composed(
        Counter(item.dataset for item in draft.bundle.extractions),
        Counter(item.dataset for item in draft.bundle.deletes),
        Counter(item.dataset for item in draft.bundle.extractions if is_alike(item)),
        frozenset(word.dataset for word in draft.bundle.words),
        draft.containers,
    )


def _note_unlisted(pending: Pending, desk: _Desk) -> None:
    """The list of all fits into no bundle, and in several it would say that the rest is deleted. It
    counts as sent, so that everything else goes.
    """
    transaction, peer = desk.transaction, pending.peer.name
    transaction.save_links({peer: replace(desk.link, asked_at=desk.now)})
    words = (
        f"{peer} has to be told of all records of this site to find out what was deleted since it "
        f"was given up, and {len(desk.manifest or ())} are more than a bundle holds: everything "
        "else goes, but what is new at it is not taken"
    )
    if transaction.warnings.note(f"{_UNLISTED}{peer}", words, desk.now):
        transaction.history.log(Event(desk.now, "not listed", peer, None, words))
    pending.report.problems.append(TooManyToList(words))


def _left(pending: Pending, transaction: Transaction) -> int | None:
    """Bytes of whole mails that may go besides what the outbox holds; None: any number."""
    peer = pending.peer
    if peer.settings.budget is None:
        return None
    items = transaction.outbox.items(peer.name)
    return share(pending.site, transaction, peer, items).allowance.left


def _acceptable(desk: _Desk, size_limit: int, records: Callable[[], Iterable[Record]]) -> _Draft:
    """The bundle of this size, or a smaller one where that is more than peers accept. If no record
    has room beside what else there is to say, that goes alone. Raises TooMuch.
    """
    while True:
        try:
            return desk.draft(size_limit, records())
        except TooMuch:
            if size_limit <= 1 and not desk.says_more:
                raise
        if size_limit <= 1:
            return desk.bare
        size_limit //= 2


def _fullest(desk: _Desk, pending: Pending, size_limit: int) -> _Draft:
    """What fits into one mail: that is confirmed, and if lost sent again, on its own. The list of
    all goes alone if it does not fit.
    """
    size_limit = min(size_limit, pending.size_limit)
    if desk.manifest is not None and len(desk.bare.containers) > 1:
        return desk.bare
    while True:
        draft = _acceptable(desk, size_limit, lambda: filter(pending.choice.fits, desk.window))
        if not draft.records:
            return draft
        weight = min(size_limit, weights.weight(draft.bundle))
        fitting = max(int(weight * FILL * desk.room / draft.size), 1)
        if len(draft.containers) == 1 or draft.records == 1 or size_limit <= 1:
            pending.size_limit = fitting
            return draft
        size_limit = min(fitting, weight - 1)


def _affordable(desk: _Desk, pending: Pending, left: int) -> _Draft | None:
    """As much as fits into so many bytes of whole mails; None if nothing that is due does."""
    empty = desk.price(desk.bare)
    if empty > left:
        pending.choice.note_least(empty)
        return None
    size_limit = largest = min(left * COMPRESSION_MAX, weights.SIZE_LIMIT)
    while pending.is_due_now(desk.transaction):
        draft = _fullest(desk, pending, size_limit)
        price = desk.price(draft)
        if price <= left:
            return draft
        if draft.records > 1 and size_limit > 1:
            weight = min(size_limit, weights.weight(draft.bundle))
            size_limit = max(weight * 9 * (left - empty) // (10 * (price - empty)), 1)
        else:
            positions = {item.position for item in draft.bundle.items}
            alone = next(one for one in desk.window if one.position in positions)
            pending.choice.leave_out(alone, price)
            size_limit = largest
    return None


def _waiting(pending: Pending, transaction: Transaction) -> Waiting | None:
    """What the budget holds back, now that all that fits is composed."""
    site, peer = pending.site, pending.peer
    shares = share(site, transaction, peer, transaction.outbox.items(peer.name))
    desk = _Desk(pending, transaction)
    due = pending.due(transaction)
    records = Counter(subject_of(each.dataset, each.entries) or each.dataset for each in due)
    mails, size = len(shares.waiting), shares.waiting_bytes
    is_due = records or pending.is_due(transaction, NOWHERE, pending.resend_before(desk.link))
    if not is_due and not mails:
        return None
    if is_due and desk.can_list:
        sample = _acceptable(desk, weights.SIZE_LIMIT, lambda: pending.due(transaction))
        size += desk.price(sample) * max(records.total(), 1) // max(sample.records, 1)
    why, until = shares.allowance.why, shares.allowance.until
    is_hopeless = not mails and pending.choice.is_stuck(records.total())
    too_large = tuple(pending.choice.too_large)
    return Waiting(dict(records), mails, size, why, None if is_hopeless else until, too_large)


def _manifest(transaction: Transaction) -> frozenset[RecordId]:
    return frozenset(i for i in transaction.records if i.dataset != CONFLICTS)


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
                size=len(content),
                positions=positions,
                message_id=site.message_id(),
                next_attempt_at=0,
            ),
            content,
        )
