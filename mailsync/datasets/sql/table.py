"""Tables of SQL databases; what is an engine's alone is in a module of its own.

Rules
-----
* Values are the driver's own, exact by type: no conversion of dates or decimals either way.
* The etag is one digest of the raw row; an unchanged row costs no object beyond it.
* A record's fields are exactly the table's columns, without generated ones, and without the
  key where each site has its own; other fields of a record are not for this table. Columns that
  incoming fields do not name take their default in a new row and stay as they are in an old
  one; compare-and-set does not look at columns that neither ``expected`` nor ``wanted`` names.
* A write counts only if the row afterwards holds exactly what was wanted; where a column's
  type or a trigger alters it, the write is refused: it would echo between the sites for ever.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from itertools import count, islice
from typing import Any

from mailsync.core.filters import Applied
from mailsync.core.model import Etag, Fields, Key
from mailsync.datasets.base import Change, Field, Newcomer, Outcome, Reference, Unreadable, Write
from mailsync.datasets.gates import status_gate
from mailsync.datasets.rowkeys import key_text
from mailsync.datasets.sql.database import PATIENCE, SqlDatabase
from mailsync.datasets.sql.engine import Row
from mailsync.datasets.sql.reflection import Keys
from mailsync.datasets.sql.rows import row_etag, rows_of, unreadable, usable_key, usable_keys
from mailsync.datasets.sql.scan import Comparison
from mailsync.datasets.sql.shape import Shape
from mailsync.errors import DatasetError


class SqlTable:
    """One table as a dataset."""

    is_written_at_once = True

    def __init__(
        self,
        database: SqlDatabase | str,
        table: str,
        *,
        keys: Keys | None = None,
        key: Sequence[str] | None = None,
        patience: float = PATIENCE,
    ) -> None:
        """Look at a table of an existing database.

        ``database``: or the URL of one that nothing else is opened from, ``sqlite:///FILE``.
        ``keys``: "local" where each site keeps its own (a primary key of one integer column; the
        default there), "shared" where the key columns are fields like the others. ``key``: the
        columns that tell rows apart, for a table without a primary key. ``patience``: seconds to
        wait for a lock.

        Raises :class:`mailsync.errors.DatasetMissing` for a missing file or table,
        :class:`mailsync.errors.DatasetError` for a table whose rows cannot be told apart.
        """
        self.database = SqlDatabase(database, patience) if isinstance(database, str) else database
        self._engine = self.database.engine
        self.gate: bytes | None = None
        self._place = f"table {table} of {self.database.place}"
        self._reflect = partial(self.database.reflect, table, keys, key)
        self._take(self._reflect())

    def look(self) -> None:
        """Reflect again; connections that know the table as it was before are closed."""
        before = self.shape
        self._take(self._reflect())
        if (before.held, before.key) != (self.fields, self.key):
            self.database.close()

    def _take(self, shape: Shape) -> None:
        self.shape = shape
        self.database.datasets[shape.name] = shape
        self.references: Sequence[Reference] = shape.parents
        self.has_local_keys = shape.local
        self.fields: Mapping[str, Field] | None = shape.held
        self.key = shape.key

    def still(self, gate: bytes) -> bytes | None:
        """The gate if nothing in the database has changed since; None: something may have."""
        return gate if gate == self._gate() else None

    def _gate(self) -> bytes | None:
        return status_gate(self.database.files, (str(self.shape.name), self.key))

    def changes(self, known: Mapping[Key, Etag | None]) -> Iterator[Change | Unreadable]:
        """Everything that differs from ``known``, in one consistent view of the table.

        While the iterator is being consumed, other programs' commits may have to wait.
        """
        self.gate = None
        gate = self._gate()
        with self._explaining(), self._connection() as connection:
            cursor = connection.cursor()
            for statement in self._engine.BEGIN_READING:
                cursor.execute(statement)
            self.database.refuse_doubles(cursor, self.shape)
            row_of = self._engine.row_of
            comparison = Comparison(known, lambda looked_at: self._key_of(row_of(looked_at)))
            for rows in self._engine.scan(connection, self.shape.scan, comparison.differs):
                for row in rows:
                    yield self._found(self._key_of(row), row)
                yield from self._vanished(comparison.crowd())
        with self._explaining():
            for keys in comparison.rest():
                yield from self._vanished(keys)
        self.gate = gate

    def propose_keys(self, records: Sequence[Newcomer], taken: Collection[Key]) -> list[Key]:
        """The next free numbers, or with shared keys the keys that are among the fields.

        Two records with one shared key are two sites' names for one row: the caller makes one
        of them, so such a key is proposed even when it is taken.
        """
        if not self.shape.local:
            spelled = [self.shape.spelled(fields) for _, fields in records]
            return [key_text([one.get(name) for name in self.shape.key]) for one in spelled]
        with self._explaining(), self._connection() as connection:
            first = self._greatest(connection) + 1
        free = (key for number in count(first) if (key := key_text([number])) not in taken)
        return list(islice(free, len(records)))

    def read(self, keys: Sequence[Key]) -> Mapping[Key, Change | Unreadable]:
        """What the table holds now for exactly these keys."""
        with self._explaining(), self._connection() as connection:
            rows = self._rows(connection, keys)
        return {
            key: self._found(key, rows[key]) if key in rows else Change(key, None, None)
            for key in keys
        }

    def moved(self, before: Applied, now: Applied) -> list[Key] | None:
        """The keys of rows that are on another side of a filter now, or may be; None: the engine
        cannot be asked.
        """
        asked = self.shape.moved(before, now)
        if asked is None:
            return None
        statement, values = asked
        with self._explaining(), self._connection() as connection:
            rows = statement.run(connection.cursor(), values).fetchall()
        return [self.shape.key_of_values(row) for row in rows]

    def spelled(self, fields: Fields) -> Fields:
        """The fields as the columns spell them."""
        return self.shape.spelled(fields)

    def apply(self, writes: Sequence[Write]) -> list[Outcome]:
        """Carry out the writes in one transaction; all of it is undone if an error is raised."""
        [outcomes] = self.database.apply([(self, writes)])
        return outcomes

    def close(self) -> None:
        """Close all connections to the database."""
        self.database.close()

    def _greatest(self, connection: Any) -> int:
        """The greatest local key there is, or was."""
        [[greatest]] = map(
            self.shape.key_values_of,
            self.shape.greatest_key.run(connection.cursor(), {}).fetchall(),
        )
        given = self._engine.greatest_given(connection, self.shape.name, self.shape.key[0])
        return max(greatest if isinstance(greatest, int) else 0, given)

    def _key_of(self, row: Row) -> Key:
        values = [row[place] for place in self.shape.key_places]
        if None in values:
            raise DatasetError(
                f"{self._place}: a row has no value in its primary key "
                f"({', '.join(self.shape.key)}); give it one, or delete the row"
            )
        return self.shape.key_of_values(values)

    def _found(self, key: Key, row: Row) -> Change | Unreadable:
        fields = self.shape.fields_of(row)
        if reason := unreadable(fields):
            return Unreadable(key, reason)
        return Change(key, fields, row_etag(self.shape, row))

    def _vanished(self, keys: Sequence[Key]) -> Iterator[Change]:
        """Those of the keys that have no row. The scan has the connection it is on to itself."""
        if not keys:
            return
        with self._connection() as connection:
            found = self._rows(connection, keys)
        for key in keys:
            if key not in found:
                yield Change(key, None, None)

    def _rows(self, connection: Any, keys: Sequence[Key]) -> dict[Key, Row]:
        wanted = usable_keys(keys, partial(usable_key, self.shape))
        return rows_of(connection, self.shape, wanted, self.shape.rows)

    def _connection(self) -> AbstractContextManager[Any]:
        return self.database.connection()

    def _explaining(self) -> AbstractContextManager[None]:
        return self.database.explaining(self._place)
