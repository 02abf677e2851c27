"""A site, ours or the peer's, was restored from a backup: notice it, and start afresh.

Rules
-----
* A bundle that confirms a stream or a bundle we do not remember proves that we have forgotten
  something. Marks carry random tags, so positions given twice do not deceive.
* After our own restore: new stream generations to all peers, keep only what they certainly
  have, and ask each of them.
* After the peer's: trust only its own word about what it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mailsync.core.delivery import MEMORY_LIMIT, anew, has, owing
from mailsync.core.ledger import Ledger
from mailsync.core.model import Bundle, Link, Mark, Stream
from mailsync.core.positions import NOWHERE, Positions
from mailsync.core.scope import is_wanted


def proves_our_restore(link: Link, position: int, bundle: Bundle) -> bool:
    """Does the bundle confirm a stream or a bundle that we do not remember?"""
    told = bundle.acknowledgement
    if told.stream is None:
        return False
    if told.stream != link.out:
        return told.stream.generation >= link.out.generation
    if told.last is not None and told.last not in link.sent:
        oldest = link.sent[0].top if len(link.sent) >= MEMORY_LIMIT else 0
        if told.last.top >= oldest or told.last.top > position:
            return True
    if bundle.confirmed is None:
        return False
    if bundle.stream != link.inbound:
        return link.inbound is None or bundle.stream.generation > link.inbound.generation
    return link.last is None or _is_beyond(bundle.confirmed, link.last)


def _is_beyond(confirmed: Mark, last: Mark) -> bool:
    return confirmed.top > last.top or (confirmed.top == last.top and confirmed != last)


def rotate(
    ledger: Ledger, links: Mapping[str, Link], peer: str, bundle: Bundle, nonce: int, now: int
) -> dict[str, Link]:
    """We were restored: new streams to all peers; keep only what they certainly have."""
    told = bundle.acknowledgement.stream
    for record in list(ledger.all()):
        known = {
            name for name, link in links.items() if has(link, record) and is_wanted(link, record)
        }
        ledger.keep(replace(record, known=frozenset(known)))
    rotated = {}
    for name, link in links.items():
        generation = link.out.generation
        if name == peer and told is not None:
            generation = max(generation, told.generation)
        rotated[name] = replace(
            owing(link, now),
            out=Stream(generation + 1, nonce),
            acked=Positions(),
            acked_last=None,
            sent=(),
            flights=(),
            voided=NOWHERE,
            misses=0,
            fulls=frozenset(),
            rejoin=True,
            asked_at=None,
            restored_at=now,
        )
    return rotated


def renew(ledger: Ledger, link: Link) -> Link:
    """The peer was restored: what we thought it had is void, and so are its withdrawals. Not what
    we said of records that left its filter: that it may have heard since. What it had shown us it
    may have covered without being sent it: that comes in anew where the record is now.
    """
    peer = link.peer
    for record in list(ledger.all()):
        shown = {dot for dot, sighting in record.context.items() if peer in sighting.known}
        context = {
            dot: sighting._replace(known=sighting.known - {peer})
            for dot, sighting in record.context.items()
        }
        unknown = replace(record, context=context, known=record.known - {peer})
        unknown = anew(unknown, peer, record.position, shown)
        if record.withdrawn and record.blind_to <= {peer}:
            ledger.bump(replace(unknown, withdrawn=False), unknown.known)
        else:
            ledger.keep(unknown)
    return replace(link, acked=Positions(), acked_last=None, flights=())
