"""Peers that are silent for longer than expected.

Rules
-----
* A peer is silent that leaves something unconfirmed; who has nothing to say may say nothing.
* It is over when the peer is heard, or need confirm nothing any more. A peer that nobody waits for
  any more is no less silent for that.
"""

from __future__ import annotations

from typing import Final

from mailsync.core.model import Link
from mailsync.cycle.health import is_silent
from mailsync.cycle.site import Site
from mailsync.cycle.wording import moment
from mailsync.store.history import Event
from mailsync.store.transaction import Transaction

_SILENT: Final = "silent "


def warn_of_silence(site: Site, transaction: Transaction) -> None:
    """Say so as long as it is so; and in the log when it begins, and when it is over."""
    links = site.links(transaction)
    transaction.warnings.drop_others(_SILENT, links)
    begun = {one.name: one.since for one in transaction.warnings.all()}
    for link in links.values():
        since = begun.get(_SILENT + link.peer)
        if is_silent(site, transaction, link):
            _begin(site, transaction, link)
        elif since is not None:
            _end(site, transaction, link, since)


def _begin(site: Site, transaction: Transaction, link: Link) -> None:
    now, peer = site.surroundings.now(), link.peer
    words = f"{peer} is silent for longer than usual; mailsync doctor {peer} examines the way there"
    if transaction.warnings.note(_SILENT + peer, words, now):
        heard = "never heard" if link.heard_at is None else f"last heard {moment(link.heard_at)}"
        text = f"silent for longer than usual; {heard}"
        transaction.history.log(Event(now, "silent", peer, None, text))


def _end(site: Site, transaction: Transaction, link: Link, since: int) -> None:
    """``since``: when it began."""
    heard = link.heard_at is not None and link.heard_at > since
    if link.stale and not heard:
        return
    transaction.warnings.drop(_SILENT + link.peer)
    text = f"{'heard again' if heard else 'need confirm nothing now'}; silent since {moment(since)}"
    transaction.history.log(Event(site.surroundings.now(), "not silent", link.peer, None, text))
