"""What a link carries from now on that it did not carry before."""

from __future__ import annotations

from dataclasses import replace

from mailsync.core.offering import offer
from mailsync.cycle.matching import begin
from mailsync.cycle.site import Site


def offer_widened(site: Site) -> None:
    """Make due what links carry that did not before: a section of the configuration was added."""
    now = site.surroundings.now()
    with site.store.transaction() as transaction:
        links = site.links(transaction)
        changed = {name: link for name, link in links.items() if link.datasets != link.offered}
        if not changed:
            return
        ledger = transaction.ledger()
        for name, link in changed.items():
            if link.sent and link.datasets - link.offered:
                offer(ledger, links, name, link.datasets - link.offered)
                ledger.advance()  # we take more now: what we said before of refusing it is old
            begin(site, transaction, name, link.datasets - link.offered)
            changed[name] = replace(link, offered=link.datasets)
        transaction.save(ledger, now)
        transaction.save_links(changed)
