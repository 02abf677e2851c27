"""Values of the core <-> columns of the state store.

Rules
-----
* The store is ours and private, so reading it back is trusted; still it is CBOR, nothing that
  could run code.
* Peers are kept as bits of their link's number, so that sets of them stay small.
* A shadow equal to what the record merged to, the usual case, is one byte; of one that lacks
  some of its fields, the names of these are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import Any, NamedTuple

import cbor2

from mailsync.core.drift import Layout
from mailsync.core.model import (
    ABSENT,
    NO_MARKER,
    Absent,
    Dot,
    Entry,
    Etag,
    Fields,
    Flight,
    Guid,
    Key,
    Link,
    Mark,
    NoMarker,
    Record,
    RecordId,
    RoundTrip,
    Sighting,
    Stream,
    Value,
    desired_fields,
    dots_of,
    held_fields,
    is_alive,
    merged_fields,
    needs_writing,
    same_fields,
)
from mailsync.core.places import place_of
from mailsync.core.positions import Positions

SAME = b"="
"""A shadow that equals the merged fields, without those whose names stand behind."""

NOTHING = b"-"
"""A marker that says: a delete is being written."""


class Peers:
    """Sets of peers <-> bit masks, by the numbers of their links."""

    def __init__(self, numbers: Mapping[str, int]) -> None:
        """``numbers``: link number by peer name."""
        self._numbers = numbers
        self._names = {number: name for name, number in numbers.items()}
        self._sets: dict[int, frozenset[str]] = {0: frozenset()}

    def mask(self, peers: frozenset[str]) -> int:
        """The bits of these peers; a peer that has no link any more is forgotten."""
        return sum(1 << self._numbers[name] for name in peers if name in self._numbers)

    def names(self, mask: int) -> frozenset[str]:
        """The peers of these bits."""
        if mask not in self._sets:
            self._sets[mask] = frozenset(
                name for number, name in self._names.items() if mask >> number & 1
            )
        return self._sets[mask]


class RecordRow(NamedTuple):
    """The columns of a record."""

    dataset: int
    guid: bytes
    position: int
    key: str | None
    number: int
    """What the key begins with, to read the map in about the order of the dataset."""
    etag: bytes | None
    state: bytes
    shadow: bytes | None
    marker: bytes | None
    unwritten: int
    prunable: int
    gone: int
    changed_at: int


def record_row(
    record: Record,
    peers: Peers,
    dataset: int,
    changed_at: int,
    holds: AbstractSet[str] | None = None,
) -> RecordRow:
    """The columns of a record; ``holds``: the fields its dataset holds at all, None for any."""
    return RecordRow(
        dataset=dataset,
        guid=bytes(record.guid),
        position=record.position,
        key=record.key,
        number=0 if record.key is None else place_of(record.key)[0],
        etag=record.etag,
        state=_state(record, peers),
        shadow=_shadow(record),
        marker=None if isinstance(record.marker, NoMarker) else _marker(record.marker),
        unwritten=int(needs_writing(record, holds)),
        prunable=int(record.context.keys() != dots_of(record.entries) or bool(record.whole_for)),
        gone=int(_is_spent(record) and desired_fields(record) is None),
        changed_at=changed_at,
    )


def record_of(row: RecordRow, peers: Peers, dataset: str) -> Record:
    """The record of a row."""
    dots, entries, known, had, whole_for, blind_to, withdrawn = cbor2.loads(row.state)
    context: dict[Dot, Sighting] = {}
    order: list[Dot] = []
    for stamp, site, number, position, shown in dots:
        dot = Dot(stamp, site, number)
        order.append(dot)
        context[dot] = Sighting(position, peers.names(shown))
    record = Record(
        dataset,
        Guid(row.guid),
        {name: _entry(order, item) for name, item in entries.items()},
        context,
        row.position,
        peers.names(known),
        peers.names(had),
        peers.names(whole_for),
        withdrawn,
        peers.names(blind_to),
        None if row.key is None else Key(row.key),
        None if row.etag is None else Etag(row.etag),
    )
    object.__setattr__(record, "shadow", _shadow_of(row.shadow, record))
    object.__setattr__(record, "marker", _marker_of(row.marker))
    return record


def link_state(link: Link) -> bytes:
    """A link's own state; what comes from the configuration is left out."""
    return cbor2.dumps(
        {
            "out": link.out,
            "offered": sorted(link.offered),
            "acked": link.acked.intervals,
            "acked_last": link.acked_last,
            "sent": link.sent,
            "flights": [
                (f.mark, f.positions.intervals, f.sent_at, f.again, f.grace) for f in link.flights
            ],
            "round_trip": link.round_trip,
            "misses": link.misses,
            "inbound": link.inbound,
            "cover": link.cover.intervals,
            "last": link.last,
            "heard": link.heard,
            "owe_since": link.owe_since,
            "heard_at": link.heard_at,
            "lacking": sorted(link.lacking),
            "held": sorted(link.held),
            "holding": sorted(link.holding),
            "refused": sorted(link.refused),
            "refusing": sorted(link.refusing),
            "stale": link.stale,
            "fulls": sorted(link.fulls),
            "full_seen": link.full_seen,
            "rejoin": link.rejoin,
            "asked_at": link.asked_at,
        }
    )


