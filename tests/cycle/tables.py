"""Two sites, each with tables of a SQLite database of its own, joined by memory carriers."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from mailsync.carriers.memory import Network
from mailsync.config.loading import parse
from mailsync.cycle.site import Peer, Site, Surroundings
from mailsync.store.state import StateStore
from tests.cycle.sites import Clock, MemoryCarrier, keys_of


class Databases:
    """Sites, their tables and what is on its way."""

    def __init__(self, directory: Path) -> None:
        self.network, self.clock, self.directory = Network(), Clock(), directory
        self.sites: dict[str, Site] = {}

    def add(self, name: str, peer: str, schema: str, tables: Mapping[str, str]) -> None:
        """A site with this schema; ``tables``: what else the section of each says."""
        with closing(self._connect(name)) as connection:
            connection.executescript(schema)
        text = f'[site]\nname = "{name}"\nstate = "{name}.state"\n[mail]\n'
        text += f'address = "{name}@example.org"\nimap = "imap://localhost"\n'
        text += f'smtp = "smtp://localhost"\n[peers.{peer}]\ncard = "{peer}.card"\n'
        for table, lines in tables.items():
            text += f'[datasets.{table}]\nsource = "sqlite:///{name}.sqlite"\n'
            text += f'table = "{table}"\n{lines}\n'
        settings = parse(text.encode(), self.directory / f"{name}.toml")
        public = keys_of(peer).public
        accepted = {peer: Peer(peer, f"{peer}@example.org", public, settings.peers[peer])}
        store = StateStore.create(self.directory / f"{name}.state")
        with store.transaction() as transaction:
            transaction.found_site(keys_of(name).public.site_number)
        carrier = MemoryCarrier(self.network, f"{name}@example.org")
        around = Surroundings(self.clock.read)
        self.sites[name] = Site(settings, keys_of(name), accepted, store, carrier, around)

    def run(self, name: str, statement: str) -> list[tuple[Any, ...]]:
        """What a user does, or sees; foreign keys hold."""
        with closing(self._connect(name)) as connection, connection:
            connection.execute("PRAGMA foreign_keys = ON")
            return connection.execute(statement).fetchall()

    def close(self) -> None:
        for site in self.sites.values():
            site.close()

    def _connect(self, name: str) -> sqlite3.Connection:
        return sqlite3.connect(self.directory / f"{name}.sqlite")
