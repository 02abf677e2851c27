"""Tables whose rows nothing but their whole content tells apart: ``key = ["*"]``.

Rules
-----
* A record is the n-th row of one content; n is its field ``#`` and travels. Its content never
  changes: an edit is a delete and an insert.
* Equal rows at two sites, the n-th of each, are one record: nothing is doubled when they meet.
* Which of several equal rows is the n-th is all the same. As many numbers as there are rows are
  taken, those that are known first; one more row gets the smallest that is free, and one row
  less costs the greatest.
* The engine's own name of a row is used within one transaction only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from hashlib import blake2b
from itertools import chain, count
from typing import Any, Final

from mailsync.core.model import Etag, Fields, Key, Value
from mailsync.datasets.base import (
    Change,
    Field,
    Newcomer,
    Outcome,
    Reference,
    Result,
    Unreadable,
    Write,
)
from mailsync.datasets.rowkeys import key_text, key_values
from mailsync.datasets.sql.database import SqlDatabase
from mailsync.datasets.sql.engine import Row
from mailsync.datasets.sql.notation import EVERY_COLUMN
from mailsync.datasets.sql.rows import unreadable
from mailsync.datasets.sql.shape import Shape
from mailsync.errors import DatasetError

NUMBER: Final = "#"
"""The field that numbers equal rows, from 1 on."""

Content = str
"""32 hexadecimal digits."""


class _Undone(Exception):
    """The table does not take all of the writes, or not as they are."""


class KeylessTable:
    """One table without a key as a dataset."""

    database = None
    has_local_keys = False
    is_written_at_once = False

    def __init__(self, database: SqlDatabase, table: str) -> None:
        """Raises :class:`mailsync.errors.DatasetMissing` for a missing file or table,
        :class:`mailsync.errors.DatasetError` for a table that has a key.
        """
        self._database = database
        self._table = table
        self._place = f"table {table} of {database.place}"
        self._numbers: dict[Content, frozenset[int]] = {}
        """Those of a content's rows, where they are not 1, 2, 3 and so on."""
        self.look()

    def look(self) -> None:
        """Reflect again."""
        self.shape: Shape = self._database.reflect(self._table, None, EVERY_COLUMN)
        self._database.datasets[self.shape.name] = self.shape
        if not self._row_name and any(one.type == "FLOAT" for one in self.shape.described):
            raise DatasetError(
                f"{self._place}: rows with a FLOAT are not found by their content; make it DOUBLE"
            )
        self.references: Sequence[Reference] = self.shape.parents
        self.fields: Mapping[str, Field] | None = {NUMBER: Field(), **self.shape.held}
        self.key = (NUMBER, *self.shape.key)

    @property
    def _row_name(self) -> str:
        """What the engine calls a row; empty: nothing."""
        columns = {name.lower() for name in self.shape.columns}
        return next((one for one in self.shape.engine.ROW_NAMES if one not in columns), "")

    def changes(self, known: Mapping[Key, Etag | None]) -> Iterator[Change | Unreadable]:
        """Everything that differs from ``known``, in one consistent view of the table."""
        numbers: dict[Content, dict[int, Etag | None]] = {}
        for key, etag in known.items():
            content, number = _parts(key)
            numbers.setdefault(content, {})[number] = etag
        with self._database.explaining(self._place), self._database.connection() as connection:
            for statement in self.shape.engine.BEGIN_READING:
                connection.cursor().execute(statement)
            rows = self._rows(connection)
        self._numbers.clear()
        for content in {**rows, **numbers}:
            before, found = numbers.get(content, {}), rows.get(content, [])
            now = _numbered(frozenset(before), len(found))
            self._remember(content, now)
            for number in sorted(before.keys() - now):
                yield Change(_key(content, number), None, None)
            for number in sorted(now):
                if before.get(number) != _etag(content):
                    yield self._found(content, number, found[0])

    def propose_keys(self, records: Sequence[Newcomer], taken: Collection[Key]) -> list[Key]:  # noqa: ARG002  the fields say the keys
        """The keys that are among the fields, also when they are taken."""
        return [self._key_of(fields) for _, fields in records]

    def read(self, keys: Sequence[Key]) -> Mapping[Key, Change | Unreadable]:
        """What the table holds now for exactly these keys."""
        with self._database.explaining(self._place), self._database.connection() as connection:
            rows = self._rows(connection, {_parts(key)[0] for key in keys}) if keys else {}
        found: dict[Key, Change | Unreadable] = {}
        for key in keys:
            content, number = _parts(key)
            alike = rows.get(content, [])
            there = number in self._present(content, len(alike))
            gone = Change(key, None, None)
            found[key] = self._found(content, number, alike[0]) if there else gone
        return found

    def spelled(self, fields: Fields) -> Fields:
        """The fields as the columns spell them."""
        return self.shape.spelled(fields)

    def apply(self, writes: Sequence[Write]) -> list[Outcome]:
        """Carry out the writes in one transaction; alone, where they do not go together."""
        try:
            with self._database.explaining(self._place), self._database.connection() as connection:
                return self._together(connection, writes)
        except _Undone as reason:
            if len(writes) == 1:
                return [Outcome(Result.REFUSED, reason=str(reason))]
            return list(chain.from_iterable(self.apply([write]) for write in writes))

    def close(self) -> None:
        """Close all connections to the database."""
        self._database.close()

    def _together(self, connection: Any, writes: Sequence[Write]) -> list[Outcome]:
        """All that can be done, or raise :class:`_Undone`."""
        cursor, engine = connection.cursor(), self.shape.engine
        for statement in engine.BEGIN_WRITING:
            cursor.execute(statement)
        touched = {_parts(write.key)[0] for write in writes}
        rows = self._rows(connection, touched)
        numbers = {one: set(self._present(one, len(rows.get(one, [])))) for one in touched}
        outcomes: dict[int, Outcome] = {}
        # who is deleted makes room for who comes
        for place in sorted(range(len(writes)), key=lambda one: writes[one].wanted is not None):
            content, _ = _parts(writes[place].key)
            outcomes[place] = self._decided(writes[place], numbers[content])
            if outcomes[place].result is Result.WRITTEN:
                with self._refusals():
                    self._write(cursor, writes[place], rows, numbers[content])
        with self._refusals():
            after = self._rows(connection, touched)
            if any(len(after.get(one, [])) != len(numbers[one]) for one in touched):
                raise _Undone("a column's type or a trigger alters what is written")
            for statement in engine.CHECK_DEFERRED:
                cursor.execute(statement)
            connection.commit()
        for content, now in numbers.items():
            self._remember(content, frozenset(now))
        return [outcomes[place] for place in range(len(writes))]

    def _decided(self, write: Write, numbers: set[int]) -> Outcome:
        """What comes of a write, if the table takes it."""
        content, number = _parts(write.key)
        if (write.expected is None) is (number in numbers):
            return Outcome(Result.CHANGED)
        if write.wanted is None:
            return Outcome(Result.WRITTEN)
        own = {name: value for name, value in write.wanted.items() if name != NUMBER}
        if reason := self.shape.misfit(own):
            return Outcome(Result.REFUSED, reason=reason)
        if self._key_of(write.wanted) != write.key:
            words = (
                "a row is its content here, and another site has edited it: give the table a key"
            )
            return Outcome(Result.REFUSED, reason=words)
        return Outcome(Result.WRITTEN, _etag(content))

    def _write(
        self, cursor: Any, write: Write, rows: Mapping[Content, list[Row]], numbers: set[int]
    ) -> None:
        content, number = _parts(write.key)
        if write.wanted is None:
            row = rows[content].pop()
            if self._row_name:
                self.shape.removal_of(self._row_name).run(cursor, {"row": row[-1]})
            else:
                fields = self.shape.fields_of(row)
                parameters = self.shape.parameters_of_values(fields)
                self.shape.removal_of_one_like.run(cursor, parameters)
            if cursor.rowcount != 1:
                raise _Undone("the row has just been altered")
            numbers.remove(number)
        elif write.expected is None:
            spelled = self.shape.spelled(write.wanted)
            named = {name: spelled[name] for name in self.shape.columns if name in spelled}
            statement = self.shape.addition(tuple(named))
            statement.run(cursor, self.shape.parameters_of_values(named))
            numbers.add(number)

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        """Around work with the driver: what the table refuses undoes the batch."""
        engine = self.shape.engine
        try:
            yield
        except engine.DRIVER_ERRORS as error:
            if not engine.is_refusal(error):
                raise
            raise _Undone(str(error)) from error

    def _rows(
        self, connection: Any, only: Collection[Content] | None = None
    ) -> dict[Content, list[Row]]:
        """Every row, or those of some contents; behind its columns what the engine calls it."""
        found: dict[Content, list[Row]] = {}
        scan = self.shape.scan_by_name(self._row_name)
        for rows in self.shape.engine.scan(connection, scan, lambda _digest, _row: True):
            for row in rows:
                own = row[:-1] if self._row_name else row
                content = _content(self.shape.values_of(own))
                if only is None or content in only:
                    found.setdefault(content, []).append(row)
        return found

    def _found(self, content: Content, number: int, row: Row) -> Change | Unreadable:
        fields = self.shape.fields_of(row[:-1] if self._row_name else row)
        if reason := unreadable(fields):
            return Unreadable(_key(content, number), reason)
        return Change(_key(content, number), {NUMBER: number, **fields}, _etag(content))

    def _key_of(self, fields: Fields) -> Key:
        """Columns that are not named take their default."""
        spelled = self.shape.spelled(fields)
        held = self.shape.held
        content = _content([spelled.get(name, held[name].blank) for name in self.shape.columns])
        number = spelled.get(NUMBER)
        return _key(content, number if isinstance(number, int) else 1)

    def _present(self, content: Content, rows: int) -> frozenset[int]:
        """The numbers that so many rows of a content have."""
        return _numbered(self._numbers.get(content, frozenset()), rows)

    def _remember(self, content: Content, numbers: frozenset[int]) -> None:
        self._numbers.pop(content, None)
        if numbers != frozenset(range(1, len(numbers) + 1)):
            self._numbers[content] = numbers


def _content(values: Sequence[Value]) -> Content:
    return blake2b(key_text(values).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _etag(content: Content) -> Etag:
    return Etag(bytes.fromhex(content))


def _key(content: Content, number: int) -> Key:
    return key_text([content, number])


def _parts(key: Key) -> tuple[Content, int]:
    """Of a key; of one that no row here can have, something that no row has."""
    with suppress(ValueError):
        match key_values(key):
            case (str() as content, int() as number):
                return content, number
    return key, 0


def _numbered(known: frozenset[int], rows: int) -> frozenset[int]:
    """The numbers of so many equal rows, of which these are known."""
    if len(known) >= rows:
        return frozenset(sorted(known)[:rows])
    free = (number for number in count(1) if number not in known)
    return known | {next(free) for _ in range(rows - len(known))}
