"""What would delete much at once waits for a person, at either end; everything else goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from mailsync.core.model import Key
from mailsync.cycle import guarding, releasing
from mailsync.cycle.health import examine_links
from mailsync.cycle.planning import plan_sync
from mailsync.cycle.report import Report
from mailsync.cycle.run import Extent, run_cycle
from mailsync.datasets.base import Outcome, Write
from mailsync.errors import Exit, SafetyStop, UsageError
from mailsync.store.stops import Stop
from tests.cycle.sites import Sites

OFF = 'max_delete = "off"'


def a_pair(directory: Path, alice: str = "", bob: str = "", count: int = 100) -> Sites:
    """Two sites in step, with so many people and some boats."""
    sites = Sites(directory)
    sites.add("alice", {"bob": ""}, ("people", "boats"), alice)
    sites.add("bob", {"alice": ""}, ("people", "boats"), bob)
    for number in range(count):
        sites.rows("alice")[Key(f"{number:04}")] = person(number)
    sites.rows("alice", "boats")[Key("1")] = {"name": "Aurora"}
    settle(sites)
    assert len(sites.rows("bob")) == count
    return sites


def person(number: int) -> dict[str, str | int]:
    return {"name": f"N{number}", "age": number, "town": f"T{number % 7}", "note": f"n{number}"}


def settle(sites: Sites) -> None:
    for _ in range(3):
        for name in sorted(sites.sites):
            cycle(sites, name)
            sites.network.deliver_all()
        sites.clock.now += 2 * 3_600_000


def cycle(sites: Sites, name: str, extent: Extent | None = None) -> Report:
    return asyncio.run(run_cycle(sites.sites[name], extent or Extent(), Report()))


def stops(sites: Sites, name: str) -> list[Stop]:
    with sites.sites[name].store.transaction() as transaction:
        return transaction.stops.all()


def is_stopped(report: Report) -> bool:
    assert all(isinstance(problem, SafetyStop) for problem in report.problems)
    return report.exit_code is Exit.SAFETY_STOP


# --- at the end where it happens -----------------------------------------------------------


def test_a_few_deletes_of_a_small_dataset_are_no_question(tmp_path: Path) -> None:
    sites = a_pair(tmp_path, count=40)
    for number in range(30):
        del sites.rows("alice")[Key(f"{number:04}")]
    assert not is_stopped(cycle(sites, "alice"))


def test_four_records_may_all_go(tmp_path: Path) -> None:
    sites = a_pair(tmp_path, count=4)
    sites.rows("alice").clear()
    assert not is_stopped(cycle(sites, "alice"))


def test_an_emptied_dataset_is_parked_and_everything_else_goes_on(tmp_path: Path) -> None:
    sites = a_pair(tmp_path, count=20)
    sites.rows("alice").clear()
    sites.rows("alice", "boats")[Key("2")] = {"name": "Bounty"}
    report = cycle(sites, "alice")
    assert is_stopped(report)
    assert "people: all 20 records are gone" in str(report.problems[0])
    assert report.peers["bob"].sent.deletes == 0
    sites.network.deliver_all()
    cycle(sites, "bob")
    assert len(sites.rows("bob")) == 20
    assert len(sites.rows("bob", "boats")) == 2


def test_what_comes_back_heals_without_anybody(tmp_path: Path) -> None:
    sites = a_pair(tmp_path)
    before = dict(sites.rows("alice"))
    sites.rows("alice").clear()
    assert is_stopped(cycle(sites, "alice"))
    assert len(stops(sites, "alice")) == 1
    sites.rows("alice").update(before)
    assert cycle(sites, "alice").exit_code is Exit.OK
    assert stops(sites, "alice") == []
    assert sites.round() == 0


def test_nothing_is_written_into_what_is_parked(tmp_path: Path) -> None:
    """Else the compare-and-set would find each row gone, and take that for a user's delete."""
    sites = a_pair(tmp_path)
    sites.rows("alice").clear()
    for number in range(60):
        sites.rows("bob")[list(sites.rows("bob"))[number]] = person(number) | {"note": "edited"}
    cycle(sites, "bob")
    sites.network.deliver_all()
    assert is_stopped(cycle(sites, "alice"))
    assert sites.rows("alice") == {}
    settle(sites)
    assert len(sites.rows("bob")) == 100


