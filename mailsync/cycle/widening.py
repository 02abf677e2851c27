"""What a link carries from now on that it did not carry before, and which records come to be for a
peer, or no longer, while they stay as they were.

Rules
-----
* A filter is applied to all records when it changed, and to those that time may have moved across
  it in every cycle. Whatever users and peers change passes it anyway.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace

from mailsync.core.delivery import other_holders
from mailsync.core.filters import Applied
from mailsync.core.ledger import Ledger
from mailsync.core.model import Evaluated, Link, Record
from mailsync.core.offering import Moved, offer, show_otherwise, sort_out
from mailsync.core.positions import Positions
from mailsync.core.scope import is_admitted, terms_of
from mailsync.cycle.filtering import (
    fields_of,
    filter_of,
    fingerprint,
    inbound_filter,
    inbound_fingerprint,
    outbound_filter,
)
from mailsync.cycle.matching import begin
from mailsync.cycle.sieving import held_inward
from mailsync.cycle.site import Site
from mailsync.errors import MailsyncError
from mailsync.store.history import Event
from mailsync.store.transaction import Transaction

PAGE = 2_000
"""Records looked at at once."""

EVERY = 2**31
"""More records than wait to be written anywhere."""

Moves = dict[str, dict[str, Moved]]
"""By peer and dataset: how many records entered or left its filter."""


def offer_widened(site: Site) -> Moves:
    """Make due what links carry that did not before: a section of the configuration was added, a
    filter changed, time passed. What moved across filters is returned.
    """
    now = site.surroundings.now()
    moves: Moves = {}
    with site.store.transaction() as transaction:
        links, ledger = site.links(transaction), transaction.ledger()
        stored = transaction.links()
        for name, link in links.items():
            new = link.datasets - link.offered
            if link.sent and new:
                offer(ledger, links, name, new)
            if new:
                begin(site, transaction, name, new)
            evaluated, moves[name] = _sorted_out(site, transaction, ledger, links, name)
            granted = {
                dataset
                for dataset, one in evaluated.items()
                if _takes_otherwise(link.evaluated.get(dataset), one)
            }
            link = _asked_again(ledger, links, link, granted)  # noqa: PLW2901
            said = stored[name]
            if (link.refusing, link.denying) != (said.refusing, said.denying):
                links[name] = link = _takes_more(ledger, link)  # noqa: PLW2901
            if link.datasets != link.offered or evaluated != link.evaluated:
                links[name] = replace(link, offered=link.datasets, evaluated=evaluated)
        for name, moved in moves.items():
            for dataset, counts in moved.items():
                words = f"{dataset}: {counts.entered} enter, {counts.left} leave its filter"
                transaction.history.log(Event(now, "filter", name, None, words))
        transaction.save(ledger, now)
        transaction.save_links(links)
    return {name: moved for name, moved in moves.items() if moved}


def _sorted_out(
    site: Site, transaction: Transaction, ledger: Ledger, links: Mapping[str, Link], peer: str
) -> tuple[dict[str, Evaluated], dict[str, Moved]]:
    """By dataset, the filter as applied now, and what moved across it."""
    link, moves = links[peer], {}
    evaluated: dict[str, Evaluated] = {}
    for dataset in sorted(link.datasets):
        said = site.said(dataset, peer)
        terms, before = fingerprint(said), link.evaluated.get(dataset)
        is_timed = terms != "" and outbound_filter(said).is_timed
        evaluated[dataset] = Evaluated(
            terms, site.as_of if is_timed else 0, inbound_fingerprint(said)
        )
        asks = inbound_filter(said).is_timed or bool(said.receive and said.receive.routine)
        if asks or _takes_otherwise(before, evaluated[dataset]):
            _show(transaction, ledger, link, dataset)
        if before is None or before[:2] == (terms, evaluated[dataset].at) or not terms:
            continue
        if not before.terms:
            offer(ledger, links, peer, frozenset({dataset}))
            continue
        fields, shown = fields_of(before.terms), terms_of(link, dataset).shown
        if fields != shown:
            show_otherwise(ledger, links, peer, dataset, fields)
        was = Applied(filter_of(before.terms), before.at)
        now = Applied(outbound_filter(said), evaluated[dataset].at)
        records = (
            _suspects(site, transaction, ledger, dataset, was, now)
            if fields == shown
            else _records(transaction, ledger, dataset)
        )
        moved = sort_out(ledger, links, peer, records)
        if moved != Moved():
            moves[dataset] = moved
    return evaluated, moves


def _suspects(
    site: Site,
    transaction: Transaction,
    ledger: Ledger,
    dataset: str,
    before: Applied,
    now: Applied,
) -> Iterator[Record]:
    """The records of a dataset that may be on another side of a filter now. Where its database can
    tell by its rows, these, and what waits to be written; what users did to rows since is found
    next, and passes the filter by itself.
    """
    from mailsync.datasets.sql.table import SqlTable  # noqa: PLC0415  slow, and few filters need it

    keys = None
    if not any(terms_of(link, dataset).admits for link in site.links(transaction).values()):
        with suppress(MailsyncError):  # what is wrong with a dataset is told where it is read
            table = site.dataset(dataset)
            keys = table.moved(before, now) if isinstance(table, SqlTable) else None
    if keys is None:
        yield from _records(transaction, ledger, dataset)
        return
    records = transaction.records
    waiting = records.unwritten(dataset, 0, EVERY)
    found = {one.id: one for one in (*records.by_key(dataset, keys).values(), *waiting)}
    yield from filter(None, map(ledger.latest, found.values()))


def _records(transaction: Transaction, ledger: Ledger, dataset: str) -> Iterator[Record]:
    """Every record of a dataset, as it stands by now."""
    after, last = 0, transaction.site().position
    while page := transaction.records.behind(dataset, after, PAGE):
        after = page[-1].position
        yield from filter(None, map(ledger.latest, page))
        if after >= last:
            return


def _takes_more(ledger: Ledger, link: Link) -> Link:
    """The link to a peer that must hear that what we said of refusing is old: until it confirms
    that, it sends nothing of it.
    """
    ledger.advance()
    position = Positions.of([ledger.site.position])
    return replace(link, voided=link.voided | position, asked_at=None)


def _takes_otherwise(before: Evaluated | None, now: Evaluated) -> bool:
    return before is not None and before.inbound != now.inbound


def _show(transaction: Transaction, ledger: Ledger, link: Link, dataset: str) -> None:
    """What the inbound filter kept out and lets in by now. Rows that are there stay, whatever it
    says: only what comes may be kept out.
    """
    for record in _records(transaction, ledger, dataset):
        if record.hidden and link.peer in record.had and is_admitted(link, record):
            ledger.keep(replace(record, hidden=False))


def unjudged(site: Site, transaction: Transaction) -> dict[str, dict[str, str]]:
    """What a routine keeps out because it gave up: by dataset and GUID, why."""
    links = site.links(transaction).values()
    found: dict[str, dict[str, str]] = {}
    for dataset, peer in sorted({(name, link.peer) for link in links for name in link.datasets}):
        receive = site.said(dataset, peer).receive
        if receive is None or receive.routine is None:
            continue
        for record in _records(transaction, transaction.ledger(), dataset):
            problem = held_inward(links, record) if record.hidden else ""
            if problem:
                found.setdefault(dataset, {})[record.guid.hex()] = problem
    return found


def _asked_again(
    ledger: Ledger, links: Mapping[str, Link], link: Link, datasets: Collection[str]
) -> Link:
    """The link once the peer has other rights to these datasets. What it was refused before is
    asked for, if we do not have the record; else the peer is told what we have, and answers if it
    has more to say.
    """
    refused = {one for one in link.denying if one.dataset in datasets}
    if not refused:
        return link
    unknown = {one for one in refused if ledger.get(one) is None}
    for record in filter(None, map(ledger.get, sorted(refused - unknown))):
        told = replace(record, whole_for=record.whole_for | {link.peer})
        ledger.bump(told, other_holders(links, record, link.peer))
    return replace(
        link, denying=link.denying - refused, lacking=link.lacking | unknown, owe_since=0
    )
