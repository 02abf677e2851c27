"""Take a manifest: what a peer's full bundle no longer lists.

Rules
-----
* What the peer certainly had, as it is here, was deleted there: it is deleted here, too.
* What it had otherwise, its delete met an edit it had not seen: the edit stands, and is noted.
* A site that was restored may have forgotten that the peer confirmed what has been written over
  since. To be sure that no delete is overruled in silence it notes what may have been one.
* What the peer refused, or may not delete, it did not delete.
"""

from __future__ import annotations

from dataclasses import replace

from mailsync.core.delivery import has, has_seen_some
from mailsync.core.ledger import Ledger
from mailsync.core.merge import delete_note, killed, newest_dot
from mailsync.core.model import CONFLICTS, Link, Record, RecordId, is_alive
from mailsync.core.rights import may_be_denied
from mailsync.core.scope import carries, is_wanted, terms_of
from mailsync.core.terms import Act


def take_manifest(ledger: Ledger, link: Link, manifest: frozenset[RecordId]) -> None:
    """Delete what is gone at the peer, or note that it lives on."""
    for record in list(ledger.all()):
        if record.id in manifest or not _is_missed(link, record):
            continue
        if has(link, record):
            ledger.bump(replace(record, entries=killed(record.entries)), {link.peer})
        elif has_seen_some(link, record) or _may_have_seen_some(link, record):
            ledger.note([delete_note(record.id, newest_dot(record.entries))])
            ledger.keep(replace(record, whole_for=record.whole_for | {link.peer}))


def _is_missed(link: Link, record: Record) -> bool:
    """Would the manifest list the record, were it still there?"""
    return (
        record.dataset != CONFLICTS
        and not record.withdrawn
        and is_alive(record.entries)
        and carries(link, record)
        and is_wanted(link, record)
        and not may_be_denied(link.denied, record.id)
        and Act.DELETE in terms_of(link, record.dataset).allowed
    )


def _may_have_seen_some(link: Link, record: Record) -> bool:
    """Did it go to the peer before we were restored, and was written over here after?"""
    return (
        link.restored_at is not None
        and link.peer in record.had
        and any(0 < sighting.position < record.position for sighting in record.context.values())
    )
