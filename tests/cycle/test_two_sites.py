"""What two sites do to each other's datasets, told step by step."""

import asyncio
from collections.abc import Collection, Sequence
from pathlib import Path

import pytest

from mailsync.core.model import Key
from mailsync.cycle.report import Report
from mailsync.cycle.run import Extent, import_files, run_cycle
from mailsync.datasets.base import Newcomer, Outcome, Write
from mailsync.datasets.memory import MemoryDataset
from tests.cycle.sites import DAY, HOUR, Sites, pair


@pytest.fixture
def sites(tmp_path: Path) -> Sites:
    return pair(tmp_path)


def settle(sites: Sites) -> None:
    for _ in range(4):
        sites.round()


def agreed(sites: Sites) -> bool:
    return sites.contents("alice") == sites.contents("bob")


def only_key(sites: Sites, name: str) -> Key:
    (key,) = sites.rows(name)
    return key


def journal(sites: Sites, name: str) -> list[tuple[object, object, object]]:
    with sites.sites[name].store.transaction() as transaction:
        return [
            (
                entry.note.entries["field"].value if "field" in entry.note.entries else None,
                entry.note.entries["value"].value if "value" in entry.note.entries else None,
                entry.winner,
            )
            for entry in transaction.journal.entries()
        ]


def test_an_insert_arrives(sites: Sites) -> None:
    sites.rows("alice")[Key("1")] = {"name": "Ada", "age": 36}
    sites.round()
    assert sites.contents("bob") == [[("age", 36), ("name", "Ada")]]


def test_an_edit_travels_as_the_changed_field_alone(sites: Sites) -> None:
    sites.rows("alice")[Key("1")] = {"name": "Ada", "note": "x" * 5000, "age": 36}
    settle(sites)
    sites.rows("alice")[Key("1")] = {"name": "Ada", "note": "x" * 5000, "age": 37}
    report = sites.sync("alice")
    assert report.peers["bob"].sent.upserts == 1
    assert report.peers["bob"].sent.bytes < 1200
    sites.network.deliver_all()
    settle(sites)
    assert agreed(sites)


def test_a_delete_arrives_as_a_delete_order(sites: Sites) -> None:
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    settle(sites)
    del sites.rows("alice")[Key("1")]
    assert sites.sync("alice").peers["bob"].sent.deletes == 1
    sites.network.deliver_all()
    settle(sites)
    assert sites.rows("bob") == {}


def test_what_was_never_transmitted_is_not_ordered_deleted(sites: Sites) -> None:
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    sites.sync("alice", Extent(sending=False))
    del sites.rows("alice")[Key("1")]
    assert sites.sync("alice").peers["bob"].sent.mails == 0


def test_what_came_from_the_peer_is_not_sent_back(sites: Sites) -> None:
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    sites.round()
    report = sites.sync("bob")
    assert report.peers["bob" if "bob" in report.peers else "alice"].sent.upserts == 0


def test_a_sync_without_changes_sends_no_mail(sites: Sites) -> None:
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    sites.rows("bob")[Key("1")] = {"name": "Bob"}
    sites.round()
    sites.round()
    assert sites.round() == 0
    assert agreed(sites)


def test_an_acknowledgement_alone_waits_and_then_silence_comes(sites: Sites) -> None:
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    sites.round()
    assert sites.round() == 0
    sites.clock.now += 2 * HOUR
    assert sites.round() == 1
    sites.clock.now += 30 * DAY
    assert [sites.round() for _ in range(3)] == [0, 0, 0]


def test_edits_of_different_fields_merge(sites: Sites) -> None:
    sites.rows("alice")[Key("1")] = {"name": "Ada", "age": 36, "town": "London"}
    settle(sites)
    sites.rows("alice")[Key("1")] = {"name": "Ada", "age": 37, "town": "London"}
    sites.rows("bob")[only_key(sites, "bob")] = {"name": "Ada", "age": 36, "town": "Paris"}
    settle(sites)
    assert sites.contents("alice") == [[("age", 37), ("name", "Ada"), ("town", "Paris")]]
    assert agreed(sites)
    assert journal(sites, "alice") == journal(sites, "bob") == []


