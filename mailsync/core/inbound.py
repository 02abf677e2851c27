"""What a received bundle means here. Any bundle may come at any time, any number of times.

Rules, in this order
--------------------
1. Does it prove that *we* were restored (it confirms what we do not remember)? Then new streams
   to all peers, keep only what peers certainly have, and ask each of them.
2. An older stream than the one we know is ignored. A newer one: the *peer* was restored; trust
   only its own word about what it has.
3. A bundle composed before the peer knew that we were restored, or by a twin that does not
   remember what it sent us, is ignored, and an acknowledgement owed.
4. Acknowledgements count only from the newest bundle of the stream.
5. Records at positions already covered are skipped, the rest merged; those of a dataset that is
   not taken from the peer are left uncovered, and the peer is told. What ends up exactly as the
   peer sent it is known to the peer (no echo); what merged into something new goes to everybody.
6. What a full bundle's manifest no longer lists, and the peer certainly had, was deleted there.
7. The cover grows; an acknowledgement is owed only for records, a manifest or a question, so
   silence comes.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from mailsync.core.delivery import (
    carries,
    confirm,
    has,
    is_known,
    is_wanted,
    owing,
    resighted,
    without,
)
from mailsync.core.ledger import Ledger
from mailsync.core.merge import (
    delete_note,
    field_note,
    join,
    killed,
    newest_dot,
    noted_dataset,
)
from mailsync.core.model import (
    CONFLICTS,
    Bundle,
    DeleteOrder,
    Dot,
    Entry,
    Extraction,
    Link,
    Note,
    Reason,
    Record,
    RecordId,
    Sighting,
    dots_of,
    is_alive,
)
from mailsync.core.positions import Positions
from mailsync.core.restoration import proves_our_restore, renew, rotate


class Verdict(enum.Enum):
    """What a bundle's place in its stream says about it."""

    RESTORED = "this site was restored from a backup"
    OLD_STREAM = "of a stream that its sender gave up"
    UNAWARE = "composed before its sender knew that this site was restored"
    FORKED = "its sender does not remember what it sent before: a restored copy of it"
    RENEWED = "the peer was restored from a backup"
    EXPECTED = "in order"


@dataclass(frozen=True, slots=True)
class Received:
    """What came of one bundle."""

    verdict: Verdict
    links: Mapping[str, Link]
    upserts: int = 0
    deletes: int = 0
    refused: frozenset[str] = frozenset()
    """Datasets in the bundle that this site does not take from the peer."""


def judge(link: Link, position: int, bundle: Bundle) -> Verdict:
    """Rules 1 to 3, before anything of the bundle is used. ``position``: our counter."""
    if proves_our_restore(link, position, bundle):
        return Verdict.RESTORED
    renewed = link.inbound is not None and bundle.stream != link.inbound
    if renewed and link.inbound and bundle.stream.generation <= link.inbound.generation:
        return Verdict.OLD_STREAM
    acknowledged = bundle.acknowledgement.stream
    if acknowledged is not None and acknowledged != link.out:
        return Verdict.UNAWARE
    last = link.last if bundle.stream == link.inbound else None
    remembers = last is None or last == bundle.mark or last in bundle.history
    if last is not None and bundle.mark.top >= last.top and not remembers:
        return Verdict.FORKED
    return Verdict.RENEWED if renewed else Verdict.EXPECTED


def receive(
    ledger: Ledger, links: Mapping[str, Link], peer: str, bundle: Bundle, *, now: int, nonce: int
) -> Received:
    """Process one bundle; one store transaction. ``now``: milliseconds since 1970.

    ``nonce``: 64 random bits, used if new streams must be started.
    """
    link = replace(links[peer], heard_at=now)
    verdict = judge(link, ledger.site.position, bundle)
    if verdict is Verdict.RESTORED:
        return Received(verdict, rotate(ledger, {**links, peer: link}, peer, bundle, nonce, now))
    if verdict in {Verdict.OLD_STREAM, Verdict.FORKED}:
        return Received(verdict, {**links, peer: owing(link, now)})
    renewed = link.inbound is not None and bundle.stream != link.inbound
    link = _follow_stream(ledger, link, bundle, now)
    if verdict is Verdict.UNAWARE:
        behind = link.stale or (renewed and ledger.site.horizon > 0)
        return Received(verdict, {**links, peer: replace(owing(link, now), stale=behind)})
    link = _follow_acknowledgement(ledger, link, bundle, renewed=renewed)
    return _take_all(ledger, {**links, peer: link}, peer, bundle, verdict, now)


