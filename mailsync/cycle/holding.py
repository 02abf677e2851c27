"""What our datasets do not take: whose it is hears of it.

Rules
-----
* A peer is told which of its records wait here, by GUID; why is for our people to read.
* It is told again only if that changes, and of so many at most.
* Of a dataset that could not be read or written in this cycle nothing new is known.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Final

from mailsync.core.delivery import holding
from mailsync.core.desired import needs_writing
from mailsync.core.model import (
    Guid,
    Key,
    Link,
    Record,
    RecordId,
)
from mailsync.cycle.report import Report
from mailsync.cycle.site import Site
from mailsync.datasets.base import held_by
from mailsync.store.history import Event
from mailsync.store.transaction import Transaction

TOLD_MAX: Final = 100
"""Records of a dataset that a peer is told of."""


def tell_of_held(site: Site, transaction: Transaction, report: Report, now: int) -> None:
    """Enter into the links what is held of each peer's records."""
    held = {
        name: list(_waiting(site, transaction, name, report.held.get(name, {})))
        for name in report.read
    }
    ledger, links = transaction.ledger(), site.links(transaction)
    for peer, link in links.items():
        kept = {one for one in link.holding if one.dataset not in held}
        for records in held.values():
            theirs = sorted(one.id for one in records if peer in one.had)
            kept.update(theirs[:TOLD_MAX])
        if kept != link.holding:
            ledger.advance()  # what was said before of what is held is old
            links[peer] = holding(link, frozenset(kept), now)
    transaction.save(ledger, now)
    transaction.save_links(links)


def _waiting(
    site: Site, transaction: Transaction, name: str, held: Collection[str]
) -> Iterator[Record]:
    """The records that wait to be written, among what is held under these names; and those whose
    delete waits for a person.
    """
    if transaction.stops.of(name, received=True) is not None:
        yield from transaction.records.unwritten(name, 0, TOLD_MAX, gone=(1,))
    if not held:
        return
    keyed = transaction.records.by_key(name, [Key(one) for one in held])
    others = set(held) - keyed.keys()
    new = [RecordId(name, Guid(bytes.fromhex(one))) for one in others if _is_guid(one)]
    transaction.records.fetch(new)
    fields = held_by(site.dataset(name))
    for record in (*keyed.values(), *map(transaction.records.get, new)):
        if record is not None and needs_writing(record, fields):
            yield record


def _is_guid(name: str) -> bool:
    """Can it be a record without a row?"""
    return re.fullmatch("(?:[0-9a-f]{2}){4,16}", name) is not None


def log_held(transaction: Transaction, before: Link, after: Link, now: int) -> None:
    """Of what the peer now says it holds or refused, and of what we refused, once."""
    for dataset, guid in sorted(after.held - before.held):
        text = f"{dataset}: held at {after.peer}; mailsync held list there tells why"
        transaction.history.log(Event(now, "held", after.peer, bytes(guid), text))
    for dataset, guid in sorted(after.denied - before.denied):
        text = f"{dataset}: {after.peer} refused what this site may not write there"
        transaction.history.log(Event(now, "denied", after.peer, bytes(guid), text))
    for dataset, guid in sorted(after.denying - before.denying):
        text = f"{dataset}: refused what {after.peer} may not write here"
        transaction.history.log(Event(now, "denied", after.peer, bytes(guid), text))
