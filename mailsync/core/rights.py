"""What of a peer's set it may write here: the rest is refused before it is merged.

Rules
-----
* A write is what we have not seen, field by field: of an edit some may have been refused. What the
  peer merely repeats needs no right.
* A record that is not here is inserted; whatever is done to one that is, or was, is an update or
  a delete. A withdrawal takes the record from us: it needs the right to delete.
* What is refused counts as received, so nothing is sent again for it, and as never seen: it does
  not travel on, and no edit of ours pretends to know of it, also where something of the same write
  was taken (``glimpses``). The peer is told which records, but of so many of a dataset at most:
  then any other may be one, too, until its rights change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Final, NamedTuple, TypeVar

from mailsync.core.glimpses import glimpsed, reached, seen_in
from mailsync.core.model import (
    CONFLICTS,
    DeleteOrder,
    Entry,
    Extraction,
    Link,
    Reason,
    Record,
    RecordId,
    is_alive,
)
from mailsync.core.scope import terms_of
from mailsync.core.terms import EVERY_ACT, Act, Terms

_Item = TypeVar("_Item", Extraction, DeleteOrder)

TOLD_MAX: Final = 100
"""Records of a dataset that a peer is told it may not write so."""


class Permitted(NamedTuple):
    """What may be taken of an item; None: nothing."""

    item: Extraction | DeleteOrder | None
    denied: bool


def permitted(link: Link, item: Extraction | DeleteOrder, record: Record | None) -> Permitted:
    """What the peer may do of this. ``record``: what we know of the record so far."""
    terms = terms_of(link, item.dataset)
    is_open = terms.allowed == EVERY_ACT and terms.granted is None
    if is_open or item.dataset == CONFLICTS:
        return Permitted(item, denied=False)
    if isinstance(item, DeleteOrder):
        return _delete_permitted(terms, item, record)
    denied = _denied(terms, item, record)
    if not denied:
        return Permitted(item, denied=False)
    taken = _without(item, denied, record)
    if record is None and not taken.entries:
        return Permitted(None, denied=True)
    return Permitted(replace(taken, whole=item.whole and record is None), denied=True)


def _delete_permitted(terms: Terms, order: DeleteOrder, record: Record | None) -> Permitted:
    """A delete, without what it brings of writes that the peer may not do: where it is overruled,
    these would stand.
    """
    gone = record is None or record.withdrawn or not is_alive(record.entries)
    if Act.DELETE not in terms.allowed and not gone:
        return Permitted(None, denied=True)
    if order.reason is Reason.WITHDRAWN:
        return Permitted(order, denied=False)
    act = Act.INSERT if record is None else Act.UPDATE
    brought = {
        name: entry
        for name, entry in order.entries.items()
        if _is_new(record, name, entry) and not _may(terms, act, name)
    }
    return Permitted(_without(order, brought, record), denied=False)


def _without(item: _Item, denied: Mapping[str, Entry], record: Record | None) -> _Item:
    """The item as if its sender had done these writes in none of the denied fields. What is taken
    may descend from them, too.
    """
    if not denied:
        return item
    entries = {name: entry for name, entry in item.entries.items() if name not in denied}
    known = {} if record is None else record.context
    glimpses = {
        dot: fields
        for dot in {one.dot for name, one in denied.items() if not _is_kill(record, name, one)}
        if (fields := reached(entries, dot, item.glimpses)) or dot in known
    }
    context = item.context - {entry.dot for entry in denied.values()} | glimpses.keys()
    rest = [glimpse for glimpse in item.glimpses if glimpse.dot not in glimpses]
    return replace(item, entries=entries, context=context, glimpses=glimpsed(rest, glimpses))


def may_update(link: Link, dataset: str, field: str | None) -> bool:
    """May the peer write this field of records that are here? None: it is about no field."""
    return field is not None and _may(terms_of(link, dataset), Act.UPDATE, field)


def with_denied(denying: frozenset[RecordId], records: frozenset[RecordId]) -> frozenset[RecordId]:
    """What a peer is told, with these records besides, as far as there is room for them."""
    told = set(denying)
    room = {name: TOLD_MAX - len(_of(denying, name)) for name in {one.dataset for one in records}}
    for one in sorted(records - denying):
        if room[one.dataset] > 0:
            room[one.dataset] -= 1
            told.add(one)
    return frozenset(told)


def are_all_named(denied: frozenset[RecordId], dataset: str) -> bool:
    """Is all of the dataset among these of which something was refused?"""
    return dataset not in _named_in_part(denied)


def may_be_denied(denied: frozenset[RecordId], record_id: RecordId) -> bool:
    """Was something of the record refused, by what we were told, or may it have been?"""
    return record_id in denied or not are_all_named(denied, record_id.dataset)


@lru_cache(maxsize=64)  # asked for each record of a bundle, and of a list of all
def _named_in_part(denied: frozenset[RecordId]) -> frozenset[str]:
    """The datasets of which so many are named that there may be more."""
    counts = Counter(one.dataset for one in denied)
    return frozenset(name for name, count in counts.items() if count >= TOLD_MAX)


def _of(denied: frozenset[RecordId], dataset: str) -> list[RecordId]:
    return [one for one in denied if one.dataset == dataset]


def _denied(terms: Terms, item: Extraction, record: Record | None) -> dict[str, Entry]:
    """The entries that are writes which the peer may not do."""
    act = Act.INSERT if record is None else Act.UPDATE
    return {
        name: entry
        for name, entry in item.entries.items()
        if _is_write(record, name, entry)
        and not _may(terms, Act.DELETE if _is_kill(record, name, entry) else act, name)
    }


def _may(terms: Terms, act: Act, field: str) -> bool:
    return act in terms.allowed and (terms.granted is None or field in terms.granted)


def _is_write(record: Record | None, name: str, entry: Entry) -> bool:
    return _is_new(record, name, entry) or _is_kill(record, name, entry)


def _is_new(record: Record | None, name: str, entry: Entry) -> bool:
    """Was it not here yet? A write that we know may have come without this field."""
    our = None if record is None else record.entries.get(name)
    if record is None or our is None or our.dot < entry.dot:
        return True
    return entry.dot not in seen_in(record.context.keys(), record.glimpses, name)


def _is_kill(record: Record | None, name: str, entry: Entry) -> bool:
    """Does it delete what we have?"""
    our = None if record is None else record.entries.get(name)
    return our is not None and our.dot == entry.dot and entry.killed and not our.killed
