"""Between the dataset and the records: what users did, and what is written for them to see."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tests.core.reference.states import (
    NOTHING,
    Dot,
    Entries,
    Entry,
    Note,
    Nothing,
    Record,
    Row,
    Site,
    delete_note,
    value_note,
)

Rows = dict[str, Row]


def scan(site: Site, data: Rows, now: int, number: int, names: Iterator[str]) -> None:
    """Turn what users did into states. ``number``: of a write, ``names``: of records; all fresh."""
    stroke = Dot(max(site.clock + 1, now), site.number, number)
    site.clock = stroke.stamp
    mapped = {record.key: record for record in site.records.values() if record.key is not None}
    for key, record in sorted(mapped.items(), key=lambda pair: pair[1].name):
        if record.marker is not NOTHING or data.get(key) != record.shadow:
            _detect(site, record, data.get(key), stroke)
    for key in sorted(data.keys() - mapped.keys()):
        entries = {name: Entry(stroke, value) for name, value in data[key].items()}
        seen = frozenset({stroke})
        site.change(Record(next(names), entries, seen, key=key, shadow=data[key]))


def _detect(site: Site, record: Record, current: Row | None, stroke: Dot) -> None:
    base, in_doubt = _base(record, current)
    if current == base:
        entries, notes = record.entries, set[Note]()
    elif current is None:
        entries, notes = _deleted(record, base, in_doubt=in_doubt)
    else:
        entries, notes = _edited(record, base, current, stroke)
    after = replace(record, entries=entries, shadow=current, marker=NOTHING)
    site.enter(notes)
    if entries == record.entries:
        site.keep(after)
        return
    written = {entry.dot for entry in entries.values()} & {stroke}
    site.change(replace(after, seen=record.seen | written, withdrawn=False))


def _base(record: Record, current: Row | None) -> tuple[Row | None, bool]:
    """What the users had in front of them, and whether that is in doubt."""
    marker, shadow = record.marker, record.shadow
    if isinstance(marker, Nothing) or current == shadow:
        return shadow, False
    if current == marker:
        return marker, False
    if current is not None and marker is not None:
        if shadow is None:
            return marker, False
        if any(current[n] == marker[n] != shadow[n] for n in shadow):
            return marker, False  # our write landed, and was edited since
    return shadow, marker is not None


def _deleted(record: Record, base: Row | None, *, in_doubt: bool) -> tuple[Entries, set[Note]]:
    """A delete kills what its user could see."""
    want = record.content
    if want is None:
        return record.entries, set()
    entries = dict(record.entries)
    notes: set[Note] = set()
    for name, entry in record.entries.items():
        unseen = base is not None and want[name] != base[name]
        if not unseen or in_doubt:
            entries[name] = entry._replace(killed=True)
        if unseen:
            notes.add(
                value_note(record.name, name, entry)
                if in_doubt
                else delete_note(record.name, record.entries)
            )
    return entries, notes


def _edited(
    record: Record, base: Row | None, current: Row, stroke: Dot
) -> tuple[Entries, set[Note]]:
    want = record.content
    entries = dict(record.entries)
    notes: set[Note] = set()
    for name, entry in record.entries.items():
        if base is not None and current[name] == base[name]:
            continue
        if want is not None and want[name] == current[name]:
            continue
        if want is None and base is not None:
            notes.add(delete_note(record.name, record.entries))
        if base is not None and entry.value not in (base[name], current[name]):
            notes.add(value_note(record.name, name, entry))
        entries[name] = Entry(stroke, current[name])
    return entries, notes


def unwritten(site: Site) -> list[str]:
    """Records that the dataset does not show as they are."""
    return sorted(
        record.name
        for record in site.records.values()
        if record.marker is NOTHING and record.desired != record.shadow
    )


def begin(site: Site, data: Rows, name: str) -> bool:
    """First step of a write: the marker. Not where a user just deleted what is to go."""
    record = site.records[name]
    key = record.key
    if record.withdrawn and key is not None and key not in data:
        return False
    if key is None and record.desired is not None:
        key = "k" + name
    site.keep(replace(record, key=key, marker=record.desired))
    return True


def write(site: Site, data: Rows, name: str) -> bool:
    """Second step: the dataset, if the row is still what we believe it is."""
    record = site.records[name]
    if record.key is None:
        return record.marker is None
    if data.get(record.key) != record.shadow:
        return False
    if record.marker is None:
        data.pop(record.key, None)
    elif not isinstance(record.marker, Nothing):
        data[record.key] = record.marker
    return True


def finish(site: Site, name: str, *, landed: bool) -> None:
    """Last step: remember what the dataset now holds."""
    record = site.records[name]
    shadow = record.shadow
    if landed:
        shadow = None if isinstance(record.marker, Nothing) else record.marker
    key = None if shadow is None else record.key
    site.keep(replace(record, key=key, shadow=shadow, marker=NOTHING))
