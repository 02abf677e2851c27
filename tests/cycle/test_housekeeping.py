"""What is kept only while somebody needs it."""

from dataclasses import replace
from pathlib import Path

import pytest

from mailsync.core.forgetting import expire
from mailsync.core.inbound import STAMP_AHEAD_MAX
from mailsync.core.model import Key
from mailsync.core.positions import NOWHERE
from mailsync.cycle.housekeeping import tidy
from mailsync.cycle.run import Extent
from mailsync.store.outbox import Queued
from tests.cycle.sites import DAY, HOUR, Sites, pair
from tests.cycle.test_priors import backup, restore


def test_what_was_kept_for_a_peer_that_is_no_more_goes(tmp_path: Path) -> None:
    sites = pair(tmp_path)
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    sites.sync("alice")
    alice = sites.sites["alice"]
    doubtful = Queued("bob", "aabbccdd", 1, 1, 1, NOWHERE, "<1@example.org>", 0, perhaps_taken=True)
    with alice.store.transaction() as transaction:
        transaction.outbox.add(doubtful, b"?")
    tidy(alice)
    with alice.store.transaction() as transaction:
        assert transaction.outbox.items()
        assert transaction.bodies.kept("bob")
    tidy(replace(alice, peers={}))
    with alice.store.transaction() as transaction:
        assert not transaction.outbox.items()
        assert not transaction.bodies.kept("bob")


def test_what_was_set_aside_is_dropped_in_the_end_and_comes_again(tmp_path: Path) -> None:
    sites = pair(tmp_path)
    ahead = STAMP_AHEAD_MAX + 40 * DAY
    sites.clock.now += ahead
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    sites.sync("alice")
    sites.network.deliver_all()
    sites.clock.now -= ahead
    bob = sites.sites["bob"]
    seen = []
    for days in (0, 89, 2):
        sites.clock.now += days * DAY
        sites.sync("bob")
        with bob.store.transaction() as transaction:
            events = [event.kind for event in transaction.history.events()]
            seen.append((len(transaction.inbox.quarantined()), events.count("dropped")))
    assert seen == [(1, 0), (1, 0), (0, 1)]
    assert not sites.rows("bob")
    for _ in range(3):  # it comes again, and is near enough by now
        sites.round()
        sites.clock.now += 8 * DAY
    assert len(sites.rows("bob")) == 1


@pytest.mark.parametrize("lost", [0, 2])
def test_a_peer_that_returns_hears_of_the_deletes_it_missed(tmp_path: Path, lost: int) -> None:
    sites = pair(tmp_path)
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    for _ in range(4):
        sites.round()
        sites.clock.now += 2 * HOUR
    assert len(sites.rows("bob")) == 1
    alice = sites.sites["alice"]
    sites.sites["alice"] = replace(alice, peers={})
    sites.rows("alice").clear()
    for _ in range(2):
        sites.sync("alice")
        sites.clock.now += 40 * DAY
    with alice.store.transaction() as transaction:
        assert transaction.records.all() == []
    sites.sites["alice"] = alice
    for _ in range(lost):
        assert sites.sync("alice").peers["bob"].sent.mails == 1
        sites.network.in_transit.clear()
        sites.clock.now += 8 * DAY
    for _ in range(6):
        sites.round()
        sites.clock.now += 2 * HOUR
    assert sites.rows("bob") == {}
    assert sites.rows("alice") == {}


def test_a_site_without_peers_remembers_its_deletes_for_those_it_meets_next(
    tmp_path: Path,
) -> None:
    sites = pair(tmp_path)
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    sites.round()
    sites.rows("alice").clear()
    sites.sync("alice")
    alone = replace(sites.sites["alice"], peers={})
    for days, left in ((29, 1), (2, 0)):
        sites.clock.now += days * DAY
        tidy(alone)
        with alone.store.transaction() as transaction:
            assert len(transaction.records) == left


def test_nobody_waits_for_a_silent_peer_however_often_it_is_tried_again(tmp_path: Path) -> None:
    sites = pair(tmp_path)
    sites.rows("alice").update({Key("1"): {"name": "Ada"}, Key("2"): {"name": "Bob"}})
    for _ in range(4):
        sites.round()
        sites.clock.now += 2 * HOUR
    del sites.rows("alice")[Key("1")]
    alice = sites.sites["alice"]
    for days, left in ((29, 2), (10, 1)):
        for _ in range(days):
            sites.sync("alice")
            sites.network.in_transit.clear()
            sites.clock.now += DAY
        with alice.store.transaction() as transaction:
            assert len(transaction.records) == left
    sites.clock.now += 8 * DAY
    for _ in range(6):
        sites.round()
        sites.clock.now += 2 * HOUR
    assert sites.contents("bob") == sites.contents("alice") == [[("name", "Bob")]]
    with alice.store.transaction() as transaction:
        assert not alice.links(transaction)["bob"].stale