def test_as_many_deletes_as_allowed_go(tmp_path: Path) -> None:
    sites = a_pair(tmp_path)
    for number in range(50):
        del sites.rows("alice")[Key(f"{number:04}")]
    assert not is_stopped(cycle(sites, "alice"))
    settle(sites)
    assert len(sites.rows("bob")) == 50


def test_one_delete_more_than_allowed_waits(tmp_path: Path) -> None:
    sites = a_pair(tmp_path)
    for number in range(51):
        del sites.rows("alice")[Key(f"{number:04}")]
    report = cycle(sites, "alice")
    assert is_stopped(report)
    assert "51 of 100 records are gone" in str(report.problems[0])
    assert "sync --allow-delete 51" in str(report.problems[0])


@pytest.mark.parametrize("allowed", [50, 51])
def test_a_person_allows_a_number_of_deletes(tmp_path: Path, allowed: int) -> None:
    sites = a_pair(tmp_path)
    for number in range(51):
        del sites.rows("alice")[Key(f"{number:04}")]
    report = cycle(sites, "alice", Extent(allow_delete=allowed))
    assert is_stopped(report) is (allowed == 50)
    assert report.peers["bob"].sent.deletes == (0 if allowed == 50 else 51)


def test_a_release_holds_for_what_was_seen_and_once(tmp_path: Path) -> None:
    sites = a_pair(tmp_path, count=300)
    for number in range(100):
        del sites.rows("alice")[Key(f"{number:04}")]
    cycle(sites, "alice")
    (stop,) = stops(sites, "alice")
    assert (stop.kind, stop.records) == ("deletes", 100)
    releasing.release(sites.sites["alice"], stop)
    del sites.rows("alice")[Key("0100")]
    assert is_stopped(cycle(sites, "alice"))
    (again,) = stops(sites, "alice")
    assert (again.number, again.records) == (stop.number, 101)
    releasing.release(sites.sites["alice"], again)
    report = cycle(sites, "alice")
    assert not is_stopped(report)
    assert report.peers["bob"].sent.deletes == 101
    for number in range(101, 200):
        del sites.rows("alice")[Key(f"{number:04}")]
    assert is_stopped(cycle(sites, "alice"))


def test_discarded_rows_come_back_as_they_were(tmp_path: Path) -> None:
    sites = a_pair(tmp_path)
    before = dict(sites.rows("alice"))
    sites.rows("alice").clear()
    sites.rows("alice")[Key("new")] = {"name": "New"}
    cycle(sites, "alice")
    (stop,) = stops(sites, "alice")
    assert releasing.discard(sites.sites["alice"], stop, Report()) == 100
    assert sites.rows("alice") == before | {Key("new"): {"name": "New"}}
    report = cycle(sites, "alice")
    assert report.exit_code is Exit.OK
    assert (report.peers["bob"].sent.upserts, report.peers["bob"].sent.deletes) == (1, 0)


def test_new_keys_for_all_records_are_parked_with_the_new_records(tmp_path: Path) -> None:
    sites = a_pair(tmp_path, count=20)
    rows = sites.rows("alice")
    renamed = {Key(f"x{key}"): fields for key, fields in rows.items()}
    rows.clear()
    rows.update(renamed)
    report = cycle(sites, "alice")
    assert is_stopped(report)
    assert report.peers["bob"].sent.upserts == 0
    (stop,) = stops(sites, "alice")
    assert stop.kind == "rekeyed"
    with pytest.raises(UsageError, match="would stand beside the new ones"):
        releasing.discard(sites.sites["alice"], stop, Report())
    releasing.release(sites.sites["alice"], stop)
    settle(sites)
    assert sites.contents("alice") == sites.contents("bob")


