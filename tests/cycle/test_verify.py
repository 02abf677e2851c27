"""Sites find out by mail whether they hold the same, and mend what differs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mailsync.core.model import Entry, Guid, Key, Record
from mailsync.core.proving import Finding
from mailsync.cycle import verifying
from tests.cycle.sites import DAY, HOUR, Sites, pair


def filled(directory: Path, count: int = 40, lines: str = "") -> Sites:
    """Alice and Bob, who hold the same and know it."""
    sites = pair(directory, lines)
    for number in range(count):
        sites.rows("alice")[Key(f"k{number}")] = {"name": f"person {number}", "note": "n" * 30}
    settle(sites)
    return sites


def settle(sites: Sites, rounds: int = 4) -> int:
    mails = 0
    for _ in range(rounds):
        mails += sites.round()
        sites.clock.now += 2 * HOUR
    return mails


def ask(sites: Sites, name: str, peer: str, *, repair: bool = False) -> None:
    verifying.ask(sites.sites[name], peer, repair=repair)


def finding(sites: Sites, name: str, peer: str) -> Finding | None:
    inquiry = verifying.show(sites.sites[name], peer)
    return None if inquiry is None else inquiry.finding


def exchange(sites: Sites, *names: str) -> list[int]:
    """One cycle of each, in turn, and its mails delivered; the bytes of each one's mails."""
    sizes = []
    for name in names:
        report = sites.sync(name)
        sizes.append(sum(peer.sent.bytes for peer in report.peers.values()))
        sites.network.deliver_all()
    return sizes


def records(sites: Sites, name: str) -> dict[str, Record]:
    """By the name of a person."""
    with sites.sites[name].store.transaction() as transaction:
        found = transaction.records.of("people")
    return {str(one.entries["name"].value): one for one in found}


def plant(sites: Sites, name: str, record: Record, row: dict[str, str] | None) -> None:
    """Damage: record map and dataset come to say this, as if nobody had changed anything."""
    assert record.key is not None
    with sites.sites[name].store.transaction() as transaction:
        ledger = transaction.ledger()
        ledger.changed[record.id] = replace(record, shadow=row)
        transaction.save(ledger, sites.clock.now)
    if row is None:
        sites.rows(name).pop(record.key, None)
    else:
        sites.rows(name)[record.key] = dict(row)


def lose(sites: Sites, name: str, record: Record) -> None:
    """Damage: record map and dataset never heard of the record."""
    assert record.key is not None
    with sites.sites[name].store.transaction() as transaction:
        ledger = transaction.ledger()
        ledger.drop(record.id)
        transaction.save(ledger, sites.clock.now)
    del sites.rows(name)[record.key]


def alter(sites: Sites, name: str, person: str, note: str) -> None:
    """Damage: one write has another value here than everywhere else."""
    record = records(sites, name)[person]
    entries = {**record.entries, "note": record.entries["note"]._replace(value=note)}
    plant(sites, name, replace(record, entries=entries), {"name": person, "note": note})


def invent(sites: Sites, name: str, peer: str) -> None:
    """Damage: a record that the peer is said to have confirmed, and never had."""
    model = records(sites, name)["person 0"]
    dot = next(iter(model.context))
    entries = {"name": Entry(dot, "nobody"), "note": Entry(dot, "invented")}
    row = {"name": "nobody", "note": "invented"}
    made = replace(
        model,
        guid=Guid(bytes(reversed(model.guid))),
        entries=entries,
        key=Key("invented"),
        shadow=row,
    )
    with sites.sites[name].store.transaction() as transaction:
        ledger = transaction.ledger()
        ledger.bump(made, {peer})
        transaction.save(ledger, sites.clock.now)
    sites.rows(name)[Key("invented")] = dict(row)
    edit(sites, name, "person 1", "so that the peer covers its position")
    settle(sites)


def other_than(name: str) -> str:
    return "bob" if name == "alice" else "alice"


