"""Two sites that both hold data meet: what is the same becomes one record, and nothing is lost."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from mailsync.core.model import Fields, Key
from mailsync.core.weights import SIZE_LIMIT
from mailsync.cycle.health import LinkHealth, examine_links
from mailsync.cycle.planning import plan_sync
from mailsync.cycle.run import Extent
from mailsync.store.state import StateStore
from tests.cycle.sites import DAY, Sites, keys_of
from tests.cycle.test_priors import backup, restore
from tests.cycle.test_two_sites import journal

MATCH = 'match = ["name"]'


def meeting(directory: Path, *names: str) -> Sites:
    sites = Sites(directory)
    for name in names or ("alice", "bob"):
        peers = {peer: "" for peer in (names or ("alice", "bob")) if peer != name}
        sites.add(name, peers, section=MATCH)
    return sites


def people(count: int, seed: int = 1) -> list[dict[str, str]]:
    chance = random.Random(seed)
    return [{"name": f"person {n}", "note": chance.randbytes(40).hex()} for n in range(count)]


def fill(sites: Sites, name: str, rows: list[dict[str, str]]) -> None:
    """Each site has its own keys, and its own order."""
    places = random.Random(name).sample(range(len(rows)), len(rows))
    for place, row in zip(places, rows, strict=True):
        sites.rows(name)[Key(f"{name} {place}")] = dict(row)


def key_of(sites: Sites, name: str, person: str) -> Key:
    return next(key for key, row in sites.rows(name).items() if row["name"] == person)


def settle(sites: Sites, rounds: int = 6) -> int:
    return sum(sites.round() for _ in range(rounds))


def guids(sites: Sites, name: str) -> dict[str, bytes]:
    """By the name of a person."""
    with sites.sites[name].store.transaction() as transaction:
        return {
            str(one.entries["name"].value): one.guid
            for one in transaction.records.of("people")
            if one.shadow is not None
        }


def health(sites: Sites, name: str) -> list[LinkHealth]:
    site = sites.sites[name]
    with site.store.transaction() as transaction:
        return examine_links(site, transaction)


def sent_bytes(sites: Sites) -> int:
    total = 0
    for site in sites.sites.values():
        with site.store.transaction() as transaction:
            rows = transaction.history.traffic()
            total += sum(size for _, _, direction, _, size in rows if direction == "sent")
    return total


@pytest.mark.parametrize("first", ["alice", "bob"])
def test_equal_rows_become_one_without_travelling(tmp_path: Path, first: str) -> None:
    sites = meeting(tmp_path)
    fill(sites, "alice", people(400))
    fill(sites, "bob", people(400))
    before = {name: dict(sites.rows(name)) for name in ("alice", "bob")}
    sites.sync(first)
    sites.network.deliver_all()
    assert settle(sites) < 12
    assert {name: sites.rows(name) for name in before} == before
    assert guids(sites, "alice") == guids(sites, "bob")
    assert len(guids(sites, "alice")) == 400
    assert sent_bytes(sites) < 400 * 40
    assert not journal(sites, "alice")
    assert sites.round() == 0
    sites.clock.now += DAY
    settle(sites)
    for name, peer in (("alice", "bob"), ("bob", "alice")):
        with sites.sites[name].store.transaction() as transaction:
            match = transaction.matches.of(peer)["people"]
            assert (match.waiting, transaction.matches.alike(match)) == (False, [])


def test_then_edits_and_deletes_travel_as_ever(tmp_path: Path) -> None:
    sites = meeting(tmp_path)
    fill(sites, "alice", people(30))
    fill(sites, "bob", people(30))
    settle(sites)
    row = sites.rows("alice")[Key("alice 3")]
    sites.rows("alice")[Key("alice 3")] = {**row, "note": "edited"}
    del sites.rows("bob")[Key("bob 5")]
    settle(sites)
    assert sites.contents("alice") == sites.contents("bob")
    assert len(sites.rows("alice")) == 29
    assert any(row["note"] == "edited" for row in sites.rows("bob").values())


def test_what_differs_is_paired_by_the_declared_fields_and_the_loser_kept(tmp_path: Path) -> None:
    sites = meeting(tmp_path)
    ours, theirs = people(20), people(20)
    theirs[7]["note"] = "what bob knows"
    ours.append({"name": "only alice", "note": "a"})
    theirs.append({"name": "only bob", "note": "b"})
    fill(sites, "alice", ours)
    fill(sites, "bob", theirs)
    settle(sites)
    assert sites.contents("alice") == sites.contents("bob")
    assert len(sites.rows("alice")) == 22
    assert guids(sites, "alice") == guids(sites, "bob")
    [(field, loser, winner)] = journal(sites, "alice")
    assert field == "note"
    assert {loser, winner} == {"what bob knows", ours[7]["note"]}
    assert journal(sites, "bob") == journal(sites, "alice")


def test_the_plan_tells_what_will_travel(tmp_path: Path) -> None:
    sites = meeting(tmp_path)
    fill(sites, "alice", people(30))
    fill(sites, "bob", [*people(29), {"name": "only bob", "note": "b"}])
    planned = plan_sync(sites.sites["alice"]).peers["bob"]
    assert (planned.matching, planned.upserts) == ({"people"}, {})
    sites.sync("alice")
    sites.network.deliver_all()
    sites.sync("bob", Extent(sending=False))
    planned = plan_sync(sites.sites["bob"]).peers["alice"]
    assert (planned.upserts, planned.alike) == ({"people": 30}, {"people": 29})
    report = sites.sync("bob")
    assert (report.peers["alice"].sent.mails, report.peers["alice"].sent.upserts) == (1, 30)


def test_an_empty_site_gets_everything(tmp_path: Path) -> None:
    sites = meeting(tmp_path)
    fill(sites, "bob", people(20))
    settle(sites)
    assert len(sites.rows("alice")) == 20
    assert sites.contents("alice") == sites.contents("bob")


def test_a_sketch_too_small_is_followed_by_more_of_it(tmp_path: Path) -> None:
    sites = meeting(tmp_path)
    renewed = [{**row, "note": "bob's"} for row in people(2500)[2350:]]
    fill(sites, "alice", people(2500))
    fill(sites, "bob", people(2350) + renewed)
    settle(sites, 8)
    assert sites.contents("alice") == sites.contents("bob")
    assert len(sites.rows("alice")) == 2500
    assert sent_bytes(sites) < SIZE_LIMIT // 20


def test_quite_unlike_sites_just_exchange_everything(tmp_path: Path) -> None:
    sites = meeting(tmp_path)
    fill(sites, "alice", people(60))
    fill(sites, "bob", [{**row, "name": f"bob's {row['name']}"} for row in people(60, seed=2)])
    settle(sites, 8)
    assert sites.contents("alice") == sites.contents("bob")
    assert len(sites.rows("alice")) == 120


def test_copies_are_paired_one_by_one(tmp_path: Path) -> None:
    sites = meeting(tmp_path)
    twin: dict[str, str] = {"name": "twin", "note": "same"}
    fill(sites, "alice", [twin, twin, twin])
    fill(sites, "bob", [twin, twin])
    settle(sites)
    assert len(sites.rows("alice")) == len(sites.rows("bob")) == 3


def test_what_nobody_can_tell_is_held_and_released_by_making_it_differ(tmp_path: Path) -> None:
    sites = meeting(tmp_path)
    fill(sites, "alice", [{"name": "twin", "note": "a1"}, {"name": "twin", "note": "a2"}])
    fill(sites, "bob", [{"name": "twin", "note": "b"}, {"name": "other", "note": "o"}])
    settle(sites)
    assert {row["note"] for row in sites.rows("alice").values()} == {"a1", "a2", "o"}
    assert {row["note"] for row in sites.rows("bob").values()} == {"b", "o"}
    [reason] = sites.sync("alice").held["people"].values()
    assert "several records have name = 'twin'" in reason
    assert [len(link.held) for link in health(sites, "bob")] == [1]
    assert [len(link.held) for link in health(sites, "alice")] == [0]
    sites.network.deliver_all()
    key = next(key for key, row in sites.rows("bob").items() if row["note"] == "b")
    sites.rows("bob")[key] = {"name": "twin of bob", "note": "b"}
    settle(sites)
    assert sites.contents("alice") == sites.contents("bob")
    assert len(sites.rows("alice")) == 4
    assert not sites.sync("alice").held["people"]
    assert [len(link.held) for link in health(sites, "bob")] == [0]
    assert sites.round() == 0


def test_edits_while_digests_are_on_their_way_are_edits(tmp_path: Path) -> None:
    sites = meeting(tmp_path)
    fill(sites, "alice", people(30))
    fill(sites, "bob", people(30))
    sites.sync("alice")
    sites.sync("bob")
    for name, person in (("alice", "person 4"), ("bob", "person 5")):
        key = key_of(sites, name, person)
        sites.rows(name)[key] = {"name": person, "note": f"edited by {name}"}
    del sites.rows("bob")[key_of(sites, "bob", "person 9")]
    sites.network.deliver_all()
    settle(sites, 8)
    sites.clock.now += 10 * DAY
    settle(sites, 8)
    assert sites.contents("alice") == sites.contents("bob")


def test_lost_words_are_said_again(tmp_path: Path) -> None:
    sites = meeting(tmp_path)
    fill(sites, "alice", people(30))
    fill(sites, "bob", people(30))
    for lost in range(8):
        for name in ("alice", "bob"):
            sites.sync(name)
            if lost % 2:
                sites.network.deliver_all()
            else:
                sites.network.in_transit.clear()
            sites.clock.now += 3 * DAY
    settle(sites, 8)
    assert guids(sites, "alice") == guids(sites, "bob")
    assert len(sites.rows("alice")) == len(sites.rows("bob")) == 30


KEEPER, OTHER = sorted(("alice", "bob"), key=lambda name: keys_of(name).public.site_number)
"""Whose identifiers stay, where neither shares anything with others, and who takes them over."""


def come_to_rest(sites: Sites) -> None:
    """Everything gets there, whatever had to go again."""
    for _ in range(20):
        sites.round()
        sites.clock.now += DAY


def notes_at(sites: Sites, name: str) -> set[object]:
    return {row["note"] for row in sites.rows(name).values()}


def edit_and_rest(sites: Sites) -> None:
    """Each edits a row, and gets the other's edit."""
    edit_everywhere(sites)
    assert {"edited by alice", "edited by bob"} <= notes_at(sites, "alice")


