"""What is SQLite's alone: opening without creating, transactions, texts, errors.

Another engine gets a module with the same public names, and ``database`` chooses by the URL.

Rules
-----
* SQLite stores whatever text it is given. What is not UTF-8 arrives as ``Undecodable``.
* The driver is in autocommit mode, so that ``BEGIN IMMEDIATE`` is ours to say.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy import (
    REAL,
    URL,
    Engine,
    Float,
    Integer,
    LargeBinary,
    NullPool,
    String,
    create_engine,
)
from sqlalchemy.types import NullType

from mailsync.core.model import Value
from mailsync.datasets.files import demand_file
from mailsync.datasets.rowkeys import Undecodable
from mailsync.datasets.spelling import Spelling, Unfit, anything, floating, signed
from mailsync.datasets.sql.engine import (
    LOOK,
    ROWS_AT_A_TIME,
    Column,
    Differs,
    Row,
    Scan,
    TableName,
    digest,
    marshalled,
)
from mailsync.errors import (
    BadConfiguration,
    DatasetBusy,
    DatasetError,
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

CHECK_DEFERRED: Final = ()
"""After a commit that failed for a foreign key, the transaction is still there to look at."""

_TRIGGERS: Final = "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?"
_INTERNAL: Final = (
    "SELECT name, type FROM pragma_table_list"
    " WHERE schema = 'main' AND type IN ('virtual', 'shadow')"
)
_ARGUMENTS_MAX: Final = 100
"""Of a function; SQLite's own bound is 127 at least (sqlite.org/limits)."""
ROW_NAMES: Final = ("rowid", "_rowid_", "oid")
FOREIGN_KEYS: Final = (
    'SELECT child.name, k.id, k."from", NULL, parent.name, target.name,'
    " k.on_delete IN ('CASCADE', 'SET NULL', 'SET DEFAULT') FROM sqlite_schema AS child"
    " JOIN pragma_foreign_key_list(child.name) AS k"
    " JOIN sqlite_schema AS parent ON parent.type = 'table' AND parent.name = k.\"table\""
    " COLLATE NOCASE JOIN pragma_table_info(parent.name) AS target"
    ' ON (k."to" = target.name COLLATE NOCASE OR k."to" IS NULL AND target.pk = k.seq + 1)'
    " WHERE child.type = 'table' AND ? IS NULL ORDER BY child.name, k.id, k.seq"
)
"""Names are compared as SQLite does; a parent without columns is one by its primary key."""

_PRIMARY_CODE: Final = 0xFF
"""An extended result code carries the primary one in its lowest byte (sqlite.org/rescode)."""

_REFUSALS: Final = frozenset(
    {sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG}
)

UNFIT_VALUES: Final = (OverflowError, UnicodeEncodeError)
"""What the driver raises for a value that SQLite has no form for."""

DRIVER_ERRORS: Final = (sqlite3.Error, *UNFIT_VALUES)
"""Everything that reading and writing may raise."""


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


def files(url: URL) -> Sequence[Path]:
    """Every commit changes one of these (sqlite.org/fileformat2, 4).

    The engine keeps its log beside the file itself, whatever links lead there.
    """
    path = database_file(url).resolve()
    return path, path.with_name(f"{path.name}-wal")


def place(url: URL) -> str:
    """The file."""
    return str(database_file(url))


def open_catalogue(url: URL, patience: float) -> Engine:
    """For a look at the tables of a file."""
    return create_engine("sqlite://", creator=lambda: connect(url, patience), poolclass=NullPool)


def connect(url: URL, patience: float) -> sqlite3.Connection:
    """A connection to an existing file; a locked one is waited for ``patience`` seconds.

    Raises :class:`DatasetMissing`.
    """
    path = database_file(url)
    demand_file(path, "database file")
    return sqlite3.connect(
        f"file:{quote(str(path))}?mode=rw",
        uri=True,
        timeout=patience,
        isolation_level=None,
        check_same_thread=False,
    )


def column(described: Mapping[str, Any]) -> Column:
    """A column by its affinity; whatever does not follow it stays as it is (datatype3.html)."""
    declared = described["type"]
    spell: Spelling = anything
    if isinstance(declared, REAL | Float):
        spell = _loosely(floating)
    elif isinstance(declared, Integer):
        spell = _loosely(_WHOLE)
    elif not isinstance(declared, String | LargeBinary | NullType):
        spell = _loosely(_numeric)
    return Column(described["name"], bool(described["nullable"]), spell)


