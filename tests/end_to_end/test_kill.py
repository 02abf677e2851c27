"""``kill -9`` at any moment loses nothing, doubles nothing, and leaves no litter.

``KILLS`` in the environment says how many in all (default 100), ``SEED`` the first seed; there
is one for each test of 20 kills. The moments are fractions of what a whole sync takes here, so
a seed repeats them as well as two machines ever agree.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field

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

KILLS = int(os.environ.get("KILLS", "100"))
SEED = int(os.environ.get("SEED", "1"))
KILLS_EACH = min(KILLS, 20)
SEEDS = range(SEED, SEED + -(-KILLS // KILLS_EACH))

FIELDS = ("title", "status", "note")
CARDS = [f"contact-{number:02}@contacts.example" for number in (1, 5, 13)]
TIMERS = 'acknowledge_after = "2s"\nresend_after = "4s"'
LONG_AGO = 7200.0


@dataclass
class Users:
    """Ordinary programs at both sites, and what everybody wrote, saw and deleted.

    Every value written is unique, so that it can be told what became of it.
    """

    chance: random.Random
    exchange: Exchange
    created: set[str] = field(default_factory=set)
    cards: set[str] = field(default_factory=set)
    """UIDs of new cards."""
    edited: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    written: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Value to the record and field it was written to."""
    replaced: set[str] = field(default_factory=set)
    """Values that a user saw and overwrote or deleted."""
    count: int = 0

    def use_table(self, site: SiteDirectory) -> None:
        """One insert, edit or delete, in a transaction that reads what it replaces."""
        with closing(sqlite3.connect(site.database, timeout=60, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            numbers = [no for (no,) in database.execute("SELECT no FROM defects ORDER BY no")]
            act = self.chance.choices((self._insert, self._edit, self._delete), (4, 5, 1))[0]
            if numbers:
                act(database, site, self.chance.choice(numbers))
            else:
                self._insert(database, site, "")
            database.execute("COMMIT")

    def use_cards(self, site: SiteDirectory) -> None:
        """Edit a card, or now and then add one."""
        if self.chance.random() < 0.2:
            uid = self._value(site)
            self.cards.add(uid)
            add_card(crew(site), uid, "Somebody")
            return
        uid = self.chance.choice(CARDS)
        self.replaced.add(text_line(crew(site), uid, "TITLE"))
        set_text_line(crew(site), uid, "TITLE", self._write(site, uid, "title"))

    def _insert(self, database: sqlite3.Connection, site: SiteDirectory, _: str) -> None:
        number = self._value(site)
        self.created.add(number)
        values = [self._write(site, number, name) for name in FIELDS]
        database.execute(
            "INSERT INTO defects (no, title, status, note) VALUES (?, ?, ?, ?)", (number, *values)
        )

    def _edit(self, database: sqlite3.Connection, site: SiteDirectory, number: str) -> None:
        name = self.chance.choice(FIELDS)
        self._see(database, number, (name,))
        value = self._write(site, number, name)
        self.edited.add(number)
        database.execute(f"UPDATE defects SET {name} = ? WHERE no = ?", (value, number))

    def _delete(self, database: sqlite3.Connection, _: SiteDirectory, number: str) -> None:
        self._see(database, number, FIELDS)
        self.deleted.add(number)
        database.execute("DELETE FROM defects WHERE no = ?", (number,))

    def _see(self, database: sqlite3.Connection, number: str, names: tuple[str, ...]) -> None:
        rows = database.execute(f"SELECT {', '.join(names)} FROM defects WHERE no = ?", (number,))
        self.replaced.update(value for row in rows for value in row)

    def _write(self, site: SiteDirectory, record: str, name: str) -> str:
        value = self._value(site)
        self.written[value] = (record, name)
        return value

    def _value(self, site: SiteDirectory) -> str:
        self.count += 1
        return f"{site.name}-{self.count:05}"


def whole_sync_seconds(exchange: Exchange) -> tuple[float, float]:
    """How long the program takes to start, and to carry out a sync."""
    start = time.monotonic()
    exchange.ship.run("config", "check")
    between = time.monotonic()
    exchange.ship.run("sync")
    return between - start, time.monotonic() - between


def kill_amid_sync(site: SiteDirectory, moments: tuple[float, float], users: Users) -> bool:
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


def kill_often(exchange: Exchange, users: Users) -> None:
    """Users work and syncs are killed, at one site after the other."""
    start, whole = whole_sync_seconds(exchange)
    kills = turn = 0
    while kills < KILLS_EACH:
        site = exchange.sites[turn % 2]
        turn += 1
        for _ in range(users.chance.randrange(4)):
            users.use_table(site)
        if users.chance.random() < 0.4:
            users.use_cards(site)
        moment = users.chance.uniform(0.8 * start, start + 1.2 * whole)
        during = moment * users.chance.random()
        kills += kill_amid_sync(site, (during, moment - during), users)
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


def assert_nothing_lost(exchange: Exchange, users: Users, cards_before: int) -> None:
    """Every value stands, or a user saw and replaced it, or it is in both journals."""
    rows = exchange.ship.query(f"SELECT no, {', '.join(FIELDS)} FROM defects")
    here = {row[0] for row in rows}
    doubled = [number for number, times in Counter(row[0] for row in rows).items() if times > 1]
    assert not doubled
    assert here <= users.created
    assert not users.created - users.deleted - here, "records are lost"
    assert not here & users.deleted - users.edited, "what was deleted and never edited is back"
    cards = [line for card in blocks(crew(exchange.ship)) for line in card[1]]
    assert users.cards == {uid for uid in users.cards if f"UID:{uid}" in cards}
    assert cards.count("VERSION:3.0") + cards.count("VERSION:4.0") == cards_before + len(
        users.cards
    )
    standing = {value for row in rows for value in row[1:]}
    standing |= {text_line(crew(exchange.ship), uid, "TITLE") for uid in CARDS}
    for site in exchange.sites:
        journal = site.json("conflicts", "list", "--all")[:-1]
        lost = users.written.keys() - standing - users.replaced
        lost -= {str(one["loser"]).removeprefix("TITLE:") for one in journal}
        assert {value: users.written[value] for value in lost} == {}, (
            f"no word of it at {site.name}"
        )


def assert_no_litter(exchange: Exchange) -> None:
    """Temporary files of killed writers are gone once they are old and something is written."""
    for site in exchange.sites:
        for path in stray_files(site):
            os.utime(path, (time.time() - LONG_AGO,) * 2)
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
    users = Users(random.Random(seed), exchange, created={number for (number,) in numbers})
    kill_often(exchange, users)
    come_to_rest(exchange)
    assert_nothing_lost(exchange, users, cards_before)
    assert_no_litter(exchange)
