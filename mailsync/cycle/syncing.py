"""One synchronization that somebody asked for, with the links that can be had for it.

Rules
-----
* Peers that wait for calls are called once, all at a time, for a few seconds: what is due to whom
  that does not reach goes by the next of its carriers, in the same cycle.
* What comes by a link is applied and answered until each peer says that it has no more to say.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from mailsync.carriers.base import Kind
from mailsync.config import Settings
from mailsync.core.proving import Inquiry
from mailsync.cycle import verifying
from mailsync.cycle.direct import carriers_to
from mailsync.cycle.report import Report
from mailsync.cycle.run import Extent, chosen_peers, run_cycle
from mailsync.cycle.site import Site
from mailsync.errors import MailsyncError
from mailsync.names import HostPort

if TYPE_CHECKING:
    from mailsync.carriers.channel import Channel
    from mailsync.carriers.tcp import Identity
    from mailsync.cycle.links import Happening, Links

CALL_SECONDS: Final = 5.0
"""For which a peer is called: it does not take longer where there is a way to it."""
QUIET_SECONDS: Final = 3.0
"""For which nothing has come by any link when we cease to wait for a peer that is busy."""
TALK_SECONDS: Final = 60.0
"""... but others may go on writing for ever."""


def calls_in(settings: Settings) -> dict[str, HostPort]:
    """The peers that are called, and where they wait."""
    peers = settings.peers.items()
    return {name: one.link for name, one in peers if one.link and "tcp" in one.carrier}


def carriers_tried(site: Site, peer: str) -> list[Kind]:
    """What may take bundles to a peer when a sync is asked for, in the order in which it tries."""
    found = carriers_to(site, peer, None)
    return ["tcp", *found] if peer in calls_in(site.settings) else found


async def synchronize(
    site: Site, extent: Extent, report: Report, hear: Callable[[Happening], None] = lambda _: None
) -> Report:
    """A cycle; and where links come up for it, as many more as what comes by them takes.

    ``hear`` is told of the links. The caller holds the store's lock.
    """
    calls = calls_in(site.settings)
    calls = {name: calls[name] for name in chosen_peers(site, extent.peers) if name in calls}
    if not calls:
        return await run_cycle(site, extent, report)
    from mailsync.cycle.links import Links  # noqa: PLC0415  only for who has one

    links = Links(site, hear, taken=report)
    async with _called(links, calls):
        await run_cycle(site, extent, links.begin())
        if extent.receiving:
            await _talk(links, extent, report)
        report.add(links.taken)
    return report


async def run_verification(
    site: Site,
    peers: frozenset[str] | None,
    report: Report,
    hear: Callable[[Happening], None] = lambda _: None,
    *,
    repair: bool,
) -> dict[str, Inquiry | None]:
    """Ask these peers (None: all) whether they hold the same, in one synchronization, unless an
    answer is there that was not shown yet. How far each question has come.

    The caller holds the store's lock. What stops the cycle is in the report.
    """
    names = chosen_peers(site, peers)
    for name in names:
        verifying.ask(site, name, repair=repair)
    if any(verifying.is_awaited(site, name) for name in names):
        await synchronize(site, Extent(peers=peers), report, hear)
    return {name: verifying.show(site, name) for name in names}


@asynccontextmanager
async def _called(links: Links, calls: Mapping[str, HostPort]) -> AsyncIterator[None]:
    """Inside, the links are up that could be had."""
    identity = links.identity(calls)
    tried = (_call(links, identity, peer, address) for peer, address in calls.items())
    channels = await asyncio.gather(*tried)
    tasks = [asyncio.create_task(links.keep(channel)) for channel in channels if channel]
    await asyncio.sleep(0)  # they are up as soon as their tasks have begun
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _call(links: Links, identity: Identity, peer: str, address: HostPort) -> Channel | None:
    """A link; None, said or noted, if there is none to be had."""
    from mailsync.carriers.tcp import call  # noqa: PLC0415  only for who has one
    from mailsync.cycle.links import failed  # noqa: PLC0415

    try:
        return await call(address, identity, peer, CALL_SECONDS)
    except MailsyncError as problem:
        if carriers_to(links.site, peer, None):
            links.hear(failed(peer, problem))
        else:  # there is no other way
            links.taken.problems.append(problem)
    return None


async def _talk(links: Links, extent: Extent, report: Report) -> None:
    """Cycle after cycle, of the links alone, as long as something comes by them."""
    loop = asyncio.get_running_loop()
    end = loop.time() + TALK_SECONDS
    while links.up and loop.time() < end:
        with suppress(TimeoutError):
            async with asyncio.timeout(QUIET_SECONDS):
                await links.settled()
        if not links.news.is_set():
            return
        await links.lull()
        later = replace(links.extent(), sending=extent.sending, allow_delete=extent.allow_delete)
        report.add(await run_cycle(links.site, later, links.begin()))
