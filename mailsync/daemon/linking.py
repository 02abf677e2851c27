"""Links that are kept up.

Rules
-----
* A link that is down is called again, ever more rarely; either end may call, or both.
* While a link is up the datasets are looked at often, but never more than a tenth of the time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from mailsync.carriers.channel import Channel
from mailsync.carriers.tcp import Identity, LinkRefused, Listener, call
from mailsync.config import Settings
from mailsync.cycle.links import Happening, Links, failed
from mailsync.cycle.syncing import calls_in
from mailsync.daemon.polling import patience
from mailsync.errors import MailsyncError, Unreachable
from mailsync.keys import blank_certificate
from mailsync.names import HostPort

STEADY_SECONDS: Final = 60.0
"""A link that lasted for less is called again as one that failed."""
CALLS_SECONDS: Final = 5.0
"""For which the first cycle waits for links."""
REST_FACTOR: Final = 9
"""So many times as long as a cycle took is the pause after it, at least."""


class Lines(NamedTuple):
    """Which links there should be."""

    peers: frozenset[str]
    """Who may call."""
    listen: HostPort | None = None
    calls: Mapping[str, HostPort] = {}
    """Whom to call, and where."""
    essential: bool = False
    """Without being able to listen there is nothing to do."""


def configured(settings: Settings) -> Lines:
    """Those of the configuration."""
    peers = frozenset(name for name, one in settings.peers.items() if "tcp" in one.carrier)
    return Lines(peers, settings.site.listen if peers else None, calls_in(settings))


@dataclass(slots=True)
class Linking(Links):
    """The links of one site, called again when they are lost."""

    _uncalled: set[str] = field(default_factory=set)
    """Peers that are to be called, and never were."""
    _all_called: asyncio.Event = field(default_factory=asyncio.Event)
    _failing: dict[str, str] = field(default_factory=dict)

    async def run(self, lines: Lines) -> None:
        """Keep these links up until cancelled. Raises Unreachable where listening is essential."""
        identity = self.identity(lines.peers)
        self._uncalled = set(lines.calls)
        self._note_called("")
        work = [self._call(identity, peer, address) for peer, address in lines.calls.items()]
        if lines.listen is not None:
            work.append(self._listen(identity, lines.listen, essential=lines.essential))
        tasks = [asyncio.create_task(one) for one in work]
        try:
            await asyncio.gather(*tasks)
            await asyncio.Event().wait()  # no links are wanted
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def called(self) -> None:
        """Wait until every peer that is to be called was called once, but not for long: what is
        due should not go by mail only because a link is about to come up.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CALLS_SECONDS):
                await self._all_called.wait()

    def pause(self, seconds: float) -> float | None:
        """Seconds until the next look at the datasets, after a cycle that took ``seconds``; None:
        no link is up.
        """
        polls = [self.site.peers[name].settings.link_poll for name in self.up]
        return max(min(polls), REST_FACTOR * seconds) if polls else None

    async def _listen(self, identity: Identity, address: HostPort, *, essential: bool) -> None:
        listener = Listener(identity, blank_certificate(), self._welcome)
        failures = 0
        try:
            while True:
                try:
                    places = await listener.start(address)
                except Unreachable as problem:
                    if essential:
                        raise
                    self._note_failure("", problem)
                    failures += 1
                    await asyncio.sleep(patience(failures))
                    continue
                self._failing.pop("", None)
                for place in places:
                    self.hear(Happening("listening", "", str(place)))
                await asyncio.Event().wait()
        finally:
            await listener.close()

    async def _call(self, identity: Identity, peer: str, address: HostPort) -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            begun = loop.time()
            try:
                channel = await call(address, identity, peer)
                self._failing.pop(peer, None)
                await self._welcome(channel)
            except (LinkRefused, Unreachable) as problem:
                self._note_failure(peer, problem)
            failures = failures + 1 if loop.time() - begun < STEADY_SECONDS else 1
            await asyncio.sleep(patience(failures))

    async def _welcome(self, channel: Channel) -> None:
        self._note_called(channel.peer)
        await self.keep(channel)

    def _note_called(self, peer: str) -> None:
        self._uncalled.discard(peer)
        if not self._uncalled:
            self._all_called.set()

    def _note_failure(self, peer: str, problem: MailsyncError) -> None:
        """Say once what keeps a link from coming up."""
        self._note_called(peer)
        if self._failing.get(peer) != str(problem):
            self._failing[peer] = str(problem)
            self.hear(failed(peer, problem))
