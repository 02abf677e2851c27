"""Let both sites work until neither has anything to say, and note what each of them sent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mailsync.cycle.report import Report, Traffic
from mailsync.cycle.run import Extent, run_cycle
from mailsync.cycle.site import Site

ROUNDS_MAX: Final = 200
"""A network that loses half of all mails is through long before."""

PAUSE_SECONDS: Final = 0.2
"""After a round without mail: what is late, owed or lost takes time."""


@dataclass(frozen=True, slots=True)
class Sending:
    """What one site sent in one cycle."""

    sender: str
    recipient: str
    traffic: Traffic


async def exchange(sites: Sequence[Site]) -> list[Sending]:
    """Cycles of all sites in turn until they are quiet, or ``ROUNDS_MAX`` is reached.

    Raises whatever stopped a part of a cycle.
    """
    sendings: list[Sending] = []
    for _ in range(ROUNDS_MAX):
        sent = await one_round(sites)
        sendings += sent
        if sent:
            continue
        if all(_is_quiet(site) for site in sites):
            break
        await asyncio.sleep(PAUSE_SECONDS)
    return sendings


async def one_round(sites: Sequence[Site]) -> list[Sending]:
    """One cycle of each site; what they sent."""
    sendings = []
    for site in sites:
        with site.store.lock():
            report = await run_cycle(site, Extent(), Report())
        for problem in report.problems:
            raise problem
        sendings += [
            Sending(site.name, peer, found.sent)
            for peer, found in report.peers.items()
            if found.sent.mails
        ]
    return sendings


def _is_quiet(site: Site) -> bool:
    """Is nothing waiting, nothing unconfirmed, no acknowledgement owed?"""
    with site.store.transaction() as transaction:
        links = site.links(transaction).values()
        waiting = transaction.outbox.items() or transaction.inbox.waiting()
    return not waiting and not any(link.flights or link.owe_since is not None for link in links)
