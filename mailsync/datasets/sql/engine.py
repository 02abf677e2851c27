"""What tables ask of the module of one database engine.

SQLite, PostgreSQL and MariaDB each have a module with exactly these public names; ``database``
chooses one by the URL. What is not asked for here is the same for all.
"""

from __future__ import annotations

import marshal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from sqlalchemy import URL, Engine
from sqlalchemy.sql import ColumnElement
from xxhash import xxh3_128_digest

from mailsync.core.model import Value
from mailsync.datasets.spelling import Spelling
from mailsync.errors import MailsyncError

Row = tuple[Any, ...]
"""As the driver gives it."""

ROWS_AT_A_TIME: Final = 1000

LOOK: Final = "mailsync_look"
"""A function that an engine may have while it scans: is the row of these columns wanted?"""

digest: Callable[[bytes], bytes] = xxh3_128_digest
"""16 bytes that tell two contents apart. They never leave the site, and stand against no enemy:
whoever can choose a row's content can as well write to the table."""


def marshalled(row: Row) -> bytes:
    """A row's content; equal rows give equal bytes.

    Later versions of marshal encode which values are the same object.
    """
    return marshal.dumps(row, 2)


Differs = Callable[[bytes, Any], bool]
"""Asked of each row in turn: its etag, and the row in whatever form the engine has it."""


class Scan(NamedTuple):
    """Reading all rows of a table in the order of their keys."""

    query: str
    looking: str
    """The same rows, of which it gives a 1 for those that the function LOOK wants."""
    columns: int


class TableName(NamedTuple):
    """A table, and the schema it is in."""

    schema: str | None
    """In MariaDB, another database; None: where names without one are looked for."""
    table: str

    def __str__(self) -> str:
        return self.table if self.schema is None else f"{self.schema}.{self.table}"


@dataclass(frozen=True)
class ForeignKey:
    """A foreign key: ``columns`` of ``child`` name a row of ``parent`` by ``targets``."""

    child: TableName
    columns: tuple[str, ...]
    parent: TableName
    targets: tuple[str, ...]
    acts: bool = False
    """Does the database delete or alter by itself what refers to a row that is deleted?"""


@dataclass(frozen=True)
class Column:
    """A column that is a field: how its values are read, spelled and written. NULL is NULL."""

    name: str
    nullable: bool
    spell: Spelling
    read: Callable[[Any], Value] | None = None
    """From what the driver gives; None: that is the value."""
    bind: Callable[[Any], Any] | None = None
    """From a spelled value to what the driver takes."""
    select: Callable[[ColumnElement[Any]], ColumnElement[Any]] | None = None
    """What to ask for instead of the column itself, which the server would round."""
    restless: bool = False
    """Every update that does not name it alters it."""
    type: str = ""
    """As the engine calls it."""
    blank: Value = None
    """What it holds where nobody said anything: its default, if that is a constant."""
    needed: bool = False
    """A new row must say what it holds."""
    loss: str = ""
    """What of its values does not travel; empty: they do."""


class EngineModule(Protocol):
    """One database engine."""

    @property
    def BEGIN_READING(self) -> Sequence[str]:  # noqa: N802  a module's constant
        """Statements that begin a transaction in which nothing changes under a reader."""
        ...

    @property
    def BEGIN_WRITING(self) -> Sequence[str]:  # noqa: N802
        """Statements that begin a transaction, foreign keys deferred where they can be."""
        ...

    @property
    def CHECK_DEFERRED(self) -> Sequence[str]:  # noqa: N802
        """Statements that fail if the commit would, where a failed one leaves nothing to see."""
        ...

    @property
    def UNFIT_VALUES(self) -> tuple[type[Exception], ...]:  # noqa: N802
        """What the driver raises for a value that the engine has no form for."""
        ...

    @property
    def DRIVER_ERRORS(self) -> tuple[type[Exception], ...]:  # noqa: N802
        """Everything that reading and writing may raise."""
        ...

    @property
    def FOREIGN_KEYS(self) -> str:  # noqa: N802
        """The query, of which schema, for every column of every foreign key: table, constraint,
        column, the schema, table and column it refers to, and whether the engine deletes or alters
        by itself what refers to a row that is deleted. SQLAlchemy takes names apart that are full
        of commas, brackets or quotes.
        """
        ...

    @property
    def ROW_NAMES(self) -> Sequence[str]:  # noqa: N802
        """What the engine calls a row, unless a column is called so; empty: it has no name."""
        ...

    def open_catalogue(self, url: URL, patience: float) -> Engine:
        """For a look at an existing database's tables."""
        ...

    def connect(self, url: URL, patience: float) -> Any:
        """A driver's connection to an existing database; a lock is waited for ``patience``
        seconds. Raises :class:`DatasetMissing`.
        """
        ...

    def files(self, url: URL) -> Sequence[Path]:
        """Files of which every commit changes the status of one; empty: there are none."""
        ...

    def place(self, url: URL) -> str:
        """The database as people call it, without secrets."""
        ...

    def column(self, described: Mapping[str, Any]) -> Column:
        """What SQLAlchemy's inspector says of a column, understood."""
        ...

    def unusable(self, options: Mapping[str, Any]) -> str:
        """Why a table with these options cannot be a dataset; empty: it can."""
        ...

    def internal_tables(self, connection: Any) -> Mapping[str, str]:
        """Tables that the engine keeps for other ones, and what they are."""
        ...

    def scan(self, connection: Any, scan: Scan, differs: Differs) -> Iterator[list[Row]]:
        """The rows that differ, by some thousand rows looked at. Call it in a transaction."""
        ...

    def row_of(self, looked_at: Any) -> Row:
        """The row that ``differs`` was asked about."""
        ...

    def content(self, row: Row) -> bytes:
        """What the row's etag is the digest of."""
        ...

    def tolerance(self, connection: Any) -> AbstractContextManager[None]:
        """Inside, texts that are no texts come as ``Undecodable``; reading is slower."""
        ...

    def is_undecodable(self, error: Exception) -> bool:
        """Did the driver stop at a text that is none?"""
        ...

    def is_refusal(self, error: Exception) -> bool:
        """Does the error concern the one value or row just written, and nothing else?"""
        ...

    def in_transaction(self, connection: Any) -> bool:
        """Is our transaction still open? A trigger may have rolled it back."""
        ...

    def has_triggers(self, connection: Any, table: TableName) -> bool:
        """Does writing to the table set something else in motion?"""
        ...

    def addition(self, text: str) -> str:
        """The INSERT statement ``text`` so that it may give a generated key."""
        ...

    def greatest_given(self, connection: Any, table: TableName, key: str) -> int:
        """The last number the engine's own counter gave to a row; 0 where it has none."""
        ...

    def give_up_to(self, connection: Any, table: TableName, key: str) -> None:
        """Let the engine's own counter go on behind the greatest key there is."""
        ...

    def explain(self, error: Exception, place: str) -> MailsyncError:
        """The error the operator reads; ``place`` names the database."""
        ...
