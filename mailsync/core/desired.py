"""What our dataset should hold for a record, and whether it does.

Rules
-----
* Of a record only the fields are held that the dataset has at all.
* What was withdrawn, what our own inbound filter keeps out, and conflict notes are not for it.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from mailsync.core.entries import held_fields
from mailsync.core.model import CONFLICTS, NO_MARKER, Fields, Record, merged_fields, same_fields


def desired_fields(record: Record, held: AbstractSet[str] | None = None) -> Fields | None:
    """What our dataset should hold for this record, of the fields it holds; None: nothing."""
    if record.withdrawn or record.hidden or record.dataset == CONFLICTS:
        return None
    return held_fields(merged_fields(record), held)


def is_without_row(record: Record) -> bool:
    """Does our dataset hold nothing for this record, as it should?"""
    return record.shadow is None and record.marker is NO_MARKER and desired_fields(record) is None


def needs_writing(record: Record, held: AbstractSet[str] | None = None) -> bool:
    """Does the dataset hold something else than it should, of the fields it holds?"""
    if record.marker is not NO_MARKER:
        return False
    desired = desired_fields(record)
    return desired is not record.shadow and not same_fields(
        held_fields(desired, held), held_fields(record.shadow, held)
    )
