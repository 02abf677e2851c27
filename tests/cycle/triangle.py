"""Three sites, each with a database engine of its own, all peers of one another."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mailsync.carriers.memory import Network
from mailsync.config.loading import parse
from mailsync.cycle.report import Report
from mailsync.cycle.run import Extent, run_cycle
from mailsync.cycle.site import Peer, Site, Surroundings
from mailsync.store.state import StateStore
from tests.cycle.sites import Clock, MemoryCarrier, keys_of
from tests.servers.databases import DatabaseServer

NAMES = ("lite", "post", "mari")
"""SQLite, PostgreSQL, MariaDB."""

ROUNDS_MAX = 12


@dataclass
class Triangle:
    """The sites, and at each a user who works on the database with another program."""

    tables: Sequence[str]
    users: dict[str, Any]
    lines: Mapping[str, str] = field(default_factory=dict)
    """What the sections of some tables say besides."""
    sites: dict[str, Site] = field(default_factory=dict)
    network: Network = field(default_factory=Network)
    clock: Clock = field(default_factory=Clock)

    def add(self, directory: Path, name: str, url: str, seed: int) -> None:
        """A site whose datasets are the tables of one database."""
        chance = random.Random(f"{seed}/{name}")
        peers = [peer for peer in NAMES if peer != name]
        text = f'[site]\nname = "{name}"\nstate = "{name}.state"\n[mail]\n'
        text += f'address = "{name}@example.org"\nimap = "imap://localhost"\n'
        text += 'smtp = "smtp://localhost"\n'
        text += "".join(f'[peers.{peer}]\ncard = "{peer}.card"\n' for peer in peers)
        for table in self.tables:
            text += f'[datasets.{table}]\nsource = "{url}"\ntable = "{table}"\n'
            text += self.lines.get(table, "")
        settings = parse(text.encode(), directory / f"{name}.toml")
        accepted = {
            peer: Peer(peer, f"{peer}@example.org", keys_of(peer).public, settings.peers[peer])
            for peer in peers
        }
        store = StateStore.create(directory / f"{name}.state")
        with store.transaction() as transaction:
            transaction.found_site(keys_of(name).public.site_number)
        carrier = MemoryCarrier(self.network, f"{name}@example.org")
        surroundings = Surroundings(self.clock.read, chance.getrandbits, chance.randbytes)
        self.sites[name] = Site(settings, keys_of(name), accepted, store, carrier, surroundings)

    def run(self, name: str, *statements: str) -> list[tuple[Any, ...]]:
        """What a user does at one site; the rows of the last statement."""
        cursor = self.users[name].cursor()
        for statement in statements:
            cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []

    def everywhere(self, query: str) -> list[list[tuple[Any, ...]]]:
        """What each site shows, in words that all engines share."""
        return [[tuple(map(_plain, row)) for row in self.run(name, query)] for name in self.sites]

    async def sync(self, name: str) -> Report:
        """One cycle of one site, and its mails delivered."""
        report = await run_cycle(self.sites[name], Extent(), Report())
        assert not report.problems, report.problems
        self.network.deliver_all()
        return report

    async def settle(self) -> dict[str, Report]:
        """Rounds until a whole one sends nothing."""
        for _ in range(ROUNDS_MAX):
            reports = {name: await self.sync(name) for name in self.sites}
            peers = [peer for report in reports.values() for peer in report.peers.values()]
            if not any(peer.sent.upserts or peer.sent.deletes for peer in peers):
                return reports
        raise AssertionError("they never come to rest")


def _plain(value: object) -> object:
    if isinstance(value, bool | int | float) or value is None:
        return None if value is None else float(value)
    try:
        return float(str(value))
    except ValueError:
        return str(value)


@contextmanager
def triangle_of(
    directory: Path,
    postgresql: DatabaseServer,
    mariadb: DatabaseServer,
    tables: Sequence[str],
    schema: Callable[[str], Iterable[str]],
    seed: int = 0,
    lines: Mapping[str, str] | None = None,
) -> Iterator[Triangle]:
    """A triangle on new databases; ``schema`` gives the statements that make the tables."""
    urls = {
        "lite": f"sqlite:///{directory}/lite.db",
        "post": postgresql.new(),
        "mari": mariadb.new(),
    }
    lite = sqlite3.connect(directory / "lite.db", isolation_level=None)
    lite.execute("PRAGMA foreign_keys = ON")
    users = {
        "lite": lite,
        "post": postgresql.connect(urls["post"]),
        "mari": mariadb.connect(urls["mari"]),
    }
    made = Triangle(tables, users, lines or {})
    made.run("mari", "SET time_zone = '+00:00'")
    for name, url in urls.items():
        made.run(name, *schema(name))
        made.add(directory, name, url, seed)
    try:
        yield made
    finally:
        for site in made.sites.values():
            site.close()
            site.store.close()  # type: ignore[attr-defined]
        for user in users.values():
            user.close()
