"""``mailsync held`` and ``status`` on a site with a bundle set aside."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mailsync.cli import main
from mailsync.core.letters import Place
from mailsync.store.mailbox import Look
from mailsync.store.pauses import Pause
from mailsync.store.state import StateStore


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    done = run(tmp_path, "init", "--site", "ship", "--address", "ship@mail.example")
    assert done.exit_code == 0, done.output
    with StateStore.open(tmp_path / "state.db").transaction() as transaction:
        transaction.inbox.admit("hub", bytes(32), b"bundle", 1_790_000_000_000)
        transaction.inbox.finish(1, "quarantined", "it makes no sense")
        transaction.history.hold("crew", {"anna.vcf": "line 3: no colon"}, 1_790_000_000_000)
    return tmp_path


def run(directory: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["-c", str(directory / "mailsync.toml"), *arguments])


def states(directory: Path) -> list[int]:
    with StateStore.open(directory / "state.db").transaction() as transaction:
        return transaction.inbox.waiting()


def test_the_list_names_what_is_held_and_why(directory: Path) -> None:
    shown = run(directory, "held", "list").stdout
    assert "crew anna.vcf" in shown
    assert "line 3: no colon" in shown
    assert "it makes no sense" in shown
    lines = [
        json.loads(line) for line in run(directory, "--json", "held", "list").stdout.splitlines()
    ]
    assert lines[-1] == {
        "v": 1,
        "type": "summary",
        "stopped": 0,
        "held": 1,
        "bundles": 1,
        "mails": 0,
    }


def test_status_names_what_was_set_aside_and_why(directory: Path) -> None:
    shown = run(directory, "status")
    at = "2026-09-21T14:13:20+00:00"
    assert f"set aside: bundle 1 of hub: it makes no sense ({at})" in shown.stdout.splitlines()
    assert f"held: crew anna.vcf: line 3: no colon (since {at})" in shown.stdout.splitlines()
    lines = [json.loads(line) for line in run(directory, "--json", "status").stdout.splitlines()]
    (told,) = [line for line in lines if line["type"] == "quarantined"]
    assert told == {
        "v": 1,
        "type": "quarantined",
        "number": 1,
        "peer": "hub",
        "reason": "it makes no sense",
        "since": at,
    }
    assert lines[-1]["held"] == 2
    assert run(directory, "held", "discard", "1").exit_code == 0
    assert "set aside" not in run(directory, "status").stdout


def test_a_released_bundle_waits_again(directory: Path) -> None:
    assert run(directory, "held", "release", "1").exit_code == 0
    assert states(directory) == [1]


def test_a_discarded_bundle_is_gone(directory: Path) -> None:
    assert run(directory, "held", "discard", "1").exit_code == 0
    assert states(directory) == []
    assert "nothing is held" not in run(directory, "held", "list").stdout


def test_a_bundle_that_is_not_held_is_named(directory: Path) -> None:
    done = run(directory, "held", "release", "7")
    assert done.exit_code == 2
    assert "there is no bundle 7 set aside" in done.stderr


def test_status_says_until_when_the_mailbox_is_left_alone(directory: Path) -> None:
    assert "mailbox" not in run(directory, "--json", "status").stdout
    until = int(time.time() * 1000) + 3_600_000
    with StateStore.open(directory / "state.db").transaction() as transaction:
        transaction.pauses.begin("mailbox", Pause(until, 1, "Suggested Backoff Time: 3600"))
    assert "! The mailbox is paused until " in run(directory, "status").stdout
    lines = map(json.loads, run(directory, "--json", "status").stdout.splitlines())
    (said,) = (line["reason"] for line in lines if line["type"] == "mailbox")
    assert said.endswith(": Suggested Backoff Time: 3600")


# --- mails that are not complete -------------------------------------------------------------


def put_waiting(directory: Path, count: int) -> None:
    """So many mails of which only a placeholder is there, the latest first."""
    with StateStore.open(directory / "state.db").transaction() as transaction:
        for number in range(count, 0, -1):
            since = 1_790_000_000_000 + number * 60_000
            place = Place("ship@mail.example", "INBOX", 1, number)
            note = f"its content {number} was removed"
            transaction.mailbox.wait(Look(place, since, 0, since + 600_000, 300, note))


@pytest.mark.parametrize("command", [["status"], ["held", "list"]])
def test_mails_that_are_not_complete_are_listed(directory: Path, command: list[str]) -> None:
    assert "incomplete" not in run(directory, *command).stdout
    put_waiting(directory, 7)
    done = run(directory, *command)
    shown = [line for line in done.stdout.splitlines() if line.startswith("incomplete: ")]
    assert done.exit_code == 0
    assert shown[0] == (
        "incomplete: mail 1 in INBOX: its content 1 was removed "
        "(since 2026-09-21T14:14:20+00:00; looked at again 2026-09-21T14:24:20+00:00)"
    )
    assert [line.split()[2] for line in shown] == ["1", "2", "3", "4", "5", "2"]
    assert shown[-1] == "incomplete: and 2 more mails"
    lines = [json.loads(line) for line in run(directory, "--json", *command).stdout.splitlines()]
    told = [line for line in lines if line["type"] == "incomplete"]
    assert [line["number"] for line in told] == [1, 2, 3, 4, 5, 6, 7]
    assert told[0] == {
        "v": 1,
        "type": "incomplete",
        "folder": "INBOX",
        "number": 1,
        "reason": "its content 1 was removed",
        "since": "2026-09-21T14:14:20+00:00",
        "look_at": "2026-09-21T14:24:20+00:00",
    }
    assert lines[-1]["held"] == {"status": 2, "held": 1}[command[0]]


def test_mails_that_are_not_complete_are_not_nothing(tmp_path: Path) -> None:
    assert run(tmp_path, "init", "--site", "ship", "--address", "ship@mail.example").exit_code == 0
    assert run(tmp_path, "held", "list").stdout == "nothing is held\n"
    put_waiting(tmp_path, 1)
    assert run(tmp_path, "held", "list").stdout.startswith("incomplete: mail 1 in INBOX")


def test_status_tells_where_rejected_mails_are_told(directory: Path) -> None:
    assert run(directory, "status").stdout.endswith(" 0 mails rejected\n")
    with StateStore.open(directory / "state.db").transaction() as transaction:
        place = Place("ship@mail.example", "INBOX", 1, 1)
        transaction.mailbox.settle(place, "rejected", "ValueError: a defect", 1_790_000_000_000)
    assert run(directory, "status").stdout.endswith(" 1 mails rejected: see mailsync log\n")


# --- what the guards stopped ---------------------------------------------------------------


@pytest.fixture
def emptied(tmp_path: Path) -> Path:
    """A site whose table of ten rows was emptied before the last sync."""
    done = run(tmp_path, "init", "--site", "ship", "--address", "ship@mail.example")
    assert done.exit_code == 0, done.output
    with (tmp_path / "mailsync.toml").open("a") as file:
        file.write('[datasets.crew]\nsource = "sqlite:///crew.db"\ntable = "crew"\n')
    ids = range(11, 21)
    rows(tmp_path, "CREATE TABLE crew (id INTEGER PRIMARY KEY, name TEXT)")
    rows(tmp_path, *(f"INSERT INTO crew VALUES ({one}, 'N{one}')" for one in ids))
    assert run(tmp_path, "sync", "--no-receive").exit_code == 0
    rows(tmp_path, "DELETE FROM crew")
    assert run(tmp_path, "plan").exit_code == 6
    stopped = run(tmp_path, "sync", "--no-receive")
    assert stopped.exit_code == 6
    assert "crew: all 10 records are gone" in stopped.stderr
    assert "mailsync sync --allow-delete 10" in stopped.stderr
    return tmp_path


def rows(directory: Path, *statements: str) -> list[int]:
    with sqlite3.connect(directory / "crew.db") as connection:
        for statement in statements:
            connection.execute(statement)
        found = [one for (one,) in connection.execute("SELECT id FROM crew ORDER BY id")]
    connection.close()
    return found


def stopped_number(directory: Path) -> int:
    lines = map(json.loads, run(directory, "--json", "held", "list").stdout.splitlines())
    (stop,) = [line for line in lines if line["type"] == "stopped"]
    assert (stop["dataset"], stop["guard"], stop["records"]) == ("crew", "emptied", 10)
    assert stop["release"] == f"mailsync held release {stop['number']}"
    return int(stop["number"])


def test_the_list_and_status_say_what_was_stopped_and_how_it_is_released(emptied: Path) -> None:
    number = stopped_number(emptied)
    for command in (["held", "list"], ["status"]):
        shown = run(emptied, *command).stdout
        assert f"! {number}  crew: all 10 records are gone" in shown
        assert f"mailsync held release {number}" in shown


def test_what_was_stopped_and_released_goes_with_the_next_sync(emptied: Path) -> None:
    assert run(emptied, "held", "release", str(stopped_number(emptied))).exit_code == 0
    assert "released, the next sync takes it over" in run(emptied, "held", "list").stdout
    assert run(emptied, "sync", "--no-receive").exit_code == 0
    assert run(emptied, "held", "list").stdout == "nothing is held\n"
    assert rows(emptied) == []


def test_what_was_stopped_and_discarded_comes_back_under_its_keys(emptied: Path) -> None:
    done = run(emptied, "held", "discard", str(stopped_number(emptied)))
    assert done.stdout == "crew: 10 records were brought back\n"
    assert rows(emptied) == list(range(11, 21))
    assert run(emptied, "sync", "--no-receive").exit_code == 0


def test_what_is_stopped_never_has_the_number_of_a_bundle(emptied: Path) -> None:
    number = stopped_number(emptied)
    with StateStore.open(emptied / "state.db").transaction() as transaction:
        transaction.inbox.admit("hub", bytes(32), b"bundle", 1_790_000_000_000)
        assert transaction.inbox.waiting() == [number + 1]
