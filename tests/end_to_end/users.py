"""Ordinary programs at every site, and an account of what they wrote, saw and deleted."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field

from tests.end_to_end.site_directory import SiteDirectory

FIELDS = ("title", "status", "note")


@dataclass
class Users:
    """Use the table ``defects`` of :mod:`tests.end_to_end.exchange`.

    Every value written is unique, so that it can be told what became of it.
    """

    chance: random.Random
    created: set[str] = field(default_factory=set)
    edited: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    written: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Value to the record and field it was written to."""
    replaced: set[str] = field(default_factory=set)
    """Values that a user saw and overwrote or deleted."""
    count: int = 0

    def use_table(self, site: SiteDirectory) -> None:
        """One insert, edit or delete, in a transaction that reads what it replaces."""
        with closing(sqlite3.connect(site.database, timeout=60, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            numbers = [no for (no,) in database.execute("SELECT no FROM defects ORDER BY no")]
            act = self.chance.choices((self._insert, self._edit, self._delete), (4, 5, 1))[0]
            if numbers:
                act(database, site, self.chance.choice(numbers))
            else:
                self._insert(database, site, "")
            database.execute("COMMIT")

    def write(self, site: SiteDirectory, record: str, name: str) -> str:
        """A value for this record and field."""
        value = self.value(site)
        self.written[value] = (record, name)
        return value

    def value(self, site: SiteDirectory) -> str:
        self.count += 1
        return f"{site.name}-{self.count:05}"

    def _insert(self, database: sqlite3.Connection, site: SiteDirectory, _: str) -> None:
        number = self.value(site)
        self.created.add(number)
        values = [self.write(site, number, name) for name in FIELDS]
        database.execute(
            "INSERT INTO defects (no, title, status, note) VALUES (?, ?, ?, ?)", (number, *values)
        )

    def _edit(self, database: sqlite3.Connection, site: SiteDirectory, number: str) -> None:
        name = self.chance.choice(FIELDS)
        self._see(database, number, (name,))
        value = self.write(site, number, name)
        self.edited.add(number)
        database.execute(f"UPDATE defects SET {name} = ? WHERE no = ?", (value, number))

    def _delete(self, database: sqlite3.Connection, _: SiteDirectory, number: str) -> None:
        self._see(database, number, FIELDS)
        self.deleted.add(number)
        database.execute("DELETE FROM defects WHERE no = ?", (number,))

    def _see(self, database: sqlite3.Connection, number: str, names: tuple[str, ...]) -> None:
        rows = database.execute(f"SELECT {', '.join(names)} FROM defects WHERE no = ?", (number,))
        self.replaced.update(value for row in rows for value in row)

    def assert_nothing_lost(
        self, sites: Iterable[SiteDirectory], elsewhere: Iterable[str] = ()
    ) -> None:
        """Every value stands, or a user saw and replaced it, or it is in every site's journal.

        ``elsewhere``: values that stand in other datasets.
        """
        for site in sites:
            rows = site.query(f"SELECT no, {', '.join(FIELDS)} FROM defects")
            self._assert_right_records([row[0] for row in rows])
            lost = self.written.keys() - self.replaced - set(elsewhere)
            lost -= {value for row in rows for value in row[1:]}
            lost -= {str(one["loser"]).removeprefix("TITLE:") for one in journal(site)}
            silent = {value: self.written[value] for value in lost}
            assert silent == {}, f"no word of it at {site.name}"

    def _assert_right_records(self, numbers: list[str]) -> None:
        assert [number for number, times in Counter(numbers).items() if times > 1] == [], "doubled"
        here = set(numbers)
        assert here <= self.created
        assert not self.created - self.deleted - here, "records are lost"
        assert not here & self.deleted - self.edited, "what was deleted and never edited is back"


def journal(site: SiteDirectory) -> list[dict[str, str]]:
    """Every conflict that a site knows of."""
    return site.json("conflicts", "list", "--all")[:-1]
