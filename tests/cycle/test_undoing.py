"""What a bundle did is taken back, as new edits."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from mailsync.core.model import Key, is_alive
from mailsync.core.undoing import Undone
from mailsync.cycle.report import Report
from mailsync.cycle.undoing import rehearse_undo, undo
from mailsync.errors import UsageError
from tests.cycle.sites import DAY, Sites
from tests.cycle.test_policies import CHAIN, NAMES, conflicts, everywhere, settle

KEYS = [Key(f"k{number}") for number in range(4)]


@pytest.fixture
def sites(tmp_path: Path) -> Sites:
    """Three rows at three sites, and a set of Alice's that changes each in its own way."""
    sites = Sites(tmp_path)
    for name in NAMES:
        peers = [other for edge in CHAIN if name in edge for other in edge if other != name]
        sites.add(name, dict.fromkeys(peers, ""))
    for key in KEYS[:3]:
        sites.rows("alice")[key] = {"part": str(key), "stock": "1", "shelf": "A"}
    settle(sites)
    rows = sites.rows("alice")
    rows[KEYS[0]] = {**rows[KEYS[0]], "stock": "0", "shelf": "B"}
    del rows[KEYS[1]]
    rows[KEYS[3]] = {"part": "k3", "stock": "9", "shelf": "C"}
    settle(sites)
    return sites


def bundle_at(sites: Sites, name: str) -> int:
    """The number of the last bundle that changed something at the site."""
    with sites.sites[name].store.transaction() as transaction:
        events = transaction.history.events()
    told = [event.text for event in events if event.kind == "received"]
    return int([text for text in told if "1 deletes" in text][-1].split()[1].rstrip(":"))


def told(undone: list[Undone]) -> list[tuple[str, list[str], dict[str, str]]]:
    return sorted((one.change.value, sorted(one.fields), dict(one.left)) for one in undone)


def stock(sites: Sites) -> dict[str, tuple[str, str]]:
    rows = everywhere(sites)
    return {str(row["part"]): (str(row["stock"]), str(row["shelf"])) for row in rows}


@pytest.mark.parametrize("where", ["bob", "carol"])
def test_edits_deletes_and_inserts_are_taken_back_everywhere(sites: Sites, where: str) -> None:
    undone = undo(sites.sites[where], bundle_at(sites, where), Report())
    assert told(undone) == [
        ("deleted", ["part", "shelf", "stock"], {}),
        ("edited", ["shelf", "stock"], {}),
        ("inserted", [], {}),
    ]
    settle(sites)
    assert stock(sites) == dict.fromkeys(KEYS[:3], ("1", "A"))
    for name in NAMES:
        assert all(conflict.closed for conflict in conflicts(sites, name))


def test_a_rehearsal_says_the_same_and_writes_nothing(sites: Sites) -> None:
    number, before = bundle_at(sites, "bob"), copy.deepcopy(stock(sites))
    rehearsed = rehearse_undo(sites.sites["bob"], number)
    settle(sites)
    assert stock(sites) == before
    assert told(rehearsed) == told(undo(sites.sites["bob"], number, Report()))


def test_what_was_written_since_stays_and_is_named(sites: Sites) -> None:
    number = bundle_at(sites, "carol")
    rows = sites.rows("bob")
    (edited,) = [key for key, row in rows.items() if row["part"] == "k0"]
    (inserted,) = [key for key, row in rows.items() if row["part"] == "k3"]
    rows[edited] = {**rows[edited], "stock": "7"}
    rows[inserted] = {**rows[inserted], "stock": "8"}
    settle(sites)
    assert told(undo(sites.sites["carol"], number, Report())) == [
        ("deleted", ["part", "shelf", "stock"], {}),
        ("edited", ["shelf"], {"stock": "it was edited since"}),
        ("inserted", [], {"": "it was edited since"}),
    ]
    settle(sites)
    assert stock(sites) == {
        "k0": ("7", "A"),
        "k1": ("1", "A"),
        "k2": ("1", "A"),
        "k3": ("8", "C"),
    }


def test_an_undo_done_twice_finds_nothing_left(sites: Sites) -> None:
    number = bundle_at(sites, "bob")
    undo(sites.sites["bob"], number, Report())
    settle(sites)
    assert told(undo(sites.sites["bob"], number, Report())) == [
        ("deleted", [], {"": "it is there again"}),
        ("edited", [], dict.fromkeys(["shelf", "stock"], "it was edited since")),
        ("inserted", [], {"": "it was deleted since"}),
    ]


def test_a_delete_is_taken_back_when_all_have_forgotten_it(sites: Sites) -> None:
    number = bundle_at(sites, "bob")
    sites.clock.now += 40 * DAY
    settle(sites)
    with sites.sites["bob"].store.transaction() as transaction:
        assert all(is_alive(record.entries) for record in transaction.records.all())
    undo(sites.sites["bob"], number, Report())
    settle(sites)
    assert stock(sites) == dict.fromkeys(KEYS[:3], ("1", "A"))


def test_what_nobody_remembers_cannot_be_undone(sites: Sites) -> None:
    with pytest.raises(UsageError, match="nothing is known that bundle 999 changed"):
        undo(sites.sites["bob"], 999, Report())
    number = bundle_at(sites, "bob")
    sites.clock.now += 100 * DAY
    settle(sites)
    with pytest.raises(UsageError, match="nothing is known"):
        undo(sites.sites["bob"], number, Report())
