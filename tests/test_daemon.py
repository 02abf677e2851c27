"""The daemon's behaviour, with memory carriers and no servers."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import pytest

from mailsync.carriers.base import Arrival, Place, Retry, Sent
from mailsync.carriers.memory import MemorySender, Network
from mailsync.core.model import Key
from mailsync.cycle.mail import MailCarrier
from mailsync.cycle.report import Report
from mailsync.cycle.run import run_cycle
from mailsync.cycle.sending import MailNotTaken
from mailsync.cycle.site import Site
from mailsync.daemon import service as module
from mailsync.daemon import watching
from mailsync.daemon.linking import Lines, Linking
from mailsync.daemon.service import (
    DUE,
    Daemon,
    did_something,
    is_failure,
    only_daemon,
    standing,
)
from mailsync.daemon.signals import heard
from mailsync.errors import BadBundle, DatasetMissing, Locked, LoginRefused, Unreachable
from tests.cycle.sites import HOUR, Sites, pair
from tests.cycle.test_direct import Line

GUARD_SECONDS = 60
"""Whatever hangs is broken; nothing here takes as long."""


@dataclass
class Box:
    """A mailbox that does what a test says."""

    wait: Callable[[float], object] = lambda _: asyncio.Event().wait()
    arriving: list[Arrival] = field(default_factory=list)
    entered: int = 0
    broken: Exception | None = None

    async def __aenter__(self) -> Self:
        self.entered += 1
        if self.broken is not None:
            raise self.broken
        return self

    async def __aexit__(self, *exc: object) -> None:
        pass

    async def arrivals(self, settled: Collection[Place]) -> AsyncIterator[Arrival]:
        for arrival in self.arriving:
            yield arrival


@dataclass
class BoxCarrier:
    box: Box
    network: Network = field(default_factory=Network)

    def sender(self) -> MemorySender:
        return MemorySender(self.network)

    def mailbox(self) -> Box:
        return self.box


@dataclass
class Told:
    lines: list[str] = field(default_factory=list)
    cycles: list[Report] = field(default_factory=list)

    def show(self, _site: Site, report: Report) -> None:
        self.cycles.append(report)

    def daemon(self, **values: object) -> Daemon:
        return Daemon(Path("unused"), self.lines.append, self.show, **values)  # type: ignore[arg-type]


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def sites(tmp_path: Path) -> Sites:
    return pair(tmp_path, 'poll = "1s"')


async def resting(daemon: Daemon, site: Site) -> None:
    watch = watching.Watch(site)
    async with asyncio.timeout(GUARD_SECONDS):
        await daemon._rest(site, watch)
        await watch.close()


def rare(tmp_path: Path, box: Box) -> Site:
    site = pair(tmp_path, 'poll = "12h"').sites["alice"]
    site.carrier = BoxCarrier(box)  # type: ignore[assignment]
    return site


# --- cycles --------------------------------------------------------------------------------


async def test_a_cycle_sends_what_it_finds_and_says_so(sites: Sites, told: Told) -> None:
    daemon = told.daemon()
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    await daemon._cycle(sites.sites["alice"])
    assert told.cycles[0].peers["bob"].sent.mails == 1
    await daemon._cycle(sites.sites["alice"])
    assert len(told.cycles) == 1
    assert told.lines == []


async def test_a_mail_not_taken_is_tried_again_only_when_it_is_due(sites: Sites) -> None:
    site = sites.sites["alice"]
    attempts = 0

    def judge(_letter: object) -> Retry:
        nonlocal attempts
        attempts += 1
        return Retry("busy")

    sites.network.judge = judge
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    for _ in range(3):
        await run_cycle(site, DUE, Report())
    assert attempts == 1
    sites.clock.now += HOUR
    await run_cycle(site, DUE, Report())
    assert attempts == 2


async def test_what_could_not_be_sent_for_weeks_goes_as_one_set(sites: Sites) -> None:
    site, queued = sites.sites["alice"], 0
    sites.network.judge = lambda _: Retry("the antenna is down")
    for day in range(21):
        sites.rows("alice")[Key(f"{day % 3}")] = {"day": day}
        await run_cycle(site, DUE, Report())
        with site.store.transaction() as transaction:
            queued = max(queued, len(transaction.outbox.items()))
        sites.clock.now += HOUR // 60
    assert queued == 1
    sites.network.judge = lambda letter: Sent(len(letter.container))
    sites.clock.now += 24 * HOUR
    report = Report()
    await run_cycle(site, DUE, report)
    assert report.peers["bob"].sent.mails == 1
    sites.network.deliver_all()
    await run_cycle(sites.sites["bob"], DUE, Report())
    assert sites.contents("bob") == sites.contents("alice")


async def test_trouble_is_told_once_and_its_end_too(sites: Sites, told: Told) -> None:
    site, daemon = sites.sites["alice"], told.daemon()
    before = site.carrier
    box = Box(broken=Unreachable("mail.example:993: no answer in time"))
    site.carrier = BoxCarrier(box)  # type: ignore[assignment]
    for reason in ("no answer in time", "connection refused", "no answer in time"):
        box.broken = Unreachable(f"mail.example:993: {reason}")
        await daemon._cycle(site)
    assert len(told.lines) == 1
    assert daemon._failures == 3
    site.carrier = before
    await daemon._cycle(site)
    assert [line.partition(":")[0] for line in told.lines] == ["mail.example", "over"]
    assert daemon._failures == 0
    assert told.cycles == []


async def test_a_defect_does_not_end_the_daemon(sites: Sites, told: Told) -> None:
    site, daemon = sites.sites["alice"], told.daemon()
    site.carrier = BoxCarrier(Box(broken=ZeroDivisionError("oops\nand more")))  # type: ignore[assignment]
    await daemon._cycle(site)
    (line,) = told.lines
    assert "ZeroDivisionError: oops; and more" in line
    assert daemon._failures == 1


async def test_a_cycle_waits_for_a_sync_by_hand(sites: Sites, told: Told) -> None:
    site, daemon = sites.sites["alice"], told.daemon()
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    with site.store.lock():
        waiting = asyncio.create_task(daemon._cycle(site))
        await asyncio.sleep(0.5)
        assert not waiting.done()
    async with asyncio.timeout(GUARD_SECONDS):
        await waiting
    assert told.cycles[0].peers["bob"].sent.mails == 1


async def test_a_store_never_released_is_trouble_not_the_end(
    sites: Sites, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOCK_SECONDS", 0.3)
    site, daemon = sites.sites["alice"], told.daemon()
    with site.store.lock():
        await daemon._cycle(site)
    assert daemon._failures == 1


async def test_a_refused_password_is_asked_for_again(sites: Sites, told: Told) -> None:
    site, daemon = sites.sites["alice"], told.daemon()
    assert site.settings.mail is not None

    class Refusing(MailCarrier):
        def mailbox(self) -> Box:  # type: ignore[override]
            return Box(broken=LoginRefused("mail.example:993: no"))

    site.carrier = carrier = Refusing(site.settings.mail, site.settings, [])  # type: ignore[assignment]
    carrier.__dict__["password"] = "old"
    await daemon._cycle(site)
    assert "password" not in carrier.__dict__


def test_what_is_wrong_stands_until_it_is_seen_to_be_over() -> None:
    gone, there = Unreachable("a:1: x"), DatasetMissing("people: no table")
    letter = MailNotTaken("mail 7f to bob: 550 no")
    first = standing({}, Report(problems=[gone, there, letter]))
    assert set(first.values()) == {gone, there, letter}
    nothing_sent = standing(first, Report())
    assert set(nothing_sent.values()) == {letter}
    report = Report()
    report.peer("bob").sent.mails = 1
    assert standing(nothing_sent, report) == {}


def test_only_what_concerns_the_whole_cycle_slows_it_down() -> None:
    assert is_failure(Unreachable("a"))
    assert is_failure(LoginRefused("a"))
    assert not any(map(is_failure, (DatasetMissing("a"), MailNotTaken("a"), BadBundle("a"))))


def test_an_idle_cycle_did_nothing() -> None:
    report = Report(detected={"people": 0}, held={"people": {}})
    report.peer("bob")
    assert not did_something(report)
    report.peer("bob").received.bundles = 1
    assert did_something(report)
    assert did_something(Report(rejected=["x"]))


# --- between cycles ------------------------------------------------------------------------


async def test_a_mute_mailbox_never_delays_the_poll(
    sites: Sites, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FAREWELL_SECONDS", 0.0)
    box = Box()
    sites.sites["alice"].carrier = BoxCarrier(box)  # type: ignore[assignment]
    await resting(told.daemon(), sites.sites["alice"])
    assert box.entered == 1


async def test_a_broken_mailbox_never_delays_the_poll(
    sites: Sites, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FAREWELL_SECONDS", 0.0)
    site = sites.sites["alice"]
    for error in (Unreachable("a: b"), LoginRefused("a: b"), ZeroDivisionError()):
        site.carrier = BoxCarrier(Box(broken=error))  # type: ignore[assignment]
        begin = time.monotonic()
        await resting(told.daemon(), site)
        assert time.monotonic() - begin > 0.9  # nor brings it forward
    assert told.lines == []


async def test_announced_mail_ends_the_rest(tmp_path: Path, told: Told) -> None:
    async def announce(_seconds: float) -> bool:
        return True

    await resting(told.daemon(), rare(tmp_path, Box(wait=announce)))


async def test_mail_that_came_before_listening_began_ends_the_rest(
    tmp_path: Path, told: Told
) -> None:
    box = Box(arriving=[Arrival(Place("a", "INBOX", 1, 1), 10)])
    await resting(told.daemon(), rare(tmp_path, box))


async def test_a_lost_connection_is_renewed(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "patience", lambda _failures: 0.0)

    async def fail_twice(_seconds: float) -> bool:
        if box.entered <= 2:
            raise Unreachable("mail.example:993: the connection is lost")
        return True

    box = Box(wait=fail_twice)
    await resting(told.daemon(), rare(tmp_path, box))
    assert box.entered == 3


async def test_a_connection_is_kept_between_cycles(tmp_path: Path, told: Told) -> None:
    async def announce(_seconds: float) -> bool:
        return True

    box = Box(wait=announce)
    site = rare(tmp_path, box)
    watch = watching.Watch(site)
    async with asyncio.timeout(GUARD_SECONDS):
        await told.daemon()._rest(site, watch)
        await told.daemon()._rest(site, watch)
    assert box.entered == 1


async def test_a_machine_that_was_asleep_polls_when_it_wakes(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLICE_SECONDS", 0.01)
    moments = iter([1e9, 1e9 + 1])
    await resting(told.daemon(clock=lambda: next(moments, 2e9)), rare(tmp_path, Box()))


async def test_a_clock_set_back_does_not_put_off_the_poll(
    sites: Sites, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLICE_SECONDS", 0.01)
    moments = iter([2e9])
    await resting(told.daemon(clock=lambda: next(moments, 1e9)), sites.sites["alice"])


async def test_a_reload_ends_the_rest(tmp_path: Path, told: Told) -> None:
    daemon = told.daemon()
    asyncio.get_running_loop().call_later(0.1, daemon.reload)
    await resting(daemon, rare(tmp_path, Box()))


async def test_a_defect_while_the_configuration_is_read_again_leaves_it_as_it_was(
    sites: Sites, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_path: Path) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(module, "_open", broken)
    before = module._Opened(sites.sites["alice"], ExitStack())
    assert told.daemon()._reopened(before) is before
    assert told.lines == ["the configuration stays as it was: ZeroDivisionError: oops"]


# --- one daemon, and its end ---------------------------------------------------------------


def test_only_one_daemon_serves_a_site(tmp_path: Path) -> None:
    with only_daemon(tmp_path / "state.db"), pytest.raises(Locked):  # noqa: SIM117
        with only_daemon(tmp_path / "state.db"):
            pass
    with only_daemon(tmp_path / "state.db"):
        pass


def test_a_signal_is_heard_while_the_main_thread_is_busy() -> None:
    arrived = threading.Event()
    before = signal.getsignal(signal.SIGUSR1)
    with heard({signal.SIGUSR1: arrived.set}):
        os.kill(os.getpid(), signal.SIGUSR1)
        assert arrived.wait(GUARD_SECONDS)
    assert signal.getsignal(signal.SIGUSR1) is before


def test_a_process_that_cannot_end_is_left_with_success() -> None:
    program = (
        "import signal, threading\n"
        "from mailsync.daemon.signals import heard, leave_after_grace\n"
        "with heard({signal.SIGTERM: leave_after_grace}):\n"
        "    print('ready', flush=True)\n"
        "    threading.Event().wait()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()
        begin = time.monotonic()
        assert process.wait(GUARD_SECONDS) == 0
        assert time.monotonic() - begin < 3


# --- what is held back ---------------------------------------------------------------------


async def test_the_daemon_goes_on_when_more_may_go(tmp_path: Path, told: Told) -> None:
    site = rare(tmp_path, Box())
    daemon = told.daemon(chance=lambda: 0.0)
    daemon._goes_on_at = 0  # long ago: as soon as is decent
    await resting(daemon, site)


async def test_the_end_of_quiet_hours_is_when_more_may_go(tmp_path: Path, told: Told) -> None:
    sites = pair(tmp_path, 'budget = { quiet = "22:00-06:00" }')
    site = sites.sites["alice"]
    site.surroundings = replace(site.surroundings, zone=UTC)
    sites.clock.now = int(datetime(2026, 11, 23, 23, tzinfo=UTC).timestamp() * 1000)
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    daemon = told.daemon()
    await daemon._cycle(site)
    morning = sites.clock.now // HOUR * HOUR + 7 * HOUR
    assert daemon._goes_on_at == morning
    sites.clock.now = morning
    await daemon._cycle(site)
    assert daemon._goes_on_at is None
    assert len(sites.network.in_transit) == 1


async def test_more_mails_go_as_soon_as_the_provider_allows(tmp_path: Path, told: Told) -> None:
    sites = pair(tmp_path)
    site = sites.sites["alice"]
    assert site.settings.mail
    mail = site.settings.mail.model_copy(update={"max_mails": ((1, 3_600),)})
    site.settings = site.settings.model_copy(update={"mail": mail})
    daemon = told.daemon()
    for name in ("Ada", "Bob"):
        sites.rows("alice")[Key(name)] = {"name": name}
        await daemon._cycle(site)
    assert len(sites.network.in_transit) == 1
    assert daemon._goes_on_at is not None
    assert HOUR - 100 < daemon._goes_on_at - sites.clock.now <= HOUR
    sites.clock.now = daemon._goes_on_at
    await daemon._cycle(site)
    assert len(sites.network.in_transit) == 2


# --- links ---------------------------------------------------------------------------------


class EndlessLinks(Linking):
    """Links to whoever the test says; nothing is connected."""

    async def run(self, lines: Lines) -> None:
        self._note_called("")
        await asyncio.Event().wait()


class BrokenLinks(Linking):
    async def run(self, lines: Lines) -> None:
        self._note_called("")
        raise ZeroDivisionError


async def served(daemon: Daemon, site: Site, claim: Callable[[], object]) -> None:
    working = asyncio.create_task(daemon.work(site))
    async with asyncio.timeout(GUARD_SECONDS):
        while not claim():
            assert not working.done(), working.result()
            await asyncio.sleep(0.01)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)


async def test_what_a_link_brings_is_served_between_two_polls_without_a_look_at_the_mail(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "Linking", EndlessLinks)
    sites = pair(tmp_path, 'poll = "12h"\nlink_poll = "1s"')
    site, line = sites.sites["alice"], Line(sites)
    box = Box()
    site.carrier = BoxCarrier(box)  # type: ignore[assignment]
    daemon = told.daemon()

    def linked() -> bool:
        """Once the first cycle is over the link comes up."""
        if daemon._linking is not None and box.entered and "bob" not in site.direct:
            site.direct["bob"] = {"tcp": line}
            sites.rows("alice")[Key("1")] = {"name": "Ada"}
            daemon._linking.news.set()
        return bool(line.sent)

    await served(daemon, site, linked)
    assert box.entered <= 2  # the first cycle's look, and the watch between the cycles
    assert told.cycles[-1].peers["bob"].sent.others["tcp"].containers == 1
    assert box_network(site) == []


def box_network(site: Site) -> list[object]:
    assert isinstance(site.carrier, BoxCarrier)
    return list(site.carrier.network.in_transit)


async def test_a_defect_in_links_costs_no_cycle(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "Linking", BrokenLinks)
    sites = pair(tmp_path, 'poll = "1s"')
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    await served(told.daemon(), sites.sites["alice"], lambda: told.cycles and told.lines)
    assert told.lines == ["links ended: ZeroDivisionError: "]
