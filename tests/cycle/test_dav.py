"""Two sites with address books on servers that both rewrite what they are given, each its way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailsync.cycle.noting import Noted
from mailsync.cycle.report import Report
from mailsync.cycle.run import Extent, run_cycle
from mailsync.datasets.base import Access
from mailsync.datasets.kinds import open_remote
from mailsync.errors import DatasetBusy
from tests.cycle.sites import HOUR, Sites
from tests.datasets.test_dav import card
from tests.servers.dav import PASSWORD, USER, DavCollection, DavServer
from tests.servers.davproxy import Asked, Proxy, Said, proxy_before


class Books:
    """Alice's is on Radicale, which cuts texts at commas; Bob's server shouts, and adds a stamp."""

    def __init__(self, directory: Path, radicale: DavServer, xandikos: DavServer) -> None:
        self.alice, self.bob = radicale.new("carddav"), xandikos.new("carddav")
        self.sites = Sites(directory)
        self.proxies: dict[str, Proxy] = {}
        for name, peer in (("alice", "bob"), ("bob", "alice")):
            self.sites.add(name, {peer: ""})

    def open(self, name: str, book: DavCollection, proxy: Proxy) -> None:
        site = self.sites.sites[name]
        source = f"carddav:{proxy.url.replace('://', f'://{USER}@')}{book.path}"
        notes = site.notes.setdefault("people", Noted())
        site.datasets["people"] = open_remote(source, Access(lambda: PASSWORD), notes)
        self.proxies[name] = proxy

    def settle(self) -> int:
        """How many mails it took until nobody had anything to say."""
        mails = 0
        for _ in range(12):
            sent = self.sites.round()
            mails += sent
            if not sent:
                return mails
            self.sites.clock.now += 2 * HOUR
        raise AssertionError("they never come to rest")


@pytest.fixture
def books(tmp_path: Path, radicale: DavServer, xandikos: DavServer) -> Iterator[Books]:
    found = Books(tmp_path, radicale, xandikos)
    with proxy_before(radicale.url) as first, proxy_before(xandikos.url) as second:
        second.script = lambda asked: shouted(asked, found)
        found.open("alice", found.alice, first)
        found.open("bob", found.bob, second)
        yield found


def shouted(asked: Asked, books: Books) -> None:
    """What Bob's server makes of what it is given."""
    if asked.method == "PUT":
        lines = asked.body.decode().splitlines()
        loud = [line.upper() if line.startswith("NOTE") else line for line in lines]
        stamp = f"X-STAMP:{len(books.proxies['bob'].asked)}"
        loud = [line for line in loud if not line.startswith("X-STAMP")]
        asked.body = "\r\n".join([*loud[:-1], stamp, loud[-1], ""]).encode()


def test_two_servers_that_rewrite_each_its_way_come_to_rest(books: Books) -> None:
    for number in range(5):
        books.alice.put(f"{number}.vcf", card(f"a{number}", note="one", title="x, y"))
        books.bob.put(f"b{number}.vcf", card(f"b{number}", note="two, three", title="z"))
    books.settle()
    keys = [f"{number}.vcf" for number in range(5)]
    assert all("NOTE:one" in books.alice.text(key) for key in keys)
    assert all("NOTE:two, three" in books.bob.text(f"b{key}") for key in keys)

    books.bob.put("b0.vcf", books.bob.text("b0.vcf").replace("TITLE:z", "TITLE:new"))
    assert books.settle() <= 4  # the edit, and acknowledgements
    assert "NOTE:two, three" in books.bob.text("b0.vcf")
    [cut] = [text for text in texts(books.alice, books) if "UID:b0" in text]
    assert "TITLE:new" in cut
    assert "NOTE:two\r\n" in cut


def texts(book: DavCollection, books: Books) -> list[str]:
    site = books.sites.sites["alice"]
    return [book.text(one.key) for one in site.datasets["people"].changes({})]


@pytest.mark.parametrize("is_back_at_once", [True, False])
def test_a_server_that_stops_in_the_midst_makes_no_edits(
    books: Books, *, is_back_at_once: bool
) -> None:
    for number in range(60):
        books.bob.put(f"{number}.vcf", card(f"u{number}", note="two, three"))
    books.sites.sync("bob")
    books.sites.network.deliver_all()
    puts = 0

    def overloaded(asked: Asked) -> Said | None:
        nonlocal puts
        puts += asked.method == "PUT"
        if puts > 55 and (asked.method == "PUT" or not is_back_at_once):
            return Said(503)
        return None

    books.proxies["alice"].script = overloaded
    report = asyncio.run(run_cycle(books.sites.sites["alice"], Extent(), Report()))
    assert [type(one) for one in report.problems] == [DatasetBusy]
    books.proxies["alice"].script = lambda _asked: None
    books.settle()
    assert len(texts(books.alice, books)) == 60
    assert all("NOTE:two, three" in books.bob.text(f"{number}.vcf") for number in range(60))
