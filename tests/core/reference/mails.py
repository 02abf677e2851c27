"""What sites say to each other: composing a mail, receiving one, and forgetting."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import NamedTuple

from tests.core.reference.states import (
    NOBODY,
    NOTHING,
    NOWHERE,
    Dot,
    Entries,
    Link,
    Mark,
    Note,
    Record,
    Site,
    Stream,
    delete_note,
    dots,
    has,
    is_alive,
    is_settled,
    join,
    killed,
    wants,
)


class Item(NamedTuple):
    """A whole state of a record; or, withdrawn, its writes without their values."""

    position: int
    name: str
    entries: Entries
    seen: frozenset[Dot]
    note: Note | None
    withdrawn: bool


@dataclass(frozen=True)
class Mail:
    """All that its reader lacks, and what its sender got from the reader."""

    stream: Stream
    mark: Mark
    history: tuple[Mark, ...]
    confirmed: Mark | None
    settled: frozenset[int]
    """Positions of which the reader need not hear again."""
    items: tuple[Item, ...]
    heard_stream: Stream | None
    heard: frozenset[int]
    heard_last: Mark | None
    manifest: frozenset[str] | None
    full_seen: int | None
    ask: bool


# --- sending


def _is_pending(link: Link, peer: str, record: Record) -> bool:
    if has(link, peer, record) or not (record.is_alive or record.had):
        return False  # it has it, or nobody ever had it and it is gone
    return wants(link, record) or (peer in record.had and not record.withdrawn)


def _is_held_back(site: Site, peer: str, record: Record) -> bool:
    """We were restored: another holder, not heard since nor given up, may have deleted it. A peer
    of which all is heard, and not that, holds it still.
    """
    link = site.links[peer]
    is_heard = link.last is not None and frozenset(range(1, link.last.top + 1)) <= link.cover
    if peer in record.had and is_heard and not link.rejoin and not link.stale:
        return False
    others = [site.links[q] for q in record.had - {peer}]
    return record.is_alive and any(other.rejoin and not other.stale for other in others)


def is_due(site: Site, peer: str) -> bool:
    """Is there anything to tell the peer?"""
    link = site.links[peer]
    return (
        link.owes
        or link.rejoin
        or (link.stale and not link.fulls)
        or any(
            _is_pending(link, peer, record) and not _is_held_back(site, peer, record)
            for record in site.records.values()
        )
    )


def compose(
    site: Site, peer: str, *, leaving_out: frozenset[int] | None = None, limit: int = 10**6
) -> Mail:
    """The next mail: of all that the peer has not confirmed, or, if positions are left out, of at
    most ``limit`` of the other records.
    """
    link = site.links[peer]
    unsettled: set[int] = set()
    items: list[Item] = []
    for record in sorted(site.records.values(), key=lambda record: record.position):
        if not _is_pending(link, peer, record):
            continue
        out = len(items) >= limit or record.position in (leaving_out or NOWHERE)
        if out or _is_held_back(site, peer, record):
            unsettled.add(record.position)
        else:
            items.append(_item(site, peer, record))
    mark = link.sent[-1] if link.sent else None
    if mark is None or mark.top != site.position:
        mark = Mark(site.position, site.draw())
    names = frozenset(name for name, record in site.records.items() if record.note is None)
    full = link.stale and leaving_out is None
    site.links[peer] = replace(
        link,
        sent=link.sent if mark in link.sent else (*link.sent, mark),
        flying=link.flying | {item.position for item in items},
        owes=False,
        fulls=link.fulls | {mark.tag} if full else link.fulls,
    )
    return Mail(
        stream=link.out,
        mark=mark,
        history=site.links[peer].sent,
        confirmed=link.acked_last,
        settled=frozenset(range(1, site.position + 1)) - unsettled,
        items=tuple(items),
        heard_stream=link.inbound,
        heard=link.cover,
        heard_last=link.last,
        manifest=names if full else None,
        full_seen=link.full_seen,
        ask=link.rejoin,
    )


def _item(site: Site, peer: str, record: Record) -> Item:
    if wants(site.links[peer], record):
        told = record.told | {(peer, record.position)}
        site.keep(replace(record, had=record.had | {peer}, told=told))
        return Item(
            record.position, record.name, record.entries, record.seen, record.note, withdrawn=False
        )
    return Item(record.position, record.name, record.entries, record.seen, None, withdrawn=True)


# --- receiving


def receive(site: Site, peer: str, mail: Mail) -> None:
    """Any mail may come at any time, any number of times."""
    link = site.links[peer]
    if _proves_our_restore(site, link, mail):
        _rotate(site, peer, mail)
        return
    renewed = link.inbound is not None and mail.stream != link.inbound
    if renewed and link.inbound and mail.stream.generation <= link.inbound.generation:
        site.links[peer] = replace(link, owes=True)  # an old mail, or a twin's
        return
    unaware = mail.heard_stream is not None and mail.heard_stream != link.out
    if not unaware and not renewed and _forgot(link, mail):
        site.links[peer] = replace(link, owes=True)
        return
    if renewed:
        link = _renew(site, link, peer)
    if mail.stream != link.inbound:
        link = replace(link, inbound=mail.stream, cover=NOWHERE, last=None, full_seen=None)
        link = replace(link, line=())
    if unaware:
        stale = link.stale or (renewed and site.horizon > 0)
        site.links[peer] = replace(link, owes=True, stale=stale)
        return
    newest = link.last is None or mail.mark.top >= link.last.top
    if newest and mail.heard_stream == link.out:
        link = _confirm(link, mail)
    if renewed and not link.stale and not frozenset(range(1, site.horizon + 1)) <= link.acked:
        link = replace(link, stale=True, fulls=NOWHERE)
    if link.stale and mail.full_seen in link.fulls:
        link = replace(link, stale=False, fulls=NOWHERE)
    site.links[peer] = link
    _take_all(site, peer, mail, newest=newest)


def _proves_our_restore(site: Site, link: Link, mail: Mail) -> bool:
    """Does it confirm what we do not remember?"""
    if mail.heard_stream is None:
        return False
    if mail.heard_stream != link.out:
        return mail.heard_stream.generation >= link.out.generation
    if mail.heard_last is not None and mail.heard_last not in link.sent:
        return True
    if mail.confirmed is None:
        return False
    if mail.stream != link.inbound:
        return link.inbound is None or mail.stream.generation > link.inbound.generation
    return (
        link.last is None
        or mail.confirmed.top > link.last.top
        or (mail.confirmed.top == link.last.top and mail.confirmed != link.last)
    )


def _forgot(link: Link, mail: Mail) -> bool:
    """Does the sender not remember what it sent us, or sent us later without this one?"""
    if link.last is None:
        return False
    if mail.mark.top < link.last.top:
        return mail.mark not in link.line
    return link.last not in mail.history


def _rotate(site: Site, peer: str, mail: Mail) -> None:
    """We were restored: new streams; keep what the peers certainly have; ask them."""
    for record in list(site.records.values()):
        known = {q for q, link in site.links.items() if has(link, q, record)}
        known = {q for q in known if wants(site.links[q], record)}
        site.keep(replace(record, known=frozenset(known)))
    for name, link in list(site.links.items()):
        generation = link.out.generation
        if name == peer and mail.heard_stream is not None:
            generation = max(generation, mail.heard_stream.generation)
        site.links[name] = replace(
            link,
            out=Stream(generation + 1, site.draw()),
            acked=NOWHERE,
            acked_last=None,
            sent=(),
            flying=NOWHERE,
            owes=True,
            fulls=NOWHERE,
            rejoin=True,
            restored=True,
        )


def _renew(site: Site, link: Link, peer: str) -> Link:
    """The peer was restored: trust only its own word, and its withdrawals are void."""
    for record in list(site.records.values()):
        known = record.known - {peer}
        record = replace(record, shown_by=record.shown_by - {peer})  # noqa: PLW2901
        if record.withdrawn:
            site.change(replace(record, withdrawn=False), known)
        else:
            site.keep(replace(record, known=known))
    return replace(link, acked=NOWHERE, acked_last=None, flying=NOWHERE, owes=True)


def _confirm(link: Link, mail: Mail) -> Link:
    acked = link.acked | mail.heard
    marks = [mark for mark in (link.acked_last, mail.heard_last) if mark is not None]
    return replace(
        link,
        acked=acked,
        acked_last=max(marks, key=lambda mark: mark.top, default=None),
        flying=link.flying - acked,
        rejoin=False,
    )


def _take_all(site: Site, peer: str, mail: Mail, *, newest: bool) -> None:
    link = site.links[peer]
    waiting: set[int] = set()
    for item in sorted(mail.items, key=lambda item: (item.note is not None, item.position)):
        if item.position in link.cover:
            continue
        if item.name not in site.records and link.stale:
            waiting.add(item.position)  # new, or purged here? it waits for a full mail
            continue
        site.clock = max([site.clock, *(dot.stamp for dot in item.seen | dots(item.entries))])
        if item.withdrawn:
            _take_withdrawal(site, peer, item, newest=newest)
        else:
            _take(site, peer, item, newest=newest)
    site.links[peer] = replace(
        site.links[peer],
        cover=link.cover | (mail.settled - waiting),
        last=mail.mark if newest else link.last,
        line=mail.history if newest else link.line,
        owes=link.owes or bool(mail.items) or mail.manifest is not None or mail.ask,
    )
    if mail.manifest is not None and newest:
        _take_manifest(site, peer, mail.manifest)
        site.links[peer] = replace(site.links[peer], full_seen=mail.mark.tag)


def _holders(site: Site, record: Record, besides: str) -> Collection[str]:
    return {q for q, link in site.links.items() if q != besides and has(link, q, record)}


def _take(site: Site, peer: str, item: Item, *, newest: bool) -> None:
    link, record = site.links[peer], site.records.get(item.name)
    if record is None:
        one = frozenset({peer})
        new = Record(item.name, item.entries, item.seen, item.note, had=one, shown_by=one)
        site.change(new, {peer} if wants(link, new) else ())
        return
    entries, notes = join(item.name, record.entries, record.seen, item.entries, item.seen)
    site.enter(notes)
    withdrawn = record.withdrawn and entries == record.entries and not is_alive(item.entries)
    merged = replace(
        record,
        entries=entries,
        seen=record.seen | item.seen,
        had=record.had | {peer},
        shown_by=record.shown_by | {peer},
        withdrawn=withdrawn,
        blind_to=record.blind_to - {peer} if is_alive(item.entries) else record.blind_to,
    )
    same = entries == item.entries and wants(link, merged)
    if entries != record.entries or withdrawn != record.withdrawn:
        site.change(merged, {peer} if same else ())
    elif same:
        site.keep(replace(merged, known=record.known | {peer}))
    elif not wants(link, merged) or (newest and has(link, peer, record)):
        # it holds what is not for it, or shows less than it has confirmed: tell it again
        site.change(merged, _holders(site, record, peer))
    else:
        site.keep(merged)


def _take_withdrawal(site: Site, peer: str, item: Item, *, newest: bool) -> None:
    """A stub is left, unless we hold a write or a delete that the peer has not seen."""
    record = site.records.get(item.name)
    if record is None:
        return
    record = replace(record, blind_to=record.blind_to | {peer})
    site.keep(record)
    if record.withdrawn or not record.is_alive:
        return
    living = {entry.dot for entry in item.entries.values() if not entry.killed}
    if all(
        entry.dot in item.seen and not (entry.killed and entry.dot in living)
        for entry in record.entries.values()
    ):
        site.change(replace(record, withdrawn=True), {peer})
    elif newest and has(site.links[peer], peer, record):
        site.change(record, _holders(site, record, peer))


def _take_manifest(site: Site, peer: str, manifest: frozenset[str]) -> None:
    """What the peer certainly had and no longer lists was deleted there."""
    link = site.links[peer]
    for record in list(site.records.values()):
        if record.name in manifest or record.desired is None or not wants(link, record):
            continue
        if has(link, peer, record):
            site.change(replace(record, entries=killed(record.entries)), {peer})
        elif _has_seen_some(link, peer, record):
            site.enter([delete_note(record.name, record.entries)])


def _has_seen_some(link: Link, peer: str, record: Record) -> bool:
    """... or may it have, before we were restored?"""
    if link.restored and peer in record.had and min(record.came) < record.position:
        return True
    told = {position for name, position in record.told if name == peer}
    return peer in record.shown_by or bool(told & link.acked)


# --- forgetting


def prune(site: Site) -> None:
    """Forget the ancestors of what every peer has confirmed."""
    for record in list(site.records.values()):
        if not record.withdrawn and all(
            is_settled(link, peer, record) and peer in record.had and wants(link, record)
            for peer, link in site.links.items()
        ):
            own = dots(record.entries) if record.note is None else record.seen
            site.keep(replace(record, seen=own))


def purge(site: Site) -> None:
    """Forget tombstones that every peer but the stale ones has confirmed, and stubs."""
    for record in sorted(site.records.values(), key=lambda record: record.position):
        if record.note is not None or record.desired is not None:
            continue
        if record.shadow is not None or record.marker is not NOTHING:
            continue
        if record.is_alive and (record.had - record.blind_to) & site.links.keys():
            continue
        late = NOBODY
        if not record.is_alive:
            late = frozenset(q for q in site.links if not is_settled(site.links[q], q, record))
        if not all(site.links[q].stale for q in late):
            continue
        for name, link in list(site.links.items()):
            if name in late:
                site.links[name] = replace(link, fulls=NOWHERE)
            else:
                site.links[name] = replace(link, acked=link.acked | {record.position})
        site.horizon = max(site.horizon, record.position)
        del site.records[record.name]


def expire(site: Site, peer: str) -> None:
    """The peer has been silent for too long: nobody waits for it."""
    if not site.links[peer].stale:
        site.links[peer] = replace(site.links[peer], stale=True, fulls=NOWHERE)
