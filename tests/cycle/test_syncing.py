"""One sync calls the peers that wait for calls, and mails those that it does not reach."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mailsync.core.model import Key
from mailsync.cycle import syncing
from mailsync.cycle.folder import FolderCarrier
from mailsync.cycle.links import Happening
from mailsync.cycle.planning import plan_sync
from mailsync.cycle.presence import is_linked
from mailsync.cycle.report import Report
from mailsync.cycle.run import Extent, run_cycle
from mailsync.cycle.syncing import run_verification, synchronize
from mailsync.daemon.linking import Lines, Linking
from mailsync.errors import Exit
from mailsync.names import HostPort
from tests.cycle.sites import Sites

GUARD_SECONDS = 60


def pair_at(directory: Path, port: int, carrier: str = '"tcp"') -> Sites:
    """Alice, who calls Bob at this port."""
    sites = Sites(directory)
    sites.add("alice", {"bob": f'carrier = {carrier}\nlink = "127.0.0.1:{port}"'})
    sites.add("bob", {"alice": ""})
    return sites


@contextlib.asynccontextmanager
async def waiting(sites: Sites, port: int) -> AsyncIterator[None]:
    """Bob as his daemon is: he waits for calls, and acts on whatever comes."""
    site = sites.sites["bob"]
    listens = asyncio.Event()

    def hear(happening: Happening) -> None:
        if happening.state == "listening":
            listens.set()

    linking = Linking(site, hear)
    lines = Lines(frozenset({"alice"}), listen=HostPort("127.0.0.1", port))

    async def act() -> None:
        while True:
            await linking.lull()
            await run_cycle(site, linking.extent(), linking.begin())
            linking.rest()

    tasks = [asyncio.create_task(linking.run(lines)), asyncio.create_task(act())]
    try:
        async with asyncio.timeout(GUARD_SECONDS):
            await listens.wait()
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def port() -> int:
    """One that is free."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def unconfirmed(sites: Sites) -> list[str]:
    """Who waits for a confirmation."""
    found = []
    for name, site in sites.sites.items():
        with site.store.transaction() as transaction:
            if any(link.flights for link in transaction.links().values()):
                found.append(name)
    return found


async def test_one_sync_takes_and_brings_all_by_the_link_and_leaves_nothing_unconfirmed(
    tmp_path: Path, port: int
) -> None:
    sites = pair_at(tmp_path, port)
    alice, state = sites.sites["alice"], sites.sites["bob"].settings.site.state
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    sites.rows("bob")[Key("2")] = {"name": "Bea"}
    heard: list[tuple[str, bool]] = []

    def hear(happening: Happening) -> None:
        heard.append((happening.state, is_linked(state, "alice")))

    assert not is_linked(state, "alice")
    async with waiting(sites, port):
        report = await synchronize(alice, Extent(), Report(), hear)
    sent, received = report.peer("bob").sent, report.peer("bob").received
    assert (sent.upserts, received.upserts, sent.mails, report.problems) == (1, 1, 0, [])
    assert sent.others["tcp"].containers > 0
    assert received.others["tcp"].containers > 0
    assert sites.contents("alice") == sites.contents("bob")
    assert len(sites.rows("alice")) == 2
    assert sites.network.in_transit == []
    assert unconfirmed(sites) == []
    assert [state for state, _ in heard] == ["up", "down"]
    assert not is_linked(state, "alice")


