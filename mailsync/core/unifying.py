"""Two records that turn out to be one: both must sit under the same natural key.

Rules
-----
* Of two GUIDs the smaller stays; the other is killed, and everything it said is joined into the
  one that stays, dots and all. No new write is made, so every site that learns of both comes to
  the same result by itself, and nothing echoes.
* An edit of the killed record that did not know of it revives the record, collides again, and is
  joined in again: nothing is lost.
* A delete of the killed record by somebody who did not know of the other one comes too late: what
  was joined stays, as it would had that edit been unseen.
* Where the two differ, and not only in how the dataset spells them, the older value is noted as a
  conflict, as between any two writes that had not seen each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mailsync.core.ledger import Ledger
from mailsync.core.merge import Loss, field_note, join, killed
from mailsync.core.model import NO_MARKER, Absent, Fields, Record, Sighting, same_fields


def unify(
    ledger: Ledger,
    holder: Record,
    newcomer: Record,
    spelled: Callable[[Fields], Fields],
) -> Record:
    """Join ``newcomer`` with ``holder``, which sits in the dataset under the key both need.

    ``spelled`` gives fields as the dataset would hold them. Returns the record that stays; the
    row is its.
    """
    stays, goes = sorted((holder, newcomer), key=lambda record: record.guid)
    entries, losses = join(stays.entries, stays.context.keys(), goes.entries, goes.context.keys())
    ledger.note(field_note(stays.id, loss) for loss in losses if not _is_one_value(loss, spelled))
    position = Sighting(ledger.next_position)
    context = {**dict.fromkeys(goes.context, position), **stays.context}
    unified = replace(
        stays,
        entries=entries,
        context=context,
        key=holder.key,
        etag=holder.etag,
        shadow=holder.shadow,
        marker=NO_MARKER,
    )
    unified = ledger.keep(unified) if entries == stays.entries else ledger.bump(unified)
    ledger.bump(
        replace(
            goes,
            entries=killed(goes.entries),
            key=None,
            etag=None,
            shadow=None,
            marker=NO_MARKER,
        )
    )
    return unified


def _is_one_value(loss: Loss, spelled: Callable[[Fields], Fields]) -> bool:
    """Does the dataset hold both values as one?"""
    one, other = loss.entry.value, loss.winner.value
    if isinstance(one, Absent) or isinstance(other, Absent):
        return False
    return same_fields(spelled({loss.field: one}), spelled({loss.field: other}))
