"""What is too large for a bundle once it is merged: named, kept back, and in nobody's way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pytest

from mailsync.core import fitness, weights, wire
from mailsync.core.forgetting import expire
from mailsync.core.model import Key
from mailsync.core.tokens import TooMuch
from mailsync.cycle import composing
from mailsync.cycle.report import Report
from mailsync.cycle.run import Extent, run_cycle
from mailsync.errors import Exit
from mailsync.store.history import HeldItem
from tests.cycle.sites import DAY, Sites, pair

HALF = 12_000
"""A record may be of so many bytes, but not of twice as many."""


@pytest.fixture(autouse=True)
def small_bundles(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Bundles of some 24,000 bytes instead of 8 MiB: it goes faster."""
    monkeypatch.setattr(fitness, "GOING_MAX", 20_000)
    monkeypatch.setattr(weights, "HEAVY", 2_000)
    monkeypatch.setattr(weights, "SIZE_LIMIT", 6_000)
    before = wire.DEFAULT_LIMITS
    size, objects = before.raw_size, before.objects
    bounded("raw_size", 24_000)
    yield
    bounded("raw_size", size)
    bounded("objects", objects)


def bounded(name: str, limit: int) -> None:
    """Another limit than bundles have."""
    object.__setattr__(wire.DEFAULT_LIMITS, name, limit)


@pytest.fixture
def sites(tmp_path: Path) -> Sites:
    """Alice and Bob write, Carol is a peer of Alice alone."""
    found = Sites(tmp_path)
    found.add("alice", {"bob": "", "carol": ""})
    found.add("bob", {"alice": ""})
    found.add("carol", {"alice": ""})
    return found


def withheld(sites: Sites, name: str) -> list[HeldItem]:
    """What the store of a site says is held from others."""
    with sites.sites[name].store.transaction() as transaction:
        return [item for item in transaction.history.held() if item.peer]


def grown(sites: Sites, size: int = HALF, his: str = "right") -> None:
    """A record that all have, in which Alice now writes the left field and Bob his; then others."""
    sites.rows("alice")[Key("1")] = {"name": "Ada", "left": "", "right": ""}
    for _ in range(3):
        sites.round()
    write(sites, "alice", left="x" * size)
    write(sites, "bob", **{his: "y" * size})
    sites.sync("bob")
    sites.network.deliver_all()
    sites.rows("alice")[Key("2")] = {"name": "Bo", "left": "", "right": ""}


def write(sites: Sites, name: str, **fields: str) -> None:
    """Into the row that all have."""
    rows = sites.rows(name)
    [key] = [key for key, row in rows.items() if row["name"] == "Ada"]
    rows[key] = {**rows[key], **fields}


def names(sites: Sites, name: str) -> list[str]:
    return sorted(str(row["name"]) for row in sites.rows(name).values())


def test_a_record_that_a_merge_made_too_large_is_named_and_in_nobodys_way(sites: Sites) -> None:
    grown(sites)
    report = sites.sync("alice")
    [reason] = report.all_held()["people"].values()
    assert "too large for carol" in reason
    assert f"right {HALF + 5}, left {HALF + 4}" in reason
    assert "make it smaller" in reason
    assert report.exit_code is Exit.PARTLY
    sites.network.deliver_all()
    sites.sync("carol")
    assert names(sites, "carol") == ["Ada", "Bo"]  # of which Ada is as she was
    assert [len(str(row["left"])) for row in sites.rows("carol").values()] == [0, 0]
    [item] = withheld(sites, "alice")
    assert (item.dataset, item.name, item.peer) == ("people", "1", "carol")
    sites.round()
    [left] = [row["left"] for row in sites.rows("bob").values() if row["name"] == "Ada"]
    assert left == "x" * HALF  # who has the one half gets the other


def test_it_goes_by_itself_once_it_is_small_again(sites: Sites) -> None:
    grown(sites)
    for _ in range(3):
        sites.round()
    write(sites, "alice", left="short")
    for _ in range(3):
        sites.round()
    assert not withheld(sites, "alice")
    assert not any(sites.sync("alice").all_held().values())
    assert sites.contents("carol") == sites.contents("alice") == sites.contents("bob")


