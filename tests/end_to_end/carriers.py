"""The ways that bring two sites to rest: mail, a live link, a stick, all of them mixed."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.exchange import SYNCS, Exchange, contents
from tests.end_to_end.site_directory import SiteDirectory, eventually

OFTEN = 'link_poll = "1s"'
MIXED_STEPS = 6
Pair = tuple[SiteDirectory, SiteDirectory]


def happenings(site: SiteDirectory, state: str) -> list[str]:
    """What was said of links, of one kind."""
    lines = (site.path / "stdout").read_text().splitlines(keepends=True)
    found = [json.loads(line) for line in lines if line.endswith("\n")]
    return [one["what"] for one in found if one["type"] == "link" and one["state"] == state]


@contextlib.contextmanager
def listening(site: SiteDirectory) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """``link serve`` in a site, and where it waits."""
    before = len(happenings(site, "listening")) if (site.path / "stdout").exists() else 0
    with site.running("--json", "link", "serve", "127.0.0.1:0") as process:
        eventually(lambda: len(happenings(site, "listening")) > before, why=site.complained)
        yield process, happenings(site, "listening")[-1]


@contextlib.contextmanager
def linked(sites: Pair) -> Iterator[tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]]:
    """Ship calls, shore waits; no mail is involved."""
    ship, shore = sites
    before = len(happenings(ship, "up")) if (ship.path / "stdout").exists() else 0
    with listening(shore) as (second, place):
        calling = ship.running("--json", "link", "connect", "shore", "--address", place)
        with calling as first:
            eventually(lambda: len(happenings(ship, "up")) > before, why=ship.complained)
            yield first, second


def settle_by_mail(exchange: Exchange) -> None:
    exchange.settle()


def settle_by_link(exchange: Exchange) -> None:
    """Until both ends hold the same, and each knows it of the other."""
    with linked(exchange.sites):
        eventually(
            lambda: contents(exchange.ship) == contents(exchange.shore) and confirmed(exchange),
            why=exchange.shore.complained,
        )


def settle_by_stick(exchange: Exchange) -> None:
    """Carry it to and fro until there is nothing more to lay down."""
    quiet = 0
    for turn in range(SYNCS):
        site = exchange.sites[turn % 2]
        moved = lay_down(exchange, site) + take(exchange, exchange.peer_of(site))
        quiet = 0 if moved else quiet + 1
        if quiet == len(exchange.sites):
            return
    pytest.fail(f"not at rest after {SYNCS} trips")


def settle_by_all(exchange: Exchange) -> None:
    """Some of it by each, in no order; then whatever lies around is used, and the link ends it."""
    chance = random.Random(11)
    for _ in range(MIXED_STEPS):
        site = chance.choice(exchange.sites)
        step = chance.randrange(4)
        if step == 0:
            exchange.sync(site)
        elif step == 1:
            lay_down(exchange, site)
        elif step == 2:
            take(exchange, site)
        else:
            with linked(exchange.sites):
                time.sleep(chance.random())  # broken off at some moment
    for site in exchange.sites:
        exchange.sync(site, "--no-send")
        take(exchange, site)
    settle_by_link(exchange)
    exchange.settle()


SETTLING: dict[str, Callable[[Exchange], None]] = {
    "mail": settle_by_mail,
    "tcp": settle_by_link,
    "stick": settle_by_stick,
    "mixed": settle_by_all,
}


def confirmed(exchange: Exchange) -> bool:
    """Is nothing on its way at either end?"""
    lines = [line for site in exchange.sites for line in site.json("status")]
    peers = [line for line in lines if line["type"] == "peer"]
    return not any(line["unconfirmed"] or line["queued"] or line["missing"] for line in peers)


def lay_down(exchange: Exchange, site: SiteDirectory) -> int:
    """Export to the stick; how many bundles that were."""
    peer = exchange.peer_of(site).name
    summary = site.json("bundle", "export", peer, _stick(exchange))[-1]
    return _by_folder(summary["peers"][peer]["sent"])


def take(exchange: Exchange, site: SiteDirectory) -> int:
    """Import from the stick; how many bundles were new."""
    summary = site.json("bundle", "import", _stick(exchange))[-1]
    return _by_folder(summary["peers"][exchange.peer_of(site).name]["received"])


def _by_folder(way: dict[str, Any]) -> int:
    return int(way["others"].get("folder", {}).get("containers", 0))


def _stick(exchange: Exchange) -> Path:
    found = exchange.ship.path.parent / "stick"
    found.mkdir(exist_ok=True)
    return found