def edit(sites: Sites, name: str, person: str, note: str) -> None:
    """What a user does."""
    key = next(key for key, row in sites.rows(name).items() if row["name"] == person)
    sites.rows(name)[key] = {"name": person, "note": note}


def test_two_that_hold_the_same_prove_it_with_a_mail_each(tmp_path: Path) -> None:
    sites = filled(tmp_path)
    ask(sites, "alice", "bob")
    question, answer = exchange(sites, "alice", "bob")
    assert sites.sync("alice").peers["bob"].sent.mails == 0
    found = finding(sites, "alice", "bob")
    assert found is not None
    assert (found.equal, found.differing, found.in_flight) == (True, 0, 0)
    assert settle(sites) == 0
    with sites.sites["bob"].store.transaction() as transaction:
        last = verifying.last_proof(transaction, "alice")
    assert last is not None
    assert last.equal
    assert 0 < answer < question


@pytest.mark.parametrize("damaged", ["alice", "bob"])
def test_what_differs_is_found_and_named(tmp_path: Path, damaged: str) -> None:
    sites = filled(tmp_path)
    invent(sites, damaged, other_than(damaged))
    alter(sites, damaged, "person 3", "damaged")
    lose(sites, damaged, records(sites, damaged)["person 7"])
    ask(sites, "alice", "bob")
    exchange(sites, "alice", "bob", "alice")
    found = finding(sites, "alice", "bob")
    assert found is not None
    assert (found.equal, found.differing, found.mending) == (False, 3, False)
    known = [records(sites, "alice")[name].id for name in ("person 3",)]
    assert set(known) <= set(found.records)
    assert settle(sites) == 0
    assert sites.contents("alice") != sites.contents("bob")


@pytest.mark.parametrize("damaged", ["alice", "bob"])
def test_what_differs_is_mended_in_two_mails_each_way(tmp_path: Path, damaged: str) -> None:
    sites = filled(tmp_path)
    invent(sites, damaged, other_than(damaged))
    alter(sites, damaged, "person 3", "zz damaged")
    alter(sites, damaged, "person 4", "damaged")
    lose(sites, damaged, records(sites, damaged)["person 7"])
    ask(sites, "alice", "bob", repair=True)
    exchange(sites, "alice", "bob", "alice", "bob")
    sites.sync("alice")
    assert sites.contents("alice") == sites.contents("bob")
    assert len(sites.rows("alice")) == 41
    mended = finding(sites, "alice", "bob")
    assert mended is not None
    assert (mended.equal, mended.differing, mended.mending) == (False, 4, True)
    settle(sites)
    ask(sites, "alice", "bob")
    exchange(sites, "alice", "bob", "alice")
    found = finding(sites, "alice", "bob")
    assert found is not None
    assert found.equal


def test_edits_on_their_way_are_no_difference(tmp_path: Path) -> None:
    """Alice's edit is made while the answer comes, Bob's goes with it, and one is long lost."""
    sites = filled(tmp_path)
    edit(sites, "bob", "person 1", "bob's, lost")
    sites.sync("bob")
    sites.network.in_transit.clear()
    edit(sites, "alice", "person 2", "alice's, with the question")
    ask(sites, "alice", "bob")
    exchange(sites, "alice")
    edit(sites, "bob", "person 3", "bob's, with the answer")
    exchange(sites, "bob")
    edit(sites, "alice", "person 4", "alice's, meanwhile")
    exchange(sites, "alice")
    assert finding(sites, "alice", "bob") is None
    for _ in range(4):
        sites.clock.now += 2 * DAY
        edit(sites, "alice", "person 5", f"alice's at {sites.clock.now}")
        exchange(sites, "bob", "alice")
    found = finding(sites, "alice", "bob")
    assert found is not None
    assert (found.equal, found.differing) == (True, 0)


