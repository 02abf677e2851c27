"""Sites that both hold related tables, each with keys of its own, meet."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from mailsync.cycle.report import Report
from mailsync.cycle.run import Extent, run_cycle
from tests.cycle.sites import DAY, keys_of
from tests.cycle.tables import Databases

SCHEMA = """
CREATE TABLE ship (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, port TEXT);
CREATE TABLE crew (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL,
    ship INTEGER NOT NULL REFERENCES ship (id), boss INTEGER REFERENCES crew (id)
);
"""
SHIPS = "SELECT name, port FROM ship ORDER BY 1, 2"
CREW = (
    "SELECT crew.name, ship.name, boss.name FROM crew JOIN ship ON ship.id = crew.ship"
    " LEFT JOIN crew AS boss ON boss.id = crew.boss ORDER BY 1, 2"
)


KEEPER, OTHER = sorted(("here", "there"), key=lambda name: keys_of(name).public.site_number)
"""Whose identifiers stay, and who takes them over."""


class Pair(Databases):
    """Two sites with ships and their crews."""

    def __init__(self, directory: Path, match: str, ships: str = "") -> None:
        """``ships``: what else their sections say."""
        super().__init__(directory)
        for name, peer in (("here", "there"), ("there", "here")):
            self.add(name, peer, SCHEMA, {"crew": match, "ship": f"{match}\n{ships}"})

    def settle(self) -> int:
        mails = 0
        for _ in range(6):
            for site in self.sites.values():
                report = asyncio.run(run_cycle(site, Extent(), Report()))
                assert not report.problems, report.problems
                assert not any(report.held.values()), report.held
                mails += sum(peer.sent.mails for peer in report.peers.values())
                self.network.deliver_all()
        return mails

    def round(self, time: int) -> int:
        """One cycle of both, all mail delivered; then so much time. How many mails there were."""
        mails = 0
        for site in self.sites.values():
            report = asyncio.run(run_cycle(site, Extent(), Report()))
            assert not report.problems, report.problems
            mails += sum(peer.sent.mails for peer in report.peers.values())
            self.network.deliver_all()
        self.clock.now += time
        return mails

    def guids(self, name: str, table: str) -> set[bytes]:
        with self.sites[name].store.transaction() as transaction:
            return {one.guid for one in transaction.records.of(table) if one.shadow is not None}


@pytest.fixture
def pair(tmp_path: Path) -> Any:
    pair = Pair(tmp_path, 'match = ["name"]')
    # the same ships and people under other keys, entered in another order
    pair.run("here", "INSERT INTO ship VALUES (1, 'Aurora', 'Oslo'), (2, 'Borealis', 'Bergen')")
    pair.run(
        "here",
        "INSERT INTO crew VALUES (1, 'Ada', 1, NULL), (2, 'Ben', 1, 1), (3, 'Cem', 2, 1),"
        " (4, 'Dot', 2, 3)",
    )
    pair.run("there", "INSERT INTO ship VALUES (7, 'Borealis', 'Bergen'), (8, 'Aurora', 'Oslo')")
    pair.run(
        "there",
        "INSERT INTO crew VALUES (6, 'Ada', 8, NULL), (5, 'Cem', 7, 6), (3, 'Dot', 7, 5),"
        " (2, 'Ben', 8, 6)",
    )
    yield pair
    pair.close()


def test_equal_tables_become_one_and_keep_their_keys(pair: Pair) -> None:
    before = {name: pair.run(name, "SELECT * FROM crew ORDER BY id") for name in pair.sites}
    pair.settle()
    for name, rows in before.items():
        assert pair.run(name, "SELECT * FROM crew ORDER BY id") == rows
    for table in ("ship", "crew"):
        assert pair.guids("here", table) == pair.guids("there", table)
    assert pair.settle() == 0


@pytest.mark.parametrize("late", ["here", "there"])
def test_references_follow_a_parent_that_differs(pair: Pair, late: str) -> None:
    pair.run(late, "UPDATE ship SET port = 'Tromsø' WHERE name = 'Aurora'")
    pair.run(late, "INSERT INTO crew SELECT NULL, 'Eve', ship, boss FROM crew WHERE name = 'Ben'")
    pair.settle()
    assert pair.run("here", SHIPS) == pair.run("there", SHIPS)
    assert len(pair.run("here", SHIPS)) == 2
    crew = pair.run("here", CREW)
    assert crew == pair.run("there", CREW)
    assert ("Eve", "Aurora", "Ada") in crew
    assert len(crew) == 5
    pair.run(
        "there",
        "UPDATE crew SET boss = (SELECT id FROM crew WHERE name = 'Eve') WHERE name = 'Dot'",
    )
    pair.settle()
    assert ("Dot", "Borealis", "Eve") in pair.run("here", CREW)
    assert pair.settle() == 0


@pytest.mark.parametrize("days", [2, 4])
def test_what_refers_to_a_record_that_never_comes_is_not_asked_for_for_ever(
    tmp_path: Path, days: int
) -> None:
    pair = Pair(tmp_path, 'match = ["name"]', ships='direction = "receive"')
    for name in pair.sites:
        pair.run(name, "INSERT INTO ship VALUES (1, 'Aurora', 'Oslo'), (2, 'Borealis', 'Bergen')")
        pair.run(name, "INSERT INTO crew VALUES (1, 'Ada', 1, NULL), (2, 'Ben', 2, NULL)")
    for _ in range(days):
        pair.round(DAY)
    pair.run(KEEPER, "UPDATE crew SET ship = 2 WHERE name = 'Ada'")
    for _ in range(6):
        pair.round(DAY)
    mails = [pair.round(8 * DAY) for _ in range(6)]
    assert mails[-3:] == [0, 0, 0]
    site = pair.sites[OTHER]
    held = asyncio.run(run_cycle(site, Extent(), Report())).held["crew"].values()
    assert "ship refers to a record of ship that is not here" in held
    pair.close()