def _follow_stream(ledger: Ledger, link: Link, bundle: Bundle, now: int) -> Link:
    """Rule 2: the link once its inbound stream is the bundle's."""
    if bundle.stream == link.inbound:
        return link
    if link.inbound is not None:
        link = renew(ledger, owing(link, now))
    return replace(
        link,
        inbound=bundle.stream,
        cover=Positions(),
        last=None,
        full_seen=None,
        lacking=frozenset(),
    )


def _follow_acknowledgement(ledger: Ledger, link: Link, bundle: Bundle, *, renewed: bool) -> Link:
    """Rule 4, and whether the peer is, or no longer is, behind our purge horizon."""
    if _is_newest(link, bundle) and bundle.acknowledgement.stream == link.out:
        link = _acknowledged(ledger, link, bundle)
    if renewed and not link.stale and not Positions.up_to(ledger.site.horizon) <= link.acked:
        link = replace(link, stale=True, fulls=frozenset())
    if link.stale and bundle.full_seen is not None and bundle.full_seen in link.fulls:
        link = replace(link, stale=False, fulls=frozenset())
    return link


def _acknowledged(ledger: Ledger, link: Link, bundle: Bundle) -> Link:
    """The link after the peer's word of our stream; records it asks for whole are marked so."""
    told = bundle.acknowledgement
    link = confirm(link, told)
    again: list[int] = []
    for record_id in sorted(told.lacking):
        record = ledger.get(record_id)
        if record is not None and link.peer not in record.whole_for:
            ledger.keep(replace(record, whole_for=record.whole_for | {link.peer}))
            again.append(record.position)
    flights = without(link.flights, Positions.of(again))
    accepted = link.refused - told.refused
    for record in list(ledger.all()) if accepted else ():
        if record.dataset in accepted:
            known = record.known - {link.peer}
            again_whole = replace(record, whole_for=record.whole_for | {link.peer})
            ledger.bump(resighted(again_whole, ledger.next_position), known)
    return replace(link, flights=flights, refused=told.refused)


def _is_newest(link: Link, bundle: Bundle) -> bool:
    return link.last is None or bundle.mark.top >= link.last.top


def _take_all(
    ledger: Ledger,
    links: Mapping[str, Link],
    peer: str,
    bundle: Bundle,
    verdict: Verdict,
    now: int,
) -> Received:
    """Rules 5 to 7."""
    link = links[peer]
    newest = _is_newest(link, bundle)
    skipped: set[int] = set()
    lacking, refused = set(link.lacking), set(link.refusing)
    upserts = deletes = 0
    for item in _in_order(bundle):
        record_id = RecordId(item.dataset, item.guid)
        if item.position in link.cover:
            continue
        record = ledger.get(record_id)
        subject = _subject(item)
        if subject is not None and subject not in link.datasets:
            refused.add(subject)
            skipped.add(item.position)
            continue
        if record is None and (
            link.stale or not (_is_whole(item) or isinstance(item, DeleteOrder))
        ):
            skipped.add(item.position)
            if isinstance(item, Extraction):
                lacking.add(record_id)
            continue
        lacking.discard(record_id)
        _take(ledger, links, peer, bundle, item, newest=newest)
        upserts += isinstance(item, Extraction) and item.dataset != CONFLICTS
        deletes += isinstance(item, DeleteOrder)
    cover = Positions.up_to(bundle.mark.top) - bundle.holes - Positions.of(skipped)
    link = replace(
        link,
        cover=link.cover | cover,
        last=bundle.mark if newest else link.last,
        lacking=frozenset(lacking),
        refusing=frozenset(refused),
    )
    if bundle.manifest is not None and newest:
        _take_manifest(ledger, link, bundle.manifest)
        link = replace(link, full_seen=bundle.mark.tag)
    if bundle.deletes or bundle.extractions or bundle.manifest is not None or bundle.ask:
        link = owing(link, now)
    newly_refused = frozenset(refused) - links[peer].refusing
    if newly_refused:
        link = replace(link, owe_since=0)  # the peer should know before it sends more of it
    return Received(verdict, {**links, peer: link}, upserts, deletes, newly_refused)


