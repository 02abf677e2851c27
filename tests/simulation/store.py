"""The real state store on SQLite in memory: copied like a file, interrupted like a process.

SQLite, its transactions and the product's SQL are the real ones; what is spared is the disk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import get_ident
from typing import cast

from sqlalchemy import create_engine
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import StaticPool

from mailsync.core.ledger import Ledger
from mailsync.core.model import Link, Record, RecordId
from mailsync.store import migration
from mailsync.store.standing import Standing
from mailsync.store.state import StateStore
from mailsync.store.statements import Session
from mailsync.store.transaction import Transaction
from tests.simulation.interruptions import Interruptions, Point

Watch = Callable[[Ledger, Mapping[RecordId, Record]], None]
"""Sees what a transaction is about to save, and the record map as it was before."""

_ENGINE = create_engine("sqlite://")
"""Of no database: it lends its dialect."""


class WatchedTransaction(Transaction):
    """A transaction whose notes and links are seen before they are saved."""

    def __init__(self, session: Session, standing: Standing, store: SimulatedStore) -> None:
        super().__init__(session, standing)
        self._store = store

    def save(self, ledger: Ledger, now: int) -> None:
        self._store.watch(ledger, self.records)
        super().save(ledger, now)

    def save_links(self, links: Mapping[str, Link]) -> None:
        self._store.expired |= any(link.stale for link in links.values())
        super().save_links(links)


class SimulatedStore(StateStore):
    """A state store as one process opened it; the next process opens the same database."""

    def __init__(
        self, database: sqlite3.Connection, interruptions: Interruptions, watch: Watch
    ) -> None:
        super().__init__(Path("state.db"), _ENGINE)
        # as if the lock were held, as it should be
        self._kept, self._thread = cast("DBAPIConnection", database), get_ident()
        self.interruptions = interruptions
        self.watch = watch
        self.expired = False
        """Was a peer ever given up as silent for too long?"""

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        with self._begun() as connection:
            yield WatchedTransaction(self._session(connection), self._standing(connection), self)
            self.interruptions.at(Point.UNCOMMITTED)
            connection.commit()
        self.interruptions.at(Point.COMMITTED)

    @contextmanager
    def peek(self) -> Iterator[Transaction]:
        """A look from outside, which does not count as a transaction of the process."""
        with self._begun() as connection:
            yield Transaction(self._session(connection), self._standing(connection))
            connection.commit()


def new_database() -> sqlite3.Connection:
    """A database with the schema of today."""
    return copy_of(_empty())


def copy_of(content: bytes) -> sqlite3.Connection:
    """A database with the content of a file copied with ``serialize``."""
    database = sqlite3.connect(":memory:", isolation_level=None)
    database.deserialize(content)
    return database


@cache
def _empty() -> bytes:
    database = sqlite3.connect(":memory:", isolation_level=None)
    engine = create_engine("sqlite://", poolclass=StaticPool, creator=lambda: database)
    with engine.begin() as connection:
        migration.migrate(connection)
    return database.serialize()