def _loosely(spell: Spelling) -> Spelling:
    def loose(value: Value) -> Value:
        try:
            return spell(value)
        except Unfit:
            return value

    return loose


def _numeric(value: Value) -> Value:
    """An integer where the number is one, else a float."""
    try:
        return _WHOLE(value)
    except Unfit:
        return floating(value)


_WHOLE: Final = signed(64)


def unusable(_options: Mapping[str, Any]) -> str:
    """Every table can be used."""
    return ""


def internal_tables(connection: Any) -> dict[str, str]:
    """What modules such as FTS5 make of other data, and the tables in which they keep it."""
    found = connection.cursor().execute(_INTERNAL).fetchall()
    return {name: f"it is a {kind} table" for name, kind in found}


content = marshalled
"""What a row's etag is the digest of."""


def row_of(looked_at: Row) -> Row:
    """The row itself."""
    return looked_at


def scan(connection: Any, scan: Scan, differs: Differs) -> Iterator[list[Row]]:
    """The rows that differ, by some thousand rows looked at.

    SQLite asks of each row by itself, which is faster than to fetch it. At the first text that
    is none it cannot; from there on rows are fetched, which come in the same order.
    """
    seen: int | None = 0
    if scan.columns <= _ARGUMENTS_MAX:
        seen = yield from _looked_at(connection, scan.looking, differs)
    if seen is not None:
        yield from _fetched(connection, scan.query, differs, seen)


def _looked_at(
    connection: Any, looking: str, differs: Differs
) -> Generator[list[Row], None, int | None]:
    """Returns after how many rows it could not go on; None: it is done."""
    found: list[Row] = []
    seen = 0
    problem: Exception | None = None

    def look(*row: Any) -> bool:
        nonlocal seen, problem
        try:
            if differs(digest(marshalled(row)), row):
                found.append(row)
        except Exception as raised:
            problem = raised  # SQLite would only say that there was one
            raise
        seen += 1
        return seen % ROWS_AT_A_TIME == 0

    driver = connection.driver_connection
    driver.create_function(LOOK, -1, look)
    with closing(connection.cursor()) as cursor:
        plan = cursor.execute(f"EXPLAIN QUERY PLAN {looking}").fetchall()
        if any("TEMP B-TREE" in step[-1] for step in plan):
            return 0  # rows would be looked at in one order and fetched in another
        try:
            for _ in cursor.execute(looking):
                yield found[:]
                found.clear()
        except sqlite3.OperationalError as error:
            if problem is not None:
                raise problem from None
            if not str(error).startswith("user-defined function raised"):
                raise
            yield found
            return seen
    yield found
    return None


def _fetched(connection: Any, query: str, differs: Differs, skip: int) -> Iterator[list[Row]]:
    with tolerance(connection), closing(connection.cursor()) as cursor:
        cursor.execute(query)
        while rows := cursor.fetchmany(ROWS_AT_A_TIME):
            fresh = rows[skip:]
            skip -= len(rows) - len(fresh)
            yield [row for row in fresh if differs(digest(marshalled(row)), row)]


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


def has_triggers(connection: Any, table: TableName) -> bool:
    """Does writing to the table set something else in motion?"""
    cursor = connection.cursor()
    cursor.execute(_TRIGGERS, (table.table,))
    return bool(cursor.fetchone()[0])


def addition(text: str) -> str:
    """The statement itself."""
    return text


def greatest_given(_connection: Any, _table: TableName, _key: str) -> int:
    """Nothing beyond the rows there are."""
    return 0


def give_up_to(_connection: Any, _table: TableName, _key: str) -> None:
    """SQLite's counter follows by itself (autoinc.html)."""


def explain(error: Exception, place: str) -> MailsyncError:
    """The error the operator reads; ``place`` names the database."""
    match _code(error):
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return DatasetBusy(f"{place} is locked by another program")
        case sqlite3.SQLITE_FULL:
            return DiskFull(f"no space left for {place}")
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return DatasetReadOnly(f"{place} cannot be written: {_raised(error)}")
        case _:
            return DatasetError(f"{place}: {_raised(error)}")


def _code(error: Exception) -> int:
    return int(getattr(_raised(error), "sqlite_errorcode", 0)) & _PRIMARY_CODE


def _raised(error: Exception) -> Exception:
    """The driver's own error, without the statement that SQLAlchemy tells with it."""
    raised: Exception = getattr(error, "orig", None) or error
    return raised
