"""What may be due to a peer in one cycle, and what of it waits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mailsync.core import delivery, outbound
from mailsync.core.digests import Word
from mailsync.core.model import Link, Record
from mailsync.cycle import matching, verifying
from mailsync.cycle.budget import Choice
from mailsync.cycle.report import Report
from mailsync.cycle.site import Peer, Site
from mailsync.store.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Pending:
    """What may be due to a peer in one cycle."""

    site: Site
    peer: Peer
    report: Report
    candidates: Sequence[Record]
    start: int
    choice: Choice
    standings: matching.Standings
    everything: bool

    def resend_before(self, link: Link) -> int:
        """What was sent before this has been on its way for too long."""
        if self.everything:
            return self.start
        return self.start - delivery.patience(link, self.peer.settings.resend_after * 1000)

    def rank(self, record: Record) -> int | None:
        """As :data:`mailsync.core.outbound.Rank`."""
        return None if self.hold(record) else self.choice.rank(record)

    def hold(self, record: Record) -> bool:
        """Must the record wait, though the peer lacks it?"""
        return record.id in self.report.doubtful or self.standings.hold(record)

    def words(self, transaction: Transaction, resend_before: int) -> tuple[Word, ...]:
        """What a first synchronization has to say now."""
        link = self.site.links(transaction)[self.peer.name]
        return matching.words_due(transaction, link, self.report.read, resend_before)

    def is_due_now(self, transaction: Transaction) -> bool:
        """Is there anything to tell, but for what is on its way?"""
        now = max(self.site.surroundings.now(), self.start + 1)
        link = self.site.links(transaction)[self.peer.name]
        return self.is_due(transaction, now, self.resend_before(link))

    def is_due(self, transaction: Transaction, now: int, resend_before: int) -> bool:
        """Is there anything to tell that was not found too large?"""
        links = self.site.links(transaction)
        link = links[self.peer.name]
        if matching.has_words(transaction, link, self.report.read, resend_before):
            return True
        if verifying.has_proofs(transaction, self.peer, link, now):
            return True
        return outbound.is_due(
            links,
            self.peer.name,
            self._ranked(),
            resend_before=resend_before,
            owed_before=owed_before(self.peer, now),
        )

    def count_due(self, links: Mapping[str, Link], resend_before: int) -> int:
        """How many records that were not found too large a bundle would hold, were it large
        enough.
        """
        due = outbound.due(links, self.peer.name, self._ranked(), resend_before=resend_before)
        return sum(1 for _ in due)

    def _ranked(self) -> Iterator[Record]:
        return (record for record in self.candidates if self.rank(record) is not None)


def owed_before(peer: Peer, now: int) -> int:
    """An acknowledgement owed since before this goes even alone (milliseconds since 1970)."""
    return now - peer.settings.acknowledge_after * 1000
