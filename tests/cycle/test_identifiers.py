"""32-bit identifiers between whole sites: unique by construction, refused where they are not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mailsync.core.identifiers import RESTORED_AHEAD, VALUES_32, Given, class_of
from mailsync.core.model import Guid, Key
from mailsync.cycle.minting import NoIdentifierLeft, go_ahead
from mailsync.cycle.run import Extent
from mailsync.datasets.memory import MemoryDataset
from mailsync.store.state import StateStore
from tests.cycle.sites import DAY, HOUR, Sites
from tests.cycle.test_guards import cycle, settle


def short(number: int) -> str:
    return f'guid = "timestamp32"\nguid_class = {number}'


def a_pair(directory: Path, alice: str = short(0), bob: str = short(1)) -> Sites:
    sites = Sites(directory)
    sites.add("alice", {"bob": ""}, site_lines=alice)
    sites.add("bob", {"alice": ""}, site_lines=bob)
    return sites


def guids(sites: Sites, name: str) -> dict[Guid, object]:
    """What each record under its identifier is called."""
    with sites.sites[name].store.transaction() as transaction:
        return {
            record.guid: record.entries["name"].value
            for record in transaction.records.all()
            if record.dataset == "people"
        }


def last_given(sites: Sites, name: str, guid_class: int) -> Given:
    with sites.sites[name].store.transaction() as transaction:
        return transaction.givens.last(guid_class)


def warnings(sites: Sites, name: str) -> list[str]:
    with sites.sites[name].store.transaction() as transaction:
        return [warned.text for warned in transaction.warnings.all()]


def test_two_sites_that_insert_at_once_keep_all_their_records_apart(tmp_path: Path) -> None:
    """Existing ids in the data make no difference: both sites call their rows 0 to 99."""
    sites = a_pair(tmp_path)
    for name in ("alice", "bob"):
        for number in range(100):
            sites.rows(name)[Key(str(number))] = {"name": f"{name} {number}"}
    settle(sites)
    assert sites.contents("alice") == sites.contents("bob")
    found = guids(sites, "alice")
    assert found == guids(sites, "bob")
    assert len(found) == 200
    assert {len(guid) for guid in found} == {4}
    assert {class_of(guid) for guid, name in found.items() if str(name).startswith("bob")} == {1}


def test_edits_deletes_and_conflicts_find_their_records_under_short_identifiers(
    tmp_path: Path,
) -> None:
    sites = a_pair(tmp_path)
    for number in range(3):
        sites.rows("alice")[Key(str(number))] = {"name": f"N{number}", "age": number}
    settle(sites)
    at_bob = {row["name"]: key for key, row in sites.rows("bob").items()}
    sites.rows("alice")[Key("0")] = {"name": "N0", "age": 50}
    sites.rows("bob")[at_bob["N0"]] = {"name": "N0", "age": 60}
    del sites.rows("bob")[at_bob["N1"]]
    settle(sites)
    assert sites.contents("alice") == sites.contents("bob")
    assert len(sites.rows("alice")) == 2
    with sites.sites["alice"].store.transaction() as transaction:
        assert len(list(transaction.journal.entries())) == 1


@pytest.mark.parametrize("records", [1, 20])
def test_short_identifiers_make_sets_of_records_of_different_times_smaller(
    tmp_path: Path, records: int
) -> None:
    """Each of them has a beginning of its own with 128 bits, of 13 bytes."""
    sizes: list[int] = []
    for lines in ((short(0), short(1)), ("", "")):
        directory = tmp_path / str(len(sizes))
        directory.mkdir()
        sites = Sites(directory)
        form = 'seal = false\nprofile = "thin"'
        sites.add("alice", {"bob": form}, site_lines=lines[0])
        sites.add("bob", {"alice": form}, site_lines=lines[1])
        for number in range(records):
            sites.rows("alice")[Key(str(number))] = {"name": f"N{number * 7919 % 1000}"}
            sites.sync("alice", Extent(sending=False))
            sites.clock.now += HOUR
        sizes.append(cycle(sites, "alice").peers["bob"].sent.bytes)
    assert sizes[0] <= sizes[1] - 5 * records


def test_a_record_that_waits_under_a_short_identifier_is_told_of(tmp_path: Path) -> None:
    sites = a_pair(tmp_path)
    sites.sites["bob"].datasets["people"] = MemoryDataset(refuses=lambda *_: "no")
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    settle(sites)
    with sites.sites["alice"].store.transaction() as transaction:
        assert len(sites.sites["alice"].links(transaction)["bob"].held) == 1


def test_another_site_with_our_class_is_refused_and_named(tmp_path: Path) -> None:
    """As where a third site, never met, has it: what a peer passes on is refused as well."""
    sites = a_pair(tmp_path, short(0), short(0))
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    settle(sites)
    assert sites.rows("bob") == {}
    (words,) = [one for one in warnings(sites, "bob") if "guid_class" in one]
    assert "alice sent 1 records under identifiers of our own guid_class 0" in words
    assert "another site has the same number" in words
    sites.rows("bob")[Key("7")] = {"name": "Bob"}
    settle(sites)
    assert [row["name"] for row in sites.rows("bob").values()] == ["Bob"]


def test_what_we_gave_ourselves_comes_back_from_a_peer(tmp_path: Path) -> None:
    sites = a_pair(tmp_path)
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    settle(sites)
    key = next(iter(sites.rows("bob")))
    sites.rows("bob")[key] = {"name": "Ada", "age": 36}
    settle(sites)
    assert sites.rows("alice") == {Key("1"): {"name": "Ada", "age": 36}}
    assert warnings(sites, "alice") == []


def test_a_restored_site_gets_back_what_it_lost_and_gives_nothing_again(tmp_path: Path) -> None:
    sites = a_pair(tmp_path)
    sites.rows("alice")[Key("0")] = {"name": "N0"}
    settle(sites)
    shutil.copy(tmp_path / "alice.db", tmp_path / "backup.db")
    for number in range(1, 60):
        sites.rows("alice")[Key(str(number))] = {"name": f"N{number}"}
    settle(sites)
    before = guids(sites, "alice")
    shutil.copy(tmp_path / "backup.db", tmp_path / "alice.db")
    sites.sites["alice"].store = StateStore.open(tmp_path / "alice.db")
    rows = sites.rows("alice")
    for key in list(rows)[1:]:
        del rows[key]
    sites.clock.now += HOUR
    rows[Key("new")] = {"name": "new before it is known"}
    cycle(sites, "alice")
    sites.network.deliver_all()
    settle(sites)
    assert last_given(sites, "alice", 0).value * 1000 > sites.clock.now + 300 * DAY
    rows[Key("later")] = {"name": "new after it is known"}
    settle(sites)
    after = guids(sites, "alice")
    assert after == guids(sites, "bob")
    assert before.items() <= after.items()
    assert len(after) == 62


def test_a_site_that_has_given_its_last_identifier_says_so_and_goes_on(tmp_path: Path) -> None:
    sites = a_pair(tmp_path)
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    settle(sites)
    with sites.sites["alice"].store.transaction() as transaction:
        transaction.givens.save(0, Given(VALUES_32 - 64, sites.clock.now // 1000))
    sites.rows("alice")[Key("1")] = {"name": "Ada", "age": 36}
    sites.rows("alice")[Key("2")] = {"name": "Bob"}
    report = cycle(sites, "alice")
    assert [type(problem) for problem in report.problems] == [NoIdentifierLeft]
    assert any("days ahead of the clock" in words for words in warnings(sites, "alice"))
    assert "class 0" in str(report.problems[0])
    del sites.rows("alice")[Key("2")]
    assert cycle(sites, "alice").problems == []
    settle(sites)
    assert sites.contents("alice") == sites.contents("bob")


def test_what_goes_ahead_is_bounded_and_only_of_short_identifiers(tmp_path: Path) -> None:
    sites = a_pair(tmp_path, short(0), "")
    for name, expected in (("alice", RESTORED_AHEAD), ("bob", -1)):
        site = sites.sites[name]
        with site.store.transaction() as transaction:
            go_ahead(site, transaction, 0)
            assert transaction.givens.last(0).value == expected
