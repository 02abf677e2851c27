"""Links that are up, and what arrives by them.

Rules
-----
* What arrives is in the inbox before it is confirmed, whatever cycle is under way: that is one
  transaction of the store, and needs no lock. So two sites that hand over to each other at the same
  moment never wait for each other.
* Of several links with one peer the newest takes what is due; either end may have called.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple

from mailsync.carriers.base import Arrival, Mailbox, Place, Sender
from mailsync.carriers.channel import Channel, LinkSender
from mailsync.carriers.tcp import Identity
from mailsync.core import container
from mailsync.cycle.presence import shown
from mailsync.cycle.receiving import admit
from mailsync.cycle.report import Report
from mailsync.cycle.run import Extent
from mailsync.cycle.site import Site
from mailsync.errors import MailsyncError
from mailsync.store.history import Event

_log = logging.getLogger(__name__)

LINKS_MAX: Final = 3
"""With one peer at a time: either end may call, and a dead one is not known as such at once."""
LULL_SECONDS: Final = 0.3
LULL_SECONDS_MAX: Final = 5.0
"""Containers come one after the other: a cycle waits for such a pause, but not for longer."""


class Happening(NamedTuple):
    """Something about links, for people and programs."""

    state: str
    """``listening``, ``up``, ``down`` or ``failed``."""
    peer: str
    words: str


def failed(peer: str, problem: MailsyncError) -> Happening:
    """A link did not come up; empty ``peer``: nobody can call."""
    return Happening("failed", peer, f"{problem} ({problem.advice})")


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
class Links:
    """The links of one site, and what came by them since the last cycle."""

    site: Site
    hear: Callable[[Happening], None]
    news: asyncio.Event = field(default_factory=asyncio.Event)
    """A link came up, or something arrived."""
    taken: Report = field(default_factory=Report)
    """What arrived since the last cycle."""
    _stirred: asyncio.Event = field(default_factory=asyncio.Event)
    """There is news, or a peer has no more to say, or a link is gone."""
    _channels: dict[str, list[Channel]] = field(default_factory=dict)

    @property
    def up(self) -> frozenset[str]:
        """The peers to whom there is a link now."""
        return frozenset(name for name, here in self.site.direct.items() if "tcp" in here)

    def identity(self, peers: Iterable[str]) -> Identity:
        """Who we are to these peers."""
        return Identity(self.site.keys, {name: self.site.peers[name].public for name in peers})

    def begin(self) -> Report:
        """What arrived, and is told with the cycle that now begins."""
        self.news.clear()
        taken, self.taken = self.taken, Report()
        return taken

    def rest(self) -> None:
        """A cycle has said all there is to say, unless something came meanwhile: tell the peers."""
        if not self.news.is_set():
            for channel in self._all():
                channel.rest()

    async def settled(self) -> None:
        """Wait until there is news, or no peer has more to say for now."""
        while not self.news.is_set() and not all(one.is_at_rest for one in self._all()):
            self._stirred.clear()
            await self._stirred.wait()

    def _all(self) -> list[Channel]:
        return [one for here in self._channels.values() for one in here if one.is_open]

    def extent(self) -> Extent:
        """A cycle of those links alone that are up."""
        return Extent(due_by=0, peers=self.up, carriers=frozenset({"tcp"}))

    async def lull(self) -> None:
        """Wait until there is news, and then until nothing more has come for a moment."""
        await self.news.wait()
        loop = asyncio.get_running_loop()
        end = loop.time() + LULL_SECONDS_MAX
        while self.news.is_set() and loop.time() < end:
            self.news.clear()
            await asyncio.sleep(LULL_SECONDS)
        self.news.set()

    async def keep(self, channel: Channel) -> None:
        """From a link's beginning to its end."""
        peer = channel.peer
        mine = self._channels.setdefault(peer, [])
        mine.append(channel)
        if len(mine) > LINKS_MAX:
            mine[0].close()
        if len(mine) == 1:
            self._tell(Happening("up", peer, channel.address))
        self._choose(peer)
        self._note_news()
        why = "the link was ended here"
        try:
            with shown(self.site.settings.site.state, peer):
                why = await channel.serve(partial(self._take, peer), self._stirred.set)
        except (MailsyncError, OSError) as problem:
            why = str(problem)
        finally:
            channel.close()
            mine.remove(channel)
            self._choose(peer)
            self._stirred.set()
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
        self._note_news()

    def _note_news(self) -> None:
        self.news.set()
        self._stirred.set()

    def _tell(self, happening: Happening) -> None:
        self.hear(happening)
        site = self.site
        kind = f"link {happening.state}"
        event = Event(site.surroundings.now(), kind, happening.peer, None, happening.words)
        with contextlib.suppress(MailsyncError), site.store.transaction() as transaction:
            transaction.history.log(event)
