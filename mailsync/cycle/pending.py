"""What may be due to a peer in one cycle, and what of it waits.

Rules
-----
* Of everything that may be due only positions are kept. The records themselves are read when it
  is their turn, a few at once, so that memory does not grow with what there is to send.
* What cannot go to the peer is named, and holds up nothing: it goes as soon as it can.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mailsync.core import delivery, outbound, timers, weights
from mailsync.core.digests import Word
from mailsync.core.fitness import too_large
from mailsync.core.glimpses import told
from mailsync.core.merge import subject_of
from mailsync.core.model import Link, Record
from mailsync.core.outbound import Survey
from mailsync.core.positions import Positions
from mailsync.cycle import matching, verifying
from mailsync.cycle.budget import Choice
from mailsync.cycle.report import Report
from mailsync.cycle.sieving import held_outward
from mailsync.cycle.site import Peer, Site
from mailsync.store.transaction import Transaction


@dataclass(slots=True)
class Pending:
    """What may be due to a peer in one cycle."""

    site: Site
    peer: Peer
    report: Report
    start: int
    everything: bool
    choice: Choice
    standings: matching.Standings
    surveyed: Survey
    size_limit: int = weights.SIZE_LIMIT
    """What is worth trying to put into one mail, as earlier ones of the cycle tell."""

    def resend_before(self, link: Link) -> int:
        """What was sent before this has been on its way for too long."""
        if self.everything:
            return self.start
        return self.start - timers.patience(link, self.peer.settings.resend_after * 1000)

    def due(self, transaction: Transaction) -> Iterator[Record]:
        """The records that are to go now, in the order in which they take the room."""
        link = self.site.links(transaction)[self.peer.name]
        flying = delivery.in_flight(link, self.resend_before(link))
        for positions in self.surveyed.ranked.values():
            yield from transaction.records.at(positions - flying)

    def fitting(self, transaction: Transaction) -> Iterator[Record]:
        """Those of them that were not found too large."""
        return (record for record in self.due(transaction) if self.choice.fits(record))

    def count_fitting(self, transaction: Transaction) -> int:
        """How many of those there are."""
        if self.choice.has_left_out:
            return sum(1 for _ in self.fitting(transaction))
        link = self.site.links(transaction)[self.peer.name]
        return len(self.surveyed.pending - delivery.in_flight(link, self.resend_before(link)))

    def words(self, transaction: Transaction, resend_before: int) -> tuple[Word, ...]:
        """What a first synchronization has to say now."""
        link = self.site.links(transaction)[self.peer.name]
        return matching.words_due(transaction, link, self.report.read, resend_before)

    def is_due_now(self, transaction: Transaction) -> bool:
        """Is there anything to tell that was not found too large, but for what is on its way?"""
        resend_before = self.resend_before(self.site.links(transaction)[self.peer.name])
        first = next(self.fitting(transaction), None)
        positions = Positions.of(() if first is None else (first.position,))
        return self.is_due(transaction, positions, resend_before)

    def is_due(self, transaction: Transaction, positions: Positions, resend_before: int) -> bool:
        """Is there anything to tell if the peer lacks the records at these positions?"""
        link = self.site.links(transaction)[self.peer.name]
        if matching.has_words(transaction, link, self.report.read, resend_before):
            return True
        now = max(self.site.surroundings.now(), self.start + 1)
        if verifying.has_proofs(transaction, self.peer, link, now):
            return True
        owed = owed_before(self.peer, now)
        return outbound.is_due(link, positions, resend_before=resend_before, owed_before=owed)


def look_for(
    site: Site, transaction: Transaction, peer: Peer, report: Report, *, everything: bool
) -> Pending:
    """All that may be due to the peer from now on.

    ``everything``: also what is on its way and not confirmed yet. Raises DatasetError.
    """
    start = site.surroundings.now()
    matching.decide(site, transaction, peer, report.read)
    standings = matching.standings(site, transaction, peer, start)
    links = site.links(transaction)
    link = links[peer.name]
    choice = Choice(link, peer.settings.budget, site.settings.section_of)

    def rank(record: Record) -> int | None:
        if record.id in report.doubtful or standings.hold(record):
            return None
        problem = held_outward(link, record) or _oversize(transaction, links, peer.name, record)
        if problem:
            dataset = subject_of(record.dataset, record.entries) or record.dataset
            name = record.guid.hex() if record.key is None else str(record.key)
            report.withhold(peer.name, dataset, name, problem)
            return None
        return choice.rank(record)

    ledger = transaction.ledger()
    report.withheld[peer.name] = {}
    candidates = outbound.passed_over(ledger, link, transaction.records.outside(link.acked))
    surveyed = outbound.survey(links, peer.name, candidates, rank)
    transaction.save(ledger, start)
    return Pending(site, peer, report, start, everything, choice, standings, surveyed)


def _oversize(
    transaction: Transaction, links: Mapping[str, Link], peer: str, record: Record
) -> str:
    """Why the record is too large to go to the peer, and what to do; empty: it is not. Sites only
    see to the size of what they write themselves: merged it may be more.
    """
    if not weights.is_heavy(record):
        return ""
    item = outbound.set_item(transaction.ledger(), links, peer, record)  # which is not saved
    item = told(links[peer], record, item)
    problem = too_large(item)
    if problem is None:
        return ""
    return f"too large for {peer}: {problem}; make it smaller, and it goes by itself"


def owed_before(peer: Peer, now: int) -> int:
    """An acknowledgement owed since before this goes even alone (milliseconds since 1970)."""
    return now - peer.settings.acknowledge_after * 1000
