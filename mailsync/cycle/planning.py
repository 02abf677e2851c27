"""What a sync would do, priced, without doing it: everything is rehearsed and undone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from mailsync.core.model import CONFLICTS
from mailsync.cycle.composing import ALWAYS, compose_for
from mailsync.cycle.detecting import detect_datasets
from mailsync.cycle.pricing import mail_sizes
from mailsync.cycle.receiving import process_inbox
from mailsync.cycle.report import Report, Waiting
from mailsync.cycle.site import Peer, Site
from mailsync.cycle.widening import Moves, offer_widened
from mailsync.errors import MailsyncError


@dataclass(slots=True)
class PeerPlan:
    """What would go to one peer. ``bytes`` are whole mails."""

    upserts: Counter[str] = field(default_factory=Counter)
    """Records by dataset."""
    deletes: Counter[str] = field(default_factory=Counter)
    alike: Counter[str] = field(default_factory=Counter)
    """Of the records those that the peer has already: it only learns their GUIDs."""
    matching: set[str] = field(default_factory=set)
    """Datasets of which digests go first, to find out what both sites have."""
    mails: int = 0
    bytes: int = 0


@dataclass(slots=True)
class Plan:
    """What a sync would do."""

    detected: dict[str, int]
    """Local changes by dataset."""
    held: dict[str, dict[str, str]]
    peers: dict[str, PeerPlan]
    waiting: dict[str, Waiting]
    """By peer: what its budget holds back."""
    problems: list[MailsyncError]
    moves: Moves
    """What a changed filter or the time lets in or out."""

    def summary(self) -> str:
        """One line a peer, for people."""
        return "\n".join(
            f"{name}: {plan.upserts.total()} records, {plan.deletes.total()} deletes, "
            f"{plan.mails} mails, {plan.bytes} bytes"
            for name, plan in self.peers.items()
        )


def plan_sync(site: Site, peers: frozenset[str] | None = None) -> Plan:
    """What a sync would find and send now. Writes nothing anywhere, reads no mailbox."""
    with site.store.rehearsal() as store:
        rehearsed = replace(site, store=store)
        report = Report()
        rehearsed.expand()
        moves = offer_widened(rehearsed)
        detect_datasets(rehearsed, report)
        process_inbox(rehearsed, report)
        chosen = [peer for name, peer in site.peers.items() if peers is None or name in peers]
        plans = {peer.name: _plan_peer(rehearsed, peer, report) for peer in chosen}
    return Plan(report.detected, report.held, plans, report.waiting, report.problems, moves)


def what_waits(site: Site) -> dict[str, Waiting]:
    """By peer: what budgets would hold back in a cycle now."""
    report = Report()
    with site.store.rehearsal() as store:
        rehearsed = replace(site, store=store)
        for peer in site.peers.values():
            if peer.settings.budget is not None:
                _plan_peer(rehearsed, peer, report)
    return report.waiting


def _plan_peer(site: Site, peer: Peer, report: Report) -> PeerPlan:
    plan = PeerPlan()
    with site.store.transaction() as transaction:
        step = transaction.routes.get(peer.name).step
    for composed in compose_for(site, peer, report, everything=False, due_by=ALWAYS):
        plan.upserts += composed.upserts
        plan.deletes += composed.deletes
        plan.alike += composed.alike
        plan.matching |= composed.matching
        plan.mails += len(composed.containers)
        plan.bytes += sum(mail_sizes(site, peer, composed.containers, step))
    del plan.upserts[CONFLICTS]
    return plan