def test_with_edits_going_on_only_what_differs_is_told(tmp_path: Path) -> None:
    sites = filled(tmp_path)
    alter(sites, "bob", "person 7", "damaged")
    ask(sites, "alice", "bob")
    exchange(sites, "alice", "bob")
    edit(sites, "alice", "person 4", "meanwhile")
    edit(sites, "alice", "person 7", "the damaged one, too")
    edit(sites, "alice", "person 8", "meanwhile")
    exchange(sites, "alice")
    found = finding(sites, "alice", "bob")
    assert found is not None
    assert (found.equal, found.differing, found.in_flight) == (True, 0, 3)
    settle(sites)
    ask(sites, "alice", "bob")
    exchange(sites, "alice", "bob", "alice")
    found = finding(sites, "alice", "bob")
    assert found is not None
    assert found.equal


@pytest.mark.parametrize("lost", range(4))
def test_lost_mails_are_sent_again_until_all_is_mended(tmp_path: Path, lost: int) -> None:
    sites = filled(tmp_path)
    lose(sites, "alice", records(sites, "alice")["person 7"])
    lose(sites, "bob", records(sites, "bob")["person 8"])
    ask(sites, "alice", "bob", repair=True)
    for turn in range(14):
        sites.sync(("alice", "bob")[turn % 2])
        if turn == lost:
            sites.network.in_transit.clear()
        sites.network.deliver_all()
        sites.clock.now += DAY
    assert sites.contents("alice") == sites.contents("bob")
    assert len(sites.rows("alice")) == 40
    assert settle(sites) == 0


def test_a_peer_that_is_away_is_given_up(tmp_path: Path) -> None:
    sites = filled(tmp_path)
    ask(sites, "alice", "bob")
    mails = 0
    for _ in range(60):
        mails += sites.sync("alice").peers["bob"].sent.mails
        sites.network.in_transit.clear()
        sites.clock.now += DAY
    assert mails == 6
    found = finding(sites, "alice", "bob")
    assert found is not None
    assert found.equal is None


def test_what_a_record_map_alone_lost_track_of_is_an_edit(tmp_path: Path) -> None:
    """The dataset says otherwise, behind an etag that hides it: both look through all of it."""
    sites = filled(tmp_path)
    record = records(sites, "bob")["person 3"]
    entries = {**record.entries, "note": record.entries["note"]._replace(value="damaged")}
    with sites.sites["bob"].store.transaction() as transaction:
        ledger = transaction.ledger()
        ledger.changed[record.id] = replace(
            record, entries=entries, shadow={"name": "person 3", "note": "damaged"}
        )
        transaction.save(ledger, sites.clock.now)
    ask(sites, "alice", "bob")
    exchange(sites, "alice", "bob", "alice")
    found = finding(sites, "alice", "bob")
    assert found is not None
    assert found.equal
    assert sites.contents("alice") == sites.contents("bob")


def test_a_regular_question_rides_on_a_mail_that_goes_anyway(tmp_path: Path) -> None:
    sites = filled(tmp_path, lines='verify = "weekly"')
    started = settle(sites, 3)
    assert started == 0
    edit(sites, "alice", "person 2", "news")
    sites.clock.now += 8 * DAY
    mails = [sum(peer.sent.mails for peer in sites.sync("alice").peers.values())]
    sites.network.deliver_all()
    assert sites.sync("bob").peers["alice"].sent.mails == 0
    sites.clock.now += 2 * HOUR
    mails.append(sites.sync("bob").peers["alice"].sent.mails)
    sites.network.deliver_all()
    sites.sync("alice")
    assert mails == [1, 1]
    with sites.sites["alice"].store.transaction() as transaction:
        last = verifying.last_proof(transaction, "bob")
    assert last is not None
    assert last.equal
    assert sites.round() == 0


