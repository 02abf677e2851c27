"""What a received bundle means here. Any bundle may come at any time, any number of times.

Rules, in this order
--------------------
1. Does it prove that *we* were restored (it confirms what we do not remember)? Then new streams
   to all peers, keep only what peers certainly have, and ask each of them.
2. An older stream than the one we know is ignored. A newer one: the *peer* was restored; trust
   only its own word about what it has.
3. A bundle composed before the peer knew that we were restored, or by a twin that does not
   remember what it sent us, is ignored, and an acknowledgement owed. So is a late one that those
   after it do not remember: it is a twin's, and what it covers is not what they would.
4. Acknowledgements count only from the newest bundle of the stream.
5. Records at positions already covered are skipped, the rest merged; those of a dataset that is
   not taken from the peer are left uncovered, and the peer is told. What ends up exactly as the
   peer sent it is known to the peer (no echo); what merged into something new goes to everybody.
   A late bundle that would settle more than it brings, as writes of a record that is skipped in
   it are unknown here, counts as lost.
6. What a full bundle's manifest no longer lists, and the peer certainly had, was deleted there.
7. The cover grows; an acknowledgement is owed only for records, a manifest or a question, so
   silence comes.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from mailsync.core.agreement import Agreement
from mailsync.core.delivery import MEMORY_LIMIT, confirm, has, other_holders, owing, without
from mailsync.core.ledger import Ledger
from mailsync.core.manifests import take_manifest
from mailsync.core.merge import (
    subject_of,
)
from mailsync.core.model import (
    CONFLICTS,
    Acknowledgement,
    Bundle,
    DeleteOrder,
    Extraction,
    Link,
    Mark,
    Record,
    RecordId,
    dots_of,
)
from mailsync.core.offering import offer
from mailsync.core.positions import NOWHERE, Positions
from mailsync.core.restoration import proves_our_restore, renew, rotate
from mailsync.core.rights import are_all_named, permitted, with_denied
from mailsync.core.scope import terms_of
from mailsync.core.taking import is_whole, take
from mailsync.errors import BadFormat

STAMP_AHEAD_MAX: Final = 100 * 366 * 24 * 3600 * 1000
"""Milliseconds that a write may be ahead of our clock."""


class Verdict(enum.Enum):
    """What a bundle's place in its stream says about it."""

    RESTORED = "this site was restored from a backup"
    OLD_STREAM = "of a stream that its sender gave up"
    UNAWARE = "composed before its sender knew that this site was restored"
    FORKED = "its sender does not remember what it sent before: a restored copy of it"
    RENEWED = "the peer was restored from a backup"
    OVERTAKEN = "late, of records that changed since: what is lacking comes again"
    EXPECTED = "in order"


@dataclass(frozen=True, slots=True)
class Received:
    """What came of one bundle."""

    verdict: Verdict
    links: Mapping[str, Link]
    upserts: int = 0
    deletes: int = 0
    refused: frozenset[str] = frozenset()
    """Datasets in the bundle that this site does not take from the peer."""
    denied: frozenset[RecordId] = frozenset()
    """Records of which something was refused that the peer may not write."""


def judge(link: Link, position: int, bundle: Bundle) -> Verdict:
    """Rules 1 to 3, before anything of the bundle is used. ``position``: our counter."""
    if proves_our_restore(link, position, bundle):
        return Verdict.RESTORED
    renewed = link.inbound is not None and bundle.stream != link.inbound
    if renewed and link.inbound and bundle.stream.generation <= link.inbound.generation:
        return Verdict.OLD_STREAM
    acknowledged = bundle.acknowledgement.stream
    if acknowledged is not None and acknowledged != link.out:
        return Verdict.UNAWARE
    if renewed:
        return Verdict.RENEWED
    return Verdict.EXPECTED if _is_of_one_line(link, bundle) else Verdict.FORKED


def _is_of_one_line(link: Link, bundle: Bundle) -> bool:
    """Did those who sent us the bundle and the newest one before it know of the earlier one?"""
    if link.last is None:
        return True
    if bundle.mark.top < link.last.top:
        return bundle.mark.top <= link.cover.contiguous or bundle.mark in link.heard
    return link.last in {bundle.mark, bundle.confirmed, *bundle.history}