def edit_everywhere(sites: Sites) -> None:
    for number, name in enumerate(sites.sites):
        key = key_of(sites, name, f"person {number + 3}")
        sites.rows(name)[key] = {"name": f"person {number + 3}", "note": f"edited by {name}"}
    come_to_rest(sites)
    assert sites.contents("alice") == sites.contents("bob")


@pytest.mark.parametrize("name", [KEEPER, OTHER])
def test_restored_to_when_it_waited_for_digests_it_gets_them(tmp_path: Path, name: str) -> None:
    sites = meeting(tmp_path)
    for each in sites.sites:
        fill(sites, each, people(10))
        sites.sync(each)
    copy, rows = backup(sites, name), dict(sites.rows(name))
    sites.network.deliver_all()
    come_to_rest(sites)
    restore(sites, copy)
    sites.rows(name).clear()
    sites.rows(name).update(rows)
    edit_and_rest(sites)
    assert len(sites.rows("alice")) == 10
    assert guids(sites, "alice") == guids(sites, "bob")


def begun_anew(sites: Sites, name: str, peer: str) -> None:
    """The state store is lost, and the site initialised again; its rows are as they were."""
    rows, store = sites.rows(name), sites.sites[name].store
    assert isinstance(store, StateStore)
    store.close()
    for path in sites.directory.glob(f"{name}.db*"):
        path.unlink()
    sites.seed += 1
    sites.add(name, {peer: ""}, section=MATCH)
    sites.rows(name).update(rows)