def test_another_dataset_in_the_place_of_ours_is_parked(tmp_path: Path) -> None:
    sites = a_pair(tmp_path)
    for key in sites.rows("alice"):
        sites.rows("alice")[key] = {"name": "x" + key, "age": -1, "town": "?", "note": key * 2}
    report = cycle(sites, "alice")
    assert is_stopped(report)
    (stop,) = stops(sites, "alice")
    assert (stop.kind, stop.records) == ("replaced", 100)
    with pytest.raises(UsageError, match="would be overwritten"):
        releasing.discard(sites.sites["alice"], stop, Report())
    report = cycle(sites, "alice", Extent(allow_delete=100))
    assert report.peers["bob"].sent.upserts == 100


def test_one_field_changed_in_every_record_is_work_as_usual(tmp_path: Path) -> None:
    sites = a_pair(tmp_path)
    for key, fields in sites.rows("alice").items():
        sites.rows("alice")[key] = {**fields, "age": 1000, "town": "moved"}
    assert not is_stopped(cycle(sites, "alice"))


def test_a_guard_that_is_off_asks_nothing(tmp_path: Path) -> None:
    sites = a_pair(tmp_path, alice=OFF, bob=OFF)
    sites.rows("alice").clear()
    assert not is_stopped(cycle(sites, "alice"))
    settle(sites)
    assert sites.rows("bob") == {}


@pytest.mark.parametrize("kept", [0, 10**9])
def test_a_scan_of_many_changes_is_counted_before_any_is_entered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    monkeypatch.setattr(guarding, "BATCH", 10)
    monkeypatch.setattr(guarding, "KEPT_MAX", kept)
    sites = a_pair(tmp_path)
    rows = sites.rows("alice")
    for number in range(40):
        rows[Key(f"new{number}")] = {"name": f"New {number}"}
    for number in range(60):
        del rows[Key(f"{number:04}")]
    report = cycle(sites, "alice")
    assert is_stopped(report)
    assert (report.peers["bob"].sent.upserts, report.peers["bob"].sent.deletes) == (0, 0)
    report = cycle(sites, "alice", Extent(allow_delete=60))
    assert (report.peers["bob"].sent.upserts, report.peers["bob"].sent.deletes) == (40, 60)


def test_what_was_not_there_at_the_first_look_is_counted_at_the_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarding, "BATCH", 10)
    monkeypatch.setattr(guarding, "KEPT_MAX", 0)
    sites = a_pair(tmp_path)
    for number in range(40):
        sites.rows("alice")[Key(f"new{number}")] = {"name": f"New {number}"}
    dataset, looks = sites.sites["alice"].datasets["people"], 0
    look = dataset.changes

    def emptied_between(known: object) -> object:
        nonlocal looks
        looks += 1
        if looks == 2:
            for number in range(100):
                sites.rows("alice").pop(Key(f"{number:04}"))
        return look(known)  # type: ignore[arg-type]

    monkeypatch.setattr(dataset, "changes", emptied_between)
    report = cycle(sites, "alice")
    assert is_stopped(report)
    assert report.peers["bob"].sent.deletes <= 50


def test_plan_shows_what_would_be_stopped(tmp_path: Path) -> None:
    sites = a_pair(tmp_path)
    sites.rows("alice").clear()
    planned = plan_sync(sites.sites["alice"])
    assert [type(problem) for problem in planned.problems] == [SafetyStop]
    assert stops(sites, "alice") == []


# --- at the other end ----------------------------------------------------------------------


def mass_delete(sites: Sites) -> Report:
    """Alice deletes 60 people and adds one; what Bob makes of it."""
    for number in range(60):
        del sites.rows("alice")[Key(f"{number:04}")]
    sites.rows("alice")[Key("new")] = {"name": "New"}
    assert cycle(sites, "alice", Extent(allow_delete=60)).peers["bob"].sent.deletes == 60
    sites.network.deliver_all()
    return cycle(sites, "bob")


