"""What is SQLite's alone: opening without creating, transactions, texts, errors.

Another engine gets a module with the same public names, and ``sql`` chooses by the URL.

Rules
-----
* SQLite stores whatever text it is given. What is not UTF-8 arrives as ``Undecodable``.
* The driver is in autocommit mode, so that ``BEGIN IMMEDIATE`` is ours to say.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy import URL, Engine, QueuePool, create_engine

from mailsync.errors import (
    BadConfiguration,
    DatasetBusy,
    DatasetError,
    DatasetMissing,
    DatasetReadOnly,
    DiskFull,
    MailsyncError,
)

BEGIN_READING: Final = ("BEGIN",)
BEGIN_WRITING: Final = (
    "PRAGMA foreign_keys = ON",
    "BEGIN IMMEDIATE",
    "PRAGMA defer_foreign_keys = ON",
)
"""The first is without effect inside a transaction, the last outside of one."""

_TRIGGERS: Final = "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?"
_PRIMARY_CODE: Final = 0xFF
"""An extended result code carries the primary one in its lowest byte (sqlite.org/rescode)."""

_REFUSALS: Final = frozenset(
    {sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG}
)

UNFIT_VALUES: Final = (OverflowError, UnicodeEncodeError)
"""What the driver raises for a value that SQLite has no form for."""

DRIVER_ERRORS: Final = (sqlite3.Error, *UNFIT_VALUES)
"""Everything that reading and writing may raise."""


class Undecodable(bytes):
    """A text that is not UTF-8."""

    __slots__ = ()


def _decode(text: bytes) -> str | Undecodable:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return Undecodable(text)


def database_file(url: URL) -> Path:
    """The file an URL like ``sqlite:///FILE`` names. Raises :class:`BadConfiguration`."""
    if not url.database or url.database == ":memory:" or url.query:
        raise BadConfiguration(f"{url}: write sqlite:///FILE, or sqlite:////FILE from the root")
    return Path(url.database)


def open_engine(path: Path, patience: float) -> Engine:
    """An engine on an existing file; a locked one is waited for ``patience`` seconds.

    Raises :class:`DatasetMissing`; never creates the file.
    """
    if not path.is_file():
        raise DatasetMissing(f"there is no database file {path}")

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(
            f"file:{quote(str(path))}?mode=rw",
            uri=True,
            timeout=patience,
            isolation_level=None,
            check_same_thread=False,
        )

    return create_engine("sqlite://", creator=connect, poolclass=QueuePool)


@contextmanager
def tolerance(connection: Any) -> Iterator[None]:
    """Inside, texts that are not UTF-8 come as ``Undecodable``; reading is slower.

    Outside, the driver stops at the first one.
    """
    connection.driver_connection.text_factory = _decode
    try:
        yield
    finally:
        connection.driver_connection.text_factory = str


def is_undecodable(error: Exception) -> bool:
    """Did the driver stop at a text that is not UTF-8?"""
    return str(error).startswith("Could not decode to UTF-8")


def is_refusal(error: Exception) -> bool:
    """Does the error concern the one value or row just written, and nothing else?"""
    return isinstance(error, UNFIT_VALUES) or _code(error) in _REFUSALS


def in_transaction(connection: Any) -> bool:
    """Is our transaction still open? A trigger may have rolled it back."""
    return bool(connection.driver_connection.in_transaction)


def has_triggers(connection: Any, table: str) -> bool:
    """Does writing to the table set something else in motion?"""
    cursor = connection.cursor()
    cursor.execute(_TRIGGERS, (table,))
    return bool(cursor.fetchone()[0])


def explain(error: Exception, place: str) -> MailsyncError:
    """The error the operator reads; ``place`` names the database."""
    match _code(error):
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return DatasetBusy(f"{place} is locked by another program")
        case sqlite3.SQLITE_FULL:
            return DiskFull(f"no space left for {place}")
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return DatasetReadOnly(f"{place} cannot be written: {error}")
        case _:
            return DatasetError(f"{place}: {error}")


def _code(error: Exception) -> int:
    raised = getattr(error, "orig", None) or error
    return int(getattr(raised, "sqlite_errorcode", 0)) & _PRIMARY_CODE
