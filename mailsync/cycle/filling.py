"""A record of the peer's that is one of ours comes without what we have already.

Rules
-----
* A record that is equal to one of ours comes without its values: they are ours. If ours has changed
  since, the record is asked for whole; so it is if the peer speaks of digests that are not ours any
  more, as one of both was restored.
* One that refers to what is not here yet waits for that, until it was asked for and came again:
  what it refers to may never come. Then it is taken like any other that refers to nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import NamedTuple

from mailsync.core.digests import Likeness
from mailsync.core.ledger import Ledger
from mailsync.core.matching import filled
from mailsync.core.model import (
    Bundle,
    Extraction,
    Fields,
    Guid,
    Record,
    RecordId,
    is_alive,
    merged_fields,
    values_of,
)
from mailsync.core.positions import NOWHERE, Positions
from mailsync.cycle.contents import Contents
from mailsync.cycle.site import Site
from mailsync.cycle.unions import Unions
from mailsync.store.matches import Alike
from mailsync.store.transaction import Transaction


class Filled(NamedTuple):
    """A bundle that says everything, and which of its records are ours."""

    bundle: Bundle
    lacking: frozenset[RecordId]
    """What is to be asked for whole."""
    ours: Mapping[RecordId, Alike]
    """By the peer's record."""


def fill(
    site: Site, transaction: Transaction, peer: str, bundle: Bundle, readable: Collection[str]
) -> Filled:
    """Add the values that the peer left to us. What cannot be filled is asked for whole, or comes
    again if the dataset cannot be read just now; but for what was taken when it came before.
    """
    if all(item.like is None for item in bundle.extractions):
        return Filled(bundle, frozenset(), {})
    filling = _Filling(site, transaction, peer, bundle)
    items: list[Extraction] = []
    unfilled: dict[RecordId, int] = {}
    for item in bundle.extractions:
        whole = item if item.like is None else filling.filled(item, readable)
        if whole is None:
            unfilled[item.id] = item.position
        else:
            items.append(whole)
    link = transaction.links()[peer]
    taken = link.cover if bundle.stream == link.inbound else NOWHERE
    lacking = frozenset(
        one for one, at in unfilled.items() if one.dataset in readable and at not in taken
    )
    holes = bundle.holes | Positions.of(unfilled.values())
    said = replace(bundle, extractions=tuple(items), holes=holes)
    news = {item.id for item in bundle.extractions if item.position not in taken}
    ours = {one: alike for one, alike in filling.ours.items() if one in news}
    return Filled(said, lacking, ours)


class _Filling:
    """Values for the records of one bundle."""

    def __init__(self, site: Site, transaction: Transaction, peer: str, bundle: Bundle) -> None:
        self._site = site
        self._transaction = transaction
        self._peer = peer
        self._coming = {item.id for item in bundle.extractions}
        self._ledger = transaction.ledger()
        self._contents = Contents(site, self._ledger)
        under_way = transaction.matches.of(peer).items()
        self._asked = transaction.links()[peer].lacking
        self._tags = {name: match.tag for name, match in under_way if not match.keeping}
        self.ours: dict[RecordId, Alike] = {}

    def filled(self, item: Extraction, readable: Collection[str]) -> Extraction | None:
        """The item with all its values, and noted whose record it is; None: not now."""
        if item.like is None or item.dataset not in readable:
            return None
        is_last = item.id in self._asked and not item.like.is_equal
        if self._refers_to_nothing(item) and not is_last:
            return None
        alike, own = self._alike(item.dataset, item.like)
        if alike is not None:
            self.ours[item.id] = alike
        if not item.like.is_equal:
            return replace(item, like=None)
        fields = self._as_it_came(item)
        if fields is None and alike is not None and own is not None:
            fields = self._as_it_was(alike, own)
        return None if fields is None else filled(item, fields)

    def _as_it_came(self, item: Extraction) -> Fields | None:
        """What the peer's record holds here already: that it came was not confirmed to the peer."""
        record = self._ledger.get(item.id)
        if record is None:
            return None
        ours = (record.entries.get(name) for name in item.entries)
        dots = [None if one is None else one.dot for one in ours]
        same = dots == [entry.dot for entry in item.entries.values()]
        return values_of(record.entries) if same else None

    def _alike(self, dataset: str, like: Likeness) -> tuple[Alike, Record] | tuple[None, None]:
        """Our record that the peer calls so, if it is there still. A keeper's ranks are of the
        peer's digests, not its own.
        """
        if self._tags.get(dataset) != like.tag:
            return None, None
        alike = self._transaction.matches.at(self._peer, dataset, like.rank)
        own = None if alike is None else self._ledger.get(RecordId(dataset, alike.guid))
        if alike is None or own is None or not is_alive(own.entries):
            return None, None
        return alike, own

    def _as_it_was(self, alike: Alike, own: Record) -> Fields | None:
        """What our record holds, if that has not changed since its digest was made."""
        is_same = self._contents.digest(own).to_bytes(8) == alike.digest
        return merged_fields(own) if is_same else None

    def _refers_to_nothing(self, item: Extraction) -> bool:
        for field, parent in self._site.references(item.dataset).items():
            entry = item.entries.get(field)
            if entry is not None and isinstance(entry.value, bytes):
                referred = RecordId(parent, Guid(entry.value))
                if referred not in self._coming and self._ledger.get(referred) is None:
                    return True
        return False


def pair(
    site: Site,
    transaction: Transaction,
    ledger: Ledger,
    peer: str,
    ours: Mapping[RecordId, Alike],
) -> None:
    """Make the peer's records that are ours one with them, those that others refer to first."""
    found: dict[str, dict[Guid, Guid]] = defaultdict(dict)
    for record_id, alike in ours.items():
        coming = ledger.get(record_id)
        if coming is not None and is_alive(coming.entries):
            transaction.matches.drop(peer, record_id.dataset, alike.rank)
            found[record_id.dataset][alike.guid] = record_id.guid
    for name in site.parents_first(found):
        Unions(site, name, transaction, ledger, {}).unite_all(list(found[name].items()))
