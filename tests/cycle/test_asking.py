"""A person asks a peer to synchronize now; the peer does so in its next cycle, once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mailsync.carriers.base import Retry
from mailsync.core.model import Key, Link
from mailsync.core.requests import Asked, Request
from mailsync.cycle import asking
from mailsync.cycle.health import examine_links
from mailsync.cycle.report import Report
from mailsync.errors import UsageError
from tests.cycle.sites import HOUR, Sites
from tests.cycle.test_guards import a_pair, cycle, is_stopped, mass_delete, settle, stops


@pytest.fixture
def sites(tmp_path: Path) -> Sites:
    return a_pair(tmp_path, count=10)


def link(sites: Sites, name: str, peer: str) -> Link:
    with sites.sites[name].store.transaction() as transaction:
        return sites.sites[name].links(transaction)[peer]


def sentences(sites: Sites, name: str) -> str:
    with sites.sites[name].store.transaction() as transaction:
        (health,) = examine_links(sites.sites[name], transaction)
    return "\n".join(health.sentences())


def events(sites: Sites, name: str, kind: str) -> list[str]:
    with sites.sites[name].store.transaction() as transaction:
        return [event.text for event in transaction.history.events() if event.kind == kind]


def ask(sites: Sites, *datasets: str, deletes: int = 0) -> None:
    """Alice asks Bob, and Bob gets the mail."""
    asking.ask(sites.sites["alice"], "bob", datasets, deletes)
    assert cycle(sites, "alice").peers["bob"].sent.mails == 1
    sites.network.deliver_all()


def lose_from_bob(sites: Sites, dataset: str = "people") -> None:
    """Bob sends an edit of Alice's first record of the dataset; it is lost on the way."""
    key = min(sites.rows("bob", dataset))
    sites.rows("bob", dataset)[key] = {**sites.rows("bob", dataset)[key], "note": "lost"}
    assert cycle(sites, "bob").peers["alice"].sent.upserts == 1
    sites.network.in_transit.clear()
    assert cycle(sites, "bob").peers["alice"].sent.mails == 0


def answer(sites: Sites) -> Report:
    report = cycle(sites, "bob")
    sites.network.deliver_all()
    cycle(sites, "alice")
    return report


def test_the_peer_acknowledges_at_once_though_nothing_is_due(sites: Sites) -> None:
    ask(sites)
    assert answer(sites).peers["alice"].sent.mails == 1
    asked, theirs = link(sites, "alice", "bob").asking, link(sites, "bob", "alice").asked
    assert asked is not None
    assert theirs is not None
    assert asked.answered_at is not None
    assert asked.request == theirs.request
    assert sites.round() == 0


def test_what_is_on_its_way_goes_again_before_its_timer(sites: Sites) -> None:
    lose_from_bob(sites)
    ask(sites, "people")
    assert answer(sites).peers["alice"].sent.upserts == 1
    assert sites.contents("alice") == sites.contents("bob")


def test_what_was_not_asked_for_waits_for_its_timer(sites: Sites) -> None:
    lose_from_bob(sites)
    ask(sites, "boats")
    report = answer(sites)
    assert (report.peers["alice"].sent.mails, report.peers["alice"].sent.upserts) == (1, 0)


def test_a_request_is_answered_with_what_users_did_just_now(sites: Sites) -> None:
    ask(sites, "boats")
    sites.rows("bob", "boats")[Key("9")] = {"name": "Argo"}
    answer(sites)
    assert len(sites.rows("alice", "boats")) == 2


def test_it_is_said_once(sites: Sites) -> None:
    asking.ask(sites.sites["alice"], "bob", [], 0)
    for _ in range(3):
        cycle(sites, "alice")
    assert len(sites.network.in_transit) == 1
    sites.network.in_transit.clear()
    assert [sites.round() for _ in range(3)] == [0, 0, 0]
    assert "We asked bob" in sentences(sites, "alice")
    assert "not answered yet" in sentences(sites, "alice")


def test_a_mad_peer_gets_one_answer_an_hour(sites: Sites) -> None:
    answers = 0
    for number in range(12):
        site = sites.sites["alice"]
        with site.store.transaction() as transaction:
            alice = site.links(transaction)["bob"]
            inquiry = Asked(Request(number, frozenset()), sites.clock.now)
            transaction.save_links({"bob": replace(alice, asking=inquiry, owe_since=0)})
        cycle(sites, "alice")
        sites.network.deliver_all()
        answers += cycle(sites, "bob").peers["alice"].sent.mails
        sites.network.deliver_all()
        sites.clock.now += HOUR // 5
    assert answers == 3
    assert any("is not answered" in text for text in events(sites, "bob", "asked"))


def test_a_mail_that_comes_twice_asks_once(sites: Sites) -> None:
    asking.ask(sites.sites["alice"], "bob", [], 0)
    cycle(sites, "alice")
    letters = list(sites.network.in_transit)
    sites.network.deliver_all()
    answer(sites)
    sites.clock.now += 2 * HOUR
    settle(sites)
    before = link(sites, "bob", "alice").asked
    sites.network.in_transit.extend(letters)
    sites.network.deliver_all()
    cycle(sites, "bob")
    assert link(sites, "bob", "alice").asked == before


def test_who_was_answered_just_now_is_told_when_to_ask_again(sites: Sites) -> None:
    ask(sites)
    answer(sites)
    with pytest.raises(UsageError, match="answers once an hour"):
        ask(sites)
    sites.clock.now += HOUR
    ask(sites)
    answer(sites)
    assert len(events(sites, "bob", "asked")) == 2


def test_a_dataset_that_is_not_shared_is_named(sites: Sites) -> None:
    with pytest.raises(UsageError, match="bob shares no dataset cargo; it shares: boats, people"):
        asking.ask(sites.sites["alice"], "bob", ["cargo"], 0)


def test_both_ends_tell_of_it(sites: Sites) -> None:
    ask(sites, "people")
    answer(sites)
    for name, words in (("alice", "We asked bob at "), ("bob", "alice asked us at ")):
        assert words in sentences(sites, name)
        assert "to synchronize people now; answered at" in sentences(sites, name)
    assert events(sites, "alice", "asks") == ["to synchronize people now"]
    assert events(sites, "bob", "asked") == ["to synchronize people now"]
    assert len(events(sites, "alice", "answers")) == 1


def test_a_request_that_was_recalled_from_the_outbox_is_said_again(sites: Sites) -> None:
    taken, sites.network.judge = sites.network.judge, lambda _: Retry("down")
    asking.ask(sites.sites["alice"], "bob", ["boats"], 0)
    cycle(sites, "alice")
    sites.network.judge = taken
    cycle(sites, "alice")
    sites.network.deliver_all()
    asked = link(sites, "bob", "alice").asked
    assert asked is None
    cycle(sites, "bob")
    asked = link(sites, "bob", "alice").asked
    assert asked is not None
    assert asked.request.datasets == {"boats"}


def test_the_sender_of_a_mass_delete_says_that_it_is_meant(tmp_path: Path) -> None:
    sites = a_pair(tmp_path)
    assert is_stopped(mass_delete(sites))
    sites.network.deliver_all()
    ask(sites, "people", deletes=59)
    assert is_stopped(cycle(sites, "bob"))
    sites.network.deliver_all()
    cycle(sites, "alice")
    sites.clock.now += 2 * HOUR
    ask(sites, "people", deletes=60)
    assert not is_stopped(cycle(sites, "bob"))
    sites.network.deliver_all()
    settle(sites)
    assert stops(sites, "bob") == []
    assert sites.contents("alice") == sites.contents("bob")
