"""What is wrong with links and clocks: in status as long as it is so, in the log twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mailsync.carriers.base import Letter
from mailsync.core.model import Key
from mailsync.cycle.health import LinkHealth, examine_links
from mailsync.store.warnings import Warned
from tests.cycle.sites import DAY, HOUR, Sites, pair
from tests.faults.post import logged

LATE = "later changes of alice came before earlier ones, which may be on their way"


@pytest.fixture
def sites(tmp_path: Path) -> Sites:
    return pair(tmp_path)


def warnings(sites: Sites, name: str) -> list[Warned]:
    with sites.sites[name].store.transaction() as transaction:
        return transaction.warnings.all()


def health(sites: Sites, name: str) -> LinkHealth:
    with sites.sites[name].store.transaction() as transaction:
        (found,) = examine_links(sites.sites[name], transaction)
    return found


def texts(sites: Sites, name: str, kind: str) -> list[str]:
    return [event.text for event in logged(sites, name, kind)]


def edit(sites: Sites, number: int) -> None:
    """One more mail of Alice's is on its way."""
    sites.rows("alice")[Key(str(number))] = {"name": str(number)}
    sites.sync("alice")


def lose(sites: Sites, number: int) -> Letter:
    """A mail with these changes, which is lost or late: a later one comes to Bob."""
    edit(sites, number)
    (early,) = sites.network.in_transit
    sites.network.in_transit.clear()
    edit(sites, number + 1)
    sites.network.deliver_all()
    sites.sync("bob")
    return early


def exchange(sites: Sites, rounds: int = 3) -> None:
    for _ in range(rounds):
        sites.round()
        sites.clock.now += 2 * HOUR


# --- what is missing -----------------------------------------------------------------------


def test_what_is_late_is_shown_and_is_no_line_of_the_log(sites: Sites) -> None:
    early = lose(sites, 1)
    for _ in range(2):
        assert [one.text for one in warnings(sites, "bob")] == [LATE]
        sites.sync("bob")
    sites.network.in_transit.append(early)
    sites.network.deliver_all()
    sites.sync("bob")
    assert warnings(sites, "bob") == []
    assert texts(sites, "bob", "missing") == texts(sites, "bob", "complete") == []


def test_what_comes_in_the_wrong_order_in_one_look_is_not_even_late(sites: Sites) -> None:
    edit(sites, 1)
    edit(sites, 2)
    sites.network.in_transit.reverse()
    sites.network.deliver_all()
    sites.sync("bob")
    assert warnings(sites, "bob") == []
    assert not health(sites, "bob").missing.intervals


def test_nothing_is_missing_while_nothing_later_came(sites: Sites) -> None:
    edit(sites, 1)
    sites.network.in_transit.clear()
    sites.sync("bob")
    assert warnings(sites, "bob") == []


def test_what_is_missing_is_told_with_its_time_and_once_in_the_log(sites: Sites) -> None:
    exchange(sites)
    lose(sites, 1)
    since = sites.clock.now
    for _ in range(3):
        sites.clock.now += 2 * HOUR
        sites.sync("bob")
    (warned,) = warnings(sites, "bob")
    assert abs(warned.since - since) < HOUR
    assert warned.text.startswith("not all that alice sent has come, though later changes have")
    found = health(sites, "bob")
    assert found.missing_since == warned.since
    assert "did not come (missing since 2026-" in list(found.sentences())[1]
    (text,) = texts(sites, "bob", "missing")
    assert text.startswith("1 did not come, though later changes did")
    assert texts(sites, "bob", "complete") == []


def test_what_was_missing_and_comes_ends_the_warning_and_is_logged(sites: Sites) -> None:
    lose(sites, 1)
    sites.clock.now += 2 * HOUR
    sites.sync("bob")
    sites.clock.now += 2 * DAY
    exchange(sites)
    assert len(sites.rows("bob")) == 2
    assert warnings(sites, "bob") == []
    assert len(texts(sites, "bob", "missing")) == len(texts(sites, "bob", "complete")) == 1
    assert list(health(sites, "bob").sentences())[1] == "We hold those of alice up to 2."


def test_another_hole_is_missing_since_another_time(sites: Sites) -> None:
    """The first one is filled in the same look in which the second one shows."""
    first = lose(sites, 1)
    sites.clock.now += 2 * HOUR
    edit(sites, 3)
    sites.network.in_transit.clear()
    edit(sites, 4)
    sites.network.in_transit.append(first)
    sites.network.deliver_all()
    sites.sync("bob")
    (warned,) = warnings(sites, "bob")
    assert sites.clock.now - warned.since < HOUR
    assert health(sites, "bob").missing_since == warned.since