def receive(
    ledger: Ledger, links: Mapping[str, Link], peer: str, bundle: Bundle, *, now: int, nonce: int
) -> Received:
    """Process one bundle; one store transaction. ``now``: milliseconds since 1970.

    ``nonce``: 64 random bits, used if new streams must be started. Raises BadFormat for writes
    from so far in the future that no clock of ours could ever follow.
    """
    _check_stamps(bundle, now)
    link = replace(links[peer], heard_at=now)
    verdict = judge(link, ledger.site.position, bundle)
    if verdict is Verdict.RESTORED:
        return Received(verdict, rotate(ledger, {**links, peer: link}, peer, bundle, nonce, now))
    if verdict in {Verdict.OLD_STREAM, Verdict.FORKED}:
        return Received(verdict, {**links, peer: owing(link, now)})
    renewed = link.inbound is not None and bundle.stream != link.inbound
    link = _follow_stream(ledger, link, bundle, now)
    if verdict is Verdict.UNAWARE:
        behind = link.stale or (renewed and ledger.site.horizon > 0)
        return Received(verdict, {**links, peer: replace(owing(link, now), stale=behind)})
    link = _follow_acknowledgement(ledger, links, link, bundle, renewed=renewed)
    if _is_overtaken(ledger, link, bundle):
        return Received(Verdict.OVERTAKEN, {**links, peer: owing(link, now)})
    told = links[peer].acked
    return _take_all(ledger, {**links, peer: link}, peer, bundle, verdict, told, now)


def _check_stamps(bundle: Bundle, now: int) -> None:
    """Clocks may be years off; one that is a century ahead would take ours with it for ever."""
    for item in _in_order(bundle):
        for dot in item.context | dots_of(item.entries):
            if dot.stamp > now + STAMP_AHEAD_MAX:
                raise BadFormat("a record in it was written more than a century from now")


def _follow_stream(ledger: Ledger, link: Link, bundle: Bundle, now: int) -> Link:
    """Rule 2: the link once its inbound stream is the bundle's."""
    if bundle.stream == link.inbound:
        return link
    if link.inbound is not None:
        link = renew(ledger, owing(link, now))
    return replace(
        link,
        inbound=bundle.stream,
        cover=Positions(),
        last=None,
        heard=(),
        full_seen=None,
        lacking=frozenset(),
    )


def _follow_acknowledgement(
    ledger: Ledger, links: Mapping[str, Link], link: Link, bundle: Bundle, *, renewed: bool
) -> Link:
    """Rule 4, and whether the peer is, or no longer is, behind our purge horizon."""
    if _is_newest(link, bundle) and bundle.acknowledgement.stream == link.out:
        link = _acknowledged(ledger, links, link, bundle)
    if renewed and not link.stale and not Positions.up_to(ledger.site.horizon) <= link.acked:
        link = replace(link, stale=True, fulls=frozenset(), asked_at=None)
    if link.stale and bundle.full_seen is not None and bundle.full_seen in link.fulls:
        link = replace(link, stale=False, fulls=frozenset(), misses=0)
    return link


def _acknowledged(ledger: Ledger, links: Mapping[str, Link], link: Link, bundle: Bundle) -> Link:
    """The link after the peer's word of our stream; records it asks for whole are marked so."""
    told = bundle.acknowledgement
    link = confirm(link, told, link.heard_at or 0)
    again: list[int] = []
    for record_id in sorted(told.lacking):
        record = ledger.get(record_id)
        if record is None or link.peer in record.whole_for or _has_since(link, record, told):
            continue
        asked = replace(record, whole_for=record.whole_for | {link.peer})
        if has(link, record):  # it was refused, and would not be now
            ledger.bump(asked, other_holders(links, record, link.peer))
        else:
            ledger.keep(asked)
            again.append(record.position)
    flights = without(link.flights, Positions.of(again))
    accepted = (link.refused - told.refused) | _readmitted(link, told)
    if accepted:
        offer(ledger, {**links, link.peer: link}, link.peer, accepted)
    return replace(link, flights=flights, refused=told.refused, held=told.held, denied=told.denied)


def _has_since(link: Link, record: Record, told: Acknowledgement) -> bool:
    """Did the peer, which once asked for the record, show it to us by itself, or confirm it by a
    later word than this one, which comes again?
    """
    late = record.position in link.acked and record.position not in told.cover
    return link.peer in record.known or late


def _readmitted(link: Link, told: Acknowledgement) -> frozenset[str]:
    """The datasets of which the peer refused more than it named, and refuses nothing now."""
    return frozenset(
        name
        for name in {one.dataset for one in link.denied} - {one.dataset for one in told.denied}
        if not are_all_named(link.denied, name)
    )


def _is_newest(link: Link, bundle: Bundle) -> bool:
    return link.last is None or bundle.mark.top >= link.last.top


def _is_overtaken(ledger: Ledger, link: Link, bundle: Bundle) -> bool:
    """Rule 5: would a late bundle settle positions by records of which nothing is taken?

    It settles where their earlier writes came in, too; which these positions are, only the sender
    knows.
    """
    if _is_newest(link, bundle):
        return False
    brought = Positions.of(item.position for item in bundle.items)
    if _settled(bundle) <= link.cover | brought:
        return False
    return any(
        item.position in link.cover and not _is_known(ledger.get(item.id), item)
        for item in bundle.items
    )


def _settled(bundle: Bundle) -> Positions:
    return Positions.up_to(bundle.mark.top) - bundle.holes


def _is_known(record: Record | None, item: Extraction | DeleteOrder) -> bool:
    """Have all writes of the item come here?"""
    return record is not None and item.context | dots_of(item.entries) <= record.context.keys()


