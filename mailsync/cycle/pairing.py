"""Which records that came are our own, by the fields that tell records apart.

Rules
-----
* Where a dataset has such fields (``match``), a record that comes is our own with the same values
  there, if the peer has not seen that one with these; of several, the one with the same content.
  What could still be several is held, and neither it nor ours are sent on: a person decides, by
  making them differ.
* A peer whose state was restored counts as one that has seen what it remembers, and no more.
* A site whose state was restored may hear of a write of its own, in these fields, that it does not
  remember. If it has another row with the same values there, that is the row it wrote to.
* What was made one here stays one: where the record that gave way lives on, as somebody edited it
  who did not know, it is joined in again, whatever its sender has seen by then. If the one that
  stayed gave way at another site since, that is the one here with the same values there. If it was
  deleted, those that gave way to it are one with each other as they return.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from mailsync.core.delivery import has_seen_fields, has_seen_some
from mailsync.core.desired import desired_fields
from mailsync.core.ledger import Ledger
from mailsync.core.matching import likeness_of, paired
from mailsync.core.model import Guid, Link, Record, RecordId, is_alive, merged_fields
from mailsync.cycle.contents import Contents
from mailsync.cycle.site import Site
from mailsync.store.transaction import Transaction


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
        newcomers = {one.guid for one in batch if self._is_looked_for(one)}
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
            if likeness is not None and self._is_looked_for(record):
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
        one more. A sender that does not remember what it sent is none.
        """
        by_sender: dict[tuple[str, ...], list[Record]] = defaultdict(list)
        for record in came:
            peers = record.had & links.keys()
            remember = sorted(name for name in peers if self._remembers(links[name], record))
            by_sender[tuple(remember)].append(record)
        for senders, records in sorted(by_sender.items()):
            unknown = {one.guid: one for one in seats if not self._is_known(links, senders, one)}
            pairs, left = paired(
                {one.guid: contents.digest(one) for one in records},
                {one.guid: contents.digest(one) for one in unknown.values()},
            )
            found.same.extend((ours, theirs) for theirs, ours in pairs.items())
            stuck = {one.guid: one for one in records if one.guid in left and _is_newcomer(one)}
            seats.extend(one for one in records if one.guid not in pairs.keys() | stuck.keys())
            found.open.update((one.id, self._why(one)) for one in stuck.values())
            if stuck:
                may_be = (unknown[guid] for guid in unknown.keys() - pairs.values())
                found.doubtful.update(one.id for one in (*stuck.values(), *may_be))

    def _remembers(self, link: Link, record: Record) -> bool:
        """Does the peer know the record still, and what it wrote of what tells it apart?"""
        author = self._site.peers[link.peer].public.site_number
        wrote = [name for name in self._fields if record.entries[name].dot.site == author]
        return has_seen_some(link, record) and has_seen_fields(link, record, wrote)

    def _is_looked_for(self, record: Record) -> bool:
        """May another row here be this record?"""
        return bool(self._fields) and (_is_newcomer(record) or self._is_forgotten(record))

    def _is_forgotten(self, record: Record) -> bool:
        """Did we write what tells it apart, as a peer says, and into another row than its own?"""
        us = self._site.keys.public.site_number
        entries = {name: record.entries[name] for name in self._fields if name in record.entries}
        ours = [
            name
            for name, entry in entries.items()
            if entry.dot.site == us and record.context[entry.dot].known
        ]
        if record.shadow is None or not ours:
            return False
        desired, shadow = desired_fields(record) or {}, record.shadow
        return any(name in desired and desired[name] != shadow.get(name) for name in ours)

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
