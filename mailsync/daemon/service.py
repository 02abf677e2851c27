"""The daemon: a cycle whenever one is due or mail is announced, until it is told to stop.

Rules
-----
* The base poll depends on nothing: a dead, mute or refused IDLE never delays it.
* The store's lock is held during a cycle only; ``mailsync sync`` works beside the daemon.
* What is wrong is said when it begins and when it ends, not at every attempt, and never ends
  the daemon. It may be cancelled, or killed, at any moment: a restart loses nothing.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from mailsync.cycle.links import Happening
from mailsync.cycle.report import Report
from mailsync.cycle.run import Extent, run_cycle
from mailsync.cycle.sending import MailNotTaken
from mailsync.cycle.site import Site, open_site
from mailsync.daemon.linking import Lines, Linking, configured
from mailsync.daemon.polling import jittered, next_due, patience
from mailsync.daemon.watching import Watch
from mailsync.errors import (
    BadConfiguration,
    DatasetError,
    Locked,
    MailsyncError,
    OurError,
    PeerError,
)
from mailsync.store.state import lock_file

_log = logging.getLogger(__name__)

FAREWELL_SECONDS: Final = 10.0
"""Listening ends so much before the next cycle, that it may end in good order."""
SLICE_SECONDS: Final = 60.0
"""A machine that was asleep finds out after so long that a cycle is due."""
WAKE_SECONDS_MIN: Final = 1.0
"""However soon more may go, the next cycle is not sooner."""
LOCK_SECONDS: Final = 600.0
"""How long a cycle waits for another process to release the store."""
LOCK_POLL_SECONDS: Final = 0.2
DEFECT_SECONDS: Final = 60.0
"""Links that ended by a defect of ours are begun anew after so long."""

DUE: Final = Extent(due_by=0)
"""A cycle that hands over only what is due by now."""

Problems = Mapping[tuple[type[MailsyncError], str], MailsyncError]
"""What is wrong, by its kind and place: other words for the same are no news."""
Held = Mapping[str, Mapping[str, str]]
"""What waits for a person, as in :class:`~mailsync.cycle.report.Report`."""


@dataclass(slots=True)
class Daemon:
    """Runs the cycles of one site."""

    path: Path
    """The configuration file; read at the start, and again after :meth:`reload`."""
    tell: Callable[[str], None]
    """Told in one line what has begun or ceased to be wrong."""
    show: Callable[[Site, Report], None]
    """Shown every cycle that did something."""
    clock: Callable[[], float] = time.time
    """Seconds since 1970."""
    chance: Callable[[], float] = random.random
    """From 0 to 1."""
    lines: Lines | None = None
    """Serve these links and nothing else; None: those of the configuration, beside the others."""
    hear: Callable[[Happening], None] = lambda _: None
    """Told of links."""
    _linking: Linking | None = None
    _reload: asyncio.Event = field(default_factory=asyncio.Event)
    _problems: Problems = field(default_factory=dict)
    _held: Held = field(default_factory=dict)
    _failures: int = 0
    _goes_on_at: int | None = None
    """When more may go of what the last cycle held back, in milliseconds since 1970."""

    async def serve(self) -> None:
        """Run cycles until cancelled.

        Raises what keeps the site from being opened, and Locked where another daemon serves it.
        """
        opened = _open(self.path)
        try:
            state = opened.site.settings.site.state
            with only_daemon(state) if self.lines is None else nullcontext():
                self.tell(f"{opened.site.name}: at work")
                while True:
                    await self.work(opened.site)
                    opened = self._reopened(opened)
        finally:
            opened.stack.close()

    def reload(self) -> None:
        """Read the configuration again once the cycle in progress is over."""
        self._reload.set()

    async def work(self, site: Site) -> None:
        """Cycle after cycle, until a reload is wanted."""
        if self.lines is not None:
            site.carrier = None
            site.direct.clear()
        watch = Watch(site)
        self._linking = Linking(site, self.hear)
        links = asyncio.create_task(self._keep_links(site, self._linking))
        try:
            await self._linking.called()
            while not self._reload.is_set():
                await self._cycle(site)
                await self._rest(site, watch, links)
                await watch.close()  # the cycle has a connection of its own; some count them
        finally:
            links.cancel()
            await asyncio.gather(links, return_exceptions=True)
            await watch.close()

    async def _keep_links(self, site: Site, linking: Linking) -> None:
        """Raises Unreachable if links are all there is to serve, and nobody can call."""
        while True:
            try:
                await linking.run(self.lines or configured(site.settings))
            except MailsyncError:
                raise
            except Exception as error:  # noqa: BLE001  a defect must not end the service
                _log.info("links ended", exc_info=True)
                self.tell(f"links ended: {type(error).__name__}: {_one_line(str(error))}")
            await asyncio.sleep(DEFECT_SECONDS)

    async def _cycle(self, site: Site) -> None:
        """Everything that is due."""
        report = await self._perform(site, DUE)
        self._note(report)
        self._goes_on_at = report.goes_on_at
        self._show(site, report)

    async def _live_cycle(self, site: Site, linking: Linking) -> None:
        """What the links bring and take; what else was wrong before still is."""
        report = await self._perform(site, linking.extent())
        found = {_kind(problem): problem for problem in report.problems}
        for kind in found.keys() - self._problems.keys():
            self.tell(_one_line(f"{found[kind]} ({found[kind].advice})"))
        self._problems = {**self._problems, **found}
        self._show(site, report)

    async def _perform(self, site: Site, extent: Extent) -> Report:
        report = Report() if self._linking is None else self._linking.begin()
        try:
            async with _locked(site):
                await run_cycle(site, extent, report)
            if self._linking is not None:
                self._linking.rest()
        except MailsyncError as problem:
            report.problems.append(problem)
        except Exception as error:  # noqa: BLE001  a defect must not end the service
            _log.info("a cycle ended early", exc_info=True)
            words = f"a cycle ended early: {type(error).__name__}: {error}"
            report.problems.append(OurError(words))
        return report

    def _show(self, site: Site, report: Report) -> None:
        held = {dataset: reasons for dataset, reasons in report.all_held().items() if reasons}
        if did_something(report) or held != self._held:
            self.show(site, report)
        self._held = held

    def _note(self, report: Report) -> None:
        """Say what began and what ceased to be wrong; count the failures in a row."""
        problems = standing(self._problems, report)
        for kind in problems.keys() - self._problems.keys():
            self.tell(_one_line(f"{problems[kind]} ({problems[kind].advice})"))
        for kind in self._problems.keys() - problems.keys():
            self.tell(_one_line(f"over: {self._problems[kind]}"))
        self._problems = problems
        self._failures = self._failures + 1 if any(map(is_failure, report.problems)) else 0

    async def _rest(
        self, site: Site, watch: Watch, links: asyncio.Task[None] | None = None
    ) -> None:
        """Return when the next cycle is due, mail is announced, or a reload is wanted; meanwhile
        serve the links that are up. Raises what ended the task of the links.
        """
        last = self.clock()
        polls = [peer.poll for peer in site.settings.peers.values()]
        due = next_due(polls, last, self._failures)
        if self._goes_on_at is not None:
            due = min(due, max(self._goes_on_at / 1000, last + WAKE_SECONDS_MIN))
        due = jittered(due, last, self.chance())
        quiet, listening = patience(self._failures), due - last - FAREWELL_SECONDS
        reasons: list[asyncio.Task[Any]] = [
            asyncio.create_task(watch.news(quiet, listening)),
            asyncio.create_task(self._reload.wait()),
        ]
        try:
            awaited = [*reasons, links] if links else reasons
            await self._serve_links(site, awaited, due, due - last)
        finally:
            for reason in reasons:
                reason.cancel()
            await asyncio.gather(*reasons, return_exceptions=True)
        if links is not None and links.done():
            links.result()

    async def _serve_links(
        self, site: Site, reasons: Collection[asyncio.Task[Any]], due: float, seconds: float
    ) -> None:
        """Live cycles until there is a reason, as :meth:`_first_of` waits for one."""
        linking, took = self._linking, 0.0
        if linking is None:
            await self._first_of(reasons, due, seconds)
            return
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while (left := min(due - self.clock(), end - loop.time())) > 0:
            pause = linking.pause(took)
            live = left if pause is None else min(left, pause)
            news = asyncio.create_task(linking.lull())
            try:
                await self._first_of([*reasons, news], self.clock() + live, live)
            finally:
                news.cancel()
            if any(one.done() for one in reasons):
                return
            if live < left or news.done():
                begun = loop.time()
                await self._live_cycle(site, linking)
                took = loop.time() - begun

    async def _first_of(
        self, reasons: Collection[asyncio.Task[Any]], due: float, seconds: float
    ) -> None:
        """Wait for a reason, until ``due`` by the clock or for ``seconds``, what comes first.

        Both, because a clock may be set back, and a machine may be asleep.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        done: set[asyncio.Task[Any]] = set()
        while not done and (left := min(due - self.clock(), end - loop.time())) > 0:
            done, _ = await asyncio.wait(
                reasons,
                timeout=min(left, SLICE_SECONDS),
                return_when=asyncio.FIRST_COMPLETED,
            )

    def _reopened(self, before: _Opened) -> _Opened:
        """The site as its configuration now says; as before, if it does not say that well."""
        self._reload.clear()
        try:
            after = _opened_again(self.path, before)
        except MailsyncError as problem:
            words = str(problem)
        except Exception as error:  # noqa: BLE001  a defect must not end the service
            _log.info("the configuration was not read again", exc_info=True)
            words = f"{type(error).__name__}: {error}"
        else:
            before.stack.close()
            self.tell("configuration read again")
            return after
        self.tell(_one_line(f"the configuration stays as it was: {words}"))
        return before


