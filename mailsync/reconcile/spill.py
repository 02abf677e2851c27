"""Names and digests of two datasets, kept on disk and compared there.

SQLite's unnamed database is a temporary file that is gone with the connection, however that ends
(sqlite.org/inmemorydb.html). Its sorter spills too, so memory does not grow with the datasets.
"""

from __future__ import annotations

import marshal
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from mailsync.core.model import Key
from mailsync.datasets.base import Write
from mailsync.datasets.memory import MARSHAL_VERSION
from mailsync.errors import DiskFull, OurError
from mailsync.reconcile.pairing import NOBODY, Side
from mailsync.reconcile.reading import Line

CACHE_KIB: Final = 16_384
SHOWN_MAX: Final = 20
"""So many keys of records that cannot be told apart are named one by one."""

_FULL: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE})


class Group(NamedTuple):
    """All records of one name, where they are not the same at both sides.

    ``counts``: how many each side has that can be read; ``keys``: the least of each side.
    """

    number: int
    name: str
    counts: tuple[int, int]
    keys: tuple[Key | None, Key | None]
    unreadable: bool
    """There are others that cannot be read."""

    @property
    def held(self) -> list[tuple[Side, Key]]:
        """The sides that have such a record, and its key there."""
        return [(side, key) for side in Side if (key := self.keys[side]) is not None]

    @property
    def is_single(self) -> bool:
        """Has each side one of these at most, that can be read?"""
        return self.name != NOBODY and max(self.counts) == 1 and not self.unreadable

    @property
    def is_ambiguous(self) -> bool:
        """Has a side several, or any that cannot be told?"""
        return max(self.counts) > (self.name != NOBODY)


class Refusal(NamedTuple):
    """Why a difference stays, and at which side that is; the write that may be tried again."""

    group: Group
    side: Side
    reason: str
    write: Write | None = None


_SCHEMA: Final = "CREATE TABLE record (side INTEGER, name TEXT, key TEXT, digest BLOB)"

_COMPARISON: Final = """
CREATE TABLE difference AS
SELECT name, sum(sources) AS sources, sum(targets) AS targets, min(source) AS source,
    min(target) AS target, max(unreadable) AS unreadable,
    0 AS settled, NULL AS side, NULL AS reason, NULL AS write
FROM (
    SELECT name, sum(side = 0 AND digest NOT NULL) AS sources,
        sum(side = 1 AND digest NOT NULL) AS targets,
        min(CASE side WHEN 0 THEN key END) AS source,
        min(CASE side WHEN 1 THEN key END) AS target,
        digest IS NULL AS unreadable
    FROM record GROUP BY name, digest
)
GROUP BY name HAVING max(unreadable OR sources <> targets)
ORDER BY length(name), name
"""
"""Equal records cancel each other out, also where several have one name. Shorter numbers are
smaller ones."""

_DIFFERENCES: Final = """
SELECT rowid, name, sources, targets, source, target, unreadable, side, reason, write
FROM difference WHERE {} AND rowid > ? ORDER BY rowid LIMIT ?
"""
_FOUND: Final = _DIFFERENCES.format("reason IS NULL")
_REFUSED: Final = _DIFFERENCES.format("reason NOT NULL AND NOT settled")
_ADD: Final = "INSERT INTO record VALUES (?, ?, ?, ?)"
_SETTLE: Final = "UPDATE difference SET settled = 1 WHERE rowid = ?"
_REFUSE: Final = "UPDATE difference SET side = ?, reason = ?, write = ? WHERE rowid = ?"
_UNREADABLE: Final = "SELECT name, key FROM record WHERE side = ? AND digest IS NULL ORDER BY key"
_NAMED: Final = (
    "SELECT key FROM record WHERE side = ? AND name = ? AND digest NOT NULL ORDER BY key"
)
_INDEX: Final = "CREATE INDEX IF NOT EXISTS named ON record (side, name, key)"


class Spill:
    """The records of both sides without their content, and what became of their differences."""

    def __init__(self) -> None:
        """Begin with none."""
        with _explaining():
            self._connection = sqlite3.connect("", isolation_level=None)
            for setting in (
                "temp_store = FILE",
                "journal_mode = OFF",
                f"cache_size = -{CACHE_KIB}",
            ):
                self._connection.execute(f"PRAGMA {setting}")
            self._connection.execute(_SCHEMA)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Forget everything."""
        self._connection.close()

    def add(self, side: Side, lines: Iterable[Line]) -> None:
        """Take the records of one side."""
        self._many(_ADD, ((int(side), *line) for line in lines))

    def compare(self) -> None:
        """Find the names whose records are not the same at both sides."""
        with _explaining():
            self._connection.execute(_COMPARISON)

    def groups(self, size: int) -> Iterator[list[Group]]:
        """The differences, in batches; each may be settled or refused meanwhile."""
        for batch in self._batches(_FOUND, size):
            yield [_group(row) for row in batch]

    def refusals(self, size: int) -> Iterator[list[Refusal]]:
        """Those that were refused, in batches; each may be settled or refused anew meanwhile."""
        for batch in self._batches(_REFUSED, size):
            yield [_refusal(row) for row in batch]

    def _batches(self, query: str, size: int) -> Iterator[list[Sequence[Any]]]:
        last = 0
        while True:
            with _explaining():
                batch = self._connection.execute(query, (last, size)).fetchall()
            if not batch:
                return
            yield batch
            last = batch[-1][0]

    def settle(self, groups: Iterable[Group]) -> None:
        """These are no differences any more."""
        self._many(_SETTLE, [(group.number,) for group in groups])

    def refuse(self, refusals: Iterable[Refusal]) -> None:
        """These stay, until they are settled."""
        rows = [
            (int(one.side), one.reason, _packed(one.write), one.group.number) for one in refusals
        ]
        self._many(_REFUSE, rows)

    def unsettled(self) -> int:
        """How many differences there are still."""
        with _explaining():
            query = "SELECT count(*) FROM difference WHERE NOT settled"
            [(count,)] = self._connection.execute(query)
        return int(count)

    def keys(self, side: Side, name: str) -> list[Key]:
        """The first keys of the records of one name."""
        with _explaining():
            self._connection.execute(_INDEX)
            found = self._connection.execute(_NAMED, (side, name))
            return [Key(key) for (key,) in islice(found, SHOWN_MAX)]

    def unreadable(self, side: Side) -> Iterator[tuple[str, Key]]:
        """Names and keys of the records that cannot be read."""
        with _explaining():
            yield from self._connection.execute(_UNREADABLE, (side,))

    def _many(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        with _explaining():
            self._connection.execute("BEGIN")
            self._connection.executemany(statement, rows)
            self._connection.execute("COMMIT")


def _packed(write: Write | None) -> bytes | None:
    if write is None:
        return None
    guid, key, *held = write
    plain = [None if fields is None else dict(fields) for fields in held]
    return marshal.dumps((bytes(guid), str(key), *plain), MARSHAL_VERSION)


def _refusal(row: Sequence[Any]) -> Refusal:
    *_, side, reason, write = row
    unpacked = None if write is None else Write(*marshal.loads(write))  # noqa: S302  our own
    return Refusal(_group(row), Side(side), reason, unpacked)


def _group(row: Sequence[Any]) -> Group:
    number, name, sources, targets, source, target, unreadable, *_ = row
    return Group(number, name, (sources, targets), (source, target), bool(unreadable))


@contextmanager
def _explaining() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) in _FULL:
            raise DiskFull("no space left for temporary files; TMPDIR names their place") from error
        raise OurError(f"temporary files: {error}") from error
