"""Writes that a state descends from in some of their fields alone.

Rules
-----
* A write is one dot, whatever it wrote. Of what a peer may not write only the rest is taken: then
  the state descends from that write where it took something at least as new, and nowhere else.
* What is not known to be seen is not seen. A field may be named that the write did not touch.
* Who tells of a record tells of all its glimpses: they are few, and never to be inferred.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace

from mailsync.core.model import (
    DeleteOrder,
    Dot,
    Entry,
    Extraction,
    Glimpse,
    Link,
    Record,
    dots_of,
)
from mailsync.core.scope import terms_of
from mailsync.core.terms import EVERY_ACT


def seen_in(dots: AbstractSet[Dot], glimpses: Iterable[Glimpse], field: str) -> AbstractSet[Dot]:
    """Of the dots that a state descends from, those from which this field of it does."""
    elsewhere = {glimpse.dot for glimpse in glimpses if field not in glimpse.fields}
    return dots - elsewhere if elsewhere else dots


def reached(
    entries: Mapping[str, Entry], dot: Dot, glimpses: Iterable[Glimpse] = ()
) -> frozenset[str]:
    """The fields of a state which descend from a write that it has seen, if they were among those
    that it wrote.
    """
    allowed = next((glimpse.fields for glimpse in glimpses if glimpse.dot == dot), entries.keys())
    return frozenset(
        name for name, entry in entries.items() if entry.dot >= dot and name in allowed
    )


def glimpsed(
    glimpses: Iterable[Glimpse], more: Mapping[Dot, AbstractSet[str]]
) -> tuple[Glimpse, ...]:
    """The glimpses, once these fields of these writes are known."""
    known = {glimpse.dot: glimpse.fields for glimpse in glimpses}
    for dot, fields in more.items():
        known[dot] = known.get(dot, frozenset()) | fields
    return tuple(Glimpse(dot, known[dot]) for dot in sorted(known))


def of_dots(glimpses: Iterable[Glimpse], dots: AbstractSet[Dot]) -> tuple[Glimpse, ...]:
    """Those of these dots: of what is no ancestor any more nothing is to be said."""
    return tuple(glimpse for glimpse in glimpses if glimpse.dot in dots)


def joined(link: Link, record: Record, item: Extraction | DeleteOrder) -> tuple[Glimpse, ...]:
    """What a record descends from in part once an item of the peer is joined with it."""
    if not record.glimpses and not item.glimpses:
        return ()
    refused = {glimpse.dot for glimpse in item.glimpses} if _is_restricted(link, record) else set()
    own, shown = {glimpse.dot for glimpse in record.glimpses}, item.context | dots_of(item.entries)
    more: dict[Dot, frozenset[str]] = {}
    for dot in own | {glimpse.dot for glimpse in item.glimpses}:
        here, there = dot in record.context, dot in shown
        if here and dot not in own and dot not in refused:
            continue  # all of it is known here
        if here and dot not in own:
            more[dot] = reached(record.entries, dot)
        if there:
            more[dot] = more.get(dot, frozenset()) | reached(item.entries, dot, item.glimpses)
    return of_dots(glimpsed(record.glimpses, more), record.context.keys() | shown)


def wholly_seen(record: Record) -> AbstractSet[Dot]:
    """The writes that a record descends from in all fields."""
    return record.context.keys() - {glimpse.dot for glimpse in record.glimpses}


def united(one: Record, other: Record) -> tuple[Glimpse, ...]:
    """What two records that become one descend from in part."""
    more = {
        glimpse.dot: frozenset[str]().union(
            *(
                reached(each.entries, glimpse.dot, each.glimpses)
                for each in (one, other)
                if glimpse.dot in each.context
            )
        )
        for glimpse in (*one.glimpses, *other.glimpses)
    }
    return glimpsed((), more)


def _is_restricted(link: Link, record: Record) -> bool:
    """May the peer not write all of it? Then its glimpses are also what was refused just now."""
    terms = terms_of(link, record.dataset)
    return terms.allowed != EVERY_ACT or terms.granted is not None


def told(link: Link, record: Record, item: Extraction | DeleteOrder) -> Extraction | DeleteOrder:
    """The record's place in a set with its glimpses: nothing is said of fields that stay here."""
    if not record.glimpses:
        return item
    shown = terms_of(link, record.dataset).shown
    glimpses = record.glimpses
    if shown is not None:
        glimpses = tuple(Glimpse(dot, fields & shown) for dot, fields in glimpses)
    return replace(item, glimpses=glimpses)


def is_lacking(record: Record, item: Extraction | DeleteOrder, names: Iterable[str]) -> bool:
    """Says the sender that it has not seen the write that one of these fields holds here?"""
    return any(
        glimpse.dot == record.entries[name].dot and name not in glimpse.fields
        for glimpse in item.glimpses
        for name in names
    )