@lru_cache(maxsize=1024)  # the links change far more seldom than they are read
def link_of(peer: str, state: bytes) -> Link:
    """The link of its state, carrying no dataset yet."""
    kept = cbor2.loads(state)
    return Link(
        peer=peer,
        datasets=frozenset(),
        out=Stream(*kept["out"]),
        offered=frozenset(kept["offered"]),
        acked=_positions(kept["acked"]),
        acked_last=_mark(kept["acked_last"]),
        sent=tuple(Mark(*mark) for mark in kept["sent"]),
        flights=tuple(
            Flight(Mark(*mark), _positions(positions), *times)
            for mark, positions, *times in kept["flights"]
        ),
        round_trip=None if kept["round_trip"] is None else RoundTrip(*kept["round_trip"]),
        misses=kept["misses"],
        inbound=None if kept["inbound"] is None else Stream(*kept["inbound"]),
        cover=_positions(kept["cover"]),
        last=_mark(kept["last"]),
        heard=tuple(Mark(*mark) for mark in kept["heard"]),
        owe_since=kept["owe_since"],
        heard_at=kept["heard_at"],
        lacking=_record_ids(kept["lacking"]),
        held=_record_ids(kept["held"]),
        holding=_record_ids(kept["holding"]),
        refused=frozenset(kept["refused"]),
        refusing=frozenset(kept["refusing"]),
        stale=kept["stale"],
        fulls=frozenset(kept["fulls"]),
        full_seen=kept["full_seen"],
        rejoin=kept["rejoin"],
        asked_at=kept.get("asked_at"),
    )


def _record_ids(kept: list[tuple[str, bytes]]) -> frozenset[RecordId]:
    return frozenset(RecordId(name, Guid(guid)) for name, guid in kept)


def layout_bytes(layout: Layout) -> bytes:
    """What a dataset looked like."""
    return cbor2.dumps((dict(layout.fields), layout.key))


def layout_of(data: bytes) -> Layout:
    """The layout of :func:`layout_bytes`."""
    fields, key = cbor2.loads(data)
    return Layout(fields, tuple(key))


def names_bytes(names: frozenset[str]) -> bytes:
    """Names of fields."""
    return cbor2.dumps(sorted(names))


def names_of(data: bytes | None) -> frozenset[str]:
    """The names of :func:`names_bytes`."""
    return frozenset() if data is None else frozenset(cbor2.loads(data))


def positions_bytes(positions: Positions) -> bytes:
    """A set of positions."""
    return cbor2.dumps(positions.intervals)


def positions_of(data: bytes) -> Positions:
    """The positions of :func:`positions_bytes`."""
    return _positions(cbor2.loads(data))


def value_bytes(value: Value | Absent) -> bytes:
    """One value, or its absence."""
    return cbor2.dumps([] if isinstance(value, Absent) else [value])


def value_of(data: bytes) -> Value | Absent:
    """The value of :func:`value_bytes`."""
    items: list[Value] = cbor2.loads(data)
    return items[0] if items else ABSENT


def _is_spent(record: Record) -> bool:
    """A tombstone or stub that may be purged one day."""
    return not is_alive(record.entries) or record.withdrawn


def _state(record: Record, peers: Peers) -> bytes:
    order = {dot: index for index, dot in enumerate(sorted(record.context))}
    dots = [
        (*dot, sighting.position, peers.mask(sighting.known))
        for dot, sighting in sorted(record.context.items())
    ]
    entries = {
        name: _item(order[entry.dot], entry) for name, entry in sorted(record.entries.items())
    }
    return cbor2.dumps(
        (
            dots,
            entries,
            peers.mask(record.known),
            peers.mask(record.had),
            peers.mask(record.whole_for),
            peers.mask(record.blind_to),
            record.withdrawn,
        )
    )


def _item(dot: int, entry: Entry) -> tuple[Any, ...]:
    """Dot's index and whether killed in one number, then the value if there is one."""
    head = dot * 2 + entry.killed
    return (head,) if isinstance(entry.value, Absent) else (head, entry.value)


def _entry(order: list[Dot], item: list[Any]) -> Entry:
    dot, killed = divmod(item[0], 2)
    return Entry(order[dot], item[1] if len(item) > 1 else ABSENT, bool(killed))


def _shadow(record: Record) -> bytes | None:
    shadow, merged = record.shadow, merged_fields(record)
    if shadow is None:
        return None
    if same_fields(shadow, merged):
        return SAME
    if shadow and same_fields(shadow, held_fields(merged, shadow.keys())):
        return SAME + cbor2.dumps(sorted((merged or {}).keys() - shadow.keys()))
    return cbor2.dumps(dict(shadow))


def _shadow_of(data: bytes | None, record: Record) -> Fields | None:
    if data is None or not data.startswith(SAME):
        return _fields_of(data)
    merged = merged_fields(record)
    if data == SAME or merged is None:
        return merged
    lacking = set(cbor2.loads(data[len(SAME) :]))
    return {name: value for name, value in merged.items() if name not in lacking}


def _fields_of(data: bytes | None) -> Fields | None:
    if data is None:
        return None
    fields: dict[str, Value] = cbor2.loads(data)
    return fields


def _marker(marker: Fields | None) -> bytes:
    return NOTHING if marker is None else cbor2.dumps(dict(marker))


def _marker_of(data: bytes | None) -> Fields | NoMarker | None:
    if data is None:
        return NO_MARKER
    return None if data == NOTHING else _fields_of(data)


def _positions(intervals: Any) -> Positions:
    return Positions(tuple((low, high) for low, high in intervals))


def _mark(mark: Any) -> Mark | None:
    return None if mark is None else Mark(*mark)