def test_it_stays_named_while_nothing_is_sent_or_only_to_others(sites: Sites) -> None:
    grown(sites)
    sites.sync("alice")
    [before] = withheld(sites, "alice")
    sites.sync("alice", Extent(sending=False))
    sites.sync("alice", Extent(peers=frozenset({"bob"})))
    assert withheld(sites, "alice") == [before]


def test_two_texts_that_are_long_in_octets_alone_travel_one_by_one(tmp_path: Path) -> None:
    sites = Sites(tmp_path)
    for name, peer in (("alice", "bob"), ("bob", "alice")):
        sites.add(name, {peer: ""})
    for number in range(3):
        sites.rows("alice")[Key(str(number))] = {"text": "\N{HIRAGANA LETTER A}" * 5_500}
    for _ in range(3):
        sites.round()
    assert sites.contents("bob") == sites.contents("alice")


def test_a_text_that_doubles_as_it_is_written_is_named_too(tmp_path: Path) -> None:
    sites = Sites(tmp_path)
    for name, peer in (("alice", "bob"), ("bob", "alice")):
        sites.add(name, {peer: ""})
    sites.rows("alice")[Key("1")] = {"text": "\\" * HALF}
    sites.rows("alice")[Key("2")] = {"text": "short"}
    report = sites.sync("alice")
    assert list(report.all_held()["people"]) == ["1"]
    sites.network.deliver_all()
    sites.sync("bob")
    assert [row["text"] for row in sites.rows("bob").values()] == ["short"]


@dataclass
class Desk:
    """Where a bundle with a record is too large as long as all of the rest is to be said, too."""

    says_more: bool
    tried: list[int] = field(default_factory=list)

    bare = 0

    def draft(self, size_limit: int, _records: Iterable[Any]) -> NoReturn:
        self.tried.append(size_limit)
        raise TooMuch("a bundle of 25000 bytes is larger than peers accept")


def test_what_else_is_to_be_said_goes_alone_if_no_record_has_room_beside_it() -> None:
    desk: Any = Desk(says_more=True)
    found: Any = composing._acceptable(desk, 8, list)
    assert found == 0
    assert desk.tried == [8, 4, 2, 1]


def test_a_record_that_has_room_nowhere_after_all_is_a_defect_and_no_endless_loop() -> None:
    desk: Any = Desk(says_more=False)
    with pytest.raises(TooMuch):
        composing._acceptable(desk, 8, list)
    assert desk.tried == [8, 4, 2, 1]


def test_a_list_of_all_that_no_bundle_holds_is_named_and_in_nobodys_way(tmp_path: Path) -> None:
    sites = pair(tmp_path)
    sites.rows("alice").update({Key(str(n)): {"n": n} for n in range(130)})
    for _ in range(3):
        sites.round()
    alice = sites.sites["alice"]
    with alice.store.transaction() as transaction:
        transaction.save_links({"bob": expire(alice.links(transaction)["bob"])})
    bounded("objects", 120)
    sites.rows("alice")[Key("7")] = {"n": 700}
    report = asyncio.run(run_cycle(alice, Extent(), Report()))
    [problem] = report.problems
    assert "130 are more than a bundle holds" in str(problem)
    assert "a site of their own" in problem.advice
    assert report.exit_code is Exit.PARTLY
    assert report.peers["bob"].sent.upserts == 1
    sites.network.deliver_all()
    sites.sync("bob")
    assert {"n": 700} in sites.rows("bob").values()
    assert not sites.sync("alice").peer("bob").sent.mails  # nor anything that lists nothing
    with alice.store.transaction() as transaction:
        [warned] = transaction.warnings.all()
        assert warned.text == str(problem)
    bounded("objects", 1_000_000)
    for _ in range(3):
        sites.clock.now += 8 * DAY
        sites.round()
    with alice.store.transaction() as transaction:
        assert not alice.links(transaction)["bob"].stale
        assert not transaction.warnings.all()


@pytest.mark.parametrize("size", [9_000, 13_000, 18_000])
def test_a_record_and_what_lost_in_it_go_one_by_one_where_one_bundle_is_too_small(
    sites: Sites, size: int
) -> None:
    grown(sites, size, his="left")
    for name in ("alice", "carol", "bob", "alice", "carol", "alice"):
        report = sites.sync(name)
        assert not report.problems
        sites.network.deliver_all()
    assert sites.contents("carol") == sites.contents("alice")
    assert names(sites, "carol") == ["Ada", "Bo"]
