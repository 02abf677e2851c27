"""Records <-> rows of the record map.

Rules
-----
* A row has who wrote what and knows of it (``history``) apart from what the record says: most
  records of a table have the history of others, so it is read once for all of them. Where each
  write came in is the record's own, and stands before what it says (``contents``).
* Positions are told by their distance from the record's own: they are small, and often the same.
* The names of the fields are kept once, for records that have all fields of their dataset.
* What the dataset holds, and what is being written to it, is kept as the difference from what
  the record says. There is none as a rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import NamedTuple

import cbor2

from mailsync.core.desired import desired_fields, needs_writing
from mailsync.core.enrolment import Enrolment
from mailsync.core.entries import DOT_STEP, Woven, as_woven, marks_of
from mailsync.core.model import (
    ABSENT,
    NO_MARKER,
    Dot,
    Etag,
    Fields,
    Glimpse,
    Guid,
    Key,
    NoMarker,
    Record,
    dots_of,
    is_alive,
    same_fields,
    same_value,
    values_of,
)
from mailsync.core.places import place_of
from mailsync.store.peers import Peers, Seen

NOTHING = b"-"
"""A marker that says: a delete is being written."""

SAME = b"="
"""Fields that are those of the record. What stands behind says in what they are not."""

Names = tuple[str, ...]


class HoldingRow(NamedTuple):
    """The columns that say what the dataset holds of a record."""

    key: str | None
    number: int
    """What the key begins with, to read the map in about the order of the dataset."""
    etag: bytes | None
    shadow: bytes | None
    marker: bytes | None
    unwritten: int


class RecordRow(NamedTuple):
    """The columns of a record."""

    position: int
    dataset: int
    guid: bytes
    key: str | None
    number: int
    etag: bytes | None
    shadow: bytes | None
    marker: bytes | None
    unwritten: int
    naming: int | None
    """Which list of names it has; None: one of its own."""
    history: bytes
    contents: bytes
    prunable: int
    gone: int
    changed_at: int


class Naming(NamedTuple):
    """A list of names that many records have, by its number."""

    number: int
    names: Names


class _History(NamedTuple):
    """What was written, and who knows of it."""

    dots: tuple[Dot, ...]
    seen: tuple[Seen, ...]
    """Of each dot."""
    marks: bytes | tuple[int, ...]
    known: int
    had: int
    whole_for: int
    blind_to: int
    withdrawn: bool
    names: Names | None
    outside: tuple[tuple[int, int | None], ...]
    """The numbers of peers whose filter it left, and how far before the record's own position
    they were told; None: they keep it.
    """
    hidden: bool
    glimpses: tuple[Glimpse, ...]


def record_row(
    record: Record,
    peers: Peers,
    dataset: int,
    changed_at: int,
    *,
    holds: AbstractSet[str] | None = None,
    naming: Naming | None = None,
) -> RecordRow:
    """The columns of a record; ``holds``: the fields its dataset holds at all, None for any;
    ``naming``: what records of the dataset are called as a rule, if that is kept.
    """
    entries = as_woven(record.entries)
    if naming is not None:
        entries = _in_order(entries, naming.names)
        if entries.names != naming.names:
            naming = None
    return RecordRow(
        record.position,
        dataset,
        bytes(record.guid),
        *holding_row(record, holds),
        None if naming is None else naming.number,
        _history_bytes(record, entries, peers, entries.names if naming is None else None),
        cbor2.dumps([*_ways_back(record), *entries.contents]),
        int(record.context.keys() != dots_of(entries) or bool(record.whole_for)),
        int(_is_spent(record) and desired_fields(record) is None),
        changed_at,
    )


def enrolled_rows(
    enrolment: Enrolment, alike: Sequence[int], like: RecordRow, naming: Naming | None
) -> Iterator[RecordRow]:
    """The columns of the rows at the places ``alike`` of an enrolment; ``like`` are those of one
    of them, ``naming`` as in :func:`record_row`.
    """
    own = tuple(enrolment.rows[alike[0]].fields)
    names = own if naming is None else _order(own, naming.names)
    for place in alike:
        guid, key, fields, etag = enrolment.rows[place]
        values = [*fields.values()] if names is own else [fields[name] for name in names]
        yield RecordRow(
            enrolment.first + place,
            like.dataset,
            bytes(guid),
            key,
            place_of(key)[0],
            etag,
            like.shadow,
            like.marker,
            like.unwritten,
            like.naming,
            like.history,
            cbor2.dumps([_HERE, *values]),
            like.prunable,
            like.gone,
            like.changed_at,
        )


def holding_row(record: Record, holds: AbstractSet[str] | None = None) -> HoldingRow:
    """The columns that say what the dataset holds; ``holds`` as in :func:`record_row`."""
    values, marker = values_of(record.entries), record.marker
    return HoldingRow(
        record.key,
        0 if record.key is None else place_of(record.key)[0],
        record.etag,
        None if record.shadow is None else _beside(record.shadow, values),
        None
        if isinstance(marker, NoMarker)
        else NOTHING
        if marker is None
        else _beside(marker, values),
        int(needs_writing(record, holds)),
    )


def is_same_elsewhere(stored: Record, record: Record) -> bool:
    """Does the record differ from how it was read by what the dataset holds, if at all?"""
    return (
        stored.entries is record.entries
        and stored.context is record.context
        and stored.position == record.position
        and stored.known == record.known
        and stored.had == record.had
        and stored.whole_for == record.whole_for
        and stored.blind_to == record.blind_to
        and stored.withdrawn == record.withdrawn
        and stored.outside == record.outside
        and stored.hidden == record.hidden
        and stored.glimpses == record.glimpses
    )


def record_of(row: RecordRow, peers: Peers, dataset: str, names: Names | None = None) -> Record:
    """The record of a row; ``names``: those of its naming, if it has one."""
    history = _history(row.history)
    names = history.names if names is None else names
    assert names is not None  # noqa: S101 - a row without names has a naming
    contents, writes = cbor2.loads(row.contents), len(history.dots)
    entries = Woven(names, contents[writes:], history.dots, history.marks)
    return Record(
        dataset,
        Guid(row.guid),
        entries,
        {
            dot: peers.sighting(0 if back is None else row.position - back, seen, row.position)
            for dot, seen, back in zip(history.dots, history.seen, contents, strict=False)
        },
        row.position,
        peers.names(history.known),
        peers.names(history.had),
        peers.names(history.whole_for),
        history.withdrawn,
        peers.names(history.blind_to),
        peers.positions(history.outside, row.position),
        history.hidden,
        history.glimpses,
        None if row.key is None else Key(row.key),
        None if row.etag is None else Etag(row.etag),
        None if row.shadow is None else _shown(row.shadow, entries.fields),
        NO_MARKER
        if row.marker is None
        else None
        if row.marker == NOTHING
        else _shown(row.marker, entries.fields),
    )


def _in_order(entries: Woven, names: Names) -> Woven:
    """The entries in the order of these names, if they have just these."""
    if _order(entries.names, names) is entries.names:
        return entries
    return as_woven({name: entries[name] for name in names})


def _order(own: Names, common: Names) -> Names:
    """The names in the order that is common, if there is one of just these."""
    if own == common or len(own) != len(common) or set(own) != set(common):
        return own
    return common


_HERE = 0
"""The way back of what was written where the record is."""


def _ways_back(record: Record) -> list[int | None]:
    """How far before the record's own position each write came in; None: at no position."""
    return [
        record.position - sighting.position if sighting.position else None
        for sighting in record.context.values()
    ]


