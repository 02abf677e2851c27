"""All that this site knows of one record: where it comes from, who wrote it, where it went."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Final, NamedTuple

from mailsync.core.identifiers import class_of, first_sight, site_of
from mailsync.core.model import Absent, Dot, Guid, Record, RecordId, is_alive
from mailsync.core.positions import Positions
from mailsync.core.undoing import Change
from mailsync.cycle.conflicts import Conflict, list_conflicts
from mailsync.cycle.site import Site
from mailsync.store.transaction import Transaction

PASSAGES: Final = {"composed": "sent to", "confirmed": "confirmed by", "received": "came from"}
"""By the log's kind: what became of the record."""


class Write(NamedTuple):
    """One write to some of its fields."""

    at: int
    site: str
    fields: tuple[str, ...]


class Standing(NamedTuple):
    """The write that stands in a field; was it a delete?"""

    at: int
    site: str
    is_gone: bool


class Passage(NamedTuple):
    """The record went, was confirmed, or came; ``kind`` as in the log."""

    at: int
    kind: str
    peer: str


class Hold(NamedTuple):
    """Why it waits, and where: at a peer, or "" for here."""

    peer: str
    reason: str


@dataclass(frozen=True, slots=True)
class Story:
    """One record's. Times are milliseconds since 1970."""

    record: Record
    first_at: int
    first_site: str
    """Who saw it first; empty: nobody we know."""
    state: str
    since: int
    fields: dict[str, Standing]
    writes: list[Write]
    """As far as they are still known, oldest first."""
    passages: list[Passage]
    conflicts: list[Conflict]
    holds: list[Hold]


def stories(site: Site, transaction: Transaction, guid: Guid) -> list[Story]:
    """What is known of the record of this GUID, in each dataset that has one."""
    found = []
    for name in site.sections:
        stays = transaction.aliases.find(name, guid) or guid
        record = transaction.records.get(RecordId(name, stays))
        if record is not None:
            found.append(_story(site, transaction, record))
    return found


def _story(site: Site, transaction: Transaction, record: Record) -> Story:
    about = (one for one in list_conflicts(site, transaction) if one.note.record == record.id)
    fields = {
        name: Standing(
            entry.dot.stamp,
            site.name_of(entry.dot.site),
            entry.killed or isinstance(entry.value, Absent),
        )
        for name, entry in sorted(record.entries.items())
    }
    return Story(
        record,
        first_sight(record.guid),
        _first_site(site, record.guid),
        _state(record),
        transaction.records.changed_at(record),
        fields,
        _writes(site, transaction, record),
        _passages(transaction, record),
        list(about),
        _holds(site, transaction, record),
    )


def _first_site(site: Site, guid: Guid) -> str:
    if class_of(guid) is not None:
        return site.name if class_of(guid) == site.settings.site.guid_class else ""
    numbers = [site.keys.public.site_number]
    numbers += [peer.public.site_number for peer in site.peers.values()]
    return next((site.name_of(one) for one in numbers if one >> 32 == site_of(guid)), "")


def _state(record: Record) -> str:
    if not is_alive(record.entries):
        return "deleted" if record.shadow is None else "deleted, but its row is still here"
    if record.withdrawn:
        return "withdrawn by the peer it came from"
    return "not in the dataset yet" if record.shadow is None else f"here under {record.key}"


def _writes(site: Site, transaction: Transaction, record: Record) -> list[Write]:
    """Those that stand, those that they replaced, and ancestors of which only that is known."""
    fields: dict[Dot, set[str]] = defaultdict(set)
    fields |= {dot: set() for dot in record.context}
    for name, entry in record.entries.items():
        fields[entry.dot].add(name)
    for _, former in transaction.formers.about(record.id):
        if former.change is not Change.DELETED:
            for name, before in former.fields.items():
                fields[before.dot].add(name)
    return [
        Write(dot.stamp, site.name_of(dot.site), tuple(sorted(names)))
        for dot, names in sorted(fields.items())
    ]


def _passages(transaction: Transaction, record: Record) -> list[Passage]:
    places = {record.position, *(one.position for one in record.context.values())} - {0}
    events = transaction.history.about(Positions.of(places))
    return [Passage(event.at, event.kind, event.peer) for event in events]


def _holds(site: Site, transaction: Transaction, record: Record) -> list[Hold]:
    names = {record.guid.hex(), record.key}
    holds = [
        Hold("", item.reason)
        for item in transaction.history.held()
        if item.dataset == record.dataset and item.name in names
    ]
    waits = not is_alive(record.entries) and record.shadow is not None
    stopped = transaction.stops.of(record.dataset, received=True) if waits else None
    if stopped is not None:
        holds.append(Hold("", stopped.text))
    links = site.links(transaction).values()
    holds += [Hold(link.peer, "held there") for link in links if record.id in link.held]
    return holds
