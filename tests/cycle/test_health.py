"""What status says of a link."""

import asyncio
from pathlib import Path

import pytest

from mailsync.core.model import Key
from mailsync.cycle.health import LinkHealth, Share, clock_ahead, examine_links
from mailsync.cycle.report import Report
from mailsync.cycle.run import Extent, run_cycle
from tests.cycle.sites import DAY, HOUR, Sites, pair


@pytest.fixture
def sites(tmp_path: Path) -> Sites:
    return pair(tmp_path)


def health(sites: Sites, name: str) -> LinkHealth:
    with sites.sites[name].store.transaction() as transaction:
        (found,) = examine_links(sites.sites[name], transaction)
    return found


def exchange(sites: Sites) -> None:
    for _ in range(3):
        sites.round()
        sites.clock.now += 2 * HOUR


def test_a_healthy_link_is_told_in_two_sentences(sites: Sites) -> None:
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    exchange(sites)
    assert list(health(sites, "alice").sentences()) == [
        "bob holds our changes up to 1.",
        "We hold those of bob up to 1.",
    ]
    assert not health(sites, "alice").troubled


def test_what_is_missing_is_named(sites: Sites) -> None:
    for number in range(3):
        sites.rows("alice")[Key(str(number))] = {"name": str(number)}
        sites.sync("alice")
        if number == 1:
            sites.network.in_transit.clear()
        sites.network.deliver_all()
    sites.sync("bob")
    assert "up to 1, but 2 did not come" in list(health(sites, "bob").sentences())[1]


def test_what_is_on_its_way_is_named_with_its_time(sites: Sites) -> None:
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    sites.sync("alice")
    assert "holds our changes up to 0; 1 on the way since 2026-" in next(
        health(sites, "alice").sentences()
    )


def test_what_a_peer_got_elsewhere_is_not_on_the_way(tmp_path: Path) -> None:
    sites = Sites(tmp_path)
    for name in ("alice", "bob", "carol"):
        sites.add(name, {peer: "" for peer in ("alice", "bob", "carol") if peer != name})
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    sites.sync("alice")
    sites.network.in_transit = [
        letter for letter in sites.network.in_transit if "bob" not in letter.recipient
    ]
    for _ in range(4):
        sites.round()
        sites.clock.now += 2 * HOUR
    assert sites.contents("bob") == sites.contents("alice")
    with sites.sites["alice"].store.transaction() as transaction:
        for link in examine_links(sites.sites["alice"], transaction):
            assert "on the way" not in " ".join(link.sentences())


def test_a_peer_that_does_not_answer_is_called_silent_in_time(sites: Sites) -> None:
    exchange(sites)
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    sites.sync("alice")
    sites.clock.now += 3 * DAY
    assert not health(sites, "alice").silent
    sites.clock.now += 2 * DAY
    assert health(sites, "alice").silent
    assert any("silent for longer" in words for words in health(sites, "alice").sentences())


def test_a_peer_with_nothing_to_answer_is_not_called_silent(sites: Sites) -> None:
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    exchange(sites)
    sites.clock.now += 50 * DAY
    assert not health(sites, "alice").silent


def test_a_clock_that_is_ahead_is_noticed(sites: Sites) -> None:
    sites.clock.now += 400 * DAY
    sites.rows("bob")[Key("1")] = {"name": "Ada"}
    sites.sync("bob")
    sites.network.deliver_all()
    sites.clock.now -= 400 * DAY
    sites.sync("alice")
    with sites.sites["alice"].store.transaction() as transaction:
        assert clock_ahead(sites.sites["alice"], transaction) > 399 * DAY


def test_a_dataset_the_peer_does_not_take_is_named_at_both_ends(tmp_path: Path) -> None:
    sites = Sites(tmp_path)
    sites.add("alice", {"bob": ""}, ("people", "boats"))
    sites.add("bob", {"alice": ""}, ("people",))
    sites.rows("alice", "boats")[Key("1")] = {"name": "Argo"}
    exchange(sites)
    assert health(sites, "alice").refused == {"boats"}
    assert health(sites, "bob").refusing == {"boats"}


def test_how_much_of_a_load_is_confirmed_is_told(
    sites: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailsync.cycle.health.LOAD_MIN", 3)
    for number in range(4):
        sites.rows("alice")[Key(str(number))] = {"name": str(number)}
    assert not health(sites, "alice").lacking
    sites.sync("alice")
    assert health(sites, "alice").lacking == {"people": Share(4, 4)}
    assert "bob has not confirmed 4 of 4 records of people yet." in list(
        health(sites, "alice").sentences()
    )
    sites.network.deliver_all()
    sites.sync("bob")
    sites.clock.now += 2 * HOUR
    sites.sync("bob")
    for number in range(4, 6):
        sites.rows("alice")[Key(str(number))] = {"name": str(number)}
    sites.sync("alice")
    sites.network.deliver_all()
    sites.sync("alice")
    found = health(sites, "alice")
    assert found.lacking == {"people": Share(2, 6)}
    assert not any("has not confirmed" in words for words in found.sentences())
    del sites.rows("alice")[Key("0")]
    sites.sync("alice")
    assert health(sites, "alice").lacking == {"people": Share(2, 5)}


def test_progress_says_how_many_there_are(sites: Sites) -> None:
    for number in range(5):
        sites.rows("alice")[Key(str(number))] = {"name": str(number)}
    seen: list[tuple[str, int, int | None]] = []

    def watch(what: str, count: int, total: int | None = None, /) -> None:
        seen.append((what, count, total))

    for name in ("alice", "bob"):
        asyncio.run(run_cycle(sites.sites[name], Extent(), Report(progress=watch)))
        sites.network.deliver_all()
    for what, total in (
        ("composing for bob, records", 5),
        ("sending mails", 1),
        ("merging bundles", 1),
        ("writing people, records", 5),
    ):
        assert (what, total, total) in seen