def _history_bytes(record: Record, entries: Woven, peers: Peers, names: Names | None) -> bytes:
    """The dots are those of the context: what wrote nothing that is left is an ancestor."""
    dots = tuple(record.context)
    marks = entries.marks
    if dots != entries.dots:
        place = {dot: number for number, dot in enumerate(dots)}
        moved = {number: place[entries.dots[number]] - number for number in entries.used}
        marks = marks_of([mark + moved[mark // DOT_STEP] * DOT_STEP for mark in marks])
    return _told(
        dots,
        tuple([peers.seen(sighting, record.position) for sighting in record.context.values()]),
        marks,
        peers.mask(record.known),
        peers.mask(record.had),
        peers.mask(record.whole_for),
        peers.mask(record.blind_to),
        record.withdrawn,
        names,
        tuple(sorted(peers.numbered(record.outside, record.position).items())),
        record.hidden,
        *[(dots.index(one.dot), *sorted(one.fields)) for one in record.glimpses],
    )


@lru_cache(maxsize=4096)
def _told(*history: object) -> bytes:
    return cbor2.dumps(history)


@lru_cache(maxsize=4096)
def _history(data: bytes) -> _History:
    read, seen, marks, known, *rest = cbor2.loads(data)
    had, whole_for, blind_to, withdrawn, names, outside, hidden, *glimpses = rest
    dots = tuple(map(Dot._make, read))
    return _History(
        dots,
        tuple(seen),
        marks if isinstance(marks, bytes) else tuple(marks),
        known,
        had,
        whole_for,
        blind_to,
        withdrawn,
        None if names is None else tuple(names),
        tuple((number, back) for number, back in outside),
        hidden,
        tuple(Glimpse(dots[number], frozenset(fields)) for number, *fields in glimpses),
    )


def _is_spent(record: Record) -> bool:
    """A tombstone or stub that may be purged one day."""
    return not is_alive(record.entries) or record.withdrawn


def _beside(fields: Fields, values: Fields) -> bytes:
    """These fields, beside the values that the record has."""
    if same_fields(fields, values):
        return SAME
    lacking = sorted(values.keys() - fields.keys())
    others = {
        name: value
        for name, value in fields.items()
        if (there := values.get(name, ABSENT)) is not value and not same_value(value, there)
    }
    return SAME + cbor2.dumps((lacking, others))


def _shown(data: bytes, values: Fields) -> Fields:
    """The fields of :func:`_beside`."""
    if data == SAME:
        return values
    lacking, others = cbor2.loads(data[len(SAME) :])
    shown = {**values, **others}
    for name in lacking:
        del shown[name]
    return shown
