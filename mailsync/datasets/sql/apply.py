"""Compare-and-set of a batch of rows of one or several tables, in one transaction.

First every write is compared with its row as the transaction finds it; nobody else can write
from then on. Then those that still hold are carried out, in passes: what one write needs
another may free (a unique value, a referenced row), so the refused ones are tried again for
as long as that helps. Then those that wait for each other are written in two steps.

A savepoint stands round a chunk of writes, and round each single one where the chunk fails.
What a chunk writes by one statement goes together, and one look proves it all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from mailsync.core.model import Fields, Key, Value
from mailsync.datasets.base import Outcome, Result, Write
from mailsync.datasets.spelling import Unfit
from mailsync.datasets.sql.bystanders import Bystanders
from mailsync.datasets.sql.engine import Row
from mailsync.datasets.sql.references import Name
from mailsync.datasets.sql.rows import row_etag, unreadable
from mailsync.datasets.sql.shape import Shape
from mailsync.datasets.sql.statement import Statement
from mailsync.datasets.sql.target import Target
from mailsync.datasets.sql.writes import difference, stand_in

CHUNK: Final = 256
"""Writes carried out at once."""


class TransactionLost(Exception):
    """The batch was undone."""

    def __init__(self, refused: dict[int, str]) -> None:
        """``refused``, place of a write to reason, must not be tried again; where there is none,
        it is one of several that were carried out at once.
        """
        super().__init__(refused)
        self.refused = refused


class _NotTaken(Exception):
    """The table does not take what was just written."""


class _Stuck(Exception):
    """Some that stepped aside cannot go on."""

    def __init__(self, others: list[int]) -> None:
        """``others``: places of those that can."""
        super().__init__(others)
        self.others = others


class Application:
    """One attempt at a batch."""

    def __init__(
        self,
        connection: Any,
        batches: Sequence[tuple[Shape, Sequence[Write]]],
        refused: Mapping[int, str],
        chunk: int = CHUNK,
        datasets: Iterable[Shape] = (),
    ) -> None:
        """``batches``: of each table, parents first. ``refused``: places, counted through all
        of them, of writes not to try, with the reason. ``chunk``: writes carried out at once.
        ``datasets``: the tables of which no row may go or change that nobody touched.
        """
        self._chunk = chunk
        self._connection = connection
        self._cursor = connection.cursor()
        self._bystanders = Bystanders(self._cursor, datasets)
        self._engine = batches[0][0].engine
        self._targets: list[Target] = []
        self._writes: list[Write] = []
        self._reasons = {**refused}
        for rank, (shape, writes) in enumerate(batches):
            self._targets += [Target(connection, shape, rank)] * len(writes)
            self._writes += writes
        self._news: dict[int, Fields] = {}
        """What the rows do not hold yet."""
        self._outcomes: dict[int, Outcome] = {}
        self._begun: dict[int, Fields] = {}
        """What rows hold that are inserted in two steps, after the first."""
        self._depth = 0

    def run(self) -> list[Outcome]:
        """The outcome of each write, committed. Raises :class:`TransactionLost`."""
        for statement in self._engine.BEGIN_WRITING:
            self._cursor.execute(statement)
        places = self._in_order()
        rows = self._rows(places, Target.rows_locked)
        self._carry_out([place for place in places if self._holds(place, rows.get(place))])
        self._commit()
        return [
            self._outcomes.get(place) or Outcome(Result.REFUSED, reason=self._reasons[place])
            for place in range(len(self._writes))
        ]

    def _in_order(self) -> list[int]:
        """Parents first, and what is deleted last and the other way round. Rows next to each
        other are written together; shorter numbers are smaller ones.
        """

        def order(place: int) -> tuple[bool, int, int, str]:
            write, rank = self._writes[place], self._targets[place].rank
            deleted = write.wanted is None
            return deleted, -rank if deleted else rank, len(write.key), write.key

        places = (place for place in range(len(self._writes)) if place not in self._reasons)
        return sorted(places, key=order)

    def _holds(self, place: int, row: Row | None) -> bool:
        """Is the row what the write expects, and the write one for this table?"""
        target = self._targets[place]
        present = None if row is None else target.shape.fields_of(row)
        if present is not None and (reason := unreadable(present)):
            self._reasons[place] = reason
            return False
        try:
            found = target.meant(self._writes[place], present)
        except Unfit as unfit:
            self._reasons[place] = str(unfit)
            return False
        if found is None:
            self._outcomes[place] = Outcome(Result.CHANGED)
            return False
        self._writes[place], self._news[place] = found
        if present is not None and found.write.wanted is None:
            shape, key = target.shape, found.write.key
            named = zip(shape.key, self._key(place), strict=True)
            self._bystanders.leave(place, shape.name, key, {**dict(named), **present})
        return True

    def _carry_out(self, pending: list[int]) -> None:
        left = self._passes(pending)
        while left and (still := self._in_two_steps(left)) != left:
            left = still

    def _passes(self, pending: list[int]) -> list[int]:
        """Try the writes for as long as that helps; those not taken are returned."""
        while len(left := self._attempt(pending)) not in {0, len(pending)}:
            pending = left
        return left

    def _attempt(self, places: list[int]) -> list[int]:
        """Try each write once; those not taken are returned, their reasons noted."""
        left: list[int] = []
        for start in range(0, len(places), self._chunk):
            chunk = places[start : start + self._chunk]
            try:
                with self._savepoint():
                    self._write(chunk)
            except _NotTaken:
                left += [place for place in chunk if not self._takes(place, self._write_alone)]
        return left

    def _takes(self, place: int, step: Callable[[int], None]) -> bool:
        try:
            with self._savepoint():
                step(place)
        except _NotTaken as refusal:
            self._reasons[place] = str(refusal)
            self._outcomes.pop(place, None)
            return False
        return True

    def _write_alone(self, place: int) -> None:
        self._write([place])

    def _write(self, places: Sequence[int]) -> None:
        """Carry the writes out, those of one statement together, and look what came of it."""
        leaving = [place for place in places if place in self._bystanders]
        self._say([place for place in places if place not in self._bystanders])
        name = self._bystanders.of(leaving, self._is_refused)
        if name is not None:
            raise _NotTaken(f"rows of {name} refer to it, and would go or change with it")
        self._say(leaving)
        rows = self._rows(places, Target.rows)
        for place in places:
            self._outcomes[place] = self._proof(place, rows.get(place))

    def _is_refused(self, place: int) -> bool:
        return place in self._reasons and place not in self._outcomes

    def _say(self, places: Sequence[int]) -> None:
        said: dict[Statement, list[tuple[int, Fields]]] = {}
        for place in places:
            for statement, values in self._statements(place):
                said.setdefault(statement, []).append((place, values))
        for statement, each in said.items():
            self._execute(statement, each)

    def _statements(self, place: int) -> list[tuple[Statement, Fields]]:
        """What there is to execute for a write: one statement, or none."""
        write = self._writes[place]
        if write.wanted is None:
            shape = self._targets[place].shape
            return [(shape.removal, shape.parameters(self._key(place), {}))]
        if place in self._begun:
            return self._alteration(place, difference(write.wanted, self._begun[place]))
        if write.expected is None:
            return [self._addition(place, write.wanted)]
        return self._alteration(place, self._news[place])

    def _key(self, place: int) -> tuple[Value, ...]:
        """What the key columns of the row hold."""
        values = self._targets[place].key(self._writes[place].key)
        assert values is not None  # noqa: S101 - a write that is carried out has a row's key
        return values

    def _addition(self, place: int, fields: Fields) -> tuple[Statement, Fields]:
        target, key = self._targets[place], self._key(place)
        named = dict(fields) | dict(zip(target.shape.key, key, strict=True))
        return target.addition(tuple(sorted(named))), target.shape.parameters(key, named)

    def _alteration(self, place: int, values: Fields) -> list[tuple[Statement, Fields]]:
        if not values:
            return []
        target = self._targets[place]
        if restless := target.shape.restless:
            wanted = self._writes[place].wanted or {}
            values = {name: wanted[name] for name in restless & wanted.keys()} | dict(values)
        parameters = target.shape.parameters(self._key(place), values)
        return [(target.alteration(tuple(sorted(values))), parameters)]

    def _execute(self, statement: Statement, each: Sequence[tuple[int, Fields]]) -> None:
        try:
            statement.run_each(self._cursor, [values for _, values in each])
        except self._engine.DRIVER_ERRORS as error:
            if not self._engine.is_refusal(error):
                raise
            if not self._engine.in_transaction(self._connection):
                alone = [place for place, _ in each] if len(each) == 1 else []
                raise TransactionLost(dict.fromkeys(alone, str(error))) from error
            raise _NotTaken(str(error)) from error

    def _rows(
        self, places: Sequence[int], look: Callable[[Target, Sequence[Key]], dict[Key, Row]]
    ) -> dict[int, Row]:
        """The rows of these writes as they are now, as far as there are any."""
        mine: dict[Target, dict[Key, int]] = {}
        for place in places:
            mine.setdefault(self._targets[place], {})[self._writes[place].key] = place
        return {
            by_key[key]: row
            for target, by_key in mine.items()
            for key, row in look(target, list(by_key)).items()
        }

    def _proof(self, place: int, row: Row | None) -> Outcome:
        """The outcome, by what the table really holds now."""
        write, shape = self._writes[place], self._targets[place].shape
        if write.wanted is None or row is None:
            if row is None and write.wanted is None:
                return Outcome(Result.WRITTEN)
            raise _NotTaken("the database neither reported an error nor did what was asked")
        if altered := difference(write.wanted, shape.fields_of(row)):
            names = ", ".join(sorted(altered))
            raise _NotTaken(f"the column's type or a trigger alters what is written to {names}")
        return Outcome(Result.WRITTEN, row_etag(shape, row))

    def _in_two_steps(self, places: list[int]) -> list[int]:
        """Write what waits for each other: updates for unique values, inserts and deletes for
        references that the engine does not defer. All of them first step aside.

        Who has stepped aside and cannot go on takes all back with it; the rest is tried without
        it. Returns the places still not written.
        """
        group = [place for place in places if self._may_step_aside(place)]
        while group:
            before = dict(self._outcomes)
            try:
                with self._savepoint():
                    return self._both_steps(group, places)
            except _Stuck as stuck:
                self._outcomes, group = before, stuck.others
            finally:
                self._begun.clear()
        return places

    def _both_steps(self, group: list[int], places: list[int]) -> list[int]:
        aside = [place for place in group if self._takes(place, self._step_aside)]
        left = self._passes(places)
        stuck = set(left)
        if not stuck.isdisjoint(aside):
            raise _Stuck([place for place in aside if place not in stuck])
        return left

    def _may_step_aside(self, place: int) -> bool:
        """Has it something to step aside with, and will no trigger take that for an edit?"""
        is_new = self._writes[place].expected is None
        return bool(self._aside(place)) and (is_new or not self._targets[place].has_triggers)

    def _step_aside(self, place: int) -> None:
        write, aside = self._writes[place], self._aside(place)
        if write.expected is None:
            fields = {**(write.wanted or {}), **aside}
            statement, values = self._addition(place, fields)
            self._execute(statement, [(place, values)])
            self._begun[place] = fields
            return
        for statement, values in self._alteration(place, aside):
            self._execute(statement, [(place, values)])

    def _aside(self, place: int) -> Fields:
        """Values in nobody's way: no reference, and of what is unique something of its own."""
        write, shape = self._writes[place], self._targets[place].shape
        if write.wanted is None or write.expected is None:
            fields = write.wanted or write.expected or {}
            loose = shape.referring & shape.nullable & fields.keys()
            return {name: None for name in loose if fields[name] is not None}
        return {
            name: None if name in shape.nullable else stand_in(value, write.key)
            for name, value in self._news[place].items()
            if name in shape.unique
        }

    def _commit(self) -> None:
        inserted = {
            self._targets[place].shape.name: self._targets[place].shape
            for place in self._outcomes
            if self._writes[place].expected is None
        }
        for shape in inserted.values():
            for name in shape.key:
                self._engine.give_up_to(self._connection, shape.name, name)
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
        rows = {place: self._before_and_after(place) for place in self._all_written("")}
        faults = {
            place: fault
            for place, row in rows.items()
            if (fault := self._targets[place].references.fault(*row))
        }
        if faults:
            self._add_dependants(faults, {place: after for place, (_, after) in rows.items()})
        return faults

    def _add_dependants(self, faults: dict[int, str], rows: Mapping[int, Fields]) -> None:
        """Who refers to a new row that will not come breaks a foreign key next: foresee it."""
        children: dict[Name, list[int]] = {}
        for place, row in rows.items():
            for name in self._targets[place].references.referred(row):
                children.setdefault(name, []).append(place)
        lost = list(faults)
        for place in lost:
            if self._writes[place].expected is None:
                for name in self._targets[place].references.names(rows[place]):
                    new = [child for child in children.get(name, ()) if child not in faults]
                    faults |= dict.fromkeys(new, f"it refers to a row of {name[0]} that is refused")
                    lost += new

    def _before_and_after(self, place: int) -> tuple[Fields, Fields]:
        write, shape = self._writes[place], self._targets[place].shape
        key = dict(zip(shape.key, self._key(place), strict=True))
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
