"""Take one record of a bundle: join its state with ours.

Rules
-----
* A record that ends up exactly as the peer sent it is known to the peer: no echo. One that
  merged into something new gets the next position and goes to everybody.
* A peer whose newest word shows less than it had confirmed is told again, whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace

from mailsync.core.delivery import (
    has,
    is_known,
    is_pending,
    must_drop,
    other_holders,
    returned,
    seen_at,
)
from mailsync.core.glimpses import is_lacking, joined, of_dots, seen_in
from mailsync.core.inference import inferred, refused_there, unseen_there, untold
from mailsync.core.ledger import Ledger
from mailsync.core.merge import (
    Loss,
    deleted_in_doubt,
    field_note,
    join,
    killed,
    overruled_deletes,
    revived,
    same_written,
)
from mailsync.core.model import (
    Bundle,
    DeleteOrder,
    Dot,
    Entry,
    Extraction,
    Glimpse,
    Link,
    Reason,
    Record,
    Sighting,
    dots_of,
    is_alive,
)
from mailsync.core.positions import NOWHERE, Positions
from mailsync.core.scope import is_admitted, is_wanted, terms_of, visible
from mailsync.core.withdrawals import take_withdrawal


def is_whole(item: Extraction | DeleteOrder) -> bool:
    """Does the extraction record hold every field?"""
    return isinstance(item, Extraction) and item.whole


def take(
    ledger: Ledger,
    links: Mapping[str, Link],
    peer: str,
    bundle: Bundle,
    item: Extraction | DeleteOrder,
    *,
    newest: bool,
    told: Positions,
) -> None:
    """Take one record of the bundle; ``newest``: it shows all that the peer holds of it, and no
    newer bundle of the peer has come. ``told``: what the peer had surely confirmed when it
    changed the record.
    """
    ledger.see(item.context | dots_of(item.entries))
    record = ledger.get(item.id)
    if isinstance(item, DeleteOrder) and item.reason is Reason.WITHDRAWN:
        if record is not None:
            take_withdrawal(ledger, links, peer, record, item, newest=newest)
    elif record is None:
        _take_new(ledger, links[peer], item)
    else:
        _merge(ledger, links, peer, bundle, record, item, newest=newest, told=told)


def _take_new(ledger: Ledger, link: Link, item: Extraction | DeleteOrder) -> None:
    """The first we hear of the record."""
    if not item.entries:
        return  # deleted before we ever had it
    seen = Sighting(ledger.next_position, frozenset({link.peer}))
    context = dict.fromkeys(item.context | dots_of(item.entries), seen)
    peers = frozenset({link.peer})
    glimpses = of_dots(item.glimpses, context.keys())
    record = Record(item.dataset, item.guid, item.entries, context, had=peers, glimpses=glimpses)
    record = replace(record, hidden=not is_admitted(link, record))
    ledger.bump(record, peers if is_wanted(link, record) else ())


def _merge(
    ledger: Ledger,
    links: Mapping[str, Link],
    peer: str,
    bundle: Bundle,
    record: Record,
    item: Extraction | DeleteOrder,
    *,
    newest: bool,
    told: Positions,
) -> None:
    """Join the state received with ours."""
    link = links[peer]
    seen = item.context | dots_of(item.entries) | inferred(ledger, link, record, bundle, item)
    refused, unseen = refused_there(ledger, record, bundle), unseen_there(ledger, record, item)
    theirs = _their_entries(record, item, seen, refused.keys() | unseen.keys())
    shown = _as_deleted(record, theirs)
    entries, losses = _joined(link, record, shown, seen - dots_of(refused), item.glimpses)
    if isinstance(item, DeleteOrder):
        doubted = refused | unseen | untold(link, record, told)
        losses += deleted_in_doubt(doubted, entries)
    notes = [field_note(record.id, loss) for loss in losses]
    notes += overruled_deletes(record, item, entries)
    ledger.note(notes)
    returns = entries != record.entries or isinstance(item, Extraction)
    withdrawn = record.withdrawn and not returns
    news = entries != record.entries or withdrawn != record.withdrawn
    merged = replace(
        record,
        entries=entries,
        context=_context(record, item, peer, ledger.next_position if news else 0),
        glimpses=joined(link, record, item),
        had=record.had | {peer},
        withdrawn=withdrawn,
        blind_to=record.blind_to - {peer} if is_whole(item) else record.blind_to,
    )
    if returns and not terms_of(link, record.dataset).keeps and peer in record.outside:
        # a peer that shows the record holds it, whatever it was told
        position = ledger.next_position if news else record.position
        merged = returned(merged, peer, position)
    if not is_alive(record.entries) and is_alive(entries):
        merged = revived(merged)
    if newest and _shows_less(merged, link, item, theirs):
        merged = replace(merged, whole_for=merged.whole_for | {peer})
    told_apart = any(loss.entry.dot == loss.winner.dot for loss in losses)
    if told_apart or (news and _is_more_of_seen(record, entries)):
        # all others have seen that write, and would not be told what it wrote
        merged = replace(merged, whole_for=merged.whole_for | merged.had)
    same = _is_same(merged, link, item, theirs) and is_wanted(link, merged)
    if news:
        merged = replace(merged, hidden=not is_admitted(link, merged))
        ledger.bump(merged, {peer} if same else ())
    elif same:
        ledger.keep(replace(merged, known=record.known | {peer}))
    elif _is_to_hear(link, record, merged, newest=newest):
        _tell_again(ledger, links, peer, record, merged)
    else:
        ledger.keep(merged)


def _is_to_hear(link: Link, record: Record, merged: Record, *, newest: bool) -> bool:
    """Is the peer to be told of a record in which nothing is new to us?"""
    return (
        _came_back(record, merged, link.peer)
        or _is_misplaced(link, merged)
        or _is_missed(link, record, newest=newest)
    )


def _tell_again(
    ledger: Ledger, links: Mapping[str, Link], peer: str, record: Record, merged: Record
) -> None:
    """The peer holds what is not for it, or less than it should. It may have covered the position
    at which it was told so: what it has not seen comes in at a new one.
    """
    others = other_holders(links, record, peer)
    if _came_back(record, merged, peer):
        told = replace(merged, outside=record.outside)
        merged = returned(told, peer, ledger.next_position)
    ledger.bump(replace(merged, whole_for=merged.whole_for | {peer}), others)


def _came_back(record: Record, merged: Record, peer: str) -> bool:
    """Did the peer show what had left its filter?"""
    return peer in record.outside and peer not in merged.outside


def _is_missed(link: Link, record: Record, *, newest: bool) -> bool:
    """Does the peer, which shows less, count as told? It has confirmed more, though its newest word
    says otherwise; or we did not know that it has the record, and had nothing of it to tell: it may
    have covered the position without being sent what sits there.
    """
    if link.peer in record.had:
        return newest and has(link, record)
    return not is_pending(link, record)


def _is_misplaced(link: Link, record: Record) -> bool:
    """Does the peer hold a record that left its filter?"""
    return not is_wanted(link, record) and must_drop(link, record)


def _joined(
    link: Link,
    record: Record,
    theirs: Mapping[str, Entry],
    seen: frozenset[Dot],
    glimpses: tuple[Glimpse, ...],
) -> tuple[dict[str, Entry], list[Loss]]:
    """Our state and theirs. Of one write the peer has seen the fields that go to it, and not those
    that stay here: there, only who made the write has surely seen it.
    """
    fields = terms_of(link, record.dataset).shown
    if fields is None:
        return _joined_by_field(record, record.entries, theirs, seen, glimpses)
    rest = {name: one for name, one in theirs.items() if name in fields}
    entries, losses = _joined_by_field(record, record.entries, rest, seen, glimpses)
    for name, one in sorted(theirs.items()):
        if name not in fields:
            surely = {dot for dot in seen if dot.site == one.dot.site}
            entries, more = _joined_by_field(record, entries, {name: one}, surely, glimpses)
            losses += more
    return entries, losses


def _joined_by_field(
    record: Record,
    entries: Mapping[str, Entry],
    theirs: Mapping[str, Entry],
    seen: AbstractSet[Dot],
    glimpses: tuple[Glimpse, ...],
) -> tuple[dict[str, Entry], list[Loss]]:
    """These entries of our state and theirs, each of which may descend from a write in part."""
    context, losses = record.context.keys(), list[Loss]()
    if not record.glimpses and not glimpses:
        return join(entries, context, theirs, seen)
    merged = dict(entries)
    for name, one in sorted(theirs.items()):
        here, there = seen_in(context, record.glimpses, name), seen_in(seen, glimpses, name)
        merged, more = join(merged, here, {name: one}, there)
        losses += more
    return merged, losses


def _as_deleted(record: Record, theirs: Mapping[str, Entry]) -> Mapping[str, Entry]:
    """Their entries; killed what they show of writes in fields that had not come before the record
    was deleted here: a delete is of all that its author had seen of, however little of it.
    """
    if is_alive(record.entries) or not record.entries:
        return theirs
    rest = {
        name: entry
        for name, entry in theirs.items()
        if name not in record.entries
        and entry.dot in seen_in(record.context.keys(), record.glimpses, name)
    }
    return {**theirs, **killed(rest)}


def _their_entries(
    record: Record,
    item: Extraction | DeleteOrder,
    seen: frozenset[Dot],
    doubted: AbstractSet[str],
) -> dict[str, Entry]:
    """The sender's state as far as it differs from ours. A delete order kills, besides what it
    brings, everything of ours that its author had seen, and what is in doubt.
    """
    if isinstance(item, Extraction):
        return dict(item.entries)
    ours = {
        name: entry
        for name, entry in record.entries.items()
        if entry.dot in (seen if name in doubted else seen_in(seen, item.glimpses, name))
    }
    return {**killed(ours), **item.entries}


def _context(
    record: Record, item: Extraction | DeleteOrder, peer: str, position: int
) -> dict[Dot, Sighting]:
    """Our context with what the peer showed us; new dots came in at ``position``."""
    context = dict(record.context)
    for dot in item.context | dots_of(item.entries):
        sighting = context.get(dot, Sighting(position))
        context[dot] = sighting._replace(known=sighting.known | {peer})
    return context


def _shows_in_part(
    record: Record, link: Link, item: Extraction | DeleteOrder, theirs: Mapping[str, Entry]
) -> bool:
    """Does the peer show a write in less fields than we have it in? Of a write it shows every field
    that it holds, or none.
    """
    shown = dots_of(item.entries)
    return any(
        entry.dot in shown and name not in theirs for name, entry in visible(link, record).items()
    )


def _is_same(
    record: Record, link: Link, item: Extraction | DeleteOrder, theirs: Mapping[str, Entry]
) -> bool:
    """Is our state, as far as it goes to the peer, exactly what the peer holds? Not where the
    record lives on there by a field whose last write stays here, and was deleted.
    """
    lives_on = is_alive(theirs) and not is_alive(record.entries)
    if lives_on or _shows_in_part(record, link, item, theirs):
        return False
    if is_lacking(record, item, visible(link, record)):
        return False
    whole = is_whole(item)
    confirmed = NOWHERE if item.complete else seen_at(link, record, link.acked)
    for name, entry in visible(link, record).items():
        their = theirs.get(name)
        if their is None:
            sighting = record.context[entry.dot]
            if whole or entry.killed or not is_known(sighting, link.peer, confirmed):
                return False
        elif (their.dot, their.killed) != (entry.dot, entry.killed) or not same_written(
            their, entry
        ):
            return False
    return True


def _shows_less(
    record: Record, link: Link, item: Extraction | DeleteOrder, theirs: Mapping[str, Entry]
) -> bool:
    """Does the peer show a write in part, or does a whole record lack one that the peer once showed
    or confirmed?
    """
    if is_lacking(record, item, visible(link, record)):
        return True
    if not is_whole(item):
        return _shows_in_part(record, link, item, theirs)
    confirmed = seen_at(link, record, link.acked)
    return any(
        is_known(record.context[entry.dot], link.peer, confirmed)
        and (name not in theirs or theirs[name].dot < entry.dot)
        for name, entry in visible(link, record).items()
    )


def _is_more_of_seen(record: Record, merged: Mapping[str, Entry]) -> bool:
    """Does a write that had come here before show in more fields now? It came by somebody who may
    write, or sees, only some of them.
    """
    return any(
        one.dot in record.context
        and (name not in record.entries or record.entries[name].dot != one.dot)
        for name, one in merged.items()
    )