def _in_order(bundle: Bundle) -> Iterator[Extraction | DeleteOrder]:
    """Records first, then conflict notes, so that a note finds its winner in place."""
    items: list[Extraction | DeleteOrder] = [*bundle.extractions, *bundle.deletes]
    yield from sorted(items, key=lambda item: (item.dataset == CONFLICTS, item.position))


def _subject(item: Extraction | DeleteOrder) -> str | None:
    """The dataset the item is about; None for the rest of a note that is here already."""
    return noted_dataset(item.entries) if item.dataset == CONFLICTS else item.dataset


def _is_whole(item: Extraction | DeleteOrder) -> bool:
    """Does the extraction record hold every field?"""
    return isinstance(item, Extraction) and item.whole


def _take(
    ledger: Ledger,
    links: Mapping[str, Link],
    peer: str,
    bundle: Bundle,
    item: Extraction | DeleteOrder,
    *,
    newest: bool,
) -> None:
    """One record of the bundle."""
    ledger.see(item.context | dots_of(item.entries))
    record = ledger.get(RecordId(item.dataset, item.guid))
    if isinstance(item, DeleteOrder) and item.reason is Reason.WITHDRAWN:
        if record is not None:
            record = ledger.keep(replace(record, blind_to=record.blind_to | {peer}))
            _take_withdrawal(ledger, links, peer, record, item, newest=newest)
    elif record is None:
        _take_new(ledger, links[peer], item)
    else:
        _merge(ledger, links, peer, bundle, record, item, newest=newest)


def _take_new(ledger: Ledger, link: Link, item: Extraction | DeleteOrder) -> None:
    """The first we hear of the record."""
    if not item.entries:
        return  # deleted before we ever had it
    seen = Sighting(ledger.next_position, frozenset({link.peer}))
    context = dict.fromkeys(item.context | dots_of(item.entries), seen)
    peers = frozenset({link.peer})
    record = Record(item.dataset, item.guid, item.entries, context, had=peers)
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
) -> None:
    """Join the state received with ours."""
    link = links[peer]
    confirmed = Positions()
    if bundle.acknowledgement.stream == link.out and peer in record.had and not item.complete:
        confirmed = bundle.acknowledgement.cover
    seen = item.context | dots_of(item.entries) | _seen(record, peer, confirmed)
    theirs = _their_entries(record, item, seen)
    entries, losses = join(record.entries, record.context.keys(), theirs, seen)
    notes = [field_note(record.id, loss) for loss in losses]
    notes += _overruled_deletes(record, item, entries)
    if not record.withdrawn:  # a stub holds no edit of ours
        ledger.note(notes)
    revived = entries != record.entries or isinstance(item, Extraction)
    withdrawn = record.withdrawn and not revived
    news = entries != record.entries or withdrawn != record.withdrawn
    merged = replace(
        record,
        entries=entries,
        context=_context(record, item, peer, ledger.next_position if news else 0),
        had=record.had | {peer},
        withdrawn=withdrawn,
        blind_to=record.blind_to - {peer} if _is_whole(item) else record.blind_to,
    )
    shows_less = newest and _shows_less(record, link, item, theirs)
    if shows_less:
        merged = replace(merged, whole_for=merged.whole_for | {peer})
    same = _is_same(merged, link, item, theirs) and is_wanted(link, merged)
    if news:
        ledger.bump(merged, {peer} if same else ())
    elif same:
        ledger.keep(replace(merged, known=record.known | {peer}))
    elif not is_wanted(link, merged) or (newest and has(link, record)):
        # the peer holds what is not for it, or shows less than it has confirmed: tell it again
        others = {name for name, other in links.items() if name != peer and has(other, record)}
        ledger.bump(replace(merged, whole_for=merged.whole_for | {peer}), others)
    else:
        ledger.keep(merged)