def test_a_received_mass_delete_waits_and_everything_else_is_written(tmp_path: Path) -> None:
    sites = a_pair(tmp_path)
    report = mass_delete(sites)
    assert is_stopped(report)
    assert "people: peers deleted 60 of 100 records" in str(report.problems[0])
    assert len(sites.rows("bob")) == 101
    settle(sites)
    assert len(sites.rows("bob")) == 101


def test_the_sender_hears_that_its_deletes_wait(tmp_path: Path) -> None:
    sites = a_pair(tmp_path)
    mass_delete(sites)
    sites.network.deliver_all()
    cycle(sites, "alice")
    with sites.sites["alice"].store.transaction() as transaction:
        held = sites.sites["alice"].links(transaction)["bob"].held
        (health,) = examine_links(sites.sites["alice"], transaction)
    assert "mailsync sync --ask bob --datasets people --allow-delete N" in "".join(
        health.sentences()
    )
    assert {one.dataset for one in held} == {"people"}
    assert len(held) == 60


@pytest.mark.parametrize("way", ["allow", "release"])
def test_one_command_releases_what_was_received(tmp_path: Path, way: str) -> None:
    sites = a_pair(tmp_path)
    mass_delete(sites)
    (stop,) = stops(sites, "bob")
    assert (stop.kind, stop.records) == ("received", 60)
    extent = Extent(allow_delete=60)
    if way == "release":
        releasing.release(sites.sites["bob"], stop)
        extent = Extent()
    assert cycle(sites, "bob", extent).exit_code is Exit.OK
    settle(sites)
    assert stops(sites, "bob") == []
    assert sites.contents("alice") == sites.contents("bob")
    assert len(sites.rows("bob")) == 41


def test_discarded_deletes_come_back_at_every_site(tmp_path: Path) -> None:
    sites = a_pair(tmp_path)
    mass_delete(sites)
    (stop,) = stops(sites, "bob")
    assert releasing.discard(sites.sites["bob"], stop, Report()) == 60
    settle(sites)
    assert len(sites.rows("bob")) == 101
    assert sites.contents("alice") == sites.contents("bob")
    assert stops(sites, "bob") == stops(sites, "alice") == []


def test_deletes_that_come_in_several_bundles_are_counted_together(tmp_path: Path) -> None:
    sites = a_pair(tmp_path)
    for start in (0, 30):
        for number in range(start, start + 30):
            del sites.rows("alice")[Key(f"{number:04}")]
        cycle(sites, "alice")
    sites.network.deliver_all()
    assert is_stopped(cycle(sites, "bob"))


def test_a_hub_guards_itself_and_passes_deletes_on_to_those_who_guard_themselves(
    tmp_path: Path,
) -> None:
    sites = Sites(tmp_path)
    sites.add("alice", {"hub": ""}, section=OFF)
    sites.add("carol", {"hub": ""}, section=OFF)
    sites.add("hub", {"alice": "", "carol": ""})
    for number in range(100):
        sites.rows("alice")[Key(str(number))] = person(number)
    settle(sites)
    sites.rows("alice").clear()
    settle(sites)
    assert len(sites.rows("hub")) == 100
    assert sites.rows("carol") == {}
    (stop,) = stops(sites, "hub")
    releasing.discard(sites.sites["hub"], stop, Report())
    settle(sites)
    assert len(sites.rows("alice")) == len(sites.rows("carol")) == 100


def test_a_dataset_emptied_while_it_is_written_is_parked_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sites = a_pair(tmp_path)
    for key, fields in sites.rows("alice").items():
        sites.rows("alice")[key] = {**fields, "age": 1000}
    cycle(sites, "alice")
    sites.network.deliver_all()
    dataset = sites.sites["bob"].datasets["people"]
    write = dataset.apply

    def emptied_before(writes: Sequence[Write]) -> list[Outcome]:
        sites.rows("bob").clear()
        return write(writes)

    monkeypatch.setattr(dataset, "apply", emptied_before)
    assert is_stopped(cycle(sites, "bob"))
    assert is_stopped(cycle(sites, "bob"))
    settle(sites)
    assert len(sites.rows("alice")) == 100
