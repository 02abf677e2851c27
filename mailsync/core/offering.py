"""Offer a peer the records of datasets that the link did not carry before.

Rules
-----
* Positions of records that a link did not carry were settled all the same: the peer covered
  them without being sent anything. Once carried, such records take new positions and go whole.
* Whoever has a record already is not sent it again for that.
* What a peer has otherwise than we thought goes to it in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace

from mailsync.core.delivery import other_holders
from mailsync.core.ledger import Ledger
from mailsync.core.merge import subject_of
from mailsync.core.model import Link, Record


def offer(ledger: Ledger, links: Mapping[str, Link], peer: str, datasets: AbstractSet[str]) -> None:
    """Make every record of these datasets, and every note about them, due to the peer."""
    about = (each for each in ledger.all() if subject_of(each.dataset, each.entries) in datasets)
    send_whole(ledger, links, peer, list(about))


def send_whole(
    ledger: Ledger, links: Mapping[str, Link], peer: str, records: Iterable[Record]
) -> None:
    """Make these records due to the peer, every field of them, whatever it confirmed before."""
    for record in records:
        others = other_holders(links, record, peer)
        ledger.bump(replace(record, whole_for=record.whole_for | {peer}), others)
