"""What a peer sent and has not come, though later changes of the same stream have.

Rules
-----
* Mail overtakes mail. What came out of order is no news while it may be on its way: for as long as
  an acknowledgement waits, by which the peer then hears of it. After that it is in the log, too.
* Something is missing since a time as long as some of what was missing then still is. Up to which
  position that was stands in the name of the warning, for its words must not change.
* What is not taken from a peer is a gap, too, at least until it sends something else, and nobody
  knows which: of a peer of which something is refused, that is said, and nothing of gaps.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from mailsync.core.model import Link
from mailsync.core.positions import NOWHERE, Positions
from mailsync.cycle.site import Site
from mailsync.cycle.wording import moment, shown
from mailsync.store.history import Event
from mailsync.store.transaction import Transaction
from mailsync.store.warnings import Warned

_GAP: Final = "missing "


class _Gap(NamedTuple):
    """Some changes of a peer up to this position are missing, and were since then."""

    upto: int
    since: int
    in_log: bool


def missing(link: Link) -> Positions:
    """Positions of the peer's, below the newest one known, that have not come."""
    top = link.last.top if link.last is not None else 0
    return Positions.up_to(top) - link.cover


def missing_since(transaction: Transaction, link: Link) -> int | None:
    """Since when the first of them is (milliseconds since 1970); None: no cycle has said so."""
    gap = _noted(transaction).get(link.peer)
    return gap.since if gap is not None and _stands(gap, missing(link)) else None


def warn_of_gaps(site: Site, transaction: Transaction) -> None:
    """Say so as long as it is so; and in the log when it is more than late, and when it is over."""
    before = _noted(transaction)
    links = site.links(transaction)
    for peer in before.keys() - links.keys():
        transaction.warnings.drop(_name(peer, before[peer]))
    for peer, link in links.items():
        lacking = NOWHERE if link.refusing else missing(link)
        gap = before.get(peer)
        if gap is not None and not _stands(gap, lacking):
            _end(site, transaction, link, gap)
            gap = None
        if lacking.intervals:
            _say(site, transaction, peer, lacking, gap)


def _say(
    site: Site, transaction: Transaction, peer: str, lacking: Positions, gap: _Gap | None
) -> None:
    now = site.surroundings.now()
    gap = gap or _Gap(lacking.intervals[-1][1], now, in_log=False)
    late = now - gap.since < site.peers[peer].settings.acknowledge_after * 1000
    words = _late(peer) if late and not gap.in_log else _missing(peer)
    if transaction.warnings.note(_name(peer, gap), words, now) and words == _missing(peer):
        text = f"{shown(lacking)} did not come, though later changes did"
        text += f"; some of it is missing since {moment(gap.since)}"
        transaction.history.log(Event(now, "missing", peer, None, text))


def _end(site: Site, transaction: Transaction, link: Link, gap: _Gap) -> None:
    transaction.warnings.drop(_name(link.peer, gap))
    if gap.in_log and not link.refusing:
        text = f"nothing is missing any more of what was since {moment(gap.since)}"
        transaction.history.log(Event(site.surroundings.now(), "complete", link.peer, None, text))


def _stands(gap: _Gap, lacking: Positions) -> bool:
    return bool((lacking & Positions.up_to(gap.upto)).intervals)


def _noted(transaction: Transaction) -> dict[str, _Gap]:
    """By peer: what was missing at the end of the cycle before."""
    warned = (one for one in transaction.warnings.all() if one.name.startswith(_GAP))
    return dict(_read(one) for one in warned)


def _read(warned: Warned) -> tuple[str, _Gap]:
    peer, upto = warned.name.removeprefix(_GAP).split()  # no name of a peer has a space in it
    return peer, _Gap(int(upto), warned.since, warned.text == _missing(peer))


def _name(peer: str, gap: _Gap) -> str:
    return f"{_GAP}{peer} {gap.upto}"


def _late(peer: str) -> str:
    return f"later changes of {peer} came before earlier ones, which may be on their way"


def _missing(peer: str) -> str:
    return (
        f"not all that {peer} sent has come, though later changes have; it is told so, and sends "
        "what is missing again"
    )
