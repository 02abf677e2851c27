"""The nouns of synchronization: frozen values, no behaviour beyond what a value is.

Rules
-----
* A *dot* names one write. It is never reused, not even by a site restored from a backup, and
  a write always gets a dot greater than every dot its author had seen.
* A record exists while some entry of it is not killed. A delete kills exactly the entries its
  user could see, so it never wins over an edit it had not seen, and never comes undone.
* Field values are compared by type and value: ``1``, ``1.0`` and ``True`` are three values.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final, NamedTuple, NewType

from mailsync.core.agreement import NOTHING_SAID, Agreement, Stances
from mailsync.core.digests import Likeness, Word
from mailsync.core.entries import ABSENT as ABSENT
from mailsync.core.entries import Absent as Absent
from mailsync.core.entries import Dot as Dot
from mailsync.core.entries import Entry as Entry
from mailsync.core.entries import Fields as Fields
from mailsync.core.entries import Glimpse as Glimpse
from mailsync.core.entries import Value as Value
from mailsync.core.entries import Woven
from mailsync.core.entries import held_fields as held_fields
from mailsync.core.entries import same_fields as same_fields
from mailsync.core.entries import same_value as same_value
from mailsync.core.frozen import frozen
from mailsync.core.positions import NOWHERE, Positions
from mailsync.core.proofs import Proof
from mailsync.core.requests import Asked, Request
from mailsync.core.sightings import Sighting as Sighting
from mailsync.core.terms import Terms

Guid = NewType("Guid", bytes)
"""Globally unique identifier of a record, made by mailsync (``identifiers``)."""

Key = NewType("Key", str)
"""Local key: what the dataset itself calls the record. May differ from site to site."""

Etag = NewType("Etag", bytes)
"""A dataset's own cheap fingerprint of one record as last seen; opaque to everybody else."""

CONFLICTS: Final = "conflicts"
"""The built-in dataset of conflict notes: in the state store alone, it travels as others do."""


class RecordId(NamedTuple):
    """A record's name within a site's state: dataset and GUID."""

    dataset: str
    guid: Guid


class OfRecord:
    """What is about one record."""

    __slots__ = ()
    dataset: str
    guid: Guid

    @property
    def id(self) -> RecordId:
        """Dataset and GUID."""
        return tuple.__new__(RecordId, (self.dataset, self.guid))  # asked for all the time


class NoMarker(enum.Enum):
    """No write to the dataset is under way (``None`` would mean: a delete is)."""

    NO_MARKER = 0


NO_MARKER: Final = NoMarker.NO_MARKER


@frozen
class Record(OfRecord):
    """All a site knows of one record (protocol: "What a site keeps")."""

    dataset: str
    guid: Guid
    entries: Mapping[str, Entry]
    context: Mapping[Dot, Sighting]
    """The dots this state descends from, its own among them."""
    position: int = 0
    """Our counter at the record's last change; every record sits at exactly one position."""
    known: frozenset[str] = frozenset()
    """Peers that showed us exactly this state: nothing goes back to them."""
    had: frozenset[str] = frozenset()
    """Peers that have, or may have had, some version ("previously transmitted")."""
    whole_for: frozenset[str] = frozenset()
    """Peers that must get every field and ancestor again, whatever they confirmed before."""
    withdrawn: bool = False
    """Outside our filter, says the peer it came from; only this stub is left."""
    blind_to: frozenset[str] = frozenset()
    """Peers that withdrew the record and did not send it whole since: having covered their
    positions does not mean that we have seen their writes."""
    outside: Mapping[str, int] = field(default_factory=dict)
    """Peers whose filter it left, and the position at which they were told; 0: they keep it; below
    0: from that position on it was a stub here, and not sent."""
    hidden: bool = False
    """Outside our own inbound filter: it travels, but is not for our dataset."""
    glimpses: tuple[Glimpse, ...] = ()
    """Of the dots those which this state descends from in part, in their order."""
    key: Key | None = None
    etag: Etag | None = None
    shadow: Fields | None = None
    """What we believe the dataset holds; None: no such row."""
    marker: Fields | NoMarker | None = NO_MARKER
    """What is being written to the dataset right now."""


class Reason(enum.Enum):
    """Why a delete order was given."""

    DELETED = "deleted"
    WITHDRAWN = "withdrawn"


@frozen
class Extraction(OfRecord):
    """Extraction record: a record added or modified since the peer last confirmed it.

    ``entries`` holds the fields the peer lacks; with ``whole`` it holds all of them.
    ``context`` names the ancestors that the peer cannot know us to have seen.
    """

    position: int
    dataset: str
    guid: Guid
    entries: Mapping[str, Entry]
    context: frozenset[Dot] = frozenset()
    whole: bool = True
    complete: bool = False
    """``context`` names all ancestors; infer none from what the sender covered."""
    like: Likeness | None = None
    """The reader's own record that it is; equal values are ABSENT, to be taken from there."""
    glimpses: tuple[Glimpse, ...] = ()
    """All that the sender has, as in :class:`Record`."""


