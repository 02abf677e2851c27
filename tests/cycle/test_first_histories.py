"""First synchronizations of sites that hold much the same, while mails are lost, doubled, delayed
and shuffled, and users go on working: nothing is doubled, nothing is lost.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from mailsync.core.model import Key
from tests.cycle.sites import DAY, HOUR, Sites
from tests.cycle.test_first_synchronization import MATCH
from tests.cycle.test_two_sites import journal

SEEDS = range(10)
EDGES = {
    2: [(0, 1)],
    3: [(0, 1), (1, 2), (0, 2)],
    4: [(0, 1), (0, 2), (0, 3)],
}


class History:
    """Some sites that hold overlapping parts of the same people."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.sites = Sites(directory, seed)
        count = self.chance.choice([2, 2, 3, 4])
        self.names = [f"site{number}" for number in range(count)]
        for number, name in enumerate(self.names):
            peers = {
                self.names[one if other == number else other]: ""
                for one, other in EDGES[count]
                if number in (one, other)
            }
            self.sites.add(name, peers, section=MATCH)
        self.written: set[str] = set()
        self.deleted: set[str] = set()
        size = self.chance.choice([0, 5, 40])
        for name in self.names:
            for person in range(size):
                if self.chance.random() < 0.8:
                    differs = self.chance.random() < 0.1
                    note = f"note {person}" + (f" of {name}" if differs else "")
                    self._write(name, Key(f"{name} {person}"), f"person {person}", note)

    def _write(self, name: str, key: Key, person: str, note: str) -> None:
        self.sites.rows(name)[key] = {"name": person, "note": note}
        self.written.add(note)

    def work(self) -> None:
        """A user edits, deletes or inserts at some site; some mail is harmed; some site syncs."""
        deeds = [self.edit, self.delete, self.insert, self.wait, self.harm, self.carry, self.sync]
        self.chance.choices(deeds, [1, 1, 1, 1, 2, 2, 4])[0](self.chance.choice(self.names))

    def edit(self, name: str) -> None:
        if rows := self.sites.rows(name):
            key = self.chance.choice(sorted(rows))
            self._write(name, key, str(rows[key]["name"]), f"edit {len(self.written)}")

    def delete(self, name: str) -> None:
        if rows := self.sites.rows(name):
            self.deleted.add(str(rows.pop(self.chance.choice(sorted(rows)))["name"]))

    def insert(self, name: str) -> None:
        person = f"new {len(self.written)}"
        self._write(name, Key(f"{name} {person}"), person, f"note of {person}")

    def wait(self, _name: str) -> None:
        self.sites.clock.now += self.chance.choice([HOUR, DAY, 4 * DAY])

    def harm(self, _name: str) -> None:
        """Some mail is lost, doubled or overtaken."""
        if letters := self.sites.network.in_transit:
            self.chance.shuffle(letters)
            letter = letters.pop()
            letters.extend([letter] * self.chance.choice([0, 2]))

    def carry(self, _name: str) -> None:
        for letter in list(self.sites.network.in_transit):
            if self.chance.random() < 0.5:
                self.sites.network.deliver(letter)

    def sync(self, name: str) -> None:
        self.sites.sync(name)

    def settle(self) -> None:
        silent = 0
        for _ in range(90):
            silent = 0 if self.sites.round() else silent + 1
            self.sites.clock.now += DAY
            if silent == 20:
                return
        raise AssertionError("there is no end of mails")


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_doubled_and_nothing_lost(tmp_path: Path, seed: int) -> None:
    history = History(tmp_path, seed)
    for _ in range(history.chance.choice([0, 20, 60])):
        history.work()
    history.settle()
    sites, names = history.sites, history.names
    contents = sites.contents(names[0])
    assert all(sites.contents(name) == contents for name in names)
    people = [str(row["name"]) for row in sites.rows(names[0]).values()]
    assert len(people) == len(set(people))
    for name in names:
        with sites.sites[name].store.transaction() as transaction:
            assert not transaction.history.held()
    if not any(note.startswith("edit") for note in history.written):
        assert not history.written - _remembered(history)


def _remembered(history: History) -> set[str]:
    """Everything that was written and is still somewhere, or of somebody who was deleted."""
    sites = history.sites
    kept: set[str] = set()
    for name in history.names:
        kept |= {str(row["note"]) for row in sites.rows(name).values()}
        kept |= {str(one) for _, *values in journal(sites, name) for one in values}
    return kept | {note for note in history.written if person_of(note) in history.deleted}


def person_of(note: str) -> str:
    """Whom a note is about that nobody edited."""
    words = note.split()
    return " ".join(words[2:]) if words[1] == "of" else f"person {words[1]}"
