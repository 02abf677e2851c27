"""Build the synchronization set for a peer.

Rules
-----
* Every record goes in its newest version, and only the fields the peer lacks. A resend never
  carries stale data.
* Positions of records left out (in flight, held back, over the size) are *holes*, and so are
  those of their writes that the peer has not seen. Every other position up to the top is settled
  by the bundle, in particular those that records have moved away from, so that an older bundle
  can never bring back an older state.
* A record goes with the notes about it that the peer has not confirmed, wherever else they are on
  their way: who reads a state takes what it descends from as seen. If we were restored before a
  note arrived, the value that had lost would be lost without a word.
* Records take the room in the order of their rank, then of their positions. Whatever is left out
  is a hole like others: it stays pending, and holds up nothing.
* The holes of all bundles of a cycle follow from one survey, which keeps positions, not records:
  of a first load one interval. A bundle looks at no more records than it has room for.
* Fields are left out only where nothing of the record is killed and the peer takes all of it;
  otherwise it goes whole. To one that withdrew it goes what that lacks, with every ancestor.
* Fields that stay here are left out everywhere: of records, delete orders, withdrawals, and
  conflicts about them.
* A record outside the peer's filter that the peer had is withdrawn. Deletes are never filtered.
* After a restore, a record is held back until its other holders answered, or were given up: they
  may have deleted it meanwhile. It is not held back from one that answered and holds it. What a
  holder that was given up has deleted, its list of all records tells when it returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import groupby
from operator import itemgetter, or_

from mailsync.core.agreement import Stances
from mailsync.core.answering import said, to_say
from mailsync.core.delivery import (
    acknowledgement,
    history,
    in_flight,
    is_kept,
    is_known,
    is_on_its_way,
    is_pending,
    is_question_due,
    left,
    next_mark,
    returned,
    sent,
    was_passed_over,
)
from mailsync.core.glimpses import told
from mailsync.core.ledger import Ledger
from mailsync.core.merge import newest_dot, noted_record
from mailsync.core.model import (
    ABSENT,
    Bundle,
    DeleteOrder,
    Dot,
    Entry,
    Extraction,
    Link,
    Reason,
    Record,
    RecordId,
    dots_of,
    is_alive,
)
from mailsync.core.positions import NOWHERE, Gathering, Positions
from mailsync.core.scope import hidden_dots, is_wanted, visible
from mailsync.core.weights import SIZE_LIMIT, bulk, room_beside, weight_of_entries

Rank = Callable[[Record], int | None]
"""The lower, the earlier a record is given room; None: it is left out."""


def equal_rank(_record: Record) -> int:
    """None before another."""
    return 0


def whole_text(extraction: Extraction) -> Extraction:
    """Nothing is left out."""
    return extraction


@dataclass(frozen=True, slots=True)
class Survey:
    """What a peer lacks, as positions."""

    unsettled: Positions
    """What a bundle must not settle, but for what the records in it need."""
    shared: Mapping[int, frozenset[int]]
    """Of that, what several records need: the positions of these records."""
    ranked: Mapping[int, Positions]
    """The records that may go, or are on their way, by their rank."""
    notes: Mapping[RecordId, Sequence[RecordId]]
    """Of those the notes, by the record that they are about."""

    @property
    def pending(self) -> Positions:
        """The records of all ranks."""
        return reduce(or_, self.ranked.values(), NOWHERE)

    def holes(self, needs: Mapping[int, Iterable[int]]) -> Positions:
        """What a bundle leaves open that holds records at these positions, which need those."""
        settled = Gathering()
        for needed in needs.values():
            for position in needed:
                if self.shared.get(position, frozenset()) <= needs.keys():
                    settled.add(position)
        return self.unsettled - settled.positions()


def passed_over(ledger: Ledger, link: Link, candidates: Iterable[Record]) -> Iterator[Record]:
    """The candidates of a survey. The peer will cover their positions without being sent what came
    in at them: what it keeps of records that left its filter must go whole if they return.
    """
    for record in candidates:
        if is_kept(link, record):
            ledger.keep(left(link, record))
        yield record


def survey(
    links: Mapping[str, Link], peer: str, candidates: Iterable[Record], rank: Rank = equal_rank
) -> Survey:
    """What ``peer`` lacks. ``candidates``: at least every record that may be pending; each is
    looked at once, and they are best in the order of their positions.
    """
    link = links[peer]
    own = Gathering()
    moved: list[tuple[int, int]] = []
    ranked: dict[int, Gathering] = {}
    notes: dict[RecordId, list[RecordId]] = {}
    for record in candidates:
        if not is_pending(link, record):
            continue
        own.add(record.position)
        moved += [(one, record.position) for one in _earlier(link, record)]
        place = None if is_held_back(links, peer, record) else rank(record)
        if place is not None:
            ranked.setdefault(place, Gathering()).add(record.position)
            if (noted := noted_record(record)) is not None:
                notes.setdefault(noted, []).append(record.id)
    moved.sort()
    unsettled = own.positions()
    shared = {}
    for position, pairs in groupby(moved, itemgetter(0)):
        needing = {record for _, record in pairs}
        if position in unsettled:
            needing.add(position)
        if len(needing) > 1:
            shared[position] = frozenset(needing)
    return Survey(
        unsettled | Positions.of(position for position, _ in moved),
        shared,
        {place: ranked[place].positions() for place in sorted(ranked)},
        notes,
    )


def compose(
    ledger: Ledger,
    links: Mapping[str, Link],
    peer: str,
    surveyed: Survey,
    candidates: Iterable[Record],
    *,
    now: int,
    resend_before: int,
    tag: int,
    size_limit: int = SIZE_LIMIT,
    abridge: Callable[[Extraction], Extraction] = whole_text,
    manifest: frozenset[RecordId] | None = None,
) -> tuple[Bundle, Link]:
    """The next bundle for ``peer``, and its link afterwards. Commit both, then send.

    ``candidates``: what may go, in the order in which it takes the room; no more of them are
    read than there is room for. What was sent after ``resend_before`` (milliseconds since 1970)
    counts as on its way. ``tag``: 32 random bits. ``abridge`` leaves out of an extraction record
    what the peer can add by itself.
    """
    link, stances = _saying(ledger, links[peer])
    flying = in_flight(link, resend_before)
    going = (one for one in candidates if one.position not in flying and _may_go(links, peer, one))
    chosen = list(_chosen(ledger, links, peer, surveyed, going, size_limit, abridge))
    needs = {record.position: [record.position, *_earlier(link, record)] for record, _ in chosen}
    asks, answers = to_say(link)
    bundle = Bundle(
        stream=link.out,
        mark=next_mark(link, ledger.site.position, tag),
        history=history(link),
        confirmed=link.acked_last,
        holes=surveyed.holes(needs),
        deletes=tuple(order for _, order in chosen if isinstance(order, DeleteOrder)),
        extractions=tuple(order for _, order in chosen if isinstance(order, Extraction)),
        acknowledgement=acknowledgement(link),
        manifest=manifest if link.stale else None,
        full_seen=link.full_seen,
        ask=link.rejoin or bool(link.voided.intervals),
        request=asks,
        answered=answers,
        policies=stances,
    )
    leaving = Positions.of(needs) - flying  # notes that go along keep their own time for an answer
    return bundle, said(sent(link, bundle, leaving, now), bundle, now)


def _chosen(
    ledger: Ledger,
    links: Mapping[str, Link],
    peer: str,
    surveyed: Survey,
    going: Iterable[Record],
    room: int,
    abridge: Callable[[Extraction], Extraction],
) -> Iterator[tuple[Record, Extraction | DeleteOrder]]:
    """What has room, each record with the notes about it, and its place in the set."""
    taken: set[int] = set()
    for record in going if room > 0 else ():
        for each in (record, *_notes(ledger, links[peer], surveyed, record)):
            if each.position in taken:
                continue
            taken.add(each.position)
            order = told(links[peer], each, set_item(ledger, links, peer, each))
            if isinstance(order, Extraction):
                order = abridge(order)
            room -= weight_of_entries(order.entries)
            yield each, order
        if room <= 0:
            break


def _notes(ledger: Ledger, link: Link, surveyed: Survey, record: Record) -> Iterator[Record]:
    """The notes about the record that the peer has not confirmed, as far as a bundle surely has
    room for all of them: what is larger goes one by one.
    """
    room = room_beside(record)
    for name in surveyed.notes.get(record.id, ()):
        note = ledger.get(name)
        if note is not None and is_pending(link, note) and bulk(note) < room:
            room -= bulk(note)
            yield note


def _saying(ledger: Ledger, link: Link) -> tuple[Link, Stances | None]:
    """What the bundle says of our policies, and the link once it does."""
    stances = link.agreement.to_say(link.acked_last.top if link.acked_last else 0)
    if link.agreement.is_news():
        ledger.advance()  # so the marks tell which bundles say it
        link = replace(link, agreement=link.agreement.saying(ledger.site.position))
    return link, stances


def is_due(link: Link, pending: Positions, *, resend_before: int, owed_before: int) -> bool:
    """Is there anything to tell the peer now, if it lacks the records at these positions? An
    acknowledgement alone only if it has been due since before ``owed_before`` (milliseconds
    since 1970).
    """
    owed = link.owe_since is not None and link.owe_since <= owed_before
    if owed or is_question_due(link, resend_before):
        return True
    return not pending <= in_flight(link, resend_before)


def is_held_back(links: Mapping[str, Link], peer: str, record: Record) -> bool:
    """We were restored: may another holder, not heard since, have deleted the record? Whom we know
    to hold it still need not wait for that other one; and nobody waits for one that is given up.
    """
    if not is_alive(record.entries) or _holds_still(links[peer], record):
        return False
    others = (links[name] for name in record.had if name != peer and name in links)
    return any(other.rejoin and not other.stale for other in others)


def _holds_still(link: Link, record: Record) -> bool:
    """Have we heard all that the peer has to say, and not that the record is gone there?"""
    if link.peer not in record.had or link.rejoin or link.stale or link.last is None:
        return False
    return link.cover.contiguous >= link.last.top


def _may_go(links: Mapping[str, Link], peer: str, record: Record) -> bool:
    return is_pending(links[peer], record) and not is_held_back(links, peer, record)


def _earlier(link: Link, record: Record) -> set[int]:
    """Positions besides the record's own that a bundle without it must not settle: there writes
    came in that the peer has not seen, and it would not get them again.
    """
    seen = (each for each in record.context.values() if not is_known(each, link.peer, link.acked))
    told_at = record.outside.get(link.peer, 0)
    places = {max(told_at, 0), *(each.for_peer(link.peer) for each in seen)}
    return places - {0, record.position}


def set_item(
    ledger: Ledger, links: Mapping[str, Link], peer: str, record: Record
) -> Extraction | DeleteOrder:
    """The record's place in the set, and the record marked as transmitted."""
    link = links[peer]
    if not is_alive(record.entries):
        ledger.keep(replace(record, had=record.had | {peer}))
        return _delete_order(link, record)
    if not is_wanted(link, record) and not is_on_its_way(link, record):
        ledger.keep(replace(record, outside={**record.outside, peer: record.position}))
        return _withdrawal(link, record)
    if peer in record.outside or was_passed_over(link, record):
        record = returned(record, peer, record.position)
    ledger.keep(replace(record, had=record.had | {peer}))
    return _extraction(link, record)


