"""Requests between sites: a person asks a peer to synchronize now, and the peer does, once.

Rules
-----
* What is due of the datasets asked for goes at once, whatever is on its way already; so does an
  acknowledgement, even if nothing is due. The peer's budget and quiet hours hold all the same.
* A peer that asks more than once an hour is not answered for it; what is due goes as ever.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from mailsync.core import answering
from mailsync.core.delivery import without
from mailsync.core.merge import subject_of
from mailsync.core.model import Bundle, Link
from mailsync.core.positions import Positions
from mailsync.core.requests import Request
from mailsync.cycle.report import Report
from mailsync.cycle.site import Site
from mailsync.cycle.wording import moment
from mailsync.errors import UsageError
from mailsync.store.history import Event
from mailsync.store.transaction import Transaction


def ask(site: Site, peer: str, datasets: Collection[str], deletes: int) -> None:
    """Ask a peer, with the next bundle, to synchronize these datasets and groups; none: all.

    ``deletes``: so many of ours that wait there are meant. Raises UsageError for a dataset that
    the peer does not share, or where the peer answered less than an hour ago.
    """
    now = site.surroundings.now()
    with site.store.transaction() as transaction:
        link = site.links(transaction)[peer]
        wanted = _wanted(site, link, datasets)
        last = link.asking
        if last is not None and last.answered_at is not None:
            until = last.answered_at + answering.INTERVAL_MS
            if last.answered_at <= now < until:
                raise UsageError(
                    f"{peer} answered at {moment(last.answered_at)}, and answers once an hour: "
                    f"ask again after {moment(until)}"
                )
        request = Request(site.surroundings.bits(32), wanted, deletes)
        transaction.save_links({peer: answering.ask(link, request, now)})
        transaction.history.log(Event(now, "asks", peer, None, request.words))


def _wanted(site: Site, link: Link, datasets: Collection[str]) -> frozenset[str]:
    wanted = set()
    for name in datasets:
        found = {one for one in link.datasets if name in (one, site.settings.section_of(one))}
        if not found:
            known = ", ".join(sorted(link.datasets)) or "none"
            raise UsageError(f"{link.peer} shares no dataset {name}; it shares: {known}")
        wanted |= found
    return frozenset(wanted)


def hear(transaction: Transaction, before: Link, bundle: Bundle, report: Report, now: int) -> Link:
    """The link after what its peer's bundle asks and answers."""
    link = answering.hear(before, bundle, now)
    if link.asking != before.asking:
        transaction.history.log(Event(now, "answers", link.peer, None, "what we asked for"))
    if bundle.request is None:
        return link
    if link.asked == before.asked:
        is_again = before.asked is not None and before.asked.request.number == bundle.request.number
        if not is_again:
            words = "asks again within an hour; that is not answered"
            transaction.history.log(Event(now, "asked", link.peer, None, words))
        return link
    transaction.history.log(Event(now, "asked", link.peer, None, bundle.request.words))
    names = (bundle.request.datasets or link.datasets) & link.datasets
    for name in names:
        report.meant[name] = max(report.meant.get(name, 0), bundle.request.deletes)
    asked_for = Positions.of(
        record.position
        for record in transaction.records.outside(link.acked)
        if subject_of(record.dataset, record.entries) in names
    )
    return replace(link, flights=without(link.flights, asked_for))