def _take_all(
    ledger: Ledger,
    links: Mapping[str, Link],
    peer: str,
    bundle: Bundle,
    verdict: Verdict,
    told: Positions,
    now: int,
) -> Received:
    """Rules 5 to 7. ``told``: what the peer had confirmed by earlier bundles."""
    link = links[peer]
    newest, reached = _is_newest(link, bundle), link.last.top if link.last else 0
    intake = _Intake(link)
    upserts = deletes = 0
    for item in _in_order(bundle):
        allowed = intake.allowed(item, ledger.get(item.id))
        if allowed is None:
            continue
        shows_all = newest and item.id not in intake.denied
        # what a bundle overtook may be older than what the overtaking one confirmed
        before = told if item.position > reached else NOWHERE
        take(ledger, links, peer, bundle, allowed, newest=shows_all, told=before)
        upserts += isinstance(item, Extraction) and item.dataset != CONFLICTS
        deletes += isinstance(item, DeleteOrder)
    cover = link.cover | (_settled(bundle) - Positions.of(intake.skipped))
    top = max(bundle.mark.top, reached)
    denying = with_denied(frozenset(intake.denying), frozenset(intake.denied))
    newly_refused = frozenset(intake.refused) - link.refusing
    if newly_refused or denying != link.denying:
        ledger.advance()
    link = replace(
        link,
        cover=cover,
        last=bundle.mark if newest else link.last,
        heard=_heard(link, bundle, cover),
        # where all is settled, what was asked for is gone there: it would be asked for for ever
        lacking=frozenset(intake.lacking if cover.contiguous < top else ()),
        refusing=frozenset(intake.refused),
        denying=denying,
        agreement=_heard_of(link, bundle) if newest else link.agreement,
    )
    if bundle.manifest is not None and newest:
        take_manifest(ledger, link, bundle.manifest)
        link = replace(link, full_seen=bundle.mark.tag)
    if bundle.deletes or bundle.extractions or bundle.manifest is not None or bundle.ask:
        link = owing(link, now)
    if newly_refused:
        link = replace(link, owe_since=0)  # the peer should know before it sends more of it
    return Received(
        verdict, {**links, peer: link}, upserts, deletes, newly_refused, frozenset(intake.denied)
    )


class _Intake:
    """Which items of a bundle are taken, and what the peer is told of the others."""

    def __init__(self, link: Link) -> None:
        """``link``: as it was before the bundle."""
        self._link = link
        self.skipped: set[int] = set()
        """Positions that are to come again."""
        self.lacking, self.refused = set(link.lacking), set(link.refusing)
        self._told, self.denied = link.denying, set[RecordId]()
        self.denying = set(link.denying)

    def allowed(
        self, item: Extraction | DeleteOrder, record: Record | None
    ) -> Extraction | DeleteOrder | None:
        """What is taken of an item; None: nothing. ``record``: what we know of its record."""
        if item.position in self._link.cover:
            return None
        subject = subject_of(item.dataset, item.entries)
        if subject is not None and not self._takes(subject):
            self.refused.add(subject)
            self.skipped.add(item.position)
            return None
        permission = permitted(self._link, item, record)
        if permission.denied:
            self.denied.add(item.id)
        if permission.item is not None and record is None and self._must_wait(item):
            self.skipped.add(item.position)
            if isinstance(item, Extraction):
                self.lacking.add(item.id)
            return None
        self.lacking.discard(item.id)
        settled = is_whole(item) or isinstance(item, DeleteOrder)
        if not permission.denied and settled and are_all_named(self._told, item.dataset):
            self.denying.discard(item.id)
        return permission.item

    def _takes(self, dataset: str) -> bool:
        return dataset in self._link.datasets and terms_of(self._link, dataset).takes

    def _must_wait(self, item: Extraction | DeleteOrder) -> bool:
        """Of a record that is not here: may it be one we purged, or is it only a part?"""
        return self._link.stale or not (is_whole(item) or isinstance(item, DeleteOrder))


def _heard_of(link: Link, bundle: Bundle) -> Agreement:
    """What both say about conflicts, after the peer's newest bundle."""
    told = bundle.policies
    return link.agreement if told is None else link.agreement._replace(there=told)


def _heard(link: Link, bundle: Bundle, cover: Positions) -> tuple[Mark, ...]:
    """The marks of the bundles that may still bring something, as far as we have heard of them."""
    marks = {*link.heard, *bundle.history, bundle.mark}
    return tuple(sorted(mark for mark in marks if mark.top > cover.contiguous))[-MEMORY_LIMIT:]


def _in_order(bundle: Bundle) -> Iterator[Extraction | DeleteOrder]:
    """Records first, then conflict notes, so that a note finds its winner in place."""
    yield from sorted(bundle.items, key=lambda item: (item.dataset == CONFLICTS, item.position))
