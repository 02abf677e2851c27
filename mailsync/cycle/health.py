"""How each link fares, in words a person without knowledge of the protocol understands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from mailsync.core.agreement import Difference
from mailsync.core.delivery import in_flight, is_pending, without
from mailsync.core.model import CONFLICTS, Link, RecordId, is_alive
from mailsync.core.positions import Gathering, Positions
from mailsync.core.proving import Finding
from mailsync.core.requests import Asked
from mailsync.core.rights import TOLD_MAX
from mailsync.cycle.gaps import missing, missing_since
from mailsync.cycle.presence import is_linked
from mailsync.cycle.site import Site
from mailsync.cycle.verifying import in_words, last_proof
from mailsync.cycle.wording import moment, shown
from mailsync.store.transaction import Transaction

SILENT_FACTOR = 4
"""A peer is called silent after so many of its usual intervals."""

SILENT_MIN_MS = 24 * 3600 * 1000
"""... but not before a day."""

LOAD_MIN = 1_000
"""So many unconfirmed records of a dataset are a load whose progress a person wants to see."""

AHEAD_MAX_MS = 5 * 60 * 1000
"""A clock is called ahead from here on."""


class Share(NamedTuple):
    """Some records of a dataset."""

    records: int
    of: int
    """How many it holds in all."""


@dataclass(frozen=True, slots=True)
class LinkHealth:
    """The state of one link. Times are milliseconds since 1970."""

    peer: str
    carriers: tuple[str, ...]
    """What takes bundles to it, in the order to try them."""
    linked: bool
    """Is there a link with it now?"""
    heard_at: int | None
    silent: bool
    confirmed: int
    """Up to this position of ours the peer has confirmed everything."""
    unconfirmed: Positions
    oldest_unconfirmed: int | None
    lacking: Mapping[str, Share]
    """By dataset: records that the peer has not confirmed, of which some are on their way."""
    received: int
    """Up to this position of the peer's we have everything."""
    missing: Positions
    """Positions of the peer's, below the newest one known, that have not come."""
    missing_since: int | None
    """Since when the first of them is missing, as far as a cycle has found it so."""
    queued: int
    refusal: str
    """Why the last attempt to hand a mail over failed."""
    stale: bool
    refused: frozenset[str]
    """Datasets the peer does not take."""
    refusing: frozenset[str]
    """Datasets the peer offers that we do not take."""
    held: frozenset[RecordId]
    """Records that wait at the peer, for its datasets do not take them."""
    differing: tuple[Difference, ...]
    """Datasets whose policies about conflicts are others there."""
    deleted: Mapping[str, int]
    """By dataset: of these so many were deleted here, and a guard there waits for a person."""
    proof: Finding | None
    """What was last found out of whether both hold the same."""
    asking: Asked | None
    """What we asked the peer for last, and what it asked us for."""
    asked: Asked | None
    denied: frozenset[RecordId]
    """Records of which the peer refused what we may not write there."""
    denying: frozenset[RecordId]
    """Records of which we refused what the peer may not write."""

    @property
    def troubled(self) -> bool:
        """Is there something an operator should look at?"""
        stuck = self.silent or self.stale or self.refusal
        told = self.refused or self.refusing or self.held or self.denied or self.differing
        return bool(stuck or told or self._differs)

    @property
    def _differs(self) -> bool:
        return self.proof is not None and not self.proof.equal and not self.proof.mending

    def sentences(self) -> Iterator[str]:
        """What there is to say, one thing a sentence."""
        yield f"{self.peer} holds our changes up to {self.confirmed}{self._open()}."
        yield from loads(self)
        yield f"We hold those of {self.peer} up to {self.received}{self._gaps()}."
        if self.silent:
            since = "never" if self.heard_at is None else f"last at {moment(self.heard_at)}"
            yield f"{self.peer} is silent for longer than usual; heard {since}."
        if self.stale:
            yield f"{self.peer} was silent for too long; it will reconcile when it returns."
        yield from self._going()
        for name in sorted(self.refused):
            yield f"{self.peer} does not take {name} from us: it has no section, or only sends it."
        for name in sorted(self.refusing):
            yield f"{self.peer} offers {name}, which is not taken from it here."
        for name, count in _by_dataset(self.held):
            yield f"{self.peer} holds {count} records of {name}: see mailsync held list there."
        for name, count in self.deleted.items():
            command = f"mailsync sync --ask {self.peer} --datasets {name} --allow-delete N"
            yield f"{count} of them, or more, are deletes; if they are meant: {command}."
        if self.proof is not None:
            yield f"{self.peer} {in_words(self.proof)}, as of {moment(self.proof.at)}."
        if self.asking is not None:
            yield f"We asked {self.peer} {_told(self.asking)}."
        if self.asked is not None:
            yield f"{self.peer} asked us {_told(self.asked)}."
        yield from self._rights()
        yield from self._disagreements()

    def _rights(self) -> Iterator[str]:
        """What was refused for want of them."""
        for name, count in _by_dataset(self.denied):
            yield (
                f"{self.peer} refused what was done here to {_counted(count)} records of {name}: "
                "this site may not write it there, and both differ; mailsync log tells which."
            )
        for name, count in _by_dataset(self.denying):
            yield (
                f"What {self.peer} did to {_counted(count)} records of {name} was refused: it may "
                "not write it here, and both differ; mailsync log tells which."
            )

    def _disagreements(self) -> Iterator[str]:
        for name, here, there in self.differing:
            yield (
                f"{name} has the conflict policy {there} at {self.peer}, here {here}; "
                f"it must be the same at all sites."
            )

    def _going(self) -> Iterator[str]:
        if self.carriers != ("mail",):
            yield f"What is due to {self.peer} goes by {', else by '.join(self.carriers)}."
        if self.linked:
            yield f"There is a link with {self.peer} now."
        elif "tcp" in self.carriers:
            yield f"There is no link with {self.peer} now."
        if self.queued:
            why = f": {self.refusal}" if self.refusal else ""
            yield f"{self.queued} mails wait to be handed over{why}."

    def _open(self) -> str:
        if self.oldest_unconfirmed is None:
            return ""
        return f"; {shown(self.unconfirmed)} on the way since {moment(self.oldest_unconfirmed)}"

    def _gaps(self) -> str:
        if not self.missing.intervals:
            return ""
        since = ""
        if self.missing_since is not None:
            since = f" (missing since {moment(self.missing_since)})"
        return f", but {shown(self.missing)} did not come{since}"


