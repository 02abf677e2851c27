"""Links that are kept up, and what arrives by them.

Rules
-----
* What arrives is in the inbox before it is confirmed, whatever cycle is under way: that is one
  transaction of the store, and needs no lock. So two sites that hand over to each other at the same
  moment never wait for each other.
* A link that is down is called again, ever more rarely; either end may call, or both.
* While a link is up the datasets are looked at often, but never more than a tenth of the time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple

from mailsync.carriers.base import Arrival, Mailbox, Place, Sender
from mailsync.carriers.channel import Channel, LinkSender
from mailsync.carriers.tcp import Identity, LinkRefused, Listener, call
from mailsync.config import Settings
from mailsync.core import container
from mailsync.cycle.receiving import admit
from mailsync.cycle.report import Report
from mailsync.cycle.run import Extent
from mailsync.cycle.site import Site
from mailsync.daemon.polling import patience
from mailsync.errors import MailsyncError, Unreachable
from mailsync.keys import blank_certificate
from mailsync.names import HostPort
from mailsync.store.history import Event

_log = logging.getLogger(__name__)

LINKS_MAX: Final = 3
"""With one peer at a time: either end may call, and a dead one is not known as such at once."""
STEADY_SECONDS: Final = 60.0
"""A link that lasted for less is called again as one that failed."""
LULL_SECONDS: Final = 0.3
LULL_SECONDS_MAX: Final = 5.0
"""Containers come one after the other: a cycle waits for such a pause, but not for longer."""
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
    peers = {name: one for name, one in settings.peers.items() if "tcp" in one.carrier}
    calls = {name: one.link for name, one in peers.items() if one.link is not None}
    return Lines(frozenset(peers), settings.site.listen if peers else None, calls)


class Happening(NamedTuple):
    """Something about links, for people and programs."""

    state: str
    """``listening``, ``up``, ``down`` or ``failed``."""
    peer: str
    words: str


@dataclass(frozen=True, slots=True)
class LinkCarrier:
    """A link that is up."""

    channel: Channel

    def sender(self) -> Sender:
        """Into the link."""
        return LinkSender(self.channel)

    def mailbox(self) -> Mailbox | None:
        """None: what arrives is handed in."""
        return None


@dataclass(slots=True)
class Linking:
    """The links of one site, and what came by them since the last cycle."""

    site: Site
    hear: Callable[[Happening], None]
    news: asyncio.Event = field(default_factory=asyncio.Event)
    """A link came up, or something arrived."""
    taken: Report = field(default_factory=Report)
    """What arrived since the last cycle."""
    _uncalled: set[str] = field(default_factory=set)
    """Peers that are to be called, and never were."""
    _all_called: asyncio.Event = field(default_factory=asyncio.Event)
    _channels: dict[str, list[Channel]] = field(default_factory=dict)
    _failing: dict[str, str] = field(default_factory=dict)

    @property
    def up(self) -> frozenset[str]:
        """The peers to whom there is a link now."""
        return frozenset(name for name, here in self.site.direct.items() if "tcp" in here)

    async def run(self, lines: Lines) -> None:
        """Keep these links up until cancelled. Raises Unreachable where listening is essential."""
        publics = {name: self.site.peers[name].public for name in lines.peers}
        identity = Identity(self.site.keys, publics)
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

    def begin(self) -> Report:
        """What arrived, and is told with the cycle that now begins."""
        self.news.clear()
        taken, self.taken = self.taken, Report()
        return taken

    def extent(self) -> Extent:
        """A cycle of those links alone that are up."""
        return Extent(due_by=0, peers=self.up, carriers=frozenset({"tcp"}))

    def pause(self, seconds: float) -> float | None:
        """Seconds until the next look at the datasets, after a cycle that took ``seconds``; None:
        no link is up.
        """
        polls = [self.site.peers[name].settings.link_poll for name in self.up]
        return max(min(polls), REST_FACTOR * seconds) if polls else None

    async def lull(self) -> None:
        """Wait until there is news, and then until nothing more has come for a moment."""
        await self.news.wait()
        loop = asyncio.get_running_loop()
        end = loop.time() + LULL_SECONDS_MAX
        while self.news.is_set() and loop.time() < end:
            self.news.clear()
            await asyncio.sleep(LULL_SECONDS)
        self.news.set()

    async def _listen(self, identity: Identity, address: HostPort, *, essential: bool) -> None:
        listener = Listener(identity, blank_certificate(), self._keep)
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
                await self._keep(channel)
            except (LinkRefused, Unreachable) as problem:
                self._note_failure(peer, problem)
            failures = failures + 1 if loop.time() - begun < STEADY_SECONDS else 1
            await asyncio.sleep(patience(failures))

    async def _keep(self, channel: Channel) -> None:
        """From a link's beginning to its end."""
        peer = channel.peer
        mine = self._channels.setdefault(peer, [])
        mine.append(channel)
        if len(mine) > LINKS_MAX:
            mine[0].close()
        if len(mine) == 1:
            self._tell(Happening("up", peer, channel.address))
        self._choose(peer)
        self._note_called(peer)
        self.news.set()
        why = "the link was ended here"
        try:
            why = await channel.serve(partial(self._take, peer))
        except MailsyncError as problem:
            why = str(problem)
        finally:
            channel.close()
            mine.remove(channel)
            self._choose(peer)
            if not mine:
                self._tell(Happening("down", peer, why))

    def _choose(self, peer: str) -> None:
        """The newest link that is open takes what is due."""
        found = [one for one in self._channels[peer] if one.is_open]
        here = self.site.direct.setdefault(peer, {})
        here.pop("tcp", None)
        if found:
            here["tcp"] = LinkCarrier(found[-1])

    def _take(self, peer: str, content: bytes) -> None:
        """Make a container durable. Raises MailsyncError, and then it must not be confirmed."""
        found = tuple(container.find(content))
        arrival = Arrival(
            Place("tcp", peer, 0, 0),  # one for all: nobody will look there again
            len(content),
            found,
            message_id=f"by tcp from {peer}",
            problem=None if found else container.problem_in(content) or "there is no bundle in it",
            carrier="tcp",
        )
        try:
            admit(self.site, arrival, self.taken)
        except MailsyncError:
            raise
        except Exception as error:  # noqa: BLE001  it must not come again and again
            _log.exception("a container of %s", peer)
            self.taken.rejected.append(f"by tcp from {peer}: {type(error).__name__}: {error}")
        self.news.set()

    def _note_called(self, peer: str) -> None:
        self._uncalled.discard(peer)
        if not self._uncalled:
            self._all_called.set()

    def _note_failure(self, peer: str, problem: MailsyncError) -> None:
        """Say once what keeps a link from coming up."""
        self._note_called(peer)
        if self._failing.get(peer) != str(problem):
            self._failing[peer] = str(problem)
            self.hear(Happening("failed", peer, f"{problem} ({problem.advice})"))

    def _tell(self, happening: Happening) -> None:
        self.hear(happening)
        site = self.site
        kind = f"link {happening.state}"
        event = Event(site.surroundings.now(), kind, happening.peer, None, happening.words)
        with contextlib.suppress(MailsyncError), site.store.transaction() as transaction:
            transaction.history.log(event)
