"""What mails cost, day by day, and what budgets hold back, in words and as JSON lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Final, NamedTuple

from mailsync.cli.output import Output, moment

if TYPE_CHECKING:
    from mailsync.cycle.report import Waiting
    from mailsync.cycle.site import Site
    from mailsync.store.transaction import Transaction

WAYS: Final = ("sent", "received")


class Amount(NamedTuple):
    """Mails that went one way."""

    mails: int = 0
    bytes: int = 0


Traffic = Mapping[tuple[str, str], Mapping[str, Amount]]
"""By peer and day (ISO 8601): what was sent and what was received."""


def traffic(transaction: Transaction) -> Traffic:
    """What every day brought, oldest first."""
    found: dict[tuple[str, str], dict[str, Amount]] = {}
    for peer, day, way, mails, size in transaction.history.traffic():
        found.setdefault((peer, day), {})[way] = Amount(mails, size)
    return found


def total(metered: Traffic, peer: str, days: str) -> dict[str, int]:
    """Bytes that passed between us and a peer on days that begin so, ``2026-11`` or a whole one."""
    counted = dict.fromkeys(WAYS, 0)
    for (name, day), ways in metered.items():
        if name == peer and day.startswith(days):
            for way, amount in ways.items():
                counted[way] += amount.bytes
    return counted


def price(site: Site, peer: str, size: int) -> str | None:
    """What so many bytes to or from a peer cost; None where nobody said."""
    section = site.settings.peers.get(peer)
    if section is None or section.price_per_mb is None:
        return None
    return section.price_per_mb.of(size)


def priced(site: Site, peer: str, size: int) -> dict[str, str]:
    """The price as a value of a JSON line, where there is one."""
    cost = price(site, peer, size)
    return {} if cost is None else {"price": cost}


def in_words(site: Site, peer: str, size: int) -> str:
    """So many bytes, and what they cost where that is known."""
    cost = price(site, peer, size)
    return f"{size} bytes" if cost is None else f"{size} bytes, {cost}"


def show_traffic(output: Output, site: Site, metered: Traffic) -> None:
    """One line a peer and day."""
    rows = []
    for (peer, day), ways in metered.items():
        sent, received = (ways.get(way, Amount()) for way in WAYS)
        cost = price(site, peer, sent.bytes + received.bytes)
        rows.append((day, peer, *sent, *received, cost or ""))
        counted = {
            way: {**amount._asdict(), **priced(site, peer, amount.bytes)}
            for way, amount in zip(WAYS, (sent, received), strict=True)
        }
        output.line("traffic", peer=peer, day=day, **counted)
    if rows:
        head = ("day", "peer", "mails sent", "bytes", "received", "bytes", "cost")
        output.table(head, rows)


def waiting_words(peer: str, held: Waiting) -> Iterator[str]:
    """What a peer's budget holds back, why, and until when; one thing a line."""
    parts = [f"{count} records of {name}" for name, count in sorted(held.records.items())]
    parts += [f"{held.mails} mails composed before"] if held.mails else []
    what = ", ".join(parts) or "an acknowledgement"
    when = "" if held.until is None else f"; goes on at {moment(held.until)}"
    yield f"{peer}: waiting: {what}, about {held.bytes} bytes: {held.why}{when}"
    for words in held.too_large:
        yield f"{peer}: too large: {words}"


def waiting_values(held: Waiting) -> dict[str, object]:
    """The same for a JSON line."""
    return asdict(held) | {"until": None if held.until is None else moment(held.until)}


def show_waiting(output: Output, waiting: Mapping[str, Waiting]) -> None:
    """What budgets hold back, why, and until when."""
    for peer, held in waiting.items():
        for words in waiting_words(peer, held):
            output.show(words)
        output.line("waiting", peer=peer, **waiting_values(held))
