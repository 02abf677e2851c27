"""Offer a peer the records of datasets that the link did not carry before.

Rules
-----
* Positions of records that a link did not carry were settled all the same: the peer covered
  them without being sent anything. Once carried, such records take new positions and go whole.
* Whoever has a record already is not sent it again for that.
* What a peer has otherwise than we thought goes to it in the same way.
* So it is with fields that go to the peer by now and did not. What was written into them counts as
  not seen until the peer confirms the new position: to an edit or a delete of the peer that is on
  its way it is an edit that this had not seen. Fields that no longer go stay as they are there, and
  what the peer had confirmed of them it has seen.
* So it is with records that entered a peer's filter while they stayed as they were, because the
  filter changed or time passed. Those that left it are due as withdrawals, unless the peer keeps
  them. Nothing else moves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import NamedTuple

from mailsync.core.delivery import (
    anew,
    as_confirmed,
    has,
    is_within,
    must_drop,
    other_holders,
    passed,
    returned,
)
from mailsync.core.ledger import Ledger
from mailsync.core.merge import subject_of
from mailsync.core.model import CONFLICTS, Dot, Link, Record, is_alive
from mailsync.core.scope import Shown, carries, is_among, is_wanted, noted_field, terms_of


def offer(ledger: Ledger, links: Mapping[str, Link], peer: str, datasets: AbstractSet[str]) -> None:
    """Make every record of these datasets, and every note about them, due to the peer."""
    link = links[peer]
    about = (each for each in ledger.all() if subject_of(each.dataset, each.entries) in datasets)
    for record in list(about):
        unseen = anew(record, peer, ledger.next_position, passed(link, record))
        send_whole(ledger, links, peer, [unseen])


def send_whole(
    ledger: Ledger, links: Mapping[str, Link], peer: str, records: Iterable[Record]
) -> None:
    """Make these records due to the peer, every field of them, whatever it confirmed before."""
    for record in records:
        others = other_holders(links, record, peer)
        ledger.bump(replace(record, whole_for=record.whole_for | {peer}), others)


def show_otherwise(
    ledger: Ledger,
    links: Mapping[str, Link],
    peer: str,
    dataset: str,
    before: Shown,
) -> None:
    """Other fields of a dataset go to the peer than ``before`` (None: all went)."""
    link, now = links[peer], terms_of(links[peer], dataset).shown
    about = [each for each in ledger.all() if subject_of(each.dataset, each.entries) == dataset]
    for record in about:
        if not carries(link, record):
            continue
        if record.dataset == CONFLICTS:
            if not is_among(before, noted_field(record)):
                send_whole(ledger, links, peer, [record])
            continue
        revealed = _dots_of_only(record, now, before)
        if revealed:
            unseen = anew(record, peer, ledger.next_position, revealed)
            send_whole(ledger, links, peer, [unseen])
        elif concealed := _dots_of_only(record, before, now):
            ledger.keep(as_confirmed(link, record, concealed))


def _dots_of_only(record: Record, one: Shown, other: Shown) -> frozenset[Dot]:
    """The writes in fields of the record that are among the one and not among the other."""
    return frozenset(
        entry.dot
        for name, entry in record.entries.items()
        if is_among(one, name) and not is_among(other, name)
    )


class Moved(NamedTuple):
    """How many records came to be for a peer, or no longer."""

    entered: int = 0
    left: int = 0


def sort_out(
    ledger: Ledger, links: Mapping[str, Link], peer: str, records: Iterable[Record]
) -> Moved:
    """Make due to the peer what entered or left its filter, of these records."""
    link, entered, left = links[peer], 0, 0
    for record in records:
        if record.dataset == CONFLICTS or record.withdrawn or not is_alive(record.entries):
            continue
        if not carries(link, record):
            continue
        if is_wanted(link, record):
            if is_within(link, record):
                continue
            entered += 1
            moved = returned(record, peer, ledger.next_position)
        elif must_drop(link, record):
            left += link.peer not in record.outside
            moved = record
        else:
            continue
        if _is_told_otherwise(link, record):
            ledger.bump(moved, other_holders(links, record, peer))
    return Moved(entered, left)


def _is_told_otherwise(link: Link, record: Record) -> bool:
    """May the opposite have been said at the record's position, or passed over in silence?"""
    if record.outside.get(link.peer) == record.position:
        return is_wanted(link, record)
    passed = bool(link.sent) and link.sent[-1].top >= record.position
    return passed or has(link, record)
