"""From sections to datasets: one section may stand for several tables of a database.

Rules
-----
* A group's datasets are called ``GROUP.table``, in lower case: so tables of one name are one
  dataset wherever they are, whatever engine writes their names in which case.
* Tables that are listed are taken as they are; what is wrong with one is its dataset's error.
  With ``*`` it is every table that can be a dataset and has no section of its own; the others
  are named with the reason. Who wants one of them corrects it, or gives it a section.
* What holds records is never taken for gone: as long as the group stands in the configuration,
  a dataset that has records is one of it, and an error where its table is not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mailsync.config import EVERY_TABLE, DatasetSettings, Settings, member, read_secret
from mailsync.cycle.noting import Noted
from mailsync.datasets.base import Access, Dataset
from mailsync.datasets.kinds import is_database, is_remote, open_database, open_dataset
from mailsync.errors import BadConfiguration, DatasetLoginRefused, LoginRefused, MailsyncError
from mailsync.names import NAME_RULE, is_name

if TYPE_CHECKING:
    from mailsync.datasets.sql.database import SqlDatabase


class Memory(NamedTuple):
    """Datasets that the state store knows."""

    holding: frozenset[str] = frozenset()
    """Those that have records."""
    offered: frozenset[str] = frozenset()
    """Those that a link carried the last time."""


@dataclass(slots=True)
class Expansion:
    """What the sections of a configuration stand for."""

    sections: dict[str, DatasetSettings] = field(default_factory=dict)
    """By the name of each dataset: what the configuration says of it alone."""
    left_out: dict[str, dict[str, str]] = field(default_factory=dict)
    """By group: the tables that are no datasets, and why."""
    unavailable: dict[str, MailsyncError] = field(default_factory=dict)
    """By group: why its database could not be asked."""


@dataclass(slots=True)
class Opened:
    """What is open of a site's data."""

    base: Path
    """What paths are relative to."""
    datasets: dict[str, Dataset] = field(default_factory=dict)
    """By their names."""
    databases: dict[str, SqlDatabase] = field(default_factory=dict)
    """By their URLs: those that datasets were opened from."""
    notes: dict[str, Noted] = field(default_factory=dict)
    """By dataset: what was noted of those that keep notes."""

    def open(self, name: str, section: DatasetSettings) -> Dataset:
        """The dataset, opened at first use. Raises DatasetError, BadConfiguration."""
        if name not in self.datasets:
            notes = self.notes.setdefault(name, Noted()) if is_remote(section.source) else None
            self.datasets[name] = open_dataset(
                section.source,
                table=section.table,
                keys=section.keys,
                key=section.key,
                base=self.base,
                databases=self.databases,
                sources=section.map,
                defaults=section.set,
                access=access(section, self.base),
                notes=notes,
            )
        return self.datasets[name]

    @contextmanager
    def looking(self, sections: Iterable[DatasetSettings]) -> Iterator[None]:
        """Inside, each database tells of its tables once, however many datasets look."""
        with ExitStack() as stack:
            for source in sorted({section.source for section in sections}):
                if is_database(source):
                    with suppress(BadConfiguration):  # told by each of its datasets
                        database = open_database(source, self.base, self.databases)
                        stack.enter_context(database.looking())
            yield

    def close(self) -> None:
        """Release it all."""
        for dataset in self.datasets.values():
            dataset.close()


def access(section: DatasetSettings, base: Path) -> Access:
    """How to get in where the section's dataset is. ``base``: what its secret is relative to."""
    secret = section.secret
    if secret is None:
        return Access(authority=section.tls_ca)

    def fetch() -> str:
        try:
            return read_secret(secret, base)
        except LoginRefused as error:
            raise DatasetLoginRefused(f"{section.shown}: {error}") from error

    return Access(fetch, section.tls_ca)


def has_open_group(settings: Settings) -> bool:
    """Does only a database know which datasets there are?"""
    return any(section.table == EVERY_TABLE for section in settings.datasets.values())


def expand(settings: Settings, memory: Memory, opened: Opened) -> Expansion:
    """The datasets of a site. Those of ``table = "*"`` are opened, to see that they can be."""
    found = Expansion()
    for name, section in settings.datasets.items():
        if section.table == EVERY_TABLE:
            _find(settings, name, memory, opened, found)
        elif section.tables is None:
            found.sections[name] = section
        else:
            tables = section.tables
            found.sections |= {member(name, table): section.of_table(table) for table in tables}
    return found


def _find(settings: Settings, group: str, memory: Memory, opened: Opened, found: Expansion) -> None:
    """Enter what the tables of a group's database come to."""
    section = settings.datasets[group]
    known = {name for name in memory.holding if settings.section_of(name) == group}
    found.left_out[group] = left_out = {}
    try:
        database = open_database(section.source, opened.base, opened.databases)
        with database.looking():
            for table, name, reason in _candidates(settings, group, database.tables()):
                problem = reason or _unfitness(name, section.of_table(table), opened)
                if problem and name not in known:
                    left_out[table] = problem
                else:
                    found.sections[name] = section.of_table(table)
    except MailsyncError as problem:
        found.unavailable[group] = problem
        known |= {name for name in memory.offered if settings.section_of(name) == group}
    for name in sorted(known - found.sections.keys()):
        found.sections[name] = section.of_table(name.removeprefix(f"{group}."))


def _candidates(
    settings: Settings, group: str, tables: Mapping[str, str]
) -> Iterator[tuple[str, str, str]]:
    """Each table, the name of its dataset, and why it cannot be one; empty: it may."""
    source = settings.datasets[group].source
    others = [
        one for name, one in settings.datasets.items() if name != group and one.source == source
    ]
    taken = {table for one in others for table in (one.table, *(one.tables or ()))}
    alike = Counter(member(group, table) for table in tables)
    for table in sorted(tables, key=str.lower):
        name, reason = member(group, table), tables[table]
        if table in taken:
            continue
        if name in settings.datasets:
            reason = f"the section [datasets.{name}] has the name it would get"
        elif not is_name(name):
            reason = f"as a dataset it would be called {name}, and a name must be {NAME_RULE}"
        elif alike[name] > 1:
            reason = "the name of another table differs from its only in case"
        yield table, name, reason


def _unfitness(name: str, section: DatasetSettings, opened: Opened) -> str:
    try:
        opened.open(name, section)
    except MailsyncError as problem:
        return str(problem)
    return ""
