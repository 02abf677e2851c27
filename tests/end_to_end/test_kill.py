"""``kill -9`` at any moment loses nothing, doubles nothing, and leaves no litter.

``KILLS`` in the environment says how many in all (default 100), ``SEED`` the first seed; there
is one for each test of 20 kills. The moments are fractions of what a whole sync takes here, so
a seed repeats them as well as two machines ever agree.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from dataclasses import dataclass, field
from itertools import chain

import pytest

from tests.end_to_end.exchange import (
    Exchange,
    add_card,
    blocks,
    contents,
    crew,
    set_text_line,
    stray_files,
    text_line,
)
from tests.end_to_end.site_directory import (
    COMMAND_SECONDS,
    SiteDirectory,
    environment,
    eventually,
)
from tests.end_to_end.users import Users

KILLS = int(os.environ.get("KILLS", "100"))
SEED = int(os.environ.get("SEED", "1"))
KILLS_EACH = min(KILLS, 20)
SEEDS = range(SEED, SEED + -(-KILLS // KILLS_EACH))

CARDS = [f"contact-{number:02}@contacts.example" for number in (1, 5, 13)]
TIMERS = 'acknowledge_after = "2s"\nresend_after = "4s"'
LONG_AGO = 7200.0


@dataclass
class CardUsers(Users):
    """They keep an address book as well."""

    cards: set[str] = field(default_factory=set)
    """UIDs of new cards."""

    def use_cards(self, site: SiteDirectory) -> None:
        """Edit a card, or now and then add one."""
        if self.chance.random() < 0.2:
            uid = self.value(site)
            self.cards.add(uid)
            add_card(crew(site), uid, "Somebody")
            return
        uid = self.chance.choice(CARDS)
        self.replaced.add(text_line(crew(site), uid, "TITLE"))
        set_text_line(crew(site), uid, "TITLE", self.write(site, uid, "title"))


def whole_sync_seconds(exchange: Exchange) -> tuple[float, float]:
    """How long the program takes to start, and to carry out a sync."""
    start = time.monotonic()
    exchange.ship.run("config", "check")
    between = time.monotonic()
    exchange.ship.run("sync")
    return between - start, time.monotonic() - between


def kill_amid_sync(site: SiteDirectory, moments: tuple[float, float], users: CardUsers) -> bool:
    """Start a sync, use the table while it runs, kill it. False if it was over before."""
    process = subprocess.Popen(
        site.command("sync"),
        cwd=site.path,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for seconds in moments:
            time.sleep(seconds)
            if seconds is moments[0]:
                users.use_table(site)
    finally:
        process.send_signal(signal.SIGKILL)
        code = process.wait(timeout=COMMAND_SECONDS)
    assert code in (0, -signal.SIGKILL), f"{site.name} ended with {code}"
    return code != 0


def kill_often(exchange: Exchange, users: CardUsers) -> None:
    """Users work and syncs are killed, at one site after the other."""
    start, whole = whole_sync_seconds(exchange)
    pace = 1.0
    kills = turn = 0
    while kills < KILLS_EACH:
        site = exchange.sites[turn % 2]
        turn += 1
        for _ in range(users.chance.randrange(4)):
            users.use_table(site)
        if users.chance.random() < 0.4:
            users.use_cards(site)
        moment = pace * users.chance.uniform(0.8 * start, start + 1.2 * whole)
        during = moment * users.chance.random()
        killed = kill_amid_sync(site, (during, moment - during), users)
        kills += killed
        # however busy the machine becomes, some syncs are over before and most are not
        pace *= 1.02 if killed else 0.85
        exchange.await_delivery()
        assert turn < 5 * KILLS_EACH + 20, "syncs end before they are killed"


def come_to_rest(exchange: Exchange) -> None:
    """Sync undisturbed until nothing is on its way and both ends hold the same."""
    eventually(
        lambda: _at_rest(exchange),
        why=lambda: "\n".join(str(contents(site)["defects"]) for site in exchange.sites),
    )
    exchange.assert_equal()


def _at_rest(exchange: Exchange) -> bool:
    counted = [exchange.sync(site) for site in exchange.sites]
    silent = not any(one[way]["mails"] for one in counted for way in ("sent", "received"))
    return silent and contents(exchange.ship) == contents(exchange.shore)


def assert_nothing_lost(exchange: Exchange, users: CardUsers, cards_before: int) -> None:
    """Both ends hold the same when this is asked."""
    cards = [line for card in blocks(crew(exchange.ship)) for line in card[1]]
    assert users.cards == {uid for uid in users.cards if f"UID:{uid}" in cards}
    count = cards.count("VERSION:3.0") + cards.count("VERSION:4.0")
    assert count == cards_before + len(users.cards)
    titles = {text_line(crew(exchange.ship), uid, "TITLE") for uid in CARDS}
    users.assert_nothing_lost(exchange.sites, titles)


def assert_no_litter(exchange: Exchange) -> None:
    """Temporary files of killed writers are gone once they are old and something is written."""
    for path in chain.from_iterable(map(stray_files, exchange.sites)):
        os.utime(path, (time.time() - LONG_AGO,) * 2)
    for site in exchange.sites:  # an edit at one is written at the other
        set_text_line(crew(site), CARDS[0], "TITLE", f"edited at {site.name}")
        exchange.settle()
    exchange.assert_equal()
    assert [stray_files(site) for site in exchange.sites] == [[], []]


@pytest.mark.parametrize("seed", SEEDS)
def test_killed_syncs_lose_nothing_and_double_nothing(exchange: Exchange, seed: int) -> None:
    print(f"to repeat: SEED={seed} KILLS={KILLS_EACH}")  # noqa: T201  shown where it fails
    for site in exchange.sites:
        site.set_for_peer(exchange.peer_of(site).name, TIMERS)
    cards_before = len(blocks(crew(exchange.ship)))
    numbers = exchange.ship.query("SELECT no FROM defects")
    users = CardUsers(random.Random(seed), {number for (number,) in numbers})
    kill_often(exchange, users)
    come_to_rest(exchange)
    assert_nothing_lost(exchange, users, cards_before)
    assert_no_litter(exchange)
