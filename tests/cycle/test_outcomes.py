"""Every combination of what two users do at once and of where the record is to the filter, against
outcomes written down by hand; and the manual shows them.
"""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from mailsync.core.decisions import note_of
from mailsync.core.model import Key
from tests.cycle.sites import DAY, Sites

ACTS: Final = ("insert", "edit", "delete", "none")
SCOPES: Final = ("in", "leaving", "entering", "out")
BEFORE: Final = "send = { where = \"scope in ('in', 'leaving')\" }"
AFTER: Final = "send = { where = \"scope in ('in', 'entering')\" }"
OUTCOMES: Final = tomllib.loads(Path(__file__).with_name("outcomes.toml").read_text("utf-8"))
MANUAL: Final = (Path(__file__).parents[2] / "docs" / "filters.md").read_text("utf-8")
MARKS: Final = {"alice": ("A", "a"), "bob": ("B", "b")}


class Case(NamedTuple):
    scope: str
    alice: str
    bob: str

    @property
    def name(self) -> str:
        return " ".join(self)


def cases(policy: str) -> Iterator[tuple[Case, str]]:
    for scope, alice in itertools.product(SCOPES, ACTS):
        for bob, expected in zip(ACTS, OUTCOMES[policy][scope][alice], strict=True):
            yield Case(scope, alice, bob), expected


class Stage:
    """Alice and Bob, and perhaps Cleo, with one record for each case."""

    def __init__(self, directory: Path, policy: str, *, three: bool) -> None:
        self.sites = Sites(directory)
        said = OUTCOMES[policy]
        keys = ("conflict", "delete_conflict")
        self.everywhere = "".join(f'{key} = "{said[key]}"\n' for key in keys if key in said)
        self.leaves = f'on_leave = "{said["on_leave"]}"\n' if "on_leave" in said else ""
        self.peers = {"bob": "", **({"cleo": ""} if three else {})}
        self.sites.add("alice", self.peers, section=self.everywhere)
        for name in self.peers:
            self.sites.add(name, {"alice": ""}, section=self.everywhere)

    def filter(self, lines: str) -> None:
        """Alice's operator says what is for Bob."""
        before = self.sites.sites["alice"]
        before.store.close()  # type: ignore[attr-defined]
        section = f"{self.everywhere}[datasets.people.peers.bob]\n{lines}\n{self.leaves}"
        self.sites.add("alice", self.peers, section=section).datasets.update(before.datasets)

    def settle(self) -> None:
        for _ in range(12):
            if not self.sites.round():
                return
            self.sites.clock.now += DAY // 4
        raise AssertionError("they never come to rest")

    def act(self, site: str, act: str, case: Case) -> None:
        rows = self.sites.rows(site)
        edited, inserted = MARKS[site]
        there = [key for key, row in rows.items() if row["case"] == case.name]
        row = {"case": case.name, "scope": case.scope}
        if act == "insert":
            rows[Key(f"{site} {case.name}")] = {**row, "note": inserted}
        elif act == "edit":
            rows[there[0]] = {**row, "note": edited}
        elif act == "delete":
            del rows[there[0]]

    def shown(self, site: str) -> dict[str, str]:
        """By case the notes of its rows."""
        found: dict[str, list[str]] = {}
        for row in self.sites.rows(site).values():
            found.setdefault(str(row["case"]), []).append(str(row["note"]))
        return {case: "".join(sorted(notes, key="0ABab".index)) for case, notes in found.items()}

    def conflicts(self, site: str) -> set[str]:
        """The cases that the journal of a site has a note about."""
        with self.sites.sites[site].store.transaction() as transaction:
            notes = [note_of(entry.note) for entry in transaction.journal.entries()]
            records = {one.guid: one for one in transaction.records.of("people")}
        found = set()
        for note in notes:
            if note is not None:
                record = records.get(note.record.guid)
                found.add(note.record.guid.hex() if record is None else self._case_of(record))
        return found

    @staticmethod
    def _case_of(record: object) -> str:
        return str(record.entries["case"].value)  # type: ignore[attr-defined]


@pytest.mark.parametrize("three", [False, True], ids=["two sites", "three sites"])
@pytest.mark.parametrize("policy", OUTCOMES)
def test_everything_ends_as_it_is_written(tmp_path: Path, policy: str, three: bool) -> None:  # noqa: FBT001
    stage = Stage(tmp_path, policy, three=three)
    todo = [(case, expected) for case, expected in cases(policy) if expected != "x"]
    if not stage.leaves:
        stage.filter(BEFORE)
    for case, _ in todo:
        rows = stage.sites.rows("alice")
        rows[Key(case.name)] = {"case": case.name, "scope": case.scope, "note": "0"}
    stage.settle()
    stage.filter(BEFORE)
    stage.settle()
    for site, place in (("alice", 1), ("bob", 2)):
        for case, _ in todo:
            stage.act(site, case[place], case)
        stage.sites.clock.now += 1000
    stage.filter(AFTER)
    stage.settle()
    conflicts = {name: stage.conflicts(name) for name in stage.sites.sites}
    assert all(found == conflicts["alice"] for found in conflicts.values())
    shown = {name: stage.shown(name) for name in stage.sites.sites}
    wrong = {}
    for case, expected in todo:
        alice, bob = (shown[name].get(case.name, "-") for name in ("alice", "bob"))
        found = f"{alice} / {bob}" + " !" * (case.name in conflicts["alice"])
        if found != expected:
            wrong[case.name] = f"{found}, not {expected}"
        if three:
            assert shown["cleo"].get(case.name, "-") == alice, case
    assert not wrong


def test_every_combination_is_written_down() -> None:
    for policy in OUTCOMES:
        assert len(list(cases(policy))) == 4 * 4 * 4


def test_the_manual_shows_what_is_written() -> None:
    for scope, alice in itertools.product(SCOPES, ACTS):
        cells = " | ".join(OUTCOMES["newest"][scope][alice])
        assert re.search(rf"^\| {scope} \| {alice} \| {re.escape(cells)} \|$", MANUAL, re.MULTILINE)
