"""Two records become one: the peer's, and our own that it is.

Rules
-----
* A record of the peer's that is equal to one of ours comes without its values: they are ours. If
  ours has changed since, the record is asked for whole.
* One that refers to what is not here yet waits for that, until it was asked for and came again:
  what it refers to may never come. Then it is taken like any other that refers to nothing.
* Where a dataset has fields that tell records apart (``match``), a record that comes is our own
  with the same values there, if the peer has not seen that one with these; of several, the one with
  the same content. What could still be several is held, and neither it nor ours are sent on: a
  person decides, by making them differ.
* What was made one here stays one: where the record that gave way lives on, as somebody edited it
  who did not know, it is joined in again, whatever its sender has seen by then. If the one that
  stayed gave way at another site since, that is the one here with the same values there. If it was
  deleted, those that gave way to it are one with each other as they return.
* Whatever refers to the GUID that goes is made to refer to the one that stays.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

from mailsync.core.delivery import has_seen_fields
from mailsync.core.desired import desired_fields
from mailsync.core.ledger import Ledger
from mailsync.core.matching import filled, likeness_of, paired
from mailsync.core.model import (
    Bundle,
    Extraction,
    Fields,
    Guid,
    Link,
    Record,
    RecordId,
    is_alive,
    merged_fields,
    values_of,
)
from mailsync.core.positions import NOWHERE, Positions
from mailsync.core.unifying import renamed, unify
from mailsync.cycle.contents import Contents
from mailsync.cycle.site import Site
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
        self._keeping = {name for name, match in under_way if match.keeping}
        self.ours: dict[RecordId, Alike] = {}

    def filled(self, item: Extraction, readable: Collection[str]) -> Extraction | None:
        """The item with all its values, and noted whose record it is; None: not now."""
        if item.like is None or item.dataset not in readable:
            return None
        is_last = item.id in self._asked and not item.like.is_equal
        if self._refers_to_nothing(item) and not is_last:
            return None
        alike, own = self._alike(item.dataset, item.like.rank)
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

    def _alike(self, dataset: str, rank: int) -> tuple[Alike, Record] | tuple[None, None]:
        """Our record that the peer calls so, if it is there still. A keeper's ranks are of the
        peer's digests, not its own.
        """
        if dataset in self._keeping:
            return None, None
        alike = self._transaction.matches.at(self._peer, dataset, rank)
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


class Unions:
    """Records of one dataset that become one, within one transaction of the store."""

    def __init__(
        self,
        site: Site,
        name: str,
        transaction: Transaction,
        ledger: Ledger,
        names: dict[Guid, Guid],
    ) -> None:
        """``ledger`` is the transaction's; ``names``: what gave way before, and to what."""
        self._site = site
        self._name = name
        self._transaction = transaction
        self._ledger = ledger
        self._finished = len(names)
        self._names = names
        self._same: Mapping[Guid, Guid] = {}

    def unite_all(self, pairs: Sequence[tuple[Guid, Guid]]) -> None:
        """Pairs that are one record, first the one that was here before; then what refers to
        them.
        """
        self._same = dict(pairs)
        for here, there in pairs:
            holder = self._ledger.get(RecordId(self._name, self._now(here)))
            newcomer = self._ledger.get(RecordId(self._name, self._now(there)))
            if holder is not None and newcomer is not None and is_alive(holder.entries):
                self.unite(holder, newcomer)
        self.finish()

    def _now(self, guid: Guid) -> Guid:
        """What the GUID gave way to in the meantime."""
        while guid in self._names:
            guid = self._names[guid]
        return guid

    def unite(self, holder: Record, newcomer: Record) -> Record:
        """As :func:`mailsync.core.unifying.unify`."""
        if holder.id == newcomer.id:
            return holder
        one = unify(self._ledger, holder, newcomer, self._spelled)
        goes = holder if one.guid == newcomer.guid else newcomer
        self._names[goes.guid] = one.guid
        if goes.had:
            self._transaction.aliases.add(self._name, goes.guid, one.guid)
        return one

    def _spelled(self, fields: Fields) -> Fields:
        """As the dataset spells them; references to records that become one are one."""
        same = {
            field: bytes(self._same[Guid(value)])
            for field, parent in self._site.references(self._name).items()
            if parent == self._name
            and isinstance(value := fields.get(field), bytes)
            and value in self._same
        }
        return self._site.dataset(self._name).spelled({**fields, **same})

    def finish(self) -> None:
        """Make what refers to the GUIDs that went refer to those that stay."""
        names = {guid: self._now(guid) for guid in islice(self._names, self._finished, None)}
        self._finished = len(self._names)
        if not names:
            return
        self._transaction.matches.rename(self._name, names)
        for child, fields in self._site.children(self._name).items():
            self._rename(child, fields, names)

    def _rename(self, child: str, fields: Sequence[str], names: Mapping[Guid, Guid]) -> None:
        now, number = self._site.surroundings.now(), self._site.surroundings.bits(32)
        stroke = self._ledger.stroke(now, number)
        for stored in self._transaction.records.of(child):
            record = self._ledger.latest(stored)
            if record is not None:
                renamed(self._ledger, record, fields, names, stroke)


class Among(NamedTuple):
    """What is known of records that came."""

    same: list[tuple[Guid, Guid]]
    """Pairs that are one record: first the one that was here before."""
    open: dict[RecordId, str]
    """Why nobody can tell which of ours they are."""
    doubtful: set[RecordId]
    """Those, and ours that they may be: none of them is sent to anybody."""