def _extraction(link: Link, record: Record) -> Extraction:
    lacking, shown = _lacking(link, record), visible(link, record)
    some_killed = any(entry.killed for entry in record.entries.values())
    refused = record.id in link.denied  # is all well again? The peer can tell by the whole
    whole = some_killed or refused or _is_owed_all(link, record) or len(lacking) == len(shown)
    return Extraction(
        record.position,
        record.dataset,
        record.guid,
        dict(shown) if whole else lacking,
        _explicit_context(link, record),
        whole,
        _is_unsure(link, record),
    )


def _delete_order(link: Link, record: Record) -> DeleteOrder:
    return DeleteOrder(
        record.position,
        record.dataset,
        record.guid,
        Reason.DELETED,
        newest_dot(record.entries),
        dict(visible(link, record)) if _is_owed_all(link, record) else _lacking(link, record),
        _explicit_context(link, record),
        _is_unsure(link, record),
    )


def _withdrawal(link: Link, record: Record) -> DeleteOrder:
    return DeleteOrder(
        record.position,
        record.dataset,
        record.guid,
        Reason.WITHDRAWN,
        newest_dot(record.entries),
        {name: entry._replace(value=ABSENT) for name, entry in visible(link, record).items()},
        frozenset(record.context),
    )


def _is_unsure(link: Link, record: Record) -> bool:
    """Can neither end be sure what the other has seen of the record?"""
    return link.peer in record.blind_to or link.peer in record.whole_for


def _is_owed_all(link: Link, record: Record) -> bool:
    """Must every field go? What one that withdrew it has seen, it holds or knowingly replaced."""
    return link.peer in record.whole_for or link.peer not in record.had


def _lacking(link: Link, record: Record) -> dict[str, Entry]:
    """The entries whose writes the peer has not seen."""
    return {
        name: entry
        for name, entry in visible(link, record).items()
        if not is_known(record.context[entry.dot], link.peer, link.acked)
    }


def _explicit_context(link: Link, record: Record) -> frozenset[Dot]:
    """The ancestors that the peer cannot know us to have seen. Of writes in fields that stay here
    it hears nothing, but for those that it showed us itself.
    """
    if _is_unsure(link, record):
        hidden = hidden_dots(link, record)
        return frozenset(
            dot
            for dot, sighting in record.context.items()
            if dot not in hidden or link.peer in sighting.known
        )
    own = dots_of(record.entries)
    return frozenset(
        dot
        for dot, sighting in record.context.items()
        if dot not in own and not is_known(sighting, link.peer, link.acked)
    )


def weight_of(link: Link, record: Record) -> int:
    """About how many bytes take before compression what the peer lacks of the record."""
    return weight_of_entries(_lacking(link, record))