def test_what_a_peer_was_never_heard_to_have_it_has_not_deleted(tmp_path: Path) -> None:
    """It is not listed when the two reconcile, as every mail with it was lost."""
    sites = pair(tmp_path)
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    for _ in range(4):
        sites.round()
        sites.clock.now += 2 * HOUR
    sites.rows("alice")[Key("2")] = {"name": "Bob"}
    sites.sync("alice")
    sites.network.in_transit.clear()
    bob = sites.sites["bob"]
    with bob.store.transaction() as transaction:
        transaction.save_links({"alice": expire(bob.links(transaction)["alice"])})
    for name in ("bob", "alice", "bob", "alice"):
        sites.sync(name)
        sites.network.deliver_all()
        sites.clock.now += 8 * DAY
    assert sites.contents("bob") == sites.contents("alice")
    assert len(sites.rows("bob")) == 2
    with sites.sites["alice"].store.transaction() as transaction:
        assert not [*transaction.journal.entries()]


def _mails(sites: Sites, name: str) -> tuple[int, int]:
    """How many mails come in a cycle of the site's, and of how many the places are known then."""
    received = [one.received.mails for one in sites.sync(name).peers.values()]
    with sites.sites[name].store.transaction() as transaction:
        return sum(received), len(transaction.mailbox.settled())


def test_where_mails_were_that_are_no_longer_there_is_forgotten_some_day(tmp_path: Path) -> None:
    sites = pair(tmp_path)
    box = sites.network.store("bob@example.org")
    for name in ("Ada", "Bob", "Eve"):
        sites.rows("alice")[Key("1")] = {"name": name}
        sites.sync("alice")
        sites.network.deliver_all()
    assert _mails(sites, "bob") == (3, 3)
    sites.network.renumber("bob@example.org")
    assert _mails(sites, "bob") == (3, 6)
    for validity in (1, 2):  # a server that cannot decide
        box.validity = validity
        assert _mails(sites, "bob") == (0, 6)
    sites.clock.now += 91 * DAY
    assert len(box.folders["INBOX"]) == 3
    assert _mails(sites, "bob") == (0, 3)  # those of the other validity are forgotten
    assert not box.folders["INBOX"]  # taken so long ago, they were disposed of now
    sites.clock.now += 91 * DAY
    assert _mails(sites, "bob") == (0, 0)
    assert sites.contents("bob") == [[("name", "Eve")]]


def _restored_while_bob_is_silent(sites: Sites, quiet: int) -> None:
    """Alice has a row of bob's, and forgets that it went to carol; where it never came. It is so
    many ``quiet`` days before she does.
    """
    only = 'datasets = ["people"]'
    both = ("people", "ships")
    sites.add("alice", {"bob": only, "carol": ""}, both)
    sites.add("bob", {"alice": ""})
    sites.add("carol", {"alice": ""}, both)
    sites.rows("bob")[Key("1")] = {"name": "Ada"}
    sites.sync("bob")
    sites.network.deliver_all()
    sites.sync("alice", Extent(sending=False))
    copy = backup(sites, "alice")
    sites.sync("alice")
    sites.network.in_transit.clear()
    sites.rows("alice", "ships")[Key("2")] = {"name": "Aurora"}
    sites.sync("alice")
    sites.network.deliver_all()
    sites.rows("carol", "ships")[Key("3")] = {"name": "Borealis"}
    sites.sync("carol")
    sites.network.deliver_all()
    sites.clock.now += quiet * DAY
    restore(sites, copy)


def _live_without_bob(sites: Sites, days: int) -> None:
    for _ in range(0, days, 3):
        for name in ("alice", "carol"):
            sites.sync(name)
            lost = [one for one in sites.network.in_transit if one.recipient.startswith("bob")]
            for letter in lost:
                sites.network.in_transit.remove(letter)
            sites.network.deliver_all()
        sites.clock.now += 3 * DAY


@pytest.mark.parametrize("quiet", [0, 40])
@pytest.mark.parametrize("deletes", [False, True])
def test_nobody_waits_for_ever_for_a_silent_peers_word_after_a_restore(
    tmp_path: Path, quiet: int, *, deletes: bool
) -> None:
    sites = Sites(tmp_path)
    _restored_while_bob_is_silent(sites, quiet)
    if deletes:
        sites.rows("bob").clear()
        sites.sync("bob")
        sites.network.in_transit.clear()
    for days, arrived in ((27, 0), (12, 1)):
        _live_without_bob(sites, days)
        assert len(sites.rows("carol")) == arrived
    sites.sync("bob")
    for _ in range(6):
        sites.round()
        sites.clock.now += 8 * DAY
    assert {name: len(sites.rows(name)) for name in sites.sites} == dict.fromkeys(
        sites.sites, 0 if deletes else 1
    )