def _seen(record: Record, peer: str, confirmed: Positions) -> frozenset[Dot]:
    """The writes in our record that the bundle's author had seen when composing it."""
    return frozenset(
        dot for dot, sighting in record.context.items() if is_known(sighting, peer, confirmed)
    )


def _their_entries(
    record: Record, item: Extraction | DeleteOrder, seen: frozenset[Dot]
) -> dict[str, Entry]:
    """The sender's state as far as it differs from ours. A delete order kills, besides what it
    brings, everything of ours that its author had seen.
    """
    if isinstance(item, Extraction):
        return dict(item.entries)
    ours = {name: entry for name, entry in record.entries.items() if entry.dot in seen}
    return {**killed(ours), **item.entries}


def _overruled_deletes(
    record: Record, item: Extraction | DeleteOrder, merged: Mapping[str, Entry]
) -> list[Note]:
    """A delete met an edit it had not seen."""
    if not is_alive(merged):
        return []
    notes = []
    if not is_alive(record.entries):
        notes.append(delete_note(record.id, newest_dot(record.entries)))
    if isinstance(item, DeleteOrder):
        notes.append(delete_note(record.id, item.newest))
    return notes


def _context(
    record: Record, item: Extraction | DeleteOrder, peer: str, position: int
) -> dict[Dot, Sighting]:
    """Our context with what the peer showed us; new dots came in at ``position``."""
    context = dict(record.context)
    for dot in item.context | dots_of(item.entries):
        sighting = context.get(dot, Sighting(position))
        context[dot] = sighting._replace(known=sighting.known | {peer})
    return context


def _is_same(
    record: Record, link: Link, item: Extraction | DeleteOrder, theirs: Mapping[str, Entry]
) -> bool:
    """Is our state exactly what the peer holds?"""
    whole = _is_whole(item)
    for name, entry in record.entries.items():
        their = theirs.get(name)
        if their is None:
            sighting = record.context[entry.dot]
            if whole or entry.killed or not is_known(sighting, link.peer, link.acked):
                return False
        elif (their.dot, their.killed) != (entry.dot, entry.killed):
            return False
    return True


def _shows_less(
    record: Record, link: Link, item: Extraction | DeleteOrder, theirs: Mapping[str, Entry]
) -> bool:
    """Does a whole record lack a write that the peer once showed or confirmed?"""
    if not _is_whole(item):
        return False
    return any(
        is_known(record.context[entry.dot], link.peer, link.acked)
        and (name not in theirs or theirs[name].dot < entry.dot)
        for name, entry in record.entries.items()
    )


def _take_withdrawal(
    ledger: Ledger,
    links: Mapping[str, Link],
    peer: str,
    record: Record,
    order: DeleteOrder,
    *,
    newest: bool,
) -> None:
    """The record is no longer for us: a stub is left. Not if we hold a write or a delete that
    the peer has not seen; then it is pending, and the peer will decide again.
    """
    if record.withdrawn or not is_alive(record.entries):
        return
    link = links[peer]
    living = {entry.dot for entry in order.entries.values() if not entry.killed}
    context = order.context | dots_of(order.entries)
    if all(
        entry.dot in context and not (entry.killed and entry.dot in living)
        for entry in record.entries.values()
    ):
        ledger.bump(replace(record, withdrawn=True), {peer})
    elif newest and has(link, record):
        others = {name for name, other in links.items() if name != peer and has(other, record)}
        ledger.bump(replace(record, whole_for=record.whole_for | {peer}), others)


def _take_manifest(ledger: Ledger, link: Link, manifest: frozenset[RecordId]) -> None:
    """Rule 6."""
    for record in list(ledger.all()):
        listed = record.id in manifest or record.dataset == CONFLICTS
        if listed or record.withdrawn or not is_alive(record.entries):
            continue
        if not carries(link, record) or not is_wanted(link, record):
            continue
        if has(link, record):
            ledger.bump(replace(record, entries=killed(record.entries)), {link.peer})
        elif link.peer in record.had:
            ledger.note([delete_note(record.id, newest_dot(record.entries))])
            ledger.keep(replace(record, whole_for=record.whole_for | {link.peer}))