def did_something(report: Report) -> bool:
    """Did anything change, come or go in this cycle?"""
    counted = (
        number
        for peer in report.peers.values()
        for way in (peer.sent, peer.received)
        for number in (way.mails, way.bundles, len(way.others))
    )
    return bool(any(report.detected.values()) or report.rejected or any(counted))


def standing(before: Problems, report: Report) -> Problems:
    """What is wrong after a cycle.

    A mail that was not taken is not tried again in every cycle; it is so until one is taken.
    """
    found = {_kind(problem): problem for problem in report.problems}
    if not any(peer.sent.mails for peer in report.peers.values()):
        kept = {k: problem for k, problem in before.items() if isinstance(problem, MailNotTaken)}
        return kept | found
    return found


def is_failure(problem: MailsyncError) -> bool:
    """Does this concern the cycle as a whole, not one dataset, peer or mail?"""
    return not isinstance(problem, DatasetError | MailNotTaken | PeerError)


@contextmanager
def only_daemon(state: Path) -> Iterator[None]:
    """Be the only daemon that serves this state store. Raises Locked, StoreOutOfReach, DiskFull."""
    handle = lock_file(state, "daemon.lock")
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Locked(f"another daemon serves {state}") from None
        yield
    finally:
        os.close(handle)


class _Opened(NamedTuple):
    """A site, and what must be closed after it."""

    site: Site
    stack: ExitStack


def _open(path: Path) -> _Opened:
    with ExitStack() as stack:
        site = stack.enter_context(open_site(path))
        return _Opened(site, stack.pop_all())


def _opened_again(path: Path, before: _Opened) -> _Opened:
    """Raises BadConfiguration, also where the state store is another one."""
    after = _open(path)
    if after.site.settings.site.state != before.site.settings.site.state:
        after.stack.close()
        raise BadConfiguration("another [site] state needs a restart of the daemon")
    return after


@asynccontextmanager
async def _locked(site: Site) -> AsyncIterator[None]:
    """Hold the store's lock, waiting for it so that a stop is still heard. Raises Locked."""
    loop = asyncio.get_running_loop()
    end = loop.time() + LOCK_SECONDS
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(site.store.lock())
                break
            except Locked:
                if loop.time() >= end:
                    raise
            await asyncio.sleep(LOCK_POLL_SECONDS)
        yield


def _kind(problem: MailsyncError) -> tuple[type[MailsyncError], str]:
    """The words before the first colon name the server, dataset or mail."""
    return type(problem), str(problem).partition(": ")[0]


def _one_line(text: str) -> str:
    return "; ".join(text.splitlines())
