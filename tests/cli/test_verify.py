"""``mailsync verify`` between two sites of this machine that exchange folders instead of mails."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from mailsync.errors import Exit
from tests.cli.invoking import lines_of, run, succeed

TABLE = "CREATE TABLE crew (name TEXT PRIMARY KEY, note TEXT)"


class Place:
    """A site's directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.configuration = path / "mailsync.toml"

    def execute(self, statement: str) -> None:
        with sqlite3.connect(self.path / "crew.db") as connection:
            connection.execute(statement)
        connection.close()

    def verify(self, *arguments: str, code: Exit) -> dict[str, Any]:
        """The line about the one peer."""
        done = run("-c", self.configuration, "--json", "verify", *arguments)
        assert done.exit_code == code, done.output
        proof, summary = lines_of(done)
        assert summary["type"] == "summary"
        assert summary["equal"] == proof["equal"]
        return proof

    def sync(self) -> None:
        succeed("-c", self.configuration, "sync")


@pytest.fixture
def places(tmp_path: Path) -> tuple[Place, Place]:
    """The ship and the shore, in step."""
    ship, shore = Place(tmp_path / "ship"), Place(tmp_path / "shore")
    for here in (ship, shore):
        here.path.mkdir()
        name = here.path.name
        succeed("-c", here.configuration, "init", "--site", name, "--address", f"{name}@x.example")
        succeed("-c", here.configuration, "pair", "card", "-o", here.path / "card")
        here.execute(TABLE)
    for here, there in ((ship, shore), (shore, ship)):
        succeed("-c", here.configuration, "pair", "add", there.path / "card")
        text = re.sub(r"(?m)^\[mail\]\n(?:(?!\[).*\n)*", "", here.configuration.read_text())
        section = f"[peers.{there.path.name}]\n"
        lines = f'carrier = ["folder"]\nfolder_out = "{there.path}/in"\nfolder_in = "in"\n'
        text = text.replace(section, section + lines)
        text += '[datasets.crew]\nsource = "sqlite:///crew.db"\ntable = "crew"\n'
        here.configuration.write_text(text)
        (here.path / "in").mkdir()
    for number in range(5):
        ship.execute(f"INSERT INTO crew VALUES ('person {number}', 'aboard')")
    for _ in range(2):
        ship.sync()
        shore.sync()
    return ship, shore


def test_a_question_is_asked_awaited_answered_and_shown_once(places: tuple[Place, Place]) -> None:
    ship, shore = places
    assert ship.verify("shore", code=Exit.TEMPORARY)["equal"] is None
    assert ship.verify("shore", code=Exit.TEMPORARY)["equal"] is None
    shore.sync()
    proof = ship.verify("shore", code=Exit.OK)
    assert (proof["equal"], proof["differing"], proof["records"]) == (True, 0, [])
    assert "shore holds the same, as of" in succeed("-c", ship.configuration, "status").output
    assert "ship holds the same, as of" in succeed("-c", shore.configuration, "status").output
    assert ship.verify("shore", code=Exit.TEMPORARY)["equal"] is None


def test_what_differs_is_named_and_mended(places: tuple[Place, Place]) -> None:
    """A row is gone from the shore's dataset and from what the shore knows of it."""
    ship, shore = places
    shore.execute("DELETE FROM crew WHERE name = 'person 3'")
    with sqlite3.connect(shore.path / "state.db") as state:
        state.execute("DELETE FROM record WHERE key LIKE '%person 3%'")
    state.close()
    ship.verify(code=Exit.TEMPORARY)
    shore.sync()
    proof = ship.verify(code=Exit.PARTLY)
    assert (proof["differing"], proof["mending"], len(proof["records"])) == (1, False, 1)
    told = succeed("-c", ship.configuration, "status").output
    assert "! shore 1 records differ" in told or "1 records differ" in told
    ship.verify("--repair", code=Exit.TEMPORARY)
    shore.sync()
    assert ship.verify(code=Exit.PARTLY)["mending"]
    shore.sync()
    with sqlite3.connect(shore.path / "crew.db") as connection:
        assert len(connection.execute("SELECT * FROM crew").fetchall()) == 5
    connection.close()
    ship.verify(code=Exit.TEMPORARY)
    shore.sync()
    assert ship.verify(code=Exit.OK)["equal"]
    assert "differ" not in succeed("-c", ship.configuration, "status").output


def test_words_for_people(places: tuple[Place, Place]) -> None:
    ship, shore = places
    asked = run("-c", ship.configuration, "verify", "shore")
    assert asked.exit_code == Exit.TEMPORARY
    assert asked.stdout.startswith("shore: asked 20")
    assert asked.stdout.endswith(", answer awaited\n")
    shore.sync()
    assert "shore: holds the same (" in succeed("-c", ship.configuration, "verify").stdout


def test_an_unknown_peer_is_named(places: tuple[Place, Place]) -> None:
    done = run("-c", places[0].configuration, "verify", "hub")
    assert done.exit_code == Exit.USAGE
    assert "there is no peer hub" in done.stderr