def test_edits_of_one_field_are_a_conflict_journalled_at_both_ends(sites: Sites) -> None:
    sites.rows("alice")[Key("1")] = {"name": "Ada", "age": 36}
    settle(sites)
    sites.rows("alice")[Key("1")] = {"name": "Ada", "age": 37}
    sites.sync("alice")
    sites.clock.now += HOUR
    sites.rows("bob")[only_key(sites, "bob")] = {"name": "Ada", "age": 38}
    sites.sync("bob")
    sites.network.deliver_all()
    settle(sites)
    assert sites.contents("alice") == [[("age", 38), ("name", "Ada")]]
    assert agreed(sites)
    assert journal(sites, "alice") == journal(sites, "bob") == [("age", 37, 38)]


def test_a_delete_against_an_unseen_edit_is_a_conflict_and_the_edit_stays(sites: Sites) -> None:
    sites.rows("alice")[Key("1")] = {"name": "Ada", "age": 36}
    settle(sites)
    del sites.rows("alice")[Key("1")]
    sites.rows("bob")[only_key(sites, "bob")] = {"name": "Ada", "age": 38}
    settle(sites)
    assert sites.contents("alice") == [[("age", 38), ("name", "Ada")]]
    assert agreed(sites)
    assert len(journal(sites, "alice")) == len(journal(sites, "bob")) == 1


def test_a_lost_mail_is_sent_again_after_its_timer(sites: Sites) -> None:
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    sites.sync("alice")
    sites.network.in_transit.clear()
    assert sites.round() == 0
    sites.clock.now += 2 * DAY
    settle(sites)
    assert agreed(sites)


def test_a_tombstone_is_forgotten_once_confirmed(sites: Sites) -> None:
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    settle(sites)
    sites.clock.now += DAY
    settle(sites)
    del sites.rows("alice")[Key("1")]
    settle(sites)
    for _ in range(3):
        sites.clock.now += 20 * DAY
        settle(sites)
    for site in sites.sites.values():
        with site.store.transaction() as transaction:
            assert len(transaction.records) == 0


def test_everything_in_several_bundles_when_it_is_much(sites: Sites) -> None:
    for number in range(300):
        sites.rows("alice")[Key(str(number))] = {"name": str(number), "note": "y" * 20_000}
    report = sites.sync("alice")
    assert report.peers["bob"].sent.bundles > 1
    sites.network.deliver_all()
    settle(sites)
    assert agreed(sites)


def test_a_record_larger_than_a_mail_travels_in_parts(tmp_path: Path) -> None:
    import random

    sites = pair(tmp_path, 'max_message = "64 KiB"')
    sites.rows("alice")[Key("1")] = {"photo": random.Random(1).randbytes(300_000)}
    report = sites.sync("alice")
    assert report.peers["bob"].sent.mails > 4
    sites.network.deliver_all()
    settle(sites)
    assert agreed(sites)


def test_a_record_that_cannot_travel_is_held_and_the_others_go_on(sites: Sites) -> None:
    rows = sites.rows("alice")
    rows[Key("1")] = {"name": "Ada", "photo": bytes(7 * 2**20)}
    rows[Key("2")] = {"name": "Bob", "broken": "\ud800"}
    rows[Key("3")] = {"name": "Cem"}
    report = sites.sync("alice")
    assert sorted(report.held["people"]) == ["1", "2"]
    sites.network.deliver_all()
    settle(sites)
    assert sites.contents("bob") == [[("name", "Cem")]]
    rows[Key("1")] = {"name": "Ada", "photo": b"small"}
    settle(sites)
    assert len(sites.rows("bob")) == 2


class NaturalKeys(MemoryDataset):
    """Records whose key is their name, at every site."""

    def propose_keys(self, records: Sequence[Newcomer], taken: Collection[Key]) -> list[Key]:
        return [Key(str(fields["name"])) for _, fields in records]


def test_the_same_natural_key_entered_at_both_sites_becomes_one_record(sites: Sites) -> None:
    for name in ("alice", "bob"):
        sites.sites[name].datasets["people"] = NaturalKeys()
    sites.rows("alice")[Key("Ada")] = {"name": "Ada", "age": 36, "town": "London"}
    sites.rows("bob")[Key("Ada")] = {"name": "Ada", "age": 37, "town": "London"}
    settle(sites)
    assert agreed(sites)
    assert len(sites.rows("alice")) == 1
    assert journal(sites, "alice") == journal(sites, "bob") != []
    assert {loser for _, loser, _ in journal(sites, "alice")} < {36, 37}
    del sites.rows("bob")[Key("Ada")]
    settle(sites)
    assert sites.rows("alice") == {}
    assert sites.round() == 0


