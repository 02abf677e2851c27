"""What a database deletes along with a row, by a rule of its own, no user deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mailsync.cycle.report import Report
from mailsync.cycle.run import Extent, run_cycle
from tests.cycle.tables import Databases

SCHEMA = """
CREATE TABLE job (id INTEGER PRIMARY KEY, name TEXT, open INTEGER);
CREATE TABLE note (
    id INTEGER PRIMARY KEY, text TEXT, job INTEGER REFERENCES job (id) ON DELETE {rule}
);
"""


class Pair(Databases):
    """A shore and a ship, each with jobs and the notes that belong to them."""

    def __init__(self, directory: Path, rule: str) -> None:
        super().__init__(directory)
        self.rule = rule

    def open(self, section: str = "") -> None:
        """The sites; ``section``: of jobs."""
        for name, peer in (("shore", "ship"), ("ship", "shore")):
            schema = SCHEMA.format(rule=self.rule)
            self.add(name, peer, schema, {"job": section, "note": ""})

    def sync(self, name: str) -> Report:
        """One cycle, all mail delivered."""
        report = asyncio.run(run_cycle(self.sites[name], Extent(), Report()))
        assert not report.problems, report.problems
        self.network.deliver_all()
        return report

    def settle(self) -> dict[str, Report]:
        """Some cycles of both; the last reports."""
        return [{name: self.sync(name) for name in self.sites} for _ in range(4)][-1]

    def notes(self, name: str) -> list[tuple[Any, ...]]:
        """The notes and their jobs."""
        return self.run(
            name,
            "SELECT text, job.name FROM note LEFT JOIN job ON job.id = note.job ORDER BY 1",
        )


@pytest.fixture(params=["CASCADE", "SET NULL"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    pair = Pair(tmp_path, request.param)
    yield pair
    pair.close()


def test_what_leaves_a_filter_takes_no_records_along_that_are_in_theirs(pair: Pair) -> None:
    pair.open('send = { where = "open = 1" }')
    pair.run("shore", "INSERT INTO job VALUES (1, 'pump', 1), (2, 'mast', 1)")
    pair.run("shore", "INSERT INTO note VALUES (1, 'leaks', 1), (2, 'loose', 2)")
    pair.settle()
    assert pair.notes("ship") == [("leaks", "pump"), ("loose", "mast")]
    pair.run("shore", "UPDATE job SET open = 0 WHERE id = 1")
    held = pair.settle()["ship"].held["job"]
    assert pair.notes("shore") == [("leaks", "pump"), ("loose", "mast")]
    assert pair.notes("ship") == [("leaks", "pump"), ("loose", "mast")]
    assert "rows of note refer to it" in " ".join(held.values())


def test_a_note_that_nobody_knew_of_outlives_the_delete_of_its_job(pair: Pair) -> None:
    pair.open()
    pair.run("shore", "INSERT INTO job VALUES (1, 'pump', 1)")
    pair.run("shore", "INSERT INTO note VALUES (1, 'leaks', 1)")
    pair.settle()
    pair.run("shore", "DELETE FROM job WHERE id = 1")
    pair.run("ship", "INSERT INTO note (text, job) SELECT 'mended', id FROM job")
    held = pair.settle()["ship"].held["job"]
    assert ("mended", "pump") in pair.notes("ship")
    assert "rows of note refer to it" in " ".join(held.values())
    pair.run("ship", "DELETE FROM note")
    assert not any(pair.settle()["ship"].held.values())
    assert pair.run("ship", "SELECT * FROM job") == []


def test_a_job_goes_with_all_its_notes(pair: Pair) -> None:
    pair.rule = "CASCADE"
    pair.open()
    pair.run("shore", "INSERT INTO job VALUES (1, 'pump', 1)")
    pair.run("shore", "INSERT INTO note VALUES (1, 'leaks', 1), (2, 'loose', 1)")
    pair.settle()
    pair.run("shore", "DELETE FROM job WHERE id = 1")
    assert not any(pair.settle()["ship"].held.values())
    assert pair.run("ship", "SELECT * FROM job") == pair.notes("ship") == []