class Pairs:
    """By declared fields: which records of one dataset are the same, as they once stood."""

    def __init__(self, site: Site, name: str) -> None:
        """Nothing is looked at before a record that came asks for it."""
        self._site = site
        self._name = name
        self._fields = site.matching(name)
        self._found: Among | None = None
        self.names: dict[Guid, Guid] = {}
        """What gave way since, and to what."""

    def among(self, transaction: Transaction, ledger: Ledger, batch: Sequence[Record]) -> Among:
        """What the records that came in this batch are. ``ledger`` is the transaction's."""
        newcomers = {one.guid for one in batch if _is_newcomer(one)} if self._fields else set()
        if not newcomers:
            return Among([], {}, set())
        if self._found is None:
            self._found = self._all(transaction, ledger)
        same = [(ours, theirs) for ours, theirs in self._found.same if theirs in newcomers]
        return self._found._replace(same=same)

    def _all(self, transaction: Transaction, ledger: Ledger) -> Among:
        found, links = Among([], {}, set()), self._site.links(transaction)
        contents = Contents(self._site, ledger)
        became = transaction.aliases.of(self._name)
        for came, ours in self._groups(transaction, ledger):
            alike = [*ours, *(one for one in came if one.guid not in became)]
            new = [one for one in came if not _is_one_already(ledger, one, alike, became, found)]
            self._seat(links, contents, _once_each(new, became, found), ours, found)
        return found

    def _groups(
        self, transaction: Transaction, ledger: Ledger
    ) -> list[tuple[list[Record], list[Record]]]:
        """Records that came and records with rows, with the same declared fields."""
        came: dict[bytes, list[Record]] = defaultdict(list)
        ours: dict[bytes, list[Record]] = defaultdict(list)
        for stored in transaction.records.of(self._name):
            record = ledger.latest(stored) or stored
            likeness = likeness_of(merged_fields(record) or {}, self._fields)
            if likeness is not None and _is_newcomer(record):
                came[likeness].append(record)
            elif likeness is not None and record.key is not None:
                ours[likeness].append(record)
        return [(records, ours[likeness]) for likeness, records in came.items()]

    def _seat(
        self,
        links: Mapping[str, Link],
        contents: Contents,
        came: list[Record],
        seats: list[Record],
        found: Among,
    ) -> None:
        """One sender's records after the other's: each is one that its sender has not seen, or
        one more. What a sender does not know any more, having been restored since, goes first.
        """
        by_sender: dict[tuple[tuple[str, ...], bool], list[Record]] = defaultdict(list)
        for record in came:
            senders = tuple(sorted(record.had & links.keys()))
            by_sender[senders, self._is_known(links, senders, record)].append(record)
        for (senders, _), records in sorted(by_sender.items()):
            unknown = {one.guid: one for one in seats if not self._is_known(links, senders, one)}
            pairs, left = paired(
                {one.guid: contents.digest(one) for one in records},
                {one.guid: contents.digest(one) for one in unknown.values()},
            )
            found.same.extend((ours, theirs) for theirs, ours in pairs.items())
            for record in records:
                if record.guid in left:
                    found.open[record.id] = self._why(record)
                    found.doubtful.add(record.id)
                elif record.guid not in pairs:
                    seats.append(record)
            if left:
                found.doubtful.update(unknown[guid].id for guid in unknown.keys() - pairs.values())

    def _is_known(self, links: Mapping[str, Link], peers: Iterable[str], record: Record) -> bool:
        """Has one of these peers, as far as it remembers, seen the record as it is told apart?"""
        return any(has_seen_fields(links[peer], record, self._fields) for peer in peers)

    def _why(self, record: Record) -> str:
        fields = merged_fields(record) or {}
        values = ", ".join(f"{name} = {fields.get(name)!r}" for name in self._fields)
        return (
            f"several records have {values}: nobody can tell which of them it is; make them "
            "differ, here or at the site it comes from"
        )


def _is_one_already(
    ledger: Ledger,
    record: Record,
    alike: Sequence[Record],
    became: Mapping[Guid, Guid],
    found: Among,
) -> bool:
    """Was it made one with another here before? If so, that is ``found``: with the other, whatever
    that one is like by now; or, if another site made that one with a third, with the only one here
    that is ``alike``.
    """
    if record.guid not in became:
        return False
    other = ledger.get(RecordId(record.dataset, became[record.guid]))
    if other is None or other.key is None or not is_alive(other.entries):
        living = [one for one in alike if is_alive(one.entries)]
        other = living[0] if len(living) == 1 else None
    if other is not None:
        found.same.append((other.guid, record.guid))
    return other is not None


def _once_each(
    records: Sequence[Record], became: Mapping[Guid, Guid], found: Among
) -> list[Record]:
    """The records but for those that gave way here to what another of them gave way to, too, or is
    itself: they are ``found``, with that one. Both were edited where nobody knew that they were
    one, nor that it was deleted.
    """
    firsts: dict[Guid, Record] = {}
    for record in records:
        first = firsts.setdefault(became.get(record.guid, record.guid), record)
        if first is not record:
            found.same.append((first.guid, record.guid))
    return list(firsts.values())


def _is_newcomer(record: Record) -> bool:
    return record.key is None and desired_fields(record) is not None