@pytest.mark.parametrize("rows", [0, 1])
async def test_a_sync_ends_when_the_peer_has_no_more_to_say_and_does_not_wait_for_silence(
    tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(syncing, "QUIET_SECONDS", 10 * GUARD_SECONDS)
    sites = pair_at(tmp_path, port)
    for number in range(rows):
        sites.rows("alice")[Key(str(number))] = {"name": "Ada"}
        sites.rows("bob")[Key(str(number))] = {"name": "Bea"}
    async with waiting(sites, port), asyncio.timeout(GUARD_SECONDS):
        await synchronize(sites.sites["alice"], Extent(), Report())
    assert len(sites.contents("alice")) == 2 * rows
    assert sites.contents("alice") == sites.contents("bob")
    assert unconfirmed(sites) == []


async def test_a_link_that_is_up_is_seen_by_others(
    tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syncing, "QUIET_SECONDS", 0.1)
    sites = pair_at(tmp_path, port)
    seen: list[bool] = []

    def look(*_: object) -> None:
        seen.extend(is_linked(site.settings.site.state, peer) for site, peer in both)

    alice, bob = sites.sites["alice"], sites.sites["bob"]
    both = [(alice, "bob"), (bob, "alice")]
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    async with waiting(sites, port):
        await synchronize(alice, Extent(), Report(progress=look))
    assert seen[-2:] == [True, True]
    assert [is_linked(site.settings.site.state, peer) for site, peer in both] == [False, False]


async def test_mail_takes_over_in_the_same_sync_where_nobody_answers(
    tmp_path: Path, port: int
) -> None:
    sites = pair_at(tmp_path, port)
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    heard: list[Happening] = []
    report = await synchronize(sites.sites["alice"], Extent(), Report(), heard.append)
    assert (report.peer("bob").sent.mails, report.exit_code) == (1, Exit.OK)
    [failed] = heard
    assert (failed.state, failed.peer) == ("failed", "bob")
    assert "refused" in failed.words


async def test_a_peer_is_called_for_a_short_time_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syncing, "CALL_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        sites = pair_at(tmp_path, mute.getsockname()[1])
        heard: list[Happening] = []
        sites.rows("alice")[Key("1")] = {"name": "Ada"}
        report = await synchronize(sites.sites["alice"], Extent(), Report(), heard.append)
    assert report.peer("bob").sent.mails == 1
    assert "no answer in time" in heard[0].words


async def test_where_there_is_no_other_way_the_sync_fails_for_now(
    tmp_path: Path, port: int
) -> None:
    sites = pair_at(tmp_path, port, '["tcp"]')
    sites.sites["alice"].carrier = None
    report = await synchronize(sites.sites["alice"], Extent(), Report())
    assert report.exit_code == Exit.TEMPORARY


async def test_who_is_not_chosen_is_not_called(tmp_path: Path, port: int) -> None:
    sites = pair_at(tmp_path, port)
    heard: list[Happening] = []
    extent = Extent(peers=frozenset())
    await synchronize(sites.sites["alice"], extent, Report(), heard.append)
    assert heard == []


async def test_who_only_sends_waits_for_nothing(tmp_path: Path, port: int) -> None:
    sites = pair_at(tmp_path, port)
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    async with waiting(sites, port):
        report = await synchronize(sites.sites["alice"], Extent(receiving=False), Report())
    assert report.peer("bob").sent.others["tcp"].containers == 1


async def test_equality_is_proven_by_a_link_in_one_go(
    tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syncing, "QUIET_SECONDS", 1.0)
    sites = pair_at(tmp_path, port)
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    async with waiting(sites, port):
        alice = sites.sites["alice"]
        await synchronize(alice, Extent(), Report())
        shown = await run_verification(alice, None, Report(), repair=False)
    inquiry = shown["bob"]
    assert inquiry is not None
    assert inquiry.finding is not None
    assert inquiry.finding.equal
    assert sites.network.in_transit == []


def test_a_plan_counts_what_the_first_carrier_would_take(tmp_path: Path, port: int) -> None:
    sites = pair_at(tmp_path, port, '["tcp", "mail"]')
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    plan = plan_sync(sites.sites["alice"])
    [(_, peer)] = plan.peers.items()
    assert (peer.carriers, peer.sent.bundles, peer.sent.mails) == (["tcp", "mail"], 1, 0)
    assert peer.bytes == peer.sent.others["tcp"].bytes > 0
    assert "1 bundles by tcp, or where that is not there by mail" in plan.summary()


def test_a_plan_counts_mails_where_the_folder_is_not_there_now(tmp_path: Path) -> None:
    sites = Sites(tmp_path)
    sites.add("alice", {"bob": 'carrier = "folder"\nfolder_out = "stick"'})
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    alice = sites.sites["alice"]
    settings, public = alice.peers["bob"].settings, alice.peers["bob"].public
    alice.direct["bob"] = {"folder": FolderCarrier.of(settings, alice.keys.public, public)}
    peer = plan_sync(alice).peers["bob"]
    assert (peer.carriers, peer.sent.mails, peer.sent.others) == (["mail"], 1, {})
    (tmp_path / "stick").mkdir()
    peer = plan_sync(alice).peers["bob"]
    assert (peer.carriers, peer.sent.mails, list(peer.sent.others)) == (
        ["folder", "mail"],
        0,
        ["folder"],
    )
