"""What a sync would do, priced, without doing it: everything is rehearsed and undone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from mailsync.carriers.base import NAME_SIZE, Letter, name_of_mail
from mailsync.core.model import CONFLICTS
from mailsync.cycle.composing import ALWAYS, Composed, compose_for, offer_widened
from mailsync.cycle.detecting import detect_dataset
from mailsync.cycle.receiving import process_inbox
from mailsync.cycle.report import Report
from mailsync.cycle.site import Peer, Site
from mailsync.errors import MailsyncError


@dataclass(slots=True)
class PeerPlan:
    """What would go to one peer. ``bytes`` are whole mails."""

    upserts: Counter[str] = field(default_factory=Counter)
    """Records by dataset."""
    deletes: Counter[str] = field(default_factory=Counter)
    mails: int = 0
    bytes: int = 0


@dataclass(slots=True)
class Plan:
    """What a sync would do."""

    detected: dict[str, int]
    """Local changes by dataset."""
    held: dict[str, dict[str, str]]
    peers: dict[str, PeerPlan]
    problems: list[MailsyncError]

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
        offer_widened(rehearsed)
        for name in site.settings.datasets:
            try:
                detect_dataset(rehearsed, name, report)
            except MailsyncError as problem:
                report.problems.append(problem)
        process_inbox(rehearsed, report)
        chosen = [peer for name, peer in site.peers.items() if peers is None or name in peers]
        plans = {peer.name: _plan_peer(rehearsed, peer) for peer in chosen}
    return Plan(report.detected, report.held, plans, report.problems)


def _plan_peer(site: Site, peer: Peer) -> PeerPlan:
    plan = PeerPlan()
    for composed in compose_for(site, peer, everything=False, due_by=ALWAYS):
        plan.upserts += composed.upserts
        plan.deletes += composed.deletes
        plan.mails += len(composed.containers)
        plan.bytes += sum(_mail_sizes(site, peer, composed))
    del plan.upserts[CONFLICTS]
    return plan


def _mail_sizes(site: Site, peer: Peer, composed: Composed) -> list[int]:
    """Bytes of the whole mails that would carry the bundle."""
    from mailsync.carriers.message import compose_message  # noqa: PLC0415  only to price mails

    address = "nobody@example.org" if site.settings.mail is None else site.settings.mail.address
    count = len(composed.containers)
    return [
        len(
            compose_message(
                Letter(
                    recipient=peer.address,
                    container=content,
                    message_id=name_of_mail(bytes(NAME_SIZE), address),
                    label="00000000",
                    part=number,
                    parts=count,
                    profile=peer.settings.profile,
                ),
                sender=address,
                date=datetime.fromtimestamp(site.surroundings.now() / 1000, UTC),
                boundary="=" * 24,
                site=site.name,
            )
        )
        for number, content in enumerate(composed.containers, start=1)
    ]
