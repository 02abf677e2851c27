"""Values of the core <-> columns of the state store.

Rules
-----
* The store is ours and private, so reading it back is trusted; still it is CBOR, nothing that
  could run code.
* Records have rows of their own kind (``record_rows``).
"""

from __future__ import annotations

from dataclasses import asdict
from functools import lru_cache
from typing import Any

import cbor2

from mailsync.core.agreement import Agreement, Stances
from mailsync.core.drift import Layout
from mailsync.core.model import (
    ABSENT,
    Absent,
    Evaluated,
    Flight,
    Guid,
    Link,
    Mark,
    RecordId,
    RoundTrip,
    Stream,
    Value,
)
from mailsync.core.positions import Positions
from mailsync.core.proofs import Cut, Digest
from mailsync.core.proving import Finding, Inquiry, Reply, Streams
from mailsync.core.requests import Asked, Request

REMEMBERED_MAX = 2_048
"""Bytes of a link's state that is remembered decoded: one with a first load under way is larger,
and changes with every bundle."""


def link_state(link: Link) -> bytes:
    """A link's own state; what comes from the configuration is left out."""
    return cbor2.dumps(
        {
            "out": link.out,
            "offered": sorted(link.offered),
            "evaluated": dict(link.evaluated),
            "acked": link.acked.intervals,
            "acked_last": link.acked_last,
            "sent": link.sent,
            "flights": [
                (f.mark, f.positions.intervals, f.sent_at, f.since, f.again, f.grace)
                for f in link.flights
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
            "denied": sorted(link.denied),
            "denying": sorted(link.denying),
            "refused": sorted(link.refused),
            "refusing": sorted(link.refusing),
            "stale": link.stale,
            "fulls": sorted(link.fulls),
            "full_seen": link.full_seen,
            "rejoin": link.rejoin,
            "asked_at": link.asked_at,
            "voided": link.voided.intervals,
            "restored_at": link.restored_at,
            "asking": _asked(link.asking),
            "asked": _asked(link.asked),
            "agreement": link.agreement[1:],
        }
    )


def link_of(peer: str, state: bytes) -> Link:
    """The link of its state, carrying no dataset yet."""
    return _remembered(peer, state) if len(state) <= REMEMBERED_MAX else _link_of(peer, state)


@lru_cache(maxsize=1024)  # the links change far more seldom than they are read
def _remembered(peer: str, state: bytes) -> Link:
    return _link_of(peer, state)


def _link_of(peer: str, state: bytes) -> Link:
    kept = cbor2.loads(state)
    return Link(
        peer=peer,
        datasets=frozenset(),
        out=Stream(*kept["out"]),
        offered=frozenset(kept["offered"]),
        evaluated={name: Evaluated(*one) for name, one in kept["evaluated"].items()},
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
        agreement=_agreement(*kept["agreement"]),
        held=_record_ids(kept["held"]),
        holding=_record_ids(kept["holding"]),
        denied=_record_ids(kept["denied"]),
        denying=_record_ids(kept["denying"]),
        refused=frozenset(kept["refused"]),
        refusing=frozenset(kept["refusing"]),
        stale=kept["stale"],
        fulls=frozenset(kept["fulls"]),
        full_seen=kept["full_seen"],
        rejoin=kept["rejoin"],
        asked_at=kept.get("asked_at"),
        voided=_positions(kept.get("voided", ())),
        restored_at=kept.get("restored_at"),
        asking=_asked_of(kept["asking"]),
        asked=_asked_of(kept["asked"]),
    )


def _asked(inquiry: Asked | None) -> tuple[object, ...] | None:
    if inquiry is None:
        return None
    number, datasets, deletes = inquiry.request
    return (number, sorted(datasets), deletes, *inquiry[1:])


def _asked_of(kept: list[Any] | None) -> Asked | None:
    if kept is None:
        return None
    number, datasets, deletes, *rest = kept
    return Asked(Request(number, frozenset(datasets), deletes), *rest)


def _agreement(said: Any, said_from: int, there: Any) -> Agreement:
    """What both ends say; what is configured is not in the store."""
    return Agreement((), _stances(said), said_from, _stances(there))


def _stances(kept: list[list[str]] | None) -> Stances | None:
    return None if kept is None else tuple((dataset, words) for dataset, words in kept)


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


def order_bytes(names: tuple[str, ...]) -> bytes:
    """Names of fields in their order."""
    return cbor2.dumps(names)


def order_of(data: bytes) -> tuple[str, ...]:
    """The names of :func:`order_bytes`."""
    return tuple(cbor2.loads(data))


def proof_bytes(state: Inquiry | Reply | None) -> bytes | None:
    """A question of ours, or our answer to one."""
    return None if state is None else cbor2.dumps(asdict(state))


def inquiry_of(data: bytes | None) -> Inquiry | None:
    """The question of :func:`proof_bytes`."""
    if data is None:
        return None
    kept = cbor2.loads(data)
    finding = kept.pop("finding")
    if finding is not None:
        finding["records"] = tuple(RecordId(name, Guid(guid)) for name, guid in finding["records"])
        finding["without"] = tuple(finding["without"])
        finding = Finding(**finding)
    return Inquiry(**_proof(kept, "theirs"), finding=finding)


def reply_of(data: bytes | None) -> Reply | None:
    """The answer of :func:`proof_bytes`."""
    return None if data is None else Reply(**_proof(cbor2.loads(data), "asked", "digest"))


def _proof(kept: dict[str, Any], *digests: str) -> dict[str, Any]:
    """What questions and answers have in common."""
    if kept["streams"] is not None:
        out, inbound = kept["streams"]
        kept["streams"] = Streams(Stream(*out), None if inbound is None else Stream(*inbound))
    if kept["cut"] is not None:
        top, cover = kept["cut"]
        kept["cut"] = Cut(top, _positions(cover["intervals"]))
    if kept["lacking"] is not None:
        kept["lacking"] = tuple(kept["lacking"])
    for name in digests:
        if kept[name] is not None:
            size, total, without = kept[name]
            kept[name] = Digest(size, total, tuple(without))
    return kept


def value_bytes(value: Value | Absent) -> bytes:
    """One value, or its absence."""
    return cbor2.dumps([] if isinstance(value, Absent) else [value])


def value_of(data: bytes) -> Value | Absent:
    """The value of :func:`value_bytes`."""
    items: list[Value] = cbor2.loads(data)
    return items[0] if items else ABSENT


def _positions(intervals: Any) -> Positions:
    return Positions(tuple((low, high) for low, high in intervals))


def _mark(mark: Any) -> Mark | None:
    return None if mark is None else Mark(*mark)
