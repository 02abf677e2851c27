"""Take a withdrawal: the record is no longer for us, and a stub of it is left.

Rules
-----
* A record stays if we hold a write that the peer has not seen, or if we are just offering it.
* A stub is not sent. From now on the other peers cover positions at which they are not sent what
  came in: what they have seen of it by now stays noted by name.
* If a peer that has not seen all of a stub brings the record back, that is a conflict, though those
  who hold the record may have replaced what the stub says: they take it for seen here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mailsync.core.delivery import has, other_holders, unsent
from mailsync.core.glimpses import seen_in
from mailsync.core.ledger import Ledger
from mailsync.core.model import DeleteOrder, Link, Record, dots_of, is_alive
from mailsync.core.scope import carries, is_wanted


def take_withdrawal(
    ledger: Ledger,
    links: Mapping[str, Link],
    peer: str,
    record: Record,
    order: DeleteOrder,
    *,
    newest: bool,
) -> None:
    """The record is no longer for us: a stub is left. Not if we hold a write or a delete that
    the peer has not seen; then it is pending, and the peer will decide again. And not if it is
    not for the peer either, or we are just offering it: two sites that withdraw the same record
    from each other would both lose it.
    """
    link = links[peer]
    offered = peer in record.outside or (peer in record.whole_for and not has(link, record))
    record = ledger.keep(replace(record, blind_to=record.blind_to | {peer}))
    if record.withdrawn or not is_alive(record.entries) or not is_wanted(link, record):
        return
    living = {entry.dot for entry in order.entries.values() if not entry.killed}
    context = order.context | dots_of(order.entries)
    if not offered and all(
        entry.dot in seen_in(context, order.glimpses, name)
        and not (entry.killed and entry.dot in living)
        for name, entry in record.entries.items()
    ):
        ledger.bump(_stub(links, peer, record, ledger.next_position), {peer})
    elif newest and has(link, record):
        others = other_holders(links, record, peer)
        ledger.bump(replace(record, whole_for=record.whole_for | {peer}), others)


def _stub(links: Mapping[str, Link], peer: str, record: Record, position: int) -> Record:
    """The record once the peer withdrew it, at this position: others cover from now on what they
    are not sent.
    """
    for name, link in links.items():
        if name != peer and name not in record.outside and carries(link, record):
            record = unsent(link, record, position)
    return replace(record, withdrawn=True)
