"""What a dataset's row shows, told in the terms of the record it belongs to.

Rules
-----
* A dataset may spell a value its own way (``1.10`` as ``1.1`` where decimals have no places).
  A value that is only spelled otherwise is the one we know, in the form we know.
* What stands in a column where nobody wrote, NULL or its default, is nothing, also in one that
  came or was made anew; what somebody wrote is an edit.
* A row that is deleted takes along what is kept of it for want of columns, also if these come
  before anybody looks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

from mailsync.core.drift import Columns
from mailsync.core.model import (
    ABSENT,
    Absent,
    Fields,
    NoMarker,
    Record,
    Value,
    held_fields,
    merged_fields,
    same_fields,
    same_value,
)


def within(record: Record, held: AbstractSet[str] | None) -> Record:
    """The record without the belief that the dataset holds other fields than ``held``."""
    if held is None:
        return record
    marker = record.marker
    if not isinstance(marker, NoMarker):
        marker = held_fields(marker, held)
    shadow = held_fields(record.shadow, held)
    if shadow is record.shadow and marker is record.marker:
        return record
    return replace(record, shadow=shadow, marker=marker)


def as_known(
    record: Record,
    current: Fields | None,
    spelled: Callable[[Fields], Fields],
    columns: Columns | None = None,
) -> tuple[Record, Fields | None]:
    """The record and what the dataset holds of it now, in the same terms.

    Each value is in the form we know it, if it is one we know; ``spelled`` gives fields as the
    dataset would hold them. Of a dataset that has ``columns``, the record believes in nothing
    else, and fields that nobody wrote are left out.
    """
    held = None if columns is None else columns.blanks.keys()
    if columns is not None:
        record = _renewed(record, current, columns) if columns.renewed else record
        marker = within(record, held).marker
        record = record if marker is record.marker else replace(record, marker=marker)
    if current is None:
        return record if columns is None else _with_kept(record, columns.renewed), None
    known = dict(current)
    states = _states(within(record, held))
    for believed in states:
        others = {
            name: believed[name]
            for name, value in current.items()
            if name in believed and not same_value(believed[name], value)
        }
        there = spelled(others) if others else {}
        known |= {name: others[name] for name in there if same_value(there[name], current[name])}
    return record, known if columns is None else _written(record, states, known, columns)


def _with_kept(record: Record, renewed: AbstractSet[str]) -> Record:
    """A record whose row is gone, as if the row had shown what was kept of it for want of columns
    that are there by now: nobody has looked at these yet, and it goes with the row as before.
    """
    shadow, merged = record.shadow, merged_fields(record)
    if shadow is None or merged is None or not isinstance(record.marker, NoMarker):
        return record
    kept = {name: merged[name] for name in merged.keys() & renewed if name not in shadow}
    return replace(record, shadow={**shadow, **kept}) if kept else record


def unrewritten(
    record: Record, current: Fields | None, spelled: Callable[[Fields], Fields]
) -> tuple[Record, Fields | None]:
    """The record and what its row shows, without what only a routine made of the record: that is
    what we know. What the routine would make otherwise by now, since users edited what it looks
    at, the record is believed to show as it stands; so it is written anew.

    ``spelled`` gives the fields of a whole record as they would stand in the row.
    """
    if current is None:
        return record, None
    made = _made(_states(record), current, spelled)
    known = {**current, **made}
    now = spelled(known) if made else {}
    stale = {name: current[name] for name in made if not same_value(now[name], current[name])}
    return _believed(record, stale) if stale else record, {**known, **stale}


def _believed(record: Record, shown: Fields) -> Record:
    """The record whose row is known to show this, whatever became of a write of ours."""
    shadow, marker = record.shadow, record.marker
    if marker is not None and not isinstance(marker, NoMarker):
        marker = {**marker, **shown}
    return replace(record, shadow=shadow and {**shadow, **shown}, marker=marker)


def _made(
    states: Sequence[Fields], current: Fields, spelled: Callable[[Fields], Fields]
) -> dict[str, Value]:
    """What we know of the fields in which a row shows what a routine made of it."""
    made: dict[str, Value] = {}
    for believed in states:
        there = spelled(believed)
        same = [
            name
            for name, value in current.items()
            if name in believed and name in there and same_value(there[name], value)
        ]
        others = {
            name: believed[name] for name in same if not same_value(believed[name], current[name])
        }
        if len(same) == len(current):
            return others
        made |= others
    return made


def _states(record: Record) -> list[Fields]:
    """What the row of the record may show: as merged, as it was, as it is being written."""
    marker = None if isinstance(record.marker, NoMarker) else record.marker
    merged = merged_fields(record)
    shadow = None if record.shadow is merged else record.shadow
    return [state for state in (merged, shadow, marker) if state is not None]


def _renewed(record: Record, current: Fields | None, columns: Columns) -> Record:
    """The record without the belief that columns made anew hold what they do not hold any more.

    A value of another type than before is what became of that by the column's new type.
    """
    shadow = record.shadow or {}
    forgotten = {
        name
        for name, value in (current or {}).items()
        if name in columns.renewed
        and not same_value(value, value_in(shadow, name))
        and (columns.is_blank(name, value) or type(value) is type(shadow.get(name)))
    }
    marker = {} if isinstance(record.marker, NoMarker) else record.marker or {}
    return within(record, (shadow.keys() | marker.keys()) - forgotten) if forgotten else record


def _written(record: Record, states: Sequence[Fields], current: Fields, columns: Columns) -> Fields:
    """What the row shows, without the fields in which nobody wrote. ``states``: what it may."""
    if all(current.keys() <= state.keys() for state in states):
        return current
    merged = merged_fields(record)
    return {
        name: value
        for name, value in current.items()
        if not columns.is_blank(name, value)
        or same_value(value_in(merged, name), value)
        or all(name in state for state in states)
    }


def is_foreign(record: Record, current: Fields | None, keyed: int) -> bool:
    """Is the row found under the key of an interrupted insert a user's own row instead?

    Taken so if it agrees with what was to be inserted in less than half of the fields; a row
    that landed and was edited since agrees in more. ``keyed``: how many fields are the key, in
    which any row under it agrees.
    """
    marker = record.marker
    if record.shadow is not None or isinstance(marker, NoMarker) or marker is None:
        return False
    if current is None or same_fields(current, marker):
        return False
    names = marker.keys() | current.keys()
    equal = [one for one in names if same_value(current.get(one, ABSENT), marker.get(one, ABSENT))]
    return (len(equal) - keyed) * 2 < len(names) - keyed


def value_in(fields: Fields | None, name: str) -> Value | Absent:
    """The field's value, ABSENT if there is no such field or no record."""
    return ABSENT if fields is None else fields.get(name, ABSENT)
