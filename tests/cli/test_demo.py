"""The demonstration: its story, its verdict, and that it leaves nothing behind."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from mailsync.demo import scenario
from mailsync.demo.comparison import contents, differing
from mailsync.demo.samples import files, samples
from mailsync.demo.scenario import Step
from mailsync.demo.sites import Place, Places
from mailsync.errors import Exit
from tests.cli.invoking import run, succeed

Told = dict[str, Any]


def lines_of(text: str) -> list[Told]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Places, list[Told]]:
    directory = tmp_path_factory.mktemp("demo")
    result = succeed("--json", "demo", "--once", "--keep", directory)
    return Places.under(directory), lines_of(result.stdout)


@pytest.fixture
def copied(kept: tuple[Places, list[Told]], tmp_path: Path) -> Places:
    shutil.copytree(kept[0].directory, tmp_path / "copy")
    return Places.under(tmp_path / "copy")


def step(told: list[Told], name: str) -> Told:
    (found,) = [line for line in told if line.get("name") == name]
    return found


# --- the story -----------------------------------------------------------------------------


def test_the_summary_comes_last_and_says_that_both_ends_are_equal(
    kept: tuple[Places, list[Told]],
) -> None:
    _, told = kept
    assert {line["v"] for line in told} == {1}
    summary = told[-1]
    assert summary["type"] == "summary"
    assert summary["equal"] is True
    assert summary["conflicts"] == 1
    assert set(summary["differing"].values()) == {0}
    assert summary["records"]["defects"] >= 500
    sent = [sending for line in told[:-1] for sending in line["sent"]]
    assert summary["mails"] == sum(sending["mails"] for sending in sent)
    assert summary["bytes"] == sum(sending["bytes"] for sending in sent)
    assert summary["seconds"] < 60


def test_all_data_goes_in_one_mail_smaller_than_the_data(kept: tuple[Places, list[Told]]) -> None:
    first = step(kept[1], "first")
    data, *others = first["sent"]
    assert (data["from"], data["mails"]) == ("ship", 1)
    assert data["bytes"] < first["raw"] / 2
    assert {(other["from"], other["upserts"]) for other in others} == {("office", 0)}


def test_edits_cost_what_they_are(kept: tuple[Places, list[Told]]) -> None:
    changes = step(kept[1], "changes")
    assert {sending["from"] for sending in changes["sent"]} == {"ship", "office"}
    assert sum(sending["deletes"] for sending in changes["sent"]) == 2
    assert sum(sending["bytes"] for sending in changes["sent"]) < changes["raw"] / 10


def test_a_sync_without_edits_sends_nothing(kept: tuple[Places, list[Told]]) -> None:
    assert step(kept[1], "nothing")["sent"] == []


def test_edits_of_different_fields_both_stand(kept: tuple[Places, list[Told]]) -> None:
    merge = step(kept[1], "merge")
    assert merge["ship"] == merge["office"]
    assert merge["ship"]["status"] == "in progress"
    assert "Gasket ordered" in merge["ship"]["office_note"]


def test_both_ends_know_the_conflict(kept: tuple[Places, list[Told]]) -> None:
    places, told = kept
    conflicts = step(told, "conflicts")
    assert conflicts["ship"] == conflicts["office"]
    (one,) = conflicts["ship"]
    assert (one["field"], one["winner"], one["loser"]) == ("priority", "2", "1")
    for place in (places.ship, places.office):
        listed = run("-c", place.configuration, "conflicts", "list").stdout
        assert one["id"] in listed
        assert "priority" in listed


# --- the sites -----------------------------------------------------------------------------


def test_each_site_is_complete_and_private(kept: tuple[Places, list[Told]]) -> None:
    places, _ = kept
    for place in (places.ship, places.office):
        succeed("-c", place.configuration, "config", "check")
        for private in (place.directory / "secret", place.directory / "state.db"):
            assert private.stat().st_mode & 0o777 == 0o600
        assert (place.directory / "secret").read_text() not in place.configuration.read_text()


def test_each_site_gives_out_its_own_primary_keys(kept: tuple[Places, list[Told]]) -> None:
    places, _ = kept

    def key_of(place: Place, number: str) -> object:
        connection = sqlite3.connect(place.database)
        query = "SELECT id FROM defects WHERE defect_no = ?"
        (key,) = connection.execute(query, (number,)).fetchone()
        connection.close()
        return key

    assert key_of(places.ship, "D26-0541") == key_of(places.office, "D26-0542")


def test_samples_are_found() -> None:
    assert "CREATE TABLE defects" in (samples() / "ship.sql").read_text("utf-8")
    assert len(files("contacts")) == 40


# --- the comparison ------------------------------------------------------------------------


def edit_text(path: Path, old: str, new: str) -> None:
    text = path.read_bytes().decode()
    assert old in text
    path.write_bytes(text.replace(old, new).encode())


def edit_row(place: Place) -> None:
    connection = sqlite3.connect(place.database)
    with connection:
        connection.execute("UPDATE defects SET cost = NULL WHERE defect_no = 'D24-0001'")
    connection.close()


def edit_card(place: Place) -> None:
    edit_text(place.crew, "FN:Capt. Anna Lindqvist", "FN:Anna Lindqvist")


def edit_alarm(place: Place) -> None:
    edit_text(place.schedule, "TRIGGER:-P1D", "TRIGGER:-P2D")


def edit_zone(place: Place) -> None:
    edit_text(place.schedule, "TZNAME:JST", "TZNAME:XST")


@pytest.mark.parametrize(
    ("edit", "dataset"),
    [
        (edit_row, "defects"),
        (edit_card, "crew"),
        (edit_alarm, "schedule"),
        (edit_zone, "schedule"),
    ],
)
def test_the_comparison_sees_every_difference(
    copied: Places, edit: Callable[[Place], None], dataset: str
) -> None:
    edit(copied.office)
    found = differing(contents(copied.ship), contents(copied.office))
    assert {name for name, count in found.items() if count} == {dataset}
    assert found[dataset] == 2


def test_the_comparison_leaves_aside_what_says_nothing(copied: Places) -> None:
    edit_text(copied.office.crew, "item1.", "other.")
    edit_text(copied.office.crew, "\r\nTITLE:", "\r\nREV:20260101T000000Z\r\ntitle:")
    edit_text(copied.office.schedule, "\r\nSUMMARY", "\r\nDTSTAMP:20270101T000000Z\r\nSUMMARY")
    edit_text(copied.office.schedule, "report conference", "report\r\n  conference")
    found = differing(contents(copied.ship), contents(copied.office))
    assert not any(found.values())


# --- how it ends ---------------------------------------------------------------------------


def test_a_network_that_loses_mail_changes_nothing_in_the_end() -> None:
    result = succeed("--json", "demo", "--once", "--loss", "30")
    assert lines_of(result.stdout)[-1]["equal"] is True


def test_words_end_in_the_verdict_and_the_exit_code_tells_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def play(_: Places) -> AsyncIterator[Step]:
        yield Step("verdict", "Compared", ["crew: 1 DIFFER"], {"equal": False})

    monkeypatch.setattr(scenario, "play", play)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    result = run("demo", "--once")
    assert result.exit_code == Exit.FAILED
    assert "1. Compared\n   crew: 1 DIFFER" in result.stdout
    assert "BOTH ENDS ARE NOT EQUAL" in result.stdout


def test_a_directory_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    result = run("demo", "--once", "--keep", tmp_path)
    assert result.exit_code == Exit.USAGE
    assert "not empty" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run("demo", "--once", "--keep", tmp_path / "file")
    assert result.exit_code != Exit.OK
    assert "Traceback" not in result.stderr


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec

    def without_pymap(name: str, package: str | None = None) -> object:
        return None if name == "pymap" else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", without_pymap)
    result = run("demo", "--once")
    assert result.exit_code == Exit.USAGE
    assert "mailsync-sets[demo]" in result.stderr


def test_it_runs_until_interrupted_and_leaves_nothing(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "mailsync", "demo"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    told = ""
    while "Ctrl-C" not in told:
        line = process.stderr.readline()
        assert line, told
        told += line
    assert "mailsync.toml sync" in told
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == Exit.OK
    assert list(tmp_path.iterdir()) == []
