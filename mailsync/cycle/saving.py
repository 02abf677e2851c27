"""Write what a transaction comes to: with what the policies decide, and what was overwritten."""

from __future__ import annotations

from typing import NamedTuple

from mailsync.core.ledger import Ledger
from mailsync.core.policies import OUR_USERS, Writer
from mailsync.core.undoing import changed, edited
from mailsync.cycle.policies import settle
from mailsync.cycle.site import Site
from mailsync.store.transaction import Transaction


class Cause(NamedTuple):
    """Why records change: by a peer's bundle, or by our own users."""

    writer: Writer = OUR_USERS
    bundle: int | None = None
    """Its number in the inbox."""


def save(
    site: Site, transaction: Transaction, ledger: Ledger, now: int, cause: Cause | None = None
) -> None:
    """Write what the ledger gathered, what the policies decide about it, and what was overwritten.

    ``cause`` None: somebody decided who has seen all that is in the map.
    """
    writer = None if cause is None else cause.writer
    if site.policies:
        links, bits = site.links(transaction), site.surroundings.bits
        settle(site.policies, transaction, links, ledger, now, bits, writer)
    if cause is not None:
        formers = edited(ledger) if cause.bundle is None else changed(ledger)
        transaction.formers.keep(formers, cause.bundle, now)
    transaction.save(ledger, now)
