"""The state store: one database file, one writer at a time, one transaction a step.

``StateStore.open`` brings the schema up to date; ``lock`` keeps a second writing process out;
``transaction`` yields the :class:`~mailsync.store.transaction.Transaction` all work happens in.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import NullPool

from mailsync.errors import BadKeys, DiskFull, Locked, MailsyncError, NotInitialised, OurError
from mailsync.store import schema
from mailsync.store.transaction import Transaction

LOCK_POLL_SECONDS = 0.05


class StateStore:
    """A site's durable state in an SQLite file."""

    def __init__(self, path: Path, engine: Engine) -> None:
        """Use :meth:`open` or :meth:`create`."""
        self.path = path
        self._engine = engine

    @classmethod
    def create(cls, path: Path) -> StateStore:
        """A new store, readable by its owner alone. Raises FileExistsError."""
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> StateStore:
        """The store at ``path``, migrated to the newest version.

        Raises NotInitialised, BadKeys (others may read it), NewerState, DiskFull.
        """
        _check_private(path)
        store = cls(path, _engine(path))
        with _plain_errors(path), store._engine.begin() as connection:
            schema.migrate(connection)
        return store

    @contextmanager
    def lock(self, wait_seconds: float = 0) -> Iterator[None]:
        """Be the only writer. Raises Locked if another process is, for that long."""
        handle = os.open(
            self.path.with_name(self.path.name + ".lock"), os.O_CREAT | os.O_RDWR, 0o600
        )
        try:
            _flock(handle, self.path, time.monotonic() + wait_seconds)
            yield
        finally:
            os.close(handle)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """One transaction: committed at the end, undone whole if anything raises.

        Raises DiskFull, Locked.
        """
        with _plain_errors(self.path), self._engine.begin() as connection:
            yield Transaction(connection)

    @contextmanager
    def rehearsal(self) -> Iterator[Rehearsal]:
        """Like this store, but all its transactions are one that is always undone."""
        with _plain_errors(self.path), self._engine.connect() as connection:
            try:
                yield Rehearsal(connection)
            finally:
                connection.rollback()

    def close(self) -> None:
        """Release the file."""
        self._engine.dispose()


class Rehearsal:
    """What would happen: the transactions of a store, none of which ever takes effect."""

    def __init__(self, connection: Connection) -> None:
        """Within the connection's transaction."""
        self._connection = connection

    @contextmanager
    def lock(self, wait_seconds: float = 0) -> Iterator[None]:  # noqa: ARG002  nothing is written
        """Nobody needs to be kept out."""
        yield

    @contextmanager
    def rehearsal(self) -> Iterator[Rehearsal]:
        """This one: nothing takes effect anyway."""
        yield self

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """As :meth:`StateStore.transaction`, to be undone."""
        yield Transaction(self._connection)


def _engine(path: Path) -> Engine:
    engine = create_engine(URL.create("sqlite", database=str(path)), poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def _configure(connection: object, _: object) -> None:
        connection.isolation_level = None  # type: ignore[attr-defined]
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000"):
            connection.execute(f"PRAGMA {pragma}")  # type: ignore[attr-defined]

    @event.listens_for(engine, "begin")
    def _begin(connection: object) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # type: ignore[attr-defined]

    return engine


def _check_private(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise NotInitialised(f"there is no state store at {path}") from None
    if stat.S_IMODE(mode) & 0o077:
        raise BadKeys(f"others can read the state store {path}: chmod 600 {path}")


def _flock(handle: int, path: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise Locked(f"another process is working on {path}") from None
            time.sleep(LOCK_POLL_SECONDS)
        else:
            return


@contextmanager
def _plain_errors(path: Path) -> Iterator[None]:
    """The database's errors as ours."""
    try:
        yield
    except MailsyncError:
        raise
    except OperationalError as problem:
        text = str(problem.orig)
        if "full" in text or "disk I/O" in text:
            raise DiskFull(f"cannot write the state store {path}: {text}") from problem
        if "locked" in text:
            raise Locked(f"another process is working on {path}") from problem
        raise OurError(f"the state store {path} failed: {text}") from problem
    except DatabaseError as problem:
        raise OurError(f"the state store {path} is damaged: {problem.orig}") from problem
