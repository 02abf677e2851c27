"""``mailsync conflicts`` and ``mailsync undo``, between two sites that exchange files."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from mailsync.errors import Exit
from tests.cli.invoking import lines_of, refuse, run, succeed

SITES = ("ship", "shore")


class Pair:
    """Ship and shore, with a table of parts each."""

    def __init__(self, directory: Path, section: str = "") -> None:
        self.directory = directory
        for name in SITES:
            folder = directory / name
            folder.mkdir()
            self.run(name, "init", "--site", name, "--address", f"{name}@mail.example")
            self.sql(name, "CREATE TABLE parts (part TEXT PRIMARY KEY, stock INTEGER, shelf TEXT)")
            with (folder / "mailsync.toml").open("a") as file:
                file.write('\n[datasets.parts]\nsource = "sqlite:///parts.db"\ntable = "parts"\n')
                file.write(f'keys = "shared"\n{section}\n')
            self.run(name, "pair", "card", "-o", str(directory / f"{name}.card"))
        for name, peer in (SITES, SITES[::-1]):
            self.run(name, "pair", "add", str(directory / f"{peer}.card"))
        self.sql("ship", "INSERT INTO parts VALUES ('pump', 3, 'A'), ('valve', 8, 'B')")
        self.exchange()

    def sql(self, name: str, statement: str) -> list[Any]:
        with sqlite3.connect(self.directory / name / "parts.db") as connection:
            return connection.execute(statement).fetchall()

    def run(self, name: str, *arguments: str) -> Result:
        return succeed("-c", self.directory / name / "mailsync.toml", *arguments)

    def say(self, name: str, *arguments: str) -> Result:
        return run("-c", self.directory / name / "mailsync.toml", *arguments)

    def json(self, name: str, *arguments: str) -> list[dict[str, Any]]:
        return lines_of(self.say(name, "--json", *arguments))

    def exchange(self) -> None:
        """What each has to say gets to the other, to the end."""
        for _ in range(3):
            for name, peer in (SITES, SITES[::-1]):
                stick = self.directory / f"{name}.stick"
                stick.mkdir(exist_ok=True)
                self.say(name, "bundle", "export", peer, str(stick))
                if any(stick.rglob("*.*")):
                    self.say(peer, "bundle", "import", str(stick))

    def disagree(self) -> None:
        """Both edit both parts; the shore is later."""
        self.sql("ship", "UPDATE parts SET stock = stock + 1, shelf = 'S'")
        self.say("ship", "bundle", "export", "shore", str(self.directory))
        self.sql("shore", "UPDATE parts SET stock = stock + 10")
        self.exchange()

    def parts(self) -> list[tuple[str, int, str]]:
        found = [self.sql(name, "SELECT * FROM parts ORDER BY part") for name in SITES]
        assert found[0] == found[1]
        return list(found[0])

    def open(self, name: str) -> list[dict[str, Any]]:
        return self.json(name, "conflicts", "list")[:-1]


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    made = Pair(tmp_path)
    made.disagree()
    assert made.parts() == [("pump", 13, "S"), ("valve", 18, "S")]
    return made


def cells(text: str) -> list[list[str]]:
    return [re.split(r" {2,}", line.strip()) for line in text.splitlines()]


@pytest.mark.parametrize("name", SITES)
def test_both_sides_stand_side_by_side(pair: Pair, name: str) -> None:
    (conflict,) = [one for one in pair.open(name) if one["loser"] == 4]
    shown = pair.run(name, "conflicts", "show", conflict["id"][:8]).stdout
    rows = cells(shown)
    (head,) = [row for row in rows if row[0] == "base"]
    assert re.fullmatch(r"here: shore, \d{4}-.*", head[1])
    assert re.fullmatch(r"there: ship, \d{4}-.*", head[2])
    assert ["*", "stock", "3", "13", "4"] in [" ".join(row).split() for row in rows]
    assert ["part", "pump", "pump", "pump"] in rows
    (told,) = pair.json(name, "conflicts", "show", conflict["id"])
    assert (told["here"]["site"], told["there"]["site"]) == ("shore", "ship")
    assert {"field": "stock", "base": 3, "here": 13, "there": 4, "differs": True} in told["fields"]
    assert [line["field"] for line in told["fields"] if line["differs"]] == ["stock"]


@pytest.mark.parametrize("how", ["ids", "alike", "all", "dataset"])
@pytest.mark.parametrize("name", SITES)
def test_many_are_restored_at_once_and_closed_at_both(pair: Pair, name: str, how: str) -> None:
    ids = [one["id"] for one in pair.open(name)]
    assert len(ids) == 2
    words = {
        "ids": ids,
        "alike": ["--alike", ids[0][:6]],
        "all": ["--all"],
        "dataset": ["--all", "--dataset", "parts"],
    }
    lines = pair.json(name, "conflicts", "restore", *words[how])
    assert sorted(line["id"] for line in lines[:-1]) == sorted(ids)
    assert (lines[-1]["conflicts"], lines[-1]["resolution"]) == (2, "restored")
    pair.exchange()
    assert pair.parts() == [("pump", 4, "S"), ("valve", 9, "S")]
    assert [pair.open(each) for each in SITES] == [[], []]


def test_of_what_lost_in_one_field_the_last_comes_back_and_the_rest_stays_open(pair: Pair) -> None:
    first = {one["id"] for one in pair.open("ship")}
    pair.disagree()
    assert pair.parts() == [("pump", 23, "S"), ("valve", 28, "S")]
    told = pair.run("ship", "conflicts", "restore", "--all").stdout
    assert all(
        f"{one[:8]} is still open: something that was written later" in told for one in first
    )
    pair.exchange()
    assert pair.parts() == [("pump", 14, "S"), ("valve", 19, "S")]
    assert [{one["id"] for one in pair.open(name)} for name in SITES] == [first, first]
    summary = pair.json("shore", "conflicts", "restore", *first)[-1]
    assert (summary["conflicts"], summary["open"], summary["resolution"]) == (2, 0, "restored")
    pair.exchange()
    assert pair.parts() == [("pump", 4, "S"), ("valve", 9, "S")]


def test_resolved_is_resolved_at_the_other_site(pair: Pair) -> None:
    assert "closed" in pair.run("ship", "conflicts", "resolve", "--all").stdout
    pair.exchange()
    assert pair.parts() == [("pump", 13, "S"), ("valve", 18, "S")]
    assert [pair.open(each) for each in SITES] == [[], []]
    assert pair.run("shore", "conflicts", "resolve", "--all").stdout == "no conflicts\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "name conflicts by their ids, or say --alike ID or --all"),
        (["x"], "there is no conflict that begins with x; see: mailsync conflicts list --all"),
        (["x", "--dataset", "parts"], "--dataset goes with --all"),
    ],
)
def test_what_is_meant_must_be_said(tmp_path: Path, words: list[str], told: str) -> None:
    pair = Pair(tmp_path)
    place = tmp_path / "ship" / "mailsync.toml"
    for command in ("resolve", "restore"):
        assert refuse(Exit.USAGE, "-c", place, "conflicts", command, *words)[0] == told
    assert pair.parts()


def test_a_dataset_that_is_none_is_a_mistake(tmp_path: Path) -> None:
    Pair(tmp_path)
    place = tmp_path / "ship" / "mailsync.toml"
    for command in (["list"], ["resolve", "--all"], ["restore", "--all"]):
        told = refuse(Exit.USAGE, "-c", place, "conflicts", *command, "--dataset", "prats")[0]
        assert told.startswith(f"there is no dataset prats in {place}; datasets: ")
    assert succeed("-c", place, "conflicts", "list", "--dataset", "parts").exit_code == 0


def test_what_waits_is_said_until_somebody_decides(tmp_path: Path) -> None:
    pair = Pair(tmp_path, 'conflict = { stock = "ask" }')
    pair.disagree()
    done = pair.say("ship", "bundle", "import", str(tmp_path / "shore.stick"))
    assert done.exit_code == Exit.CONFLICTS
    assert "2 conflicts wait for you: see mailsync conflicts list" in done.stdout
    assert "! 2 conflicts wait for you" in pair.run("shore", "status").stdout
    assert pair.run("ship", "conflicts", "list").stdout.count("waits for you") == 2
    pair.run("shore", "conflicts", "resolve", "--all")
    pair.exchange()
    done = pair.say("ship", "bundle", "import", str(tmp_path / "shore.stick"))
    assert done.exit_code == Exit.OK
    assert pair.json("ship", "status")[-1]["undecided"] == 0


def _changes(pair: Pair) -> int:
    """A set that changes, deletes and adds one part each; its number at the shore."""
    pair.sql("ship", "UPDATE parts SET shelf = 'Z' WHERE part = 'pump'")
    pair.sql("ship", "DELETE FROM parts WHERE part = 'valve'")
    pair.sql("ship", "INSERT INTO parts VALUES ('bolt', 1, 'C')")
    pair.exchange()
    told = pair.run("shore", "log").stdout
    return int(re.findall(r"bundle (\d+): 2 records, 1 deletes", told)[-1])


def test_a_bundle_is_undone(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    number = str(_changes(pair))
    assert pair.parts() == [("bolt", 1, "C"), ("pump", 3, "Z")]
    shown = pair.run("shore", "undo", "--dry-run", number).stdout
    assert "3 of 3 records undone; nothing was written" in shown
    assert pair.parts() == [("bolt", 1, "C"), ("pump", 3, "Z")]
    shown = pair.run("shore", "undo", number).stdout
    for words in ("as it was: shelf", "there again", "deleted again", "the next sync sends it"):
        assert words in shown
    pair.exchange()
    assert pair.parts() == [("pump", 3, "A"), ("valve", 8, "B")]


def test_what_was_written_since_is_left(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    number = str(_changes(pair))
    pair.sql("shore", "UPDATE parts SET shelf = 'Y' WHERE part = 'pump'")
    done = pair.say("shore", "--json", "undo", number)
    assert done.exit_code == Exit.PARTLY
    *records, summary = lines_of(done)
    assert summary == {
        "v": 1,
        "type": "summary",
        "bundle": int(number),
        "records": 3,
        "left": 1,
        "dry_run": False,
    }
    (left,) = [one for one in records if one["left"]]
    assert (left["change"], left["fields"]) == ("edited", {})
    assert left["left"] == {"shelf": "it was edited since"}
    pair.exchange()
    assert pair.parts() == [("pump", 3, "Y"), ("valve", 8, "B")]
