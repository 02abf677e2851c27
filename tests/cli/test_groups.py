"""What people see of a group of datasets."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from mailsync.errors import Exit
from tests.cli.invoking import lines_of, refuse, run, succeed

SCRIPT = """
CREATE TABLE crew (id INTEGER PRIMARY KEY, name TEXT);
CREATE TABLE Port (id INTEGER PRIMARY KEY, name TEXT);
CREATE TABLE "two words" (id INTEGER PRIMARY KEY);
CREATE VIEW names AS SELECT name FROM crew;
INSERT INTO crew VALUES (1, 'Ada'), (2, 'Bob');
"""
GROUP = '[datasets.fleet]\nsource = "sqlite:///fleet.db"\ntable = "*"\n'


@pytest.fixture
def place(tmp_path: Path) -> Path:
    configuration = tmp_path / "mailsync.toml"
    succeed("-c", configuration, "init", "--site", "ship", "--address", "ship@mail.example")
    configuration.write_text(configuration.read_text() + GROUP)
    sqlite3.connect(tmp_path / "fleet.db").executescript(SCRIPT)
    return configuration


def test_the_configuration_shows_what_a_group_stands_for(place: Path) -> None:
    shown = succeed("-c", place, "config", "show").stdout
    assert "# fleet stands for fleet.crew, fleet.port" in shown
    assert "# fleet leaves out two words: as a dataset it would be called fleet.two words" in shown
    [summary] = lines_of(succeed("-c", place, "--json", "config", "show"))
    group = summary["groups"]["fleet"]
    assert (group["datasets"], list(group["left_out"])) == (
        ["fleet.crew", "fleet.port"], ["two words"]
    )  # fmt: skip


def test_every_command_names_the_datasets_of_a_group(place: Path) -> None:
    lines = lines_of(succeed("-c", place, "--json", "sync", "--no-receive", "--no-send"))
    assert lines[-1]["detected"] == {"fleet.crew": 2}
    lines = lines_of(succeed("-c", place, "--json", "status"))
    counts = {line["name"]: line["records"] for line in lines if line["type"] == "dataset"}
    assert counts == {"fleet.crew": 2, "fleet.port": 0}
    assert [line["table"] for line in lines if line["type"] == "left_out"] == ["two words"]
    found = lines_of(run("-c", place, "--json", "doctor", "--no-mail"))
    grades = [(line["name"], line["grade"]) for line in found if "dataset " in line.get("name", "")]
    assert grades == [
        ("dataset fleet.crew", "ok"), ("dataset fleet.port", "ok"), ("dataset fleet", "warning")
    ]  # fmt: skip


def test_a_database_that_is_away_is_named_everywhere(place: Path) -> None:
    (place.parent / "fleet.db").unlink()
    refuse(Exit.BAD_CONFIGURATION, "-c", place, "sync", "--no-receive", "--no-send")
    for command in (["config", "show"], ["status"], ["doctor", "--no-mail"], ["plan"]):
        done = run("-c", place, *command)
        assert "there is no database file" in done.stdout + done.stderr, command
