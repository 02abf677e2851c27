"""What a sync would do, priced, without doing it: everything is rehearsed and undone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from mailsync.carriers.base import Kind
from mailsync.core.model import CONFLICTS
from mailsync.cycle.composing import ALWAYS, compose_for
from mailsync.cycle.detecting import detect_datasets
from mailsync.cycle.direct import by_direct
from mailsync.cycle.pricing import mail_sizes
from mailsync.cycle.receiving import process_inbox
from mailsync.cycle.report import Report, Traffic, Waiting
from mailsync.cycle.site import Peer, Site
from mailsync.cycle.syncing import carriers_tried
from mailsync.cycle.widening import Moves, offer_widened
from mailsync.errors import MailsyncError


@dataclass(slots=True)
class PeerPlan:
    """What would go to one peer."""

    carriers: list[Kind]
    """What a sync would try to send by, in this order; counted is what the first would take."""

    upserts: Counter[str] = field(default_factory=Counter)
    """Records by dataset."""
    deletes: Counter[str] = field(default_factory=Counter)
    alike: Counter[str] = field(default_factory=Counter)
    """Of the records those that the peer has already: it only learns their GUIDs."""
    matching: set[str] = field(default_factory=set)
    """Datasets of which digests go first, to find out what both sites have."""
    sent: Traffic = field(default_factory=Traffic)
    """Bundles; mails and their bytes, or what another carrier would take."""

    @property
    def by_mail(self) -> bool:
        """Is it mails that are counted?"""
        return self.carriers[0] == "mail"

    @property
    def bulk(self) -> str:
        """How much it is, and what takes it."""
        first, *rest = self.carriers
        if self.by_mail:
            return f"{self.mails} mails"
        otherwise = f", or where that is not there by {rest[0]}" if rest else ""
        return f"{self.sent.bundles} bundles by {first}{otherwise}"

    @property
    def mails(self) -> int:
        """None if another carrier would take all."""
        return self.sent.mails

    @property
    def bytes(self) -> int:
        """Of whole mails, or of what another carrier would take."""
        return self.sent.bytes + sum(one.bytes for one in self.sent.others.values())


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
            f"{plan.bulk}, {plan.bytes} bytes"
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
        plans = {
            peer.name: _plan_peer(rehearsed, peer, report, _carriers(site, peer)) for peer in chosen
        }
    return Plan(report.detected, report.all_held(), plans, report.waiting, report.problems, moves)


def what_waits(site: Site) -> dict[str, Waiting]:
    """By peer: what budgets would hold back in a cycle now."""
    report = Report()
    with site.store.rehearsal() as store:
        rehearsed = replace(site, store=store)
        for peer in site.peers.values():
            if peer.settings.budget is not None:
                _plan_peer(rehearsed, peer, report, ["mail"])
    return report.waiting


def _carriers(site: Site, peer: Peer) -> list[Kind]:
    """What a sync would try, but for a folder that is not there now."""
    folder = peer.settings.folder_out
    is_there = folder is not None and folder.is_dir()
    tried = carriers_tried(site, peer.name)
    return [kind for kind in tried if kind != "folder" or is_there] or ["mail"]


def _plan_peer(site: Site, peer: Peer, report: Report, carriers: list[Kind]) -> PeerPlan:
    plan = PeerPlan(carriers)
    with site.store.transaction() as transaction:
        step = transaction.routes.get(peer.name).step
    reached = peer if plan.by_mail else by_direct(peer, carriers[0])
    for composed in compose_for(site, reached, report, everything=False, due_by=ALWAYS):
        plan.upserts += composed.upserts
        plan.deletes += composed.deletes
        plan.alike += composed.alike
        plan.matching |= composed.matching
        sizes = [len(one) for one in composed.containers]
        if plan.by_mail:
            sizes = mail_sizes(site, peer, composed.containers, step)
        for size in sizes:
            plan.sent.count(carriers[0], size)
        plan.sent.bundles += 1
    del plan.upserts[CONFLICTS]
    return plan
