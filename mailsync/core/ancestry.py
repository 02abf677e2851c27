"""What two writes of a field that had not seen each other began with.

Rules
-----
* Of each write of the last time it is known which one it replaced here, and what that had written.
* The ancestor of a loss is the newest of these that the winner's side had seen, and that did not
  lose as well: what was noted was not in front of whoever wrote the winner.
* What nobody keeps any more, or what was never common, is not known. It is not guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from mailsync.core.delivery import is_known, seen_at
from mailsync.core.ledger import Ledger
from mailsync.core.merge import Note, note_id
from mailsync.core.model import Absent, Dot, Link, Record, RecordId, Value


class Before(NamedTuple):
    """What a field held, the write that replaced it, or that a delete killed, and the one that it
    was of; None: of none, or that is not known.
    """

    value: Value | Absent
    dot: Dot
    was: Dot | None = None


Replaced = Mapping[tuple[RecordId, str, Dot], Before]
"""What fields of records held before these writes."""


def common_ancestor(ledger: Ledger, link: Link, replaced: Replaced, note: Note) -> Before | None:
    """What the field held that our write and the one which won both replaced; None: unknown.

    ``note``: that our write lost; ``link``: of the peer who brought what won.
    """
    record, dot = ledger.get(note.record), note.dot
    while note.field is not None and record is not None:
        before = replaced.get((note.record, note.field, dot))
        if before is None or before.was is None or before.was >= dot:
            return None
        if _has_seen(ledger, link, record, note.field, before.was):
            return before
        dot = before.was
    return None


def _has_seen(ledger: Ledger, link: Link, record: Record, field: str, dot: Dot) -> bool:
    """Was this write in front of whoever wrote what the peer brought? What is no ancestor any more
    all peers have confirmed.
    """
    if ledger.get(note_id(Note(record.id, field, dot))) is not None:
        return False
    sighting = record.context.get(dot)
    confirmed = seen_at(link, record, link.acked)
    return sighting is None or is_known(sighting, link.peer, confirmed)
