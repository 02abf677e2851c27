"""What the author of a bundle had before its eyes of our record.

Rules
-----
* It is what the bundle names, what its author once showed us, and what it says it covered; not the
  latter where it says that it cannot know (``complete``).
* Of what was written here in a record of which the peer refused something, nobody knows whether
  the peer had it before its eyes, unless it says so itself (``glimpses``). What is lost of it is
  noted: a note too many costs a look.
"""

from __future__ import annotations

from mailsync.core.delivery import is_known, seen_at
from mailsync.core.glimpses import is_lacking
from mailsync.core.ledger import Ledger
from mailsync.core.model import Bundle, DeleteOrder, Dot, Entry, Extraction, Link, Record
from mailsync.core.positions import NOWHERE, Positions
from mailsync.core.rights import may_be_denied
from mailsync.core.scope import hidden_dots, visible


def inferred(
    ledger: Ledger, link: Link, record: Record, bundle: Bundle, item: Extraction | DeleteOrder
) -> frozenset[Dot]:
    """The writes in our record that the bundle's author had seen when composing it: what it once
    showed us, and what it covered. Fields that do not go to it, it has not seen; but it deletes
    them with the rest. Nor what it may have refused of what others wrote.
    """
    told, cover = bundle.acknowledgement, NOWHERE
    if told.stream == link.out and not item.complete and link.peer in record.had:
        cover = seen_at(link, record, told.cover)
    hidden = hidden_dots(link, record)
    unseen = hidden
    if may_be_denied(told.denied, record.id):
        unseen |= {dot for dot in record.context if dot.site != ledger.site.number}
    seen = frozenset(
        dot
        for dot, sighting in record.context.items()
        if is_known(sighting, link.peer, NOWHERE if dot in unseen else cover)
    )
    return seen | hidden if isinstance(item, DeleteOrder) else seen


def untold(link: Link, record: Record, told: Positions) -> dict[str, Entry]:
    """Fields that stay here, written since the peer surely confirmed anything before its delete:
    who deletes the record deletes them with the rest, but has not meant these.

    What it confirms together with a delete may have come to it after that.
    """
    shown = visible(link, record)
    return {
        name: one
        for name, one in record.entries.items()
        if name not in shown and not is_known(record.context[one.dot], link.peer, told)
    }


def refused_there(ledger: Ledger, record: Record, bundle: Bundle) -> dict[str, Entry]:
    """What was written here and the bundle's author may not have seen: of a record of which
    something was refused there, nobody here knows what, and all was covered.
    """
    if not may_be_denied(bundle.acknowledgement.denied, record.id):
        return {}
    ours = ledger.site.number
    return {name: one for name, one in record.entries.items() if one.dot.site == ours}


def unseen_there(
    ledger: Ledger, record: Record, item: Extraction | DeleteOrder
) -> dict[str, Entry]:
    """What was written here and the sender says it has not seen."""
    ours = ledger.site.number
    return {
        name: one
        for name, one in record.entries.items()
        if item.glimpses and one.dot.site == ours and is_lacking(record, item, [name])
    }
