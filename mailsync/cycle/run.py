"""One whole cycle of a site: recover, receive, apply, determine, send."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mailsync.carriers.base import Kind
from mailsync.carriers.folder import arrivals_in
from mailsync.core.model import CONFLICTS
from mailsync.cycle import verifying
from mailsync.cycle.composing import ALWAYS, compose_for
from mailsync.cycle.conflicts import count_waiting
from mailsync.cycle.detecting import detect_datasets
from mailsync.cycle.direct import by_direct, carriers_to, deliver_directly
from mailsync.cycle.folder import FolderCarrier, tags_from
from mailsync.cycle.holding import tell_of_held
from mailsync.cycle.housekeeping import forget_vanished, tidy
from mailsync.cycle.mail import MailCarrier
from mailsync.cycle.materialising import materialise_datasets
from mailsync.cycle.pacing import reading
from mailsync.cycle.receiving import (
    admit,
    arrival_of,
    collect,
    dispose,
    dispose_of_mails,
    process_inbox,
    take_arrivals,
)
from mailsync.cycle.report import Report
from mailsync.cycle.sending import deliver
from mailsync.cycle.site import Peer, Site
from mailsync.cycle.widening import offer_widened, unjudged
from mailsync.errors import Exit, LoginRefused, MailsyncError, OperatorError


class BundlesLeft(OperatorError):
    """Make room there, or take another folder, and run the command again: it goes on from there."""

    exit_code = Exit.TEMPORARY


@dataclass(frozen=True, slots=True)
class Extent:
    """What a cycle should include."""

    receiving: bool = True
    sending: bool = True
    everything: bool = False
    """Send also what is on its way and not confirmed yet."""
    peers: frozenset[str] | None = None
    """Send to these only; None: to all."""
    carriers: frozenset[Kind] | None = None
    """Look into these and send by these only; None: all."""
    allow_delete: int = 0
    """So many records of each dataset may be gone at once: a person knows of it."""
    due_by: int = ALWAYS
    """Hand over what the outbox holds due by this time (milliseconds since 1970), or by now."""

    def allows(self, kind: Kind) -> bool:
        """May this carrier be used?"""
        return self.carriers is None or kind in self.carriers


def import_files(site: Site, paths: Sequence[Path], report: Report) -> Report:
    """Take bundles from saved attachments, whole mails, and folders of bundles, and apply them.

    The caller holds the store's lock. Raises UsageError for a file that cannot be read.
    """
    site.expand()
    offer_widened(site)
    usable = detect_datasets(site, report)
    tags = tags_from([peer.public for peer in site.peers.values()], site.keys.public)
    with site.store.transaction() as transaction:
        taken = transaction.mailbox.taken()  # what was damaged may be whole by now
    for number, path in enumerate(paths):
        found = arrivals_in(path, tags, taken) if path.is_dir() else [arrival_of(path, number)]
        for arrival in found:
            admit(site, arrival, report)
            report.progress("receiving", 1)
    _apply(site, usable, report)
    tidy(site)
    return report


async def export_bundles(
    site: Site, peer: str, folder: Path, report: Report, *, everything: bool
) -> Report:
    """Lay down in a folder what is due to a peer; ``everything``: also what is on its way.

    The caller holds the store's lock.
    """
    there = site.peers[peer]
    carrier = FolderCarrier.of(there.settings, site.keys.public, there.public)
    site.direct[peer] = {"folder": replace(carrier, outward=folder)}
    extent = Extent(
        receiving=False,
        everything=everything,
        peers=frozenset({peer}),
        carriers=frozenset({"folder"}),
    )
    await run_cycle(site, extent, report)
    with site.store.transaction() as transaction:
        left = transaction.outbox.items(peer)
    if left:
        why = next((item.reason for item in left if item.reason), "the folder is gone")
        report.problems.append(BundlesLeft(f"{len(left)} bundles did not go: {why}"))
    return report


async def run_cycle(site: Site, extent: Extent, report: Report) -> Report:
    """One cycle. What stops a part of it is in the report; everything else goes on.

    The caller holds the store's lock.
    """
    site.expand()
    offer_widened(site)
    usable = detect_datasets(site, report, meant=extent.allow_delete)
    if extent.receiving:
        await _collect(site, extent, report)
    _apply(site, usable, report, meant=extent.allow_delete)
    verifying.verify(site, report)
    if extent.sending:
        await _send(site, extent, report)
        _note_withheld(site, report)
    refused = any(isinstance(problem, LoginRefused) for problem in report.problems)
    if refused and isinstance(site.carrier, MailCarrier):
        site.carrier.forget()
    tidy(site)
    return report


async def _collect(site: Site, extent: Extent, report: Report) -> None:
    if site.carrier is not None and extent.allows("mail"):
        with report.noting():
            async with reading(site, site.carrier) as mailbox:
                await collect(site, mailbox, report)
                forget_vanished(site, mailbox)
                await dispose_of_mails(site, mailbox)
    carriers = [one for direct in site.direct.values() for one in direct.items()]
    for kind, carrier in carriers:
        found = carrier.mailbox() if extent.allows(kind) else None
        if found is not None:
            with report.noting():
                async with found as mailbox:
                    with site.store.transaction() as transaction:
                        settled = transaction.mailbox.settled()
                    await take_arrivals(site, mailbox, settled, report)
                    forget_vanished(site, mailbox)
                    await dispose(site, mailbox)


def _apply(site: Site, usable: Sequence[str], report: Report, *, meant: int = 0) -> None:
    """Inbox -> record map -> datasets."""
    process_inbox(site, report)
    materialise_datasets(site, usable, report, meant=meant)
    _note_waiting(site, report)


def _note_waiting(site: Site, report: Report) -> None:
    """Remember exactly what is held now; peers are told of what is theirs."""
    now = site.surroundings.now()
    with site.store.transaction() as transaction:
        for name, reasons in unjudged(site, transaction).items():
            report.held.setdefault(name, {}).update(reasons)
        tell_of_held(site, transaction, report, now)
        report.undecided = count_waiting(site, transaction)
    _note_held(site, report)


def _note_held(site: Site, report: Report) -> None:
    now = site.surroundings.now()
    with site.store.transaction() as transaction:
        for name, reasons in report.held.items():
            transaction.history.hold(name, reasons, now)


def _note_withheld(site: Site, report: Report) -> None:
    """Remember exactly what does not go now to those to whom something was to be composed."""
    now = site.surroundings.now()
    with site.store.transaction() as transaction:
        for peer, reasons in report.withheld.items():
            transaction.history.withhold(peer, reasons, now)


async def _send(site: Site, extent: Extent, report: Report) -> None:
    """To each peer by its carriers in turn: what one does not take goes by the next."""
    chosen = {
        name: carriers_to(site, name, extent.carriers) for name in chosen_peers(site, extent.peers)
    }
    going = {name: kinds for name, kinds in chosen.items() if kinds}
    while going:
        mailing = [name for name, kinds in going.items() if kinds[0] == "mail"]
        done = set[str]()
        if mailing and await _send_mails(site, mailing, extent, report):
            done.update(mailing)
        for name in going.keys() - set(mailing):
            if await _send_directly(site, name, going[name][0], extent, report):
                done.add(name)
        going = {
            name: kinds[1:] for name, kinds in going.items() if name not in done and len(kinds) > 1
        }


async def _send_mails(site: Site, peers: Collection[str], extent: Extent, report: Report) -> bool:
    """One batch for all these peers; False if their server cannot be used at all."""
    for name in peers:
        with report.guarding():  # what cannot be said to one keeps nothing from the others
            _compose(site, site.peers[name], extent, report)
    try:
        due_by = max(extent.due_by, site.surroundings.now())
        await deliver(site, frozenset(peers), report, due_by=due_by)
    except MailsyncError as problem:
        report.problems.append(problem)
        return False
    return True


async def _send_directly(site: Site, name: str, kind: Kind, extent: Extent, report: Report) -> bool:
    """False if the carrier is not there, or ceased to take what is due."""
    peer = by_direct(site.peers[name], kind)
    carrier = site.direct[name].get(kind)  # a link may be down by now
    if carrier is None:
        return False
    with report.noting():
        async with carrier.sender() as sender:
            _compose(site, peer, extent, report)
            return await deliver_directly(site, peer, kind, sender, report)
    return False


def _compose(site: Site, peer: Peer, extent: Extent, report: Report) -> None:
    sent = report.peer(peer.name).sent
    for composed in compose_for(
        site, peer, report, everything=extent.everything, due_by=extent.due_by
    ):
        sent.bundles += 1
        sent.upserts += composed.upserts.total() - composed.upserts[CONFLICTS]
        sent.deletes += composed.deletes.total()


def chosen_peers(site: Site, peers: Collection[str] | None) -> list[str]:
    """Those of the peers that were chosen; None: all."""
    return [name for name in site.peers if peers is None or name in peers]