def test_what_is_alike_is_told_by_the_digests_that_a_site_has_by_now(tmp_path: Path) -> None:
    sites = meeting(tmp_path)
    everybody = people(9)
    fill(sites, KEEPER, everybody[2:])
    fill(sites, OTHER, everybody[:6])
    sites.sync(OTHER)
    sites.sync(KEEPER)
    sites.network.deliver_all()
    sites.sync(KEEPER)
    sites.network.deliver_all()
    sites.sync(OTHER)
    sites.network.in_transit.clear()
    begun_anew(sites, OTHER, KEEPER)
    come_to_rest(sites)
    for name in (KEEPER, OTHER):
        assert sites.contents(name) == sorted(sorted(row.items()) for row in everybody)
        assert not journal(sites, name)


def test_a_keeper_that_was_restored_does_not_speak_of_digests_that_are_gone(tmp_path: Path) -> None:
    """It hears the first ones once more; the other site lost that record and makes new ones."""
    sites = meeting(tmp_path)
    fill(sites, KEEPER, people(1))
    fill(sites, OTHER, people(1))
    copy = backup(sites, KEEPER)
    sites.sync(OTHER)
    digests = sites.network.in_transit[0]
    sites.network.deliver_all()
    sites.sync(KEEPER)
    sites.rows(OTHER).clear()
    sites.network.deliver_all()
    restore(sites, copy)
    sites.sync(OTHER)
    for _ in range(2):
        sites.network.deliver(digests)
        sites.network.deliver_all()
        sites.sync(KEEPER)
    sites.rows(OTHER)[Key("new")] = {"name": "person 1", "note": "new"}
    come_to_rest(sites)
    assert sorted(guids(sites, KEEPER)) == ["person 0", "person 1"]
    assert guids(sites, KEEPER) == guids(sites, OTHER)
    assert sites.contents(KEEPER) == sites.contents(OTHER)