@frozen
class DeleteOrder(OfRecord):
    """A record previously transmitted that no longer exists, or is no longer for the peer.

    ``newest`` is the greatest dot of the state it kills. ``entries`` holds the (killed)
    entries the peer lacks; for a withdrawal all of them, without their values.
    """

    position: int
    dataset: str
    guid: Guid
    reason: Reason
    newest: Dot
    entries: Mapping[str, Entry] = field(default_factory=dict)
    context: frozenset[Dot] = frozenset()
    complete: bool = False
    glimpses: tuple[Glimpse, ...] = ()
    """Both as in :class:`Extraction`."""


class Stream(NamedTuple):
    """One sender's numbering towards one peer; a restore starts a new one."""

    generation: int
    nonce: int


class Mark(NamedTuple):
    """One bundle of a stream: the sender's position when it was composed, a random tag."""

    top: int
    tag: int


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What the sender of a bundle has received from its reader."""

    stream: Stream | None = None
    cover: Positions = NOWHERE
    last: Mark | None = None
    lacking: frozenset[RecordId] = frozenset()
    """Records of which only some fields arrived and nothing else is here: send them whole."""
    refused: frozenset[str] = frozenset()
    """Datasets offered that the reader does not take; taken off this list, they are sent anew."""
    stripped: int = 0
    """Highest step of the carrier ladder, from 1, at which mails came without containers; or 0."""
    held: frozenset[RecordId] = frozenset()
    """Records of the reader's that the sender's datasets do not take as they are."""
    denied: frozenset[RecordId] = frozenset()
    """Records of which the sender refused what the reader may not write."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A synchronization set for one peer with its place in the stream."""

    stream: Stream
    mark: Mark
    history: tuple[Mark, ...]
    """Marks of this stream's bundles from the newest confirmed one on, oldest first."""
    confirmed: Mark | None
    holes: Positions
    """Positions up to ``mark.top`` that this bundle does not settle."""
    deletes: tuple[DeleteOrder, ...] = ()
    extractions: tuple[Extraction, ...] = ()
    acknowledgement: Acknowledgement = Acknowledgement()
    manifest: frozenset[RecordId] | None = None
    """With a full bundle: every record the sender knows of."""
    full_seen: int | None = None
    """Tag of the reader's last full bundle that the sender processed."""
    ask: bool = False
    """The sender needs an answer: it was restored, or what it announced will not come."""
    words: tuple[Word, ...] = ()
    proofs: tuple[Proof, ...] = ()
    """Match digests before a first synchronization; whether both sites hold the same."""
    request: Request | None = None
    answered: int | None = None
    """Number of the reader's request that this answers."""
    policies: Stances | None = None
    """What the sender says about conflicts, if that is news."""

    @property
    def items(self) -> tuple[Extraction | DeleteOrder, ...]:
        """Everything the set holds: extraction records, then delete orders."""
        return (*self.extractions, *self.deletes)


class Flight(NamedTuple):
    """Positions handed to the carrier at a time (milliseconds since 1970), not yet confirmed."""

    mark: Mark
    positions: Positions
    sent_at: int
    since: int
    """When some of it was sent first: to be sent again makes it no younger."""
    again: bool = False
    """Some of it had been sent before, so its confirmation tells nothing of the way's delay."""
    grace: int = 0
    """Milliseconds: a slow carrier, such as a stick, is not waited for until they are over."""

    @property
    def awaited_from(self) -> int:
        """When the time for an answer begins."""
        return self.sent_at + self.grace

    @property
    def unconfirmed_since(self) -> int:
        """When it began for what was sent first."""
        return self.since + self.grace


class RoundTrip(NamedTuple):
    """How long confirmations take, in milliseconds: smoothed mean and mean deviation."""

    mean: int
    deviation: int


class Evaluated(NamedTuple):
    """The terms of a dataset, by what the configuration says of them: the outbound filter, and
    when it was last applied to all records (milliseconds since 1970); and what is taken in.
    """

    terms: str
    at: int
    inbound: str = ""


