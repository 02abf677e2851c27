"""How the daemon keeps links: whom it calls, how often it looks, what it takes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mailsync.carriers.channel import Channel
from mailsync.carriers.tcp import Identity, Listener, call
from mailsync.config.loading import parse
from mailsync.core.model import Key
from mailsync.cycle import links
from mailsync.cycle.links import Happening
from mailsync.cycle.report import Report
from mailsync.cycle.run import run_cycle
from mailsync.daemon import linking as module
from mailsync.daemon.linking import Lines, Linking, configured
from mailsync.errors import DiskFull, Unreachable
from mailsync.keys import blank_certificate
from mailsync.names import HostPort
from tests.cycle.sites import Sites, keys_of, pair

GUARD_SECONDS = 60
ANY = HostPort("127.0.0.1", 0)


@pytest.fixture
def sites(tmp_path: Path) -> Sites:
    return pair(tmp_path)


class Heard(list[Happening]):
    """What was told of links."""

    def of(self, state: str) -> list[str]:
        return [one.words for one in self if one.state == state]

    async def until(self, state: str, count: int = 1) -> None:
        async with asyncio.timeout(GUARD_SECONDS):
            while len(self.of(state)) < count:
                await asyncio.sleep(0.01)


def test_links_are_made_with_whom_the_configuration_says() -> None:
    text = """
[site]
name = "ship"
state = "state.db"
listen = "[::1]:7450"
[peers.a]
card = "a"
carrier = "tcp"
link = "hub.example:7450"
[peers.b]
card = "b"
carrier = ["tcp"]
[peers.c]
card = "c"
link = "hub.example:7450"
"""
    lines = configured(parse(text.encode(), Path("/x/mailsync.toml")))
    calls = {"a": HostPort("hub.example", 7450)}
    assert lines == Lines(frozenset({"a", "b"}), HostPort("::1", 7450), calls)
    alone = text.replace('carrier = "tcp"', "").replace('carrier = ["tcp"]', "")
    assert configured(parse(alone.encode(), Path("/x/mailsync.toml"))) == Lines(frozenset())


async def test_bundles_cross_a_link_and_what_was_taken_wakes_the_other_end(sites: Sites) -> None:
    alice, bob = sites.sites["alice"], sites.sites["bob"]
    heard = Heard()
    here, there = Linking(alice, heard.append), Linking(bob, heard.append)
    listening = asyncio.create_task(there.run(Lines(frozenset({"alice"}), listen=ANY)))
    await heard.until("listening")
    place = HostPort("127.0.0.1", int(heard.of("listening")[0].rpartition(":")[2]))
    calling = asyncio.create_task(here.run(Lines(frozenset({"bob"}), calls={"bob": place})))
    try:
        async with asyncio.timeout(GUARD_SECONDS):
            await here.called()
            await heard.until("up", 2)
            assert (set(here.up), set(there.up)) == ({"bob"}, {"alice"})
            await there.lull()
            sites.rows("alice")[Key("1")] = {"name": "Ada"}
            there.begin()
            report = await run_cycle(alice, here.extent(), here.begin())
            assert report.peer("bob").sent.others["tcp"].containers == 1
            await there.lull()
            report = await run_cycle(bob, there.extent(), there.begin())
            assert report.peer("alice").received.others["tcp"].containers == 1
            assert sites.contents("bob") == sites.contents("alice")
            assert sites.network.in_transit == []
    finally:
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
        await heard.until("down", 2)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    assert (here.up, there.up) == (frozenset(), frozenset())


async def test_a_store_that_is_full_confirms_nothing_and_ends_the_link(
    sites: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise DiskFull("state.db")

    monkeypatch.setattr(links, "admit", full)
    linking = Linking(sites.sites["bob"], lambda _: None)
    with pytest.raises(DiskFull):
        linking._take("alice", b"x")
    assert not linking.news.is_set()


async def test_a_container_that_makes_us_fail_is_told_and_does_not_come_again(
    sites: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(links, "admit", broken)
    linking = Linking(sites.sites["bob"], lambda _: None)
    linking._take("alice", b"x")
    assert "ZeroDivisionError" in linking.begin().rejected[0]


async def test_what_is_no_bundle_is_told(sites: Sites) -> None:
    linking = Linking(sites.sites["bob"], lambda _: None)
    linking._take("alice", b"no container")
    assert linking.taken.rejected == ["mail by tcp from alice: there is no bundle in it"]


async def test_a_peer_has_few_links_and_the_newest_is_used(sites: Sites) -> None:
    heard = Heard()
    linking = Linking(sites.sites["bob"], heard.append)
    listener = Listener(
        Identity(keys_of("bob"), {"alice": keys_of("alice").public}),
        blank_certificate(),
        linking.keep,
    )
    [place] = await listener.start(ANY)
    caller = Identity(keys_of("alice"), {"bob": keys_of("bob").public})
    channels: list[Channel] = []
    try:
        for count in range(links.LINKS_MAX + 3):
            channels.append(await call(place, caller, "bob"))
            async with asyncio.timeout(GUARD_SECONDS):
                while len(linking._channels.get("alice", [])) < min(count + 1, links.LINKS_MAX):
                    await asyncio.sleep(0.01)
        assert len(linking._channels["alice"]) <= links.LINKS_MAX + 1
        assert len(heard.of("up")) == 1
    finally:
        for channel in channels:
            channel.close()
        await listener.close()


async def test_a_port_that_is_taken_is_told_once_and_tried_again(
    sites: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "patience", lambda _: 0.01)
    heard = Heard()
    other = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    place = HostPort(*other.sockets[0].getsockname()[:2])
    lines = Lines(frozenset({"alice"}), listen=place)
    with pytest.raises(Unreachable, match="in use"):
        await Linking(sites.sites["bob"], heard.append).run(lines._replace(essential=True))
    task = asyncio.create_task(Linking(sites.sites["bob"], heard.append).run(lines))
    await heard.until("failed")
    await asyncio.sleep(0.1)
    other.close()
    await heard.until("listening")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(heard.of("failed")) == 1


def test_the_datasets_are_looked_at_often_but_never_more_than_a_tenth_of_the_time(
    sites: Sites,
) -> None:
    linking = Linking(sites.sites["alice"], lambda _: None)
    assert linking.pause(1.0) is None
    sites.sites["alice"].direct["bob"] = {"tcp": None}  # type: ignore[dict-item]
    assert linking.pause(0.1) == 10
    assert linking.pause(20.0) == 180


async def test_a_lull_ends_when_there_is_news_and_a_cycle_begins_without(sites: Sites) -> None:
    linking = Linking(sites.sites["alice"], lambda _: None)
    waiting = asyncio.create_task(linking.lull())
    await asyncio.sleep(0)
    assert not waiting.done()
    linking.news.set()
    async with asyncio.timeout(GUARD_SECONDS):
        await waiting
    assert linking.news.is_set()
    assert isinstance(linking.begin(), Report)
    assert not linking.news.is_set()