def test_what_is_not_taken_is_not_missing(tmp_path: Path) -> None:
    sites = Sites(tmp_path)
    sites.add("alice", {"bob": ""}, ("people", "boats"))
    sites.add("bob", {"alice": ""}, ("people",))
    sites.rows("alice", "boats")[Key("1")] = {"name": "Argo"}
    sites.sync("alice")
    sites.network.deliver_all()
    for _ in range(2):
        sites.sync("bob")
        sites.clock.now += 2 * HOUR
    assert health(sites, "bob").missing.intervals
    assert warnings(sites, "bob") == []
    assert texts(sites, "bob", "missing") == []


def test_of_a_peer_that_is_no_more_nothing_is_missing(sites: Sites) -> None:
    lose(sites, 1)
    sites.sites["bob"] = replace(sites.sites["bob"], peers={})
    sites.sync("bob")
    assert warnings(sites, "bob") == []


# --- silence -------------------------------------------------------------------------------


def silent(sites: Sites) -> None:
    """Bob, who answered once, is away for five days."""
    edit(sites, 0)
    exchange(sites)
    edit(sites, 1)
    for _ in range(5):
        sites.clock.now += DAY
        sites.network.in_transit.clear()
        sites.sync("alice")


def test_silence_is_logged_when_it_begins_and_when_it_ends(sites: Sites) -> None:
    silent(sites)
    (warned,) = warnings(sites, "alice")
    assert warned.text.startswith("bob is silent for longer than usual; mailsync doctor bob")
    (text,) = texts(sites, "alice", "silent")
    assert text.startswith("silent for longer than usual; last heard 2026-")
    assert texts(sites, "alice", "not silent") == []
    sites.clock.now += 8 * DAY
    exchange(sites, 6)
    assert len(sites.rows("bob")) == 2
    assert warnings(sites, "alice") == []
    (text,) = texts(sites, "alice", "not silent")
    assert text.startswith("heard again; silent since 2026-")


def test_silence_that_is_given_up_is_silence_still(sites: Sites) -> None:
    """Even where all that went to it is forgotten since: a delete."""
    edit(sites, 0)
    exchange(sites)
    del sites.rows("alice")[Key("0")]
    for _ in range(45):
        sites.sync("alice")
        sites.network.in_transit.clear()
        sites.clock.now += DAY
    assert health(sites, "alice").stale
    assert len(warnings(sites, "alice")) == len(texts(sites, "alice", "silent")) == 1
    assert texts(sites, "alice", "not silent") == []


def test_who_has_it_from_elsewhere_is_not_silent(tmp_path: Path) -> None:
    """Alice's mail to Bob is lost; Carol tells him, and he tells her alone."""
    sites = Sites(tmp_path)
    for name in ("alice", "bob", "carol"):
        sites.add(name, {peer: "" for peer in ("alice", "bob", "carol") if peer != name})
    exchange(sites)
    edit(sites, 1)
    sites.network.in_transit = [
        letter for letter in sites.network.in_transit if "bob" not in letter.recipient
    ]
    exchange(sites)
    sites.clock.now += 20 * DAY
    sites.sync("alice")
    assert warnings(sites, "alice") == []
    assert texts(sites, "alice", "silent") == []


def test_of_a_peer_that_is_no_more_nothing_is_expected(sites: Sites) -> None:
    silent(sites)
    sites.sites["alice"] = replace(sites.sites["alice"], peers={})
    sites.sync("alice")
    assert warnings(sites, "alice") == []


# --- clocks --------------------------------------------------------------------------------


def test_a_clock_that_is_ahead_is_logged_when_it_shows_and_when_it_is_over(sites: Sites) -> None:
    sites.clock.now += DAY
    sites.rows("bob")[Key("1")] = {"name": "Ada"}
    sites.sync("bob")
    sites.network.deliver_all()
    sites.clock.now -= DAY
    for _ in range(2):
        sites.sync("alice")
        sites.clock.now += HOUR
    (warned,) = warnings(sites, "alice")
    assert warned.text.startswith("the clock of some site is ahead of this one's, or this one's")
    (text,) = texts(sites, "alice", "clock")
    assert text.startswith("1439 minutes ahead: the clock of some site")
    sites.clock.now += DAY
    sites.sync("alice")
    assert warnings(sites, "alice") == []
    assert texts(sites, "alice", "clock")[1:] == ["none is ahead any more"]


def test_a_clock_of_ours_that_was_ahead_is_known_once_it_is_set_back(sites: Sites) -> None:
    sites.clock.now += DAY
    edit(sites, 1)
    assert warnings(sites, "alice") == []
    sites.clock.now -= DAY
    sites.sync("alice")
    (warned,) = warnings(sites, "alice")
    assert warned.text.startswith("this site's clock was ahead and has been set back")
    assert len(texts(sites, "alice", "clock")) == 1
    sites.clock.now += DAY + HOUR
    sites.sync("alice")
    assert warnings(sites, "alice") == []