def test_the_same_natural_key_entered_at_many_sites_becomes_one_record(tmp_path: Path) -> None:
    sites = Sites(tmp_path)
    ships = ["anna", "berta", "clara"]
    sites.add("hub", dict.fromkeys(ships, ""))
    for ship in ships:
        sites.add(ship, {"hub": ""})
    for age, name in enumerate(sites.sites):
        sites.sites[name].datasets["people"] = NaturalKeys()
        sites.rows(name)[Key("Ada")] = {"name": "Ada", "age": age}
    for name in (*ships, "hub"):  # so that the hub meets them all at once
        sites.sync(name)
        sites.network.deliver_all()
    for _ in range(4):
        sites.round()
        sites.clock.now += 2 * HOUR
    for name in sites.sites:
        assert sites.rows(name) == sites.rows("hub") != {}
    assert sites.round() == 0


def test_a_dataset_shared_later_arrives_whole(tmp_path: Path) -> None:
    sites = Sites(tmp_path)
    sites.add("alice", {"bob": ""}, ("people", "boats"))
    sites.add("bob", {"alice": ""}, ("people",))
    sites.rows("alice", "boats")[Key("1")] = {"name": "Argo"}
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    settle(sites)
    assert len(sites.rows("bob")) == 1
    sites.add("bob", {"alice": ""}, ("people", "boats"))
    settle(sites)
    settle(sites)
    assert sites.contents("bob", "boats") == [[("name", "Argo")]]


def test_an_acknowledgement_lost_again_and_again_is_given_again(sites: Sites) -> None:
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    for _ in range(4):
        assert sites.sync("alice").peers["bob"].sent.mails == 1
        sites.network.deliver_all()
        sites.sync("bob")
        sites.clock.now += 2 * HOUR
        assert sites.sync("bob").peers["alice"].sent.mails == 1
        sites.network.in_transit.clear()
        sites.clock.now += 8 * DAY


def test_a_saved_attachment_is_as_good_as_its_mail(sites: Sites, tmp_path: Path) -> None:
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    sites.sync("alice")
    (letter,) = sites.network.in_transit
    saved = tmp_path / "attachment.msync"
    saved.write_bytes(letter.container)
    nothing = tmp_path / "nothing.msync"
    nothing.write_bytes(b"nothing")
    for _ in range(2):
        report = import_files(sites.sites["bob"], [saved, nothing], Report())
    assert report.rejected == [f"mail {nothing}: there is no bundle in it"]
    sites.network.deliver_all()
    settle(sites)
    assert agreed(sites)
    assert len(sites.rows("bob")) == 1


class Defective(MemoryDataset):
    """A dataset whose adapter has a defect."""

    def apply(self, writes: Sequence[Write]) -> list[Outcome]:
        raise ZeroDivisionError(len(writes))


def test_a_defect_met_in_one_dataset_does_not_stop_the_others(tmp_path: Path) -> None:
    sites = Sites(tmp_path)
    for name, peer in (("alice", "bob"), ("bob", "alice")):
        sites.add(name, {peer: ""}, ("people", "boats"))
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    sites.rows("alice", "boats")[Key("1")] = {"name": "Argo"}
    sites.sync("alice")
    sites.network.deliver_all()
    sites.sites["bob"].datasets["people"] = Defective()
    report = asyncio.run(run_cycle(sites.sites["bob"], Extent(), Report()))
    assert [str(problem) for problem in report.problems] == [
        "this is a defect in mailsync: ZeroDivisionError: 1"
    ]
    assert len(sites.rows("bob", "boats")) == 1
    sites.sites["bob"].datasets["people"] = MemoryDataset()
    sites.sync("bob")
    assert agreed(sites)


def test_a_dataset_offered_later_arrives_whole(tmp_path: Path) -> None:
    sites = Sites(tmp_path)
    sites.add("alice", {"bob": 'datasets = ["people"]'}, ("people", "boats"))
    sites.add("bob", {"alice": ""}, ("people", "boats"))
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    sites.rows("alice", "boats")[Key("1")] = {"name": "Argo"}
    settle(sites)
    assert (len(sites.rows("bob")), len(sites.rows("bob", "boats"))) == (1, 0)
    kept = dict(sites.sites["alice"].datasets)
    sites.add("alice", {"bob": ""}, ("people", "boats")).datasets.update(kept)
    settle(sites)
    assert sites.contents("bob", "boats") == [[("name", "Argo")]]
    assert sites.round() == 0
