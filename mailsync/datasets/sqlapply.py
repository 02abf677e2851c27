"""Compare-and-set of a batch of rows in one transaction.

First every write is compared with its row as the transaction finds it; nobody else can write
from then on. Then those that still hold are carried out, in passes: what one write needs
another may free (a unique value, a referenced row), so the refused ones are tried again for
as long as that helps. Records that exchange unique values among themselves are parked first.

A savepoint stands round a chunk of writes, and round each single one where the chunk fails: a
savepoint per write costs more than half as much again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

from mailsync.core.model import Fields, Value, same_value
from mailsync.datasets.base import Outcome, Result, Write
from mailsync.datasets.sqlkeys import key_values
from mailsync.datasets.sqlreferences import References
from mailsync.datasets.sqlrows import one_row, row_etag, unreadable, usable_key
from mailsync.datasets.sqlshape import Shape, Statement

CHUNK: Final = 64


class TransactionLost(Exception):
    """The batch was undone."""

    def __init__(self, refused: dict[int, str]) -> None:
        """``refused``, place of a write to reason, must not be tried again."""
        super().__init__(refused)
        self.refused = refused


class _NotTaken(Exception):
    """The table does not take what was just written."""


class Application:
    """One attempt at a batch."""

    def __init__(
        self, connection: Any, shape: Shape, writes: Sequence[Write], refused: dict[int, str]
    ) -> None:
        """``refused``: places of writes not to try, with the reason."""
        self._connection = connection
        self._cursor = connection.cursor()
        self._shape = shape
        self._engine = shape.engine
        self._reasons = {**_misfits(shape, writes), **refused}
        self._writes = [_spelled(shape, write) for write in writes]
        self._outcomes: dict[int, Outcome] = {}
        self._depth = 0
        self._addition: Callable[[tuple[str, ...]], Statement] = lru_cache(shape.addition)
        self._alteration: Callable[[tuple[str, ...]], Statement] = lru_cache(shape.alteration)

    def run(self) -> list[Outcome]:
        """The outcome of each write, committed. Raises :class:`TransactionLost`."""
        for statement in self._engine.BEGIN_WRITING:
            self._cursor.execute(statement)
        pending = [place for place in self._in_key_order() if self._holds(place)]
        self._carry_out(pending)
        self._commit()
        return [
            self._outcomes.get(place) or Outcome(Result.REFUSED, reason=self._reasons[place])
            for place in range(len(self._writes))
        ]

    def _in_key_order(self) -> list[int]:
        """Rows next to each other are written together; shorter numbers are smaller ones."""
        places = [place for place in range(len(self._writes)) if place not in self._reasons]
        keys = [write.key for write in self._writes]
        return sorted(places, key=lambda place: (len(keys[place]), keys[place]))

    def _holds(self, place: int) -> bool:
        """Is the row what the write expects, and the write one for this table?"""
        write = self._writes[place]
        row = one_row(self._connection, self._shape, write.key, self._shape.one_row_locked)
        present = None if row is None else self._shape.fields_of(row)
        if present is not None and (reason := unreadable(present)):
            self._reasons[place] = reason
        elif not _is_expected(present, write.expected):
            self._outcomes[place] = Outcome(Result.CHANGED)
        elif reason := self._misfit(write):
            self._reasons[place] = reason
        else:
            return True
        return False

    def _misfit(self, write: Write) -> str:
        if write.wanted is None:
            return ""
        key = usable_key(self._shape, write.key)
        if key is None:
            return f"no row can have the key {write.key} ({', '.join(self._shape.key)})"
        named = dict(zip(self._shape.key, key, strict=True))
        if not self._shape.local and any(
            not same_value(named[name], write.wanted.get(name)) for name in named
        ):
            return f"its key columns say another key than {write.key}"
        return ""

    def _carry_out(self, pending: list[int]) -> None:
        while pending:
            left = self._attempt(pending)
            if len(left) == len(pending):
                left = self._exchange(left)
            if len(left) == len(pending):
                return
            pending = left

    def _attempt(self, places: list[int]) -> list[int]:
        """Try each write once; those not taken are returned, their reasons noted."""
        left: list[int] = []
        for start in range(0, len(places), CHUNK):
            chunk = places[start : start + CHUNK]
            try:
                with self._savepoint():
                    for place in chunk:
                        self._write(place)
            except _NotTaken:
                left += [place for place in chunk if not self._takes(place)]
        return left

    def _takes(self, place: int) -> bool:
        try:
            with self._savepoint():
                self._write(place)
        except _NotTaken as refusal:
            self._reasons[place] = str(refusal)
            self._outcomes.pop(place, None)
            return False
        return True

    def _write(self, place: int) -> None:
        write = self._writes[place]
        key = key_values(write.key)
        if write.wanted is None:
            self._execute(place, self._shape.removal, self._shape.parameters(key, {}))
        elif write.expected is None:
            named = dict(write.wanted) | dict(zip(self._shape.key, key, strict=True))
            statement = self._addition(tuple(sorted(named)))
            self._execute(place, statement, self._shape.parameters(key, named))
        else:
            self._alter(place, _difference(write.wanted, write.expected))
        self._outcomes[place] = self._proof(write)

    def _alter(self, place: int, values: Fields) -> None:
        if values:
            key = key_values(self._writes[place].key)
            wanted = self._writes[place].wanted or {}
            kept = {name: wanted[name] for name in self._shape.restless & wanted.keys()}
            values = {**kept, **values}
            statement = self._alteration(tuple(sorted(values)))
            self._execute(place, statement, self._shape.parameters(key, values))

    def _execute(self, place: int, statement: Statement, values: Fields) -> None:
        try:
            statement.run(self._cursor, values)
        except self._engine.DRIVER_ERRORS as error:
            if not self._engine.is_refusal(error):
                raise
            if not self._engine.in_transaction(self._connection):
                raise TransactionLost({place: str(error)}) from error
            raise _NotTaken(str(error)) from error

    def _proof(self, write: Write) -> Outcome:
        """The outcome, after a look at what the table really holds now."""
        row = one_row(self._connection, self._shape, write.key, self._shape.one_row)
        if write.wanted is None or row is None:
            if row is None and write.wanted is None:
                return Outcome(Result.WRITTEN)
            raise _NotTaken("the database neither reported an error nor did what was asked")
        if altered := _difference(write.wanted, self._shape.fields_of(row)):
            names = ", ".join(sorted(altered))
            raise _NotTaken(f"the column's type or a trigger alters what is written to {names}")
        return Outcome(Result.WRITTEN, row_etag(row))

    def _exchange(self, places: list[int]) -> list[int]:
        """Writes that wait for each other: updates for unique values, deletes for references
        within the table where the engine defers none. Park them all, then write them.

        Only where no trigger would see the parking. Returns the places still not written.
        """
        group = [place for place in places if self._parked(place)]
        if self._engine.has_triggers(self._connection, self._shape.name):
            return places
        while len(group) > 1:
            left = self._attempt_parked(group)
            if not left:
                return [place for place in places if place not in group]
            group = [place for place in group if place not in left]
        return places

    def _attempt_parked(self, group: list[int]) -> list[int]:
        """Write the whole group and return nothing; or none of it, and return whose fault."""
        left: list[int] = []
        try:
            with self._savepoint():
                self._write_parked(group, left)
        except _NotTaken:
            for place in group:
                self._outcomes.pop(place, None)
            return left or group
        return []

    def _write_parked(self, group: list[int], left: list[int]) -> None:
        for place in group:
            self._alter(place, self._parked(place))
        left += self._attempt(group)
        if left:
            raise _NotTaken

    def _unique_values(self, place: int) -> Fields:
        """What an update changes that no two rows may share."""
        write = self._writes[place]
        changed = _difference(write.wanted or {}, write.expected or {}) if write.expected else {}
        return {name: changed[name] for name in changed if name in self._shape.unique}

    def _parked(self, place: int) -> Fields:
        """Values nobody else has, for as long as it takes."""
        write = self._writes[place]
        if write.wanted is None:
            referring = self._shape.self_references & self._shape.nullable
            return {
                name: None for name in referring if (write.expected or {}).get(name) is not None
            }
        return {
            name: None if name in self._shape.nullable else _stand_in(value, write.key)
            for name, value in self._unique_values(place).items()
        }

    def _commit(self) -> None:
        inserted = any(self._writes[place].expected is None for place in self._outcomes)
        if self._shape.local and inserted:
            self._engine.give_up_to(self._connection, self._shape.name, self._shape.key[0])
        try:
            with self._savepoint():
                for statement in self._engine.CHECK_DEFERRED:
                    self._cursor.execute(statement)
            self._connection.commit()
        except self._engine.DRIVER_ERRORS as error:
            if not self._engine.is_refusal(error):
                raise
            raise TransactionLost(self._culprits() or self._all_written(str(error))) from error

    def _culprits(self) -> dict[int, str]:
        """The writes that break a foreign key, and how."""
        references = References(self._shape, self._cursor)
        faults = {
            place: references.fault(*self._before_and_after(self._writes[place]))
            for place in self._all_written("")
        }
        return {place: fault for place, fault in faults.items() if fault}

    def _before_and_after(self, write: Write) -> tuple[Fields, Fields]:
        key = dict(zip(self._shape.key, key_values(write.key), strict=True))
        before = {} if write.expected is None else {**key, **write.expected}
        after = {} if write.wanted is None else {**key, **write.wanted}
        return before, after

    def _all_written(self, reason: str) -> dict[int, str]:
        written = Result.WRITTEN
        return {place: reason for place, one in self._outcomes.items() if one.result is written}

    @contextmanager
    def _savepoint(self) -> Iterator[None]:
        # a name for each level: in MariaDB a second one of the same name replaces the first
        self._depth += 1
        name = f"mailsync{self._depth}"
        self._cursor.execute(f"SAVEPOINT {name}")
        try:
            yield
        except BaseException:
            if self._engine.in_transaction(self._connection):
                self._cursor.execute(f"ROLLBACK TO SAVEPOINT {name}")
            raise
        finally:
            self._depth -= 1
            if self._engine.in_transaction(self._connection):
                self._cursor.execute(f"RELEASE SAVEPOINT {name}")


def _misfits(shape: Shape, writes: Sequence[Write]) -> dict[int, str]:
    """Which writes no row of the table can hold, and why."""
    reasons = {
        place: shape.misfit(write.wanted)
        for place, write in enumerate(writes)
        if write.wanted is not None
    }
    return {place: reason for place, reason in reasons.items() if reason}


def _spelled(shape: Shape, write: Write) -> Write:
    """The write in the columns' own spelling."""
    return write._replace(
        expected=None if write.expected is None else shape.spelled(write.expected),
        wanted=None if write.wanted is None else shape.spelled(write.wanted),
    )


def _is_expected(present: Fields | None, expected: Fields | None) -> bool:
    if present is None or expected is None:
        return present is None and expected is None
    return not _difference(expected, present)


def _difference(wanted: Fields, present: Fields) -> dict[str, Value]:
    """The fields of ``wanted`` that are not in ``present``, or not the same there."""
    return {
        name: value
        for name, value in wanted.items()
        if name not in present or not same_value(value, present[name])
    }


def _stand_in(value: Value, key: str) -> Value:
    """A value of the same type that only this key's row has."""
    digest = blake2b(key.encode(), digest_size=8).digest()
    match value:
        case str():
            return digest.hex()
        case bytes():
            return digest
        case float():
            return float(int.from_bytes(digest))
        case _:
            return int.from_bytes(digest, signed=True)