def _by_dataset(records: frozenset[RecordId]) -> list[tuple[str, int]]:
    return sorted(Counter(one.dataset for one in records).items())


def _counted(count: int) -> str:
    """A number of which no more than so much is told."""
    return f"{count} or more" if count >= TOLD_MAX else str(count)


def examine_links(site: Site, transaction: Transaction) -> list[LinkHealth]:
    """Every link's health, in the order of the configuration."""
    now = site.surroundings.now()
    return [_examine(site, transaction, link, now) for link in site.links(transaction).values()]


def loads(link: LinkHealth) -> Iterator[str]:
    """How much of what goes to a peer in many mails it has not confirmed yet."""
    for name, share in sorted(link.lacking.items()):
        if share.records >= LOAD_MIN:
            what = f"{share.records:,} of {max(share.of, share.records):,} records of {name}"
            yield f"{link.peer} has not confirmed {what} yet."


def clock_ahead(site: Site, transaction: Transaction) -> int:
    """By how many milliseconds some site's clock is ahead of ours, if by more than a little.

    Its edits win over ours in every conflict until its clock is put right.
    """
    ahead = transaction.site().stamp - site.surroundings.now()
    return ahead if ahead > AHEAD_MAX_MS else 0


def _lacking(transaction: Transaction, link: Link) -> tuple[Link, dict[str, Share]]:
    """The link without the flights of what the peer has from elsewhere by now; and what it lacks,
    if anything is on its way.
    """
    if not link.flights:
        return link, {}
    pending = Gathering()
    lacking: Counter[str] = Counter()
    for record in transaction.records.outside(link.acked):
        if is_pending(link, record):
            pending.add(record.position)
            lacking[record.dataset] += record.dataset != CONFLICTS and is_alive(record.entries)
    flights = without(link.flights, in_flight(link, 0) - pending.positions())
    shares = {
        name: Share(count, transaction.records.count(name))
        for name, count in lacking.items()
        if count
    }
    return replace(link, flights=flights), shares


def _examine(site: Site, transaction: Transaction, link: Link, now: int) -> LinkHealth:
    link, lacking = _lacking(transaction, link)
    queued = transaction.outbox.items(link.peer)
    unconfirmed = Positions()
    for flight in link.flights:
        unconfirmed = unconfirmed | flight.positions
    return LinkHealth(
        peer=link.peer,
        carriers=site.peers[link.peer].settings.carrier,
        linked=is_linked(site.settings.site.state, link.peer),
        heard_at=link.heard_at,
        silent=_is_overdue(site, link, now),
        confirmed=link.acked.contiguous,
        unconfirmed=unconfirmed,
        oldest_unconfirmed=min((flight.since for flight in link.flights), default=None),
        lacking=lacking,
        received=link.cover.contiguous,
        missing=missing(link),
        missing_since=missing_since(transaction, link),
        queued=len(queued),
        refusal=next((item.reason for item in queued if item.reason), ""),
        stale=link.stale,
        refused=link.refused,
        refusing=link.refusing,
        held=link.held,
        differing=tuple(link.agreement.differences(link.datasets)),
        deleted=_deleted(transaction, link.held),
        proof=last_proof(transaction, link.peer),
        asking=link.asking,
        asked=link.asked,
        denied=link.denied,
        denying=link.denying,
    )


def is_silent(site: Site, transaction: Transaction, link: Link) -> bool:
    """Has the peer left something unconfirmed for several times as long as it usually takes?"""
    now = site.surroundings.now()
    # what it has from elsewhere is looked up only where it matters
    return _is_overdue(site, link, now) and _is_overdue(site, _lacking(transaction, link)[0], now)


def _is_overdue(site: Site, link: Link, now: int) -> bool:
    """``link``: without the flights of what the peer has from elsewhere."""
    oldest = min((flight.unconfirmed_since for flight in link.flights), default=None)
    if oldest is None:
        return False
    usual = site.peers[link.peer].settings.resend_after * 1000
    if link.round_trip is not None:
        usual = link.round_trip.mean
    limit = max(SILENT_FACTOR * usual, SILENT_MIN_MS)
    heard = max(oldest, link.heard_at or 0)
    return now - heard > limit


def _deleted(transaction: Transaction, held: frozenset[RecordId]) -> dict[str, int]:
    """By dataset: how many of these records were deleted."""
    transaction.records.fetch(held)
    records = (transaction.records.get(one) for one in held)
    gone = (one.dataset for one in records if one is not None and not is_alive(one.entries))
    return dict(sorted(Counter(gone).items()))


def _told(inquiry: Asked) -> str:
    """What became of a request."""
    answer = "not answered yet"
    if inquiry.answered_at is not None:
        answer = f"answered at {moment(inquiry.answered_at)}"
    return f"at {moment(inquiry.at)} {inquiry.request.words}; {answer}"