def test_digests_that_come_late_begin_nothing(tmp_path: Path) -> None:
    """The keeper's are overtaken by what it says next."""
    sites = meeting(tmp_path)
    everybody = people(12)
    fill(sites, KEEPER, everybody)
    fill(sites, OTHER, everybody)
    sites.sync(OTHER)
    sites.sync(KEEPER)
    digests = next(one for one in sites.network.in_transit if one.recipient.startswith(OTHER))
    sites.network.in_transit.remove(digests)
    sites.network.deliver_all()
    settle(sites, 2)
    with sites.sites[OTHER].store.transaction() as transaction:
        settled = transaction.matches.of(KEEPER)
    sites.network.deliver(digests)
    sites.sync(OTHER)
    with sites.sites[OTHER].store.transaction() as transaction:
        assert transaction.matches.of(KEEPER) == settled
    come_to_rest(sites)
    assert sites.contents("alice") == sites.contents("bob")
    assert len(sites.rows("alice")) == 12


def test_what_came_without_its_values_and_was_not_confirmed_does_not_travel_whole(
    tmp_path: Path,
) -> None:
    sites = meeting(tmp_path)
    for name in sites.sites:
        fill(sites, name, people(30))
    for name in (OTHER, KEEPER):
        sites.sync(name)
        sites.network.deliver_all()
    before = sent_bytes(sites)
    for _ in range(3):
        sites.sync(OTHER)
        sites.network.in_transit.clear()
        sites.clock.now += DAY
    come_to_rest(sites)
    assert guids(sites, "alice") == guids(sites, "bob")
    assert sent_bytes(sites) - before < 30 * 60


