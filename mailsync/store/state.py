"""The state store: one database file, one writer at a time, one transaction a step.

``StateStore.open`` brings the schema up to date; ``lock`` keeps a second writing process out;
``transaction`` yields the :class:`~mailsync.store.transaction.Transaction` all work happens in.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import get_ident

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import NullPool

from mailsync.errors import (
    NO_SPACE,
    BadKeys,
    DiskFull,
    Locked,
    MailsyncError,
    NotInitialised,
    OperatorError,
    OurError,
)
from mailsync.store import migration
from mailsync.store.standing import Standing
from mailsync.store.statements import Session
from mailsync.store.transaction import Transaction

LOCK_POLL_SECONDS = 0.05

BEGIN = "BEGIN IMMEDIATE"
"""Who writes is the only one to from the beginning on: nobody has to give way later."""


DATA_VERSION = "PRAGMA data_version"
"""Another number whenever another connection has changed anything."""


_PRIMARY_CODE = 0xFF
"""An extended result code carries the primary one in its lowest byte (sqlite.org/rescode)."""
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_NO_RIGHT = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM})


class StoreOutOfReach(OperatorError):
    """Let this user read and write the state store and the folder it is in."""


class DamagedStore(OperatorError):
    """Restore the state store from a backup; the peers send again what is missing from it."""


class StateStore:
    """A site's durable state in an SQLite file."""

    def __init__(self, path: Path, engine: Engine) -> None:
        """Use :meth:`open` or :meth:`create`."""
        self.path = path
        self._engine = engine
        self._kept: DBAPIConnection | None = None
        self._thread = 0
        """Whose connection that is: SQLite's are used by one thread each."""
        self._known = Standing()

    @classmethod
    def create(cls, path: Path) -> StateStore:
        """A new store, readable by its owner alone. Raises FileExistsError."""
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> StateStore:
        """The store at ``path``, migrated to the newest version.

        Raises NotInitialised, BadKeys (others may read it), NewerState, DiskFull,
        StoreOutOfReach, DamagedStore.
        """
        _check_private(path)
        store = cls(path, _engine(path))
        with _plain_errors(path), store._engine.begin() as connection:
            migration.migrate(connection)
        return store

    @contextmanager
    def lock(self, wait_seconds: float = 0) -> Iterator[None]:
        """Be the only writer.

        Raises Locked if another process is, for that long; StoreOutOfReach, DiskFull.
        """
        handle = lock_file(self.path, "lock")
        try:
            _flock(handle, self.path, time.monotonic() + wait_seconds)
            with _plain_errors(self.path):
                kept = self._engine.raw_connection()
            with closing(kept), self._keeping(kept):
                yield
        finally:
            os.close(handle)

    @contextmanager
    def _keeping(self, connection: DBAPIConnection) -> Iterator[None]:
        """Inside, this thread's transactions are on this connection."""
        self._kept, self._thread = connection, get_ident()
        try:
            yield
        finally:
            self._kept, self._known = None, Standing()

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """One transaction: committed at the end, undone whole if anything raises.

        Raises DiskFull, Locked, StoreOutOfReach, DamagedStore.
        """
        with self._begun() as connection:
            yield Transaction(self._session(connection), self._standing(connection))
            connection.commit()

    @contextmanager
    def rehearsal(self) -> Iterator[Rehearsal]:
        """Like this store, but all its transactions are one that is always undone."""
        with self._begun() as connection:
            yield Rehearsal(self._session(connection))

    @contextmanager
    def _begun(self) -> Iterator[DBAPIConnection]:
        """A connection with a transaction open on it, undone unless it is committed; the same
        connection as long as the lock is held.

        Opening one takes longer than a transaction. But without the lock none is left open: the
        last one closed leaves a single file that is whole, and may be copied or replaced.
        """
        kept = self._kept if self._thread == get_ident() else None
        try:
            connection = kept or self._engine.raw_connection()
            try:
                connection.cursor().execute(BEGIN)
                yield connection
            finally:
                connection.rollback()  # of nothing, after a commit
                if kept is None:
                    connection.close()
        except BaseException as problem:
            if kept is not None:
                self._known = Standing()  # what was undone is in it
            if isinstance(problem, DatabaseError | sqlite3.DatabaseError):
                raise _plain(self.path, problem) from problem
            raise

    def _standing(self, connection: DBAPIConnection) -> Standing:
        """What is known of before the transaction: nothing, for a connection of its own."""
        if self._kept is not connection:
            return Standing()
        cursor = connection.cursor()
        cursor.execute(DATA_VERSION)
        ((version,),) = cursor.fetchall()
        self._known = self._known.as_of(version)
        return self._known

    def _session(self, connection: DBAPIConnection) -> Session:
        return Session(connection, self._engine.dialect)

    def close(self) -> None:
        """Release the file."""
        self._engine.dispose()


class Rehearsal:
    """What would happen: the transactions of a store, none of which ever takes effect."""

    def __init__(self, session: Session) -> None:
        """Within the session's open transaction."""
        self._session = session
        self._standing = Standing()

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
        yield Transaction(self._session, self._standing)


def _engine(path: Path) -> Engine:
    engine = create_engine(URL.create("sqlite", database=str(path)), poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def _configure(connection: object, _: object) -> None:
        connection.isolation_level = None  # type: ignore[attr-defined]
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000"):
            connection.execute(f"PRAGMA {pragma}")  # type: ignore[attr-defined]

    @event.listens_for(engine, "begin")
    def _begin(connection: object) -> None:
        connection.exec_driver_sql(BEGIN)  # type: ignore[attr-defined]

    return engine


def _check_private(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise NotInitialised(f"there is no state store at {path}") from None
    if stat.S_IMODE(mode) & 0o077:
        raise BadKeys(f"others can read the state store {path}: chmod 600 {path}")


def lock_file(path: Path, kind: str) -> int:
    """A file beside the store at ``path`` that processes lock, opened.

    Raises StoreOutOfReach, DiskFull.
    """
    place = path.with_name(f"{path.name}.{kind}")
    try:
        return os.open(place, os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        refusal = DiskFull if error.errno in NO_SPACE else StoreOutOfReach
        raise refusal(f"cannot use {place}: {error.strerror}") from error


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
    except (DatabaseError, sqlite3.DatabaseError) as problem:
        raise _plain(path, problem) from problem


def _plain(path: Path, error: DatabaseError | sqlite3.DatabaseError) -> MailsyncError:
    problem = error.orig if isinstance(error, DatabaseError) else error
    words, code = str(problem), getattr(problem, "sqlite_errorcode", 0) & _PRIMARY_CODE
    if code in _DAMAGE:
        return DamagedStore(f"the state store {path} is damaged: {words}")
    if code in _NO_RIGHT:
        return StoreOutOfReach(f"cannot use the state store {path}: {words}")
    if "full" in words or "disk I/O" in words:
        return DiskFull(f"cannot write the state store {path}: {words}")
    if "locked" in words:
        return Locked(f"another process is working on {path}")
    return OurError(f"the state store {path} failed: {words}")
