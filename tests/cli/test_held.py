"""``mailsync held`` and ``status`` on a site with a bundle set aside."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mailsync.cli import main
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
    assert lines[-1] == {"v": 1, "type": "summary", "held": 1, "bundles": 1}


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