@dataclass(frozen=True, slots=True)
class Link:
    """What a site keeps about one peer: its own stream to it, and the peer's to itself."""

    peer: str
    datasets: frozenset[str]
    """Names of the datasets this link carries."""
    out: Stream
    offered: frozenset[str] = frozenset()
    """Datasets it carried when records were last offered."""
    terms: Mapping[str, Terms] = field(default_factory=dict, compare=False)
    """By dataset: what may pass; without restriction where nothing is said."""
    evaluated: Mapping[str, Evaluated] = field(default_factory=dict)
    """By dataset: the filter by which records were last sorted out for the peer."""
    acked: Positions = NOWHERE
    """Our positions that the peer has covered."""
    acked_last: Mark | None = None
    sent: tuple[Mark, ...] = ()
    """Marks of our stream's bundles, oldest first."""
    flights: tuple[Flight, ...] = ()
    round_trip: RoundTrip | None = None
    """What the way to the peer and back has taken so far; None before the first confirmation."""
    misses: int = 0
    """How often something was sent again since the peer last confirmed anything new."""
    inbound: Stream | None = None
    voided: Positions = NOWHERE
    """Our positions at which nothing comes, or what was to come never will: the peer is to confirm
    that.
    """
    cover: Positions = NOWHERE
    """Positions of the peer's numbering that we have covered."""
    last: Mark | None = None
    heard: tuple[Mark, ...] = ()
    """Marks of the peer's stream beyond what we have covered without a gap, oldest first."""
    owe_since: int | None = None
    """Since when (milliseconds since 1970) an acknowledgement is due."""
    heard_at: int | None = None
    """When a bundle of the peer was last received (milliseconds since 1970)."""
    lacking: frozenset[RecordId] = frozenset()
    refused: frozenset[str] = frozenset()
    """Datasets the peer does not take."""
    refusing: frozenset[str] = frozenset()
    """Datasets the peer offered that we do not take from it."""
    held: frozenset[RecordId] = frozenset()
    """Records that the peer's datasets do not take as they are, for its people to see to."""
    holding: frozenset[RecordId] = frozenset()
    """Records of the peer's that our datasets do not take."""
    denied: frozenset[RecordId] = frozenset()
    """Records of which the peer refused what we may not write there."""
    denying: frozenset[RecordId] = frozenset()
    """Records of which we refused what the peer may not write."""
    stale: bool = False
    """The peer is behind our purge horizon: it must reconcile by a full bundle."""
    fulls: frozenset[int] = frozenset()
    """Tags of the full bundles sent since the peer became stale."""
    full_seen: int | None = None
    rejoin: bool = False
    """We were restored and the peer has not answered yet."""
    asking: Asked | None = None
    """What we asked the peer for last, and what the peer asked us for."""
    asked: Asked | None = None
    agreement: Agreement = NOTHING_SAID
    """What both ends say about conflicts."""
    asked_at: int | None = None
    """When a question still open, full bundle or ``ask``, last went (milliseconds since 1970)."""
    restored_at: int | None = None
    """When we last noticed that we were restored from a backup (milliseconds since 1970)."""


def is_alive(entries: Mapping[str, Entry]) -> bool:
    """A record exists while some entry of it is not killed."""
    if isinstance(entries, Woven):
        return entries.is_alive
    return any(not entry.killed for entry in entries.values())


def dots_of(entries: Mapping[str, Entry]) -> frozenset[Dot]:
    """The dots of the current entries."""
    if isinstance(entries, Woven):
        return entries.written_by
    return frozenset(entry.dot for entry in entries.values())


def values_of(entries: Mapping[str, Entry]) -> Fields:
    """What the fields hold that are not absent, whether or not a delete has seen it."""
    if isinstance(entries, Woven):
        return entries.fields
    return {
        name: entry.value for name, entry in entries.items() if not isinstance(entry.value, Absent)
    }


def merged_fields(record: Record) -> Fields | None:
    """The record's merged content, whether or not it is for our dataset; None: deleted."""
    return values_of(record.entries) if is_alive(record.entries) else None


_ITSELF: Final = attrgetter("dataset", "guid", "entries", "context")
_PEERS: Final = attrgetter("had", "whole_for", "withdrawn", "blind_to")
_FILTERED: Final = attrgetter("outside", "hidden", "glimpses")
_ROW: Final = attrgetter("key", "etag", "shadow", "marker")


def moved(record: Record, position: int, known: frozenset[str]) -> Record:
    """The record at another position, where these peers know it. Each change of a record makes
    one, and ``replace`` takes three times as long.
    """
    itself, peers, filtered = _ITSELF(record), _PEERS(record), _FILTERED(record)
    return Record(*itself, position, known, *peers, *filtered, *_ROW(record))


def showing(
    record: Record,
    key: Key | None,
    etag: Etag | None,
    shadow: Fields | None,
    marker: Fields | NoMarker | None = NO_MARKER,
) -> Record:
    """The record when its dataset holds something else of it, as fast."""
    itself, peers, filtered = _ITSELF(record), _PEERS(record), _FILTERED(record)
    position, known = record.position, record.known
    return Record(*itself, position, known, *peers, *filtered, key, etag, shadow, marker)