def test_three_sites_mend_what_one_of_them_lost(tmp_path: Path) -> None:
    names = ("alice", "bob", "carol")
    sites = Sites(tmp_path)
    for name in names:
        sites.add(name, {peer: "" for peer in names if peer != name})
    for number in range(20):
        sites.rows("alice")[Key(f"k{number}")] = {"name": f"person {number}", "note": "n"}
    settle(sites)
    lose(sites, "carol", records(sites, "carol")["person 3"])
    alter(sites, "carol", "person 4", "zz")
    for peer in ("alice", "bob"):
        ask(sites, "carol", peer, repair=True)
    settle(sites, 6)
    assert sites.contents("alice") == sites.contents("bob") == sites.contents("carol")
    assert len(sites.rows("carol")) == 20
    assert settle(sites) == 0
    shown = {peer: finding(sites, "carol", peer) for peer in ("alice", "bob")}
    assert all(one is not None and one.mending for one in shown.values())
    for peer in shown:
        ask(sites, "carol", peer)
    settle(sites)
    assert all(one is not None and one.equal for one in (finding(sites, "carol", p) for p in shown))


def test_a_site_restored_meanwhile_does_not_answer_with_what_it_was(tmp_path: Path) -> None:
    sites = filled(tmp_path)
    ask(sites, "alice", "bob")
    exchange(sites, "alice")
    backup = (tmp_path / "bob.db").read_bytes()
    rows = {key: dict(row) for key, row in sites.rows("bob").items()}
    edit(sites, "bob", "person 9", "after the backup")
    exchange(sites, "bob", "alice")
    (tmp_path / "bob.db").write_bytes(backup)
    sites.rows("bob").clear()
    sites.rows("bob").update(rows)
    settle(sites, 8)
    found = finding(sites, "alice", "bob")
    assert found is None or found.equal
    assert sites.contents("alice") == sites.contents("bob")


def some_for_bob(directory: Path, lines: str) -> Sites:
    """Alice lets Bob have some of her records."""
    sites = Sites(directory)
    sites.add("alice", {"bob": ""}, section=lines)
    sites.add("bob", {"alice": ""})
    for number in range(20):
        note = "secret" if number % 2 else "open"
        sites.rows("alice")[Key(f"k{number}")] = {"name": f"person {number}", "note": note}
    settle(sites)
    return sites


@pytest.mark.parametrize("asker", ["alice", "bob"])
def test_what_is_not_for_the_peer_is_no_difference(tmp_path: Path, asker: str) -> None:
    sites = some_for_bob(tmp_path, "send = { where = \"note <> 'secret'\" }")
    assert len(sites.rows("bob")) == 10
    edit(sites, "alice", "person 2", "secret")
    edit(sites, "alice", "person 3", "open now")
    settle(sites)
    ask(sites, asker, other_than(asker))
    settle(sites)
    found = finding(sites, asker, other_than(asker))
    assert found is not None
    assert (found.equal, found.differing, found.without) == (True, 0, ())
    lose(sites, "bob", records(sites, "bob")["person 4"])
    alter(sites, "bob", "person 6", "zz")
    ask(sites, asker, other_than(asker), repair=True)
    settle(sites)
    found = finding(sites, asker, other_than(asker))
    assert found is not None
    assert (found.equal, found.differing) == (False, 2)
    assert len(sites.rows("bob")) == 10
    assert {"person 4", "person 3"} <= {row["name"] for row in sites.rows("bob").values()}
    assert "secret" not in {row["note"] for row in sites.rows("bob").values()}
    ask(sites, asker, other_than(asker))
    settle(sites)
    found = finding(sites, asker, other_than(asker))
    assert found is not None
    assert found.equal


@pytest.mark.parametrize("asker", ["alice", "bob"])
@pytest.mark.parametrize(
    "lines",
    [
        'direction = "send"',
        'direction = "receive"',
        'allow = ["insert"]',
        'on_leave = "keep"',
        'send = { fields = ["name"] }',
    ],
)
def test_what_need_not_be_the_same_is_left_out_and_named(
    tmp_path: Path, asker: str, lines: str
) -> None:
    sites = some_for_bob(tmp_path, lines)
    for name in ("alice", "bob"):
        sites.rows(name)[Key("own")] = {"name": f"of {name}", "note": "o"}
    settle(sites)
    ask(sites, asker, other_than(asker))
    settle(sites)
    found = finding(sites, asker, other_than(asker))
    assert found is not None
    assert (found.equal, found.without) == (True, ("people",))