MAIL = ""
COURSE = (OTHER, KEEPER, MAIL, OTHER, MAIL, KEEPER, MAIL, OTHER, MAIL, KEEPER, MAIL)
"""Who has a cycle, or that the mail is delivered, as the two meet."""


def go_on(sites: Sites, steps: tuple[str, ...]) -> None:
    for step in steps:
        if step == MAIL:
            sites.network.deliver_all()
        else:
            sites.sync(step)


@pytest.mark.parametrize("rows_too", [False, True])
@pytest.mark.parametrize("name", [KEEPER, OTHER])
@pytest.mark.parametrize(("copied", "restored"), [(1, 4), (2, 6), (4, 8)])
def test_restored_in_the_course_of_it_everybody_is_there_once(
    tmp_path: Path, copied: int, restored: int, name: str, *, rows_too: bool
) -> None:
    sites = meeting(tmp_path)
    fill(sites, KEEPER, people(7)[1:])
    fill(sites, OTHER, people(7)[:6])
    go_on(sites, COURSE[:copied])
    copy, rows = backup(sites, name), dict(sites.rows(name))
    go_on(sites, COURSE[copied:restored])
    restore(sites, copy)
    if rows_too:
        sites.rows(name).clear()
        sites.rows(name).update(rows)
    edit_everywhere(sites)
    # who had not looked at its rows yet when it was copied sees them first after the other's edit
    lost = {loser for _, loser, _ in journal(sites, "alice")}
    assert {"edited by alice", "edited by bob"} <= notes_at(sites, "alice") | lost
    assert sorted(guids(sites, "alice")) == [f"person {number}" for number in range(7)]
    assert len(sites.rows("alice")) == 7
    assert guids(sites, "alice") == guids(sites, "bob")


def test_three_sites_that_all_hold_the_same(tmp_path: Path) -> None:
    names = ("alice", "bob", "carol")
    sites = meeting(tmp_path, *names)
    for name in names:
        fill(sites, name, people(40))
    settle(sites, 12)
    assert [len(sites.rows(name)) for name in names] == [40, 40, 40]
    assert guids(sites, "alice") == guids(sites, "bob") == guids(sites, "carol")
    assert sites.round() == 0


def test_a_ship_joins_a_hub_that_others_share(tmp_path: Path) -> None:
    sites = Sites(tmp_path)
    sites.add("hub", {"shore": "", "aurora": ""}, section=MATCH)
    sites.add("shore", {"hub": ""}, section=MATCH)
    fill(sites, "hub", people(50))
    settle(sites, 3)
    old = guids(sites, "hub")
    sites.add("aurora", {"hub": ""}, section=MATCH)
    fill(sites, "aurora", people(50))
    settle(sites, 8)
    assert guids(sites, "hub") == guids(sites, "aurora") == guids(sites, "shore") == old
    with sites.sites["shore"].store.transaction() as transaction:
        rows = transaction.history.traffic()
    assert sum(mails for _, _, direction, mails, _ in rows if direction == "received") < 5


def test_a_peer_that_does_not_take_the_dataset_is_not_asked_for_ever(tmp_path: Path) -> None:
    sites = Sites(tmp_path)
    sites.add("alice", {"bob": ""}, section=MATCH)
    sites.add("bob", {"alice": ""}, datasets=())
    fill(sites, "alice", people(5))
    for _ in range(5):
        sites.round()
        sites.clock.now += 9 * DAY
    assert sites.round() == 0


def test_a_peer_without_match_answers_all_the_same(tmp_path: Path) -> None:
    sites = Sites(tmp_path)
    sites.add("alice", {"bob": ""}, section=MATCH)
    sites.add("bob", {"alice": ""})
    rows: list[Fields] = [dict(row) for row in people(20)]
    for place, row in enumerate(rows):
        sites.rows("alice")[Key(f"alice {place}")] = row
    settle(sites)
    assert sites.contents("alice") == sites.contents("bob")
