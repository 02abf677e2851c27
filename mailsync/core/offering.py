"""Offer a peer the records of datasets that the link did not carry before.

Rules
-----
* Positions of records that a link did not carry were settled all the same: the peer covered
  them without being sent anything. Once carried, such records take new positions and go whole.
* Whoever has a record already is not sent it again for that.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace

from mailsync.core.delivery import other_holders
from mailsync.core.ledger import Ledger
from mailsync.core.merge import subject_of
from mailsync.core.model import Link


def offer(ledger: Ledger, links: Mapping[str, Link], peer: str, datasets: AbstractSet[str]) -> None:
    """Make every record of these datasets, and every note about them, due to the peer."""
    for record in list(ledger.all()):
        if subject_of(record.dataset, record.entries) not in datasets:
            continue
        others = other_holders(links, record, peer)
        whole = replace(record, whole_for=record.whole_for | {peer})
        ledger.bump(whole, others)
