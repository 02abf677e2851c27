"""Forget what nobody needs any more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mailsync.carriers.base import Mailbox
from mailsync.core import forgetting
from mailsync.core.delivery import is_pending, missed
from mailsync.core.ledger import Ledger
from mailsync.core.model import Link, Record
from mailsync.core.positions import NOWHERE, Positions
from mailsync.core.timers import patience
from mailsync.cycle.clocks import warn_of_clocks
from mailsync.cycle.gaps import warn_of_gaps
from mailsync.cycle.minting import warn_if_ahead
from mailsync.cycle.silence import warn_of_silence
from mailsync.cycle.site import Site
from mailsync.cycle.strangers import warn_of_unknown_sites
from mailsync.store.history import Event
from mailsync.store.records import StoredRecords
from mailsync.store.transaction import Transaction

DAY_MS = 24 * 3600 * 1000
KEPT_MS = 90 * DAY_MS
"""How long log lines, digests of applied bundles, bundles set aside and places of mails that are no
longer there are kept."""

WINDOW = 2_000
"""Records looked at in one transaction."""

Read = Callable[[StoredRecords, int], list[Record]]
"""The next records beyond a position."""

Treat = Callable[[Ledger, dict[str, Link], Record], dict[str, Link]]
"""Returns the links afterwards."""

TRIED = 3
"""How often a peer is sent the same once more before it is given up."""

RETENTION_ALONE = 30 * 24 * 3600
"""Seconds for which a site without peers keeps tombstones: whom it meets next may hold them."""


def tidy(site: Site) -> None:
    """Prune ancestors, expire silent peers, purge tombstones past their retention time, drop what
    was kept for peers that are no more; and say what is wrong with links and clocks.
    """
    now = site.surroundings.now()
    with site.store.transaction() as transaction:
        warn_if_ahead(site, transaction)
        warn_of_unknown_sites(site, transaction)
        links = site.links(transaction).items()
        transaction.save_links(
            {
                name: _relieved(site, transaction, _expired(site, transaction, link, now), now)
                for name, link in links
            }
        )
        warn_of_gaps(site, transaction)
        warn_of_silence(site, transaction)
        warn_of_clocks(site, transaction)
        transaction.records.age(now)
        transaction.forget(now - KEPT_MS)
        _drop_set_aside(transaction, now)
        _retire(site, transaction)
    retentions = (peer.settings.retention for peer in site.peers.values())
    past = now - max(retentions, default=RETENTION_ALONE) * 1000
    _in_windows(site, now, lambda records, after: records.prunable(after, WINDOW), _pruned)
    _in_windows(site, now, lambda records, after: records.gone(past, after, WINDOW), _purged)


def forget_vanished(site: Site, mailbox: Mailbox) -> None:
    """Forget the places of mails that are no longer there, once the mailbox was looked through.

    Not those that came lately: a server may go back to the UIDs that its mails had before.
    """
    with site.store.transaction() as transaction:
        settled = transaction.mailbox.settled_before(site.surroundings.now() - KEPT_MS)
        transaction.mailbox.forget(mailbox.vanished(settled))


def _drop_set_aside(transaction: Transaction, now: int) -> None:
    """What is not confirmed is sent again, as long as it is not taken: one copy after the other
    would be set aside.
    """
    for number, peer, reason in transaction.inbox.drop_quarantined(now - KEPT_MS):
        words = f"bundle {number}, set aside for {KEPT_MS // DAY_MS} days, is dropped: {reason}"
        transaction.history.log(Event(now, "dropped", peer, None, words))


def _retire(site: Site, transaction: Transaction) -> None:
    """Nobody waits for a peer that is no more: if it returns, it reconciles."""
    stored = transaction.links().items()
    retired = {name: link for name, link in stored if name not in site.peers}
    if retired:
        transaction.retire(frozenset(site.peers))
        transaction.save_links(
            {
                name: replace(link, stale=True, fulls=frozenset(), asked_at=None)
                for name, link in retired.items()
            }
        )


def _in_windows(site: Site, now: int, read: Read, treat: Treat) -> None:
    """Treat records, so many in one transaction."""
    after = 0
    while True:
        with site.store.transaction() as transaction:
            found = read(transaction.records, after)
            if not found:
                return
            ledger, links = transaction.ledger(), site.links(transaction)
            for record in found:
                links = treat(ledger, links, record)
            transaction.save(ledger, now)
            transaction.save_links(links)
        after = found[-1].position


def _pruned(ledger: Ledger, links: dict[str, Link], record: Record) -> dict[str, Link]:
    forgetting.prune(ledger, links, record)
    return links


def _purged(ledger: Ledger, links: dict[str, Link], record: Record) -> dict[str, Link]:
    return forgetting.purge(ledger, links, record)


def _expired(site: Site, transaction: Transaction, link: Link, now: int) -> Link:
    """The link, stale if the peer has left something unconfirmed, or whether it holds what we had
    when we were restored, for its retention time, counted from when we noticed. What goes once more
    only now, for we were away ourselves, may be answered yet.
    """
    limit = now - site.peers[link.peer].settings.retention * 1000
    times = [time for time in (link.heard_at, link.restored_at) if time is not None]
    silent = max((time for time in times if time <= now), default=0) < limit
    tried = link.misses >= TRIED
    overdue = Positions.covering(
        interval
        for flight in link.flights
        if (flight.unconfirmed_since if tried else flight.awaited_from) < limit
        for interval in flight.positions.intervals
    )
    if link.stale or not silent:
        return link
    if not (link.rejoin and tried) and not _lacks_some_of(transaction, link, overdue):
        return replace(link, voided=NOWHERE) if tried else link  # and no longer told of nothing
    words = "silent for its whole retention time; it will reconcile when it returns"
    transaction.history.log(Event(now, "stale", link.peer, None, words))
    return forgetting.expire(link)


def _relieved(site: Site, transaction: Transaction, link: Link, now: int) -> Link:
    """The link, to be told that what it misses will never come: it was announced, and deleted or
    left the filter before it went. What the peer refuses it misses by its own will.
    """
    waits = link.stale or link.rejoin or link.refused or link.voided.intervals
    since = now - patience(link, site.peers[link.peer].settings.resend_after * 1000)
    if waits or link.misses >= TRIED or not (positions := missed(link, since)).intervals:
        return link
    if any(is_pending(link, record) for record in transaction.records.outside(link.acked)):
        return link
    return replace(link, voided=positions, asked_at=None)


def _lacks_some_of(transaction: Transaction, link: Link, overdue: Positions) -> bool:
    """Unless the peer has it from elsewhere, or does not take it."""
    if not overdue.intervals:
        return False
    unsettled = transaction.records.outside(link.acked)
    return any(record.position in overdue and is_pending(link, record) for record in unsettled)
