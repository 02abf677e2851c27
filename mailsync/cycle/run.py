"""One whole cycle of a site: recover, receive, apply, determine, send."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from mailsync.core.model import CONFLICTS
from mailsync.cycle.composing import ALWAYS, compose_for
from mailsync.cycle.detecting import detect_datasets
from mailsync.cycle.holding import tell_of_held
from mailsync.cycle.housekeeping import tidy
from mailsync.cycle.materialising import materialise_datasets
from mailsync.cycle.pacing import reading
from mailsync.cycle.receiving import admit, arrival_of, collect, dispose, process_inbox
from mailsync.cycle.report import Report
from mailsync.cycle.sending import deliver
from mailsync.cycle.site import Site
from mailsync.cycle.widening import offer_widened
from mailsync.errors import MailsyncError


@dataclass(frozen=True, slots=True)
class Extent:
    """What a cycle should include."""

    receiving: bool = True
    sending: bool = True
    everything: bool = False
    """Send also what is on its way and not confirmed yet."""
    peers: frozenset[str] | None = None
    """Send to these only; None: to all."""
    due_by: int = ALWAYS
    """Hand over what the outbox holds due by this time (milliseconds since 1970), or by now."""


def import_files(site: Site, paths: Sequence[Path], report: Report) -> Report:
    """Take bundles from saved attachments or whole mails, and apply them.

    The caller holds the store's lock. Raises UsageError for a file that cannot be read.
    """
    site.expand()
    usable = detect_datasets(site, report)
    for number, path in enumerate(paths):
        admit(site, arrival_of(path, number), report)
    _apply(site, usable, report)
    tidy(site)
    return report


async def run_cycle(site: Site, extent: Extent, report: Report) -> Report:
    """One cycle. What stops a part of it is in the report; everything else goes on.

    The caller holds the store's lock.
    """
    site.expand()
    offer_widened(site)
    usable = detect_datasets(site, report)
    if extent.receiving and site.carrier is not None:
        try:
            async with reading(site, site.carrier) as mailbox:
                await collect(site, mailbox, report)
                await dispose(site, mailbox)
        except MailsyncError as problem:
            report.problems.append(problem)
    _apply(site, usable, report)
    if extent.sending:
        await _send(site, extent, report)
    tidy(site)
    return report


def _apply(site: Site, usable: Sequence[str], report: Report) -> None:
    """Inbox -> record map -> datasets."""
    process_inbox(site, report)
    materialise_datasets(site, usable, report)
    _note_held(site, report)


def _note_held(site: Site, report: Report) -> None:
    """Remember exactly what is held now; peers are told of what is theirs."""
    now = site.surroundings.now()
    with site.store.transaction() as transaction:
        for name, reasons in report.held.items():
            transaction.history.hold(name, reasons, now)
        tell_of_held(site, transaction, report, now)


async def _send(site: Site, extent: Extent, report: Report) -> None:
    chosen = _chosen(site, extent.peers)
    for name in chosen:
        sent = report.peer(name).sent
        peer = site.peers[name]
        for composed in compose_for(
            site, peer, report, everything=extent.everything, due_by=extent.due_by
        ):
            sent.bundles += 1
            sent.upserts += composed.upserts.total() - composed.upserts[CONFLICTS]
            sent.deletes += composed.deletes.total()
            report.progress("composing", composed.upserts.total() + composed.deletes.total())
    try:
        due_by = max(extent.due_by, site.surroundings.now())
        await deliver(site, frozenset(chosen), report, due_by=due_by)
    except MailsyncError as problem:
        report.problems.append(problem)


def _chosen(site: Site, peers: Collection[str] | None) -> list[str]:
    return [name for name in site.peers if peers is None or name in peers]
