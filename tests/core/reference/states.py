"""What a site keeps, and how two states of a record are joined."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple, Self

Row = Mapping[str, int]
NOBODY: Final = frozenset[str]()
NOWHERE: Final = frozenset[int]()


class Dot(NamedTuple):
    """One write. The order of dots is the order of writes."""

    stamp: int
    site: int
    number: int


class Entry(NamedTuple):
    """One field: its last write, what it wrote, and whether a delete has seen it."""

    dot: Dot
    value: int
    killed: bool = False


Entries = Mapping[str, Entry]


class Note(NamedTuple):
    """A value that lost against a write that had not seen it; no field: a delete that did."""

    record: str
    field: str | None
    dot: Dot
    value: int | None = None


class Nothing(enum.Enum):
    """No write to the dataset is under way (``None`` would mean: a delete is)."""

    NOTHING = 0


NOTHING: Final = Nothing.NOTHING


@dataclass(frozen=True)
class Record:
    """One record, or one note: then it has no entries, and never changes."""

    name: str
    entries: Entries
    seen: frozenset[Dot]
    """Every write that this state descends from."""
    note: Note | None = None
    position: int = 0
    known: frozenset[str] = NOBODY
    """Peers that showed us exactly this state."""
    had: frozenset[str] = NOBODY
    """Peers that have, or may have had, some state of it."""
    withdrawn: bool = False
    blind_to: frozenset[str] = NOBODY
    """Peers that withdrew it and did not show it since."""
    came: frozenset[int] = frozenset()
    """Positions at which writes of it came in."""
    shown_by: frozenset[str] = NOBODY
    """Peers that showed us any of it."""
    told: frozenset[tuple[str, int]] = frozenset()
    """At which positions it went to whom."""
    key: str | None = None
    shadow: Row | None = None
    marker: Row | Nothing | None = NOTHING

    @property
    def is_alive(self) -> bool:
        return self.note is not None or is_alive(self.entries)

    @property
    def content(self) -> Row | None:
        """What the record says, whether or not it is for our dataset; None: deleted."""
        if self.note is not None or not self.is_alive:
            return None
        return {name: entry.value for name, entry in self.entries.items()}

    @property
    def desired(self) -> Row | None:
        """What our dataset should hold."""
        return None if self.withdrawn else self.content


class Stream(NamedTuple):
    generation: int
    nonce: int


class Mark(NamedTuple):
    """One mail of a stream: the sender's position, a number never drawn twice."""

    top: int
    tag: int


@dataclass(frozen=True)
class Link:
    """What a site keeps about one peer."""

    out: Stream
    scope: Callable[[Row], bool] | None = None
    """The peer's filter."""
    acked: frozenset[int] = NOWHERE
    acked_last: Mark | None = None
    sent: tuple[Mark, ...] = ()
    flying: frozenset[int] = NOWHERE
    """Positions sent and not confirmed."""
    inbound: Stream | None = None
    cover: frozenset[int] = NOWHERE
    last: Mark | None = None
    line: tuple[Mark, ...] = ()
    """The peer's marks up to that one."""
    owes: bool = False
    stale: bool = False
    fulls: frozenset[int] = NOWHERE
    """Tags of the full mails sent since the peer became stale."""
    full_seen: int | None = None
    rejoin: bool = False
    restored: bool = False
    """We were restored, and may have forgotten what the peer confirmed."""


@dataclass
class Site:
    """One site's state store."""

    number: int
    links: dict[str, Link]
    draw: Callable[[], int]
    """A number never drawn before, at any site."""
    records: dict[str, Record] = field(default_factory=dict)
    position: int = 0
    clock: int = 0
    horizon: int = 0

    def copy(self) -> Self:
        return replace(self, links=dict(self.links), records=dict(self.records))

    def keep(self, record: Record) -> None:
        """A record that has no row and wants none has no key: a row inserted there is a new one."""
        writing = record.marker is not NOTHING
        if not writing and record.shadow is None and record.desired is None:
            record = replace(record, key=None)
        self.records[record.name] = record

    def change(self, record: Record, known: Iterable[str] = ()) -> None:
        """The record is news to all but these peers."""
        self.position += 1
        before, came = self.records.get(record.name), record.came
        if before is None or not record.seen <= before.seen:
            came |= {self.position}
        self.keep(replace(record, position=self.position, known=frozenset(known), came=came))

    def enter(self, notes: Iterable[Note]) -> None:
        """Enter conflicts in the journal, each once."""
        for note in sorted(notes, key=lambda note: (note.field or "", note.dot)):
            name = f"!{note.record}/{note.field}/{note.dot}"
            if name not in self.records:
                self.change(Record(name, {}, frozenset({note.dot}), note))


def is_alive(entries: Entries) -> bool:
    return any(not entry.killed for entry in entries.values())


def dots(entries: Entries) -> frozenset[Dot]:
    return frozenset(entry.dot for entry in entries.values())


def killed(entries: Entries) -> Entries:
    return {name: entry._replace(killed=True) for name, entry in entries.items()}


def delete_note(record: str, entries: Entries) -> Note:
    """A delete of this state lost."""
    return Note(record, None, max(dots(entries)))


def value_note(record: str, name: str, entry: Entry) -> Note:
    """A value lost."""
    return Note(record, name, entry.dot, entry.value)


def join(
    record: str, one: Entries, one_seen: frozenset[Dot], two: Entries, two_seen: frozenset[Dot]
) -> tuple[Entries, set[Note]]:
    """The greater dot wins, field by field; what neither side's authors had seen is noted."""
    joined: dict[str, Entry] = {}
    notes: set[Note] = set()
    for name in one:
        mine, their = one[name], two[name]
        if mine.dot == their.dot:
            joined[name] = mine._replace(killed=mine.killed or their.killed)
            continue
        joined[name], loser = (mine, their) if mine.dot > their.dot else (their, mine)
        unseen = mine.dot not in two_seen and their.dot not in one_seen
        if unseen and mine.value != their.value:
            notes.add(value_note(record, name, loser))
    for side in (one, two):
        if is_alive(joined) and not is_alive(side):
            notes.add(delete_note(record, side))
    return joined, notes


def wants(link: Link, record: Record) -> bool:
    """Is this state for the peer? Notes and deletes always are."""
    content = record.content
    if content is None:
        return True
    return not record.withdrawn and (link.scope is None or link.scope(content))


def has(link: Link, peer: str, record: Record) -> bool:
    """Does the peer certainly hold this state, or a newer one?"""
    return peer in record.known or record.position in link.acked


def is_settled(link: Link, peer: str, record: Record) -> bool:
    """... with no older mail of the peer on its way?"""
    whole = link.last is None or set(range(1, link.last.top + 1)) <= link.cover
    return whole and has(link, peer, record)
