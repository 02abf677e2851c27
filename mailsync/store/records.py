"""The record map in the store: read by key, by position, or one by one as the core asks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from mailsync.core.drift import Layout
from mailsync.core.enrolment import Enrolment
from mailsync.core.model import Etag, Guid, Key, Record, RecordId
from mailsync.core.places import place_of, says_all
from mailsync.core.positions import NOWHERE, Positions
from mailsync.store.layouts import StoredLayouts
from mailsync.store.notes import GATE, StoredNotes
from mailsync.store.peers import Peers
from mailsync.store.record_rows import (
    RecordRow,
    enrolled_rows,
    holding_row,
    is_same_elsewhere,
    record_of,
    record_row,
)
from mailsync.store.record_statements import (
    AGE,
    ALL,
    ANY,
    BEHIND,
    BETWEEN,
    BY_GUID,
    BY_KEY,
    BY_NUMBER,
    CHANGED_AT,
    COUNT,
    COUNT_ALL,
    COUNT_KEYS,
    COUNT_UNDELETED,
    COUNT_UNWRITTEN,
    DOUBT,
    DROP,
    ETAG,
    GONE,
    HOLD,
    HOLD_ORDER,
    IDS,
    KNOWN,
    OF,
    PRUNABLE,
    SAVE,
    UNWRITTEN,
)
from mailsync.store.statements import Session, Statement

CHUNK = 500
"""Records fetched or written by one statement."""

AHEAD = 100
"""Records read at once where nobody may want the rest."""

POSITION_MAX = 2**63 - 1
NUMBER_MIN = -(2**63)

_T = TypeVar("_T")


class StoredRecords(Mapping[RecordId, Record]):
    """The record map, loaded as it is read. ``fetch`` loads many at once ahead of use."""

    def __init__(self, session: Session, peers: Peers, layouts: StoredLayouts) -> None:
        """Within the session's open transaction."""
        self._session = session
        self._layouts = layouts
        self._peers = peers
        self._loaded: dict[RecordId, Record | None] = {}

    def __getitem__(self, record_id: RecordId) -> Record:
        if record_id not in self._loaded:
            self.fetch([record_id])
        record = self._loaded[record_id]
        if record is None:
            raise KeyError(record_id)
        return record

    def __iter__(self) -> Iterator[RecordId]:
        for number, guid in self._session.rows(IDS):
            yield RecordId(self._layouts.names[number], Guid(guid))

    def __len__(self) -> int:
        ((count,),) = self._session.rows(COUNT_ALL)
        return int(count)

    def fetch(self, record_ids: Iterable[RecordId]) -> None:
        """Load these records in few statements."""
        wanted: dict[str, list[bytes]] = {}
        for record_id in record_ids:
            if record_id not in self._loaded:
                self._loaded[record_id] = None
                wanted.setdefault(record_id.dataset, []).append(bytes(record_id.guid))
        for name, guids in wanted.items():
            for chunk in _chunks(guids):
                self._kept(BY_GUID, dataset=self._layouts.number(name), guids=chunk)

    def trust(self, records: Iterable[Record]) -> None:
        """These are as they are stored: whoever saved them last says so, and they are not read."""
        self._loaded.update((record.id, record) for record in records)

    def all(self) -> list[Record]:
        """Every record, in the order of their positions."""
        return self._found(ALL)

    def each(self) -> Iterator[Record]:
        """The same, one by one: memory holds few of them."""
        return self.outside(NOWHERE)

    def of(self, dataset: str) -> list[Record]:
        """Every record of a dataset, in the order of their positions."""
        return self._found(OF, dataset=self._layouts.number(dataset))

    def at(self, positions: Positions) -> Iterator[Record]:
        """The records at these positions, in their order; read as they are asked for."""
        for low, high in positions.intervals:
            start = low
            while page := self._found(BETWEEN, low=start, high=high, limit=AHEAD):
                yield from page
                start = page[-1].position + 1
                if len(page) < AHEAD or start > high:
                    break

    def outside(self, positions: Positions) -> Iterator[Record]:
        """The records whose position is not among these, in the order of their positions."""
        return self.at(Positions.up_to(POSITION_MAX) - positions)

    def behind(self, dataset: str, after: int, limit: int) -> list[Record]:
        """Up to ``limit`` records of a dataset at positions beyond ``after``, in their order."""
        return self._kept(BEHIND, dataset=self._layouts.number(dataset), after=after, limit=limit)

    def unwritten(
        self, dataset: str, after: int, limit: int, gone: Collection[int] = (0, 1)
    ) -> list[Record]:
        """Up to ``limit`` records, at positions beyond ``after``, of which the dataset holds
        something else than it should. ``gone``: 1 for those that it should not hold, 0 for others.
        """
        number, gone = self._layouts.number(dataset), list(gone)
        return self._kept(UNWRITTEN, dataset=number, after=after, limit=limit, gone=gone)

    def count_unwritten(self, dataset: str) -> int:
        """How many records there are of which the dataset holds something else than it should."""
        ((count,),) = self._session.rows(COUNT_UNWRITTEN, dataset=self._layouts.number(dataset))
        return int(count)

    def count_undeleted(self, dataset: str) -> int:
        """Of how many records the dataset still holds the row, and should not."""
        ((count,),) = self._session.rows(COUNT_UNDELETED, dataset=self._layouts.number(dataset))
        return int(count)

    def known(self, dataset: str, after: Key | None, limit: int) -> list[tuple[Key, Etag | None]]:
        """Key and etag of up to ``limit`` records that the dataset should hold, of those behind
        ``after`` in the order of :func:`place_of`; no etag where a write stands.
        """
        number, key = (NUMBER_MIN, "") if after is None else place_of(after)
        return self._session.rows(
            KNOWN, dataset=self._layouts.number(dataset), number=number, key=key, limit=limit
        )

    def etag(self, dataset: str, key: Key) -> Etag | None:
        """As ``known``, of the one record under this key. Raises KeyError if there is none."""
        number, _ = place_of(key)
        values = {"dataset": self._layouts.number(dataset), "number": number, "key": key}
        for (etag,) in self._session.rows(ETAG, **values):
            return None if etag is None else Etag(etag)
        raise KeyError(key)

    def count_keys(self, dataset: str) -> int:
        """How many records ``known`` gives in all."""
        ((count,),) = self._session.rows(COUNT_KEYS, dataset=self._layouts.number(dataset))
        return int(count)

    def by_key(self, dataset: str, keys: Sequence[Key]) -> dict[Key, Record]:
        """The records that sit under these keys."""
        wanted = set(keys)
        rows = map(RecordRow._make, self._rows_at(dataset, keys))
        found = self._keeping(row for row in rows if row.key in wanted)
        return {record.key: record for record in found if record.key is not None}

    def _rows_at(self, dataset: str, keys: Iterable[Key]) -> Iterator[Sequence[Any]]:
        """The rows of these keys, and maybe of others, in few statements."""
        numbers: list[int] = []
        others: dict[int, list[Key]] = {}
        for key in keys:
            number, _ = place_of(key)
            if says_all(number, key):
                numbers.append(number)
            else:
                others.setdefault(number, []).append(key)
        values = {"dataset": self._layouts.number(dataset)}
        for chunk in _chunks(numbers):
            yield from self._session.rows(BY_NUMBER, **values, numbers=chunk)
        for number, alike in others.items():
            for some in _chunks(alike):
                yield from self._session.rows(BY_KEY, **values, number=number, keys=some)

    def prunable(self, after: int, limit: int) -> list[Record]:
        """Up to ``limit`` records with ancestors, or fields owed whole, at positions beyond
        ``after``.
        """
        return self._found(PRUNABLE, after=after, limit=limit)

    def gone(self, before: int, after: int, limit: int) -> list[Record]:
        """The same of tombstones and stubs that have not changed since ``before``."""
        return self._found(GONE, before=before, after=after, limit=limit)

    def age(self, now: int) -> None:
        """The clock was set back: what changed in times to come counts as changed now."""
        self._session.run(AGE, now=now)

    def changed_at(self, record: Record) -> int:
        """When it moved to its position, in milliseconds since 1970."""
        number, guid = self._layouts.number(record.dataset), bytes(record.guid)
        ((at,),) = self._session.rows(CHANGED_AT, dataset=number, guid=guid)
        return int(at)

    def holding(self) -> frozenset[str]:
        """The datasets that hold records, as far as we know."""
        return frozenset(
            name
            for name, kept in self._layouts.kept.items()
            if self._session.rows(ANY, dataset=kept.number)
        )

    def count(self, dataset: str) -> int:
        """How many records the dataset holds, as far as we know."""
        ((count,),) = self._session.rows(COUNT, dataset=self._layouts.number(dataset))
        return int(count)

    def lay_out(self, dataset: str, layout: Layout, renewed: frozenset[str]) -> None:
        """The dataset looks otherwise than before: every record is to be looked at again.

        ``renewed``: the fields that were made anew.
        """
        self._layouts.change(dataset, layout, renewed)
        self.doubt(dataset)

    def doubt(self, dataset: str) -> None:
        """Every record of the dataset is to be looked at again, whatever its etag says."""
        self._session.run(DOUBT, dataset=self._layouts.number(dataset))
        StoredNotes(self._session).keep(dataset, {GATE: None})
        self._loaded.clear()

    def save(
        self, changed: Mapping[RecordId, Record], dropped: Iterable[RecordId], now: int
    ) -> None:
        """Write what a ledger gathered."""
        self._layouts.add({record.dataset for record in changed.values()})
        self._layouts.note_unheld(changed.values())
        for name, guid in dropped:
            self._session.run(DROP, dataset=self._layouts.number(name), guid=bytes(guid))
        settled: list[Record] = []
        news: list[Record] = []
        for record_id, record in changed.items():
            stored = self._loaded.get(record_id)
            is_settled = stored is not None and is_same_elsewhere(stored, record)
            (settled if is_settled else news).append(record)
        self._session.run_all(HOLD, HOLD_ORDER, [self._holding(one) for one in settled])
        self._session.run_all(SAVE, RecordRow._fields, [self._row(one, now) for one in news])
        self._loaded.clear()

    def enter(self, enrolment: Enrolment, now: int) -> None:
        """Write rows that are new."""
        self._layouts.add([enrolment.dataset])
        kept = self._layouts.kept[enrolment.dataset]
        naming = self._layouts.naming(kept)
        for alike in enrolment.alike():
            first = enrolment.record(alike[0])
            self._layouts.note_unheld([first])
            rows = enrolled_rows(enrolment, alike, self._row(first, now), naming)
            self._session.run_all(SAVE, RecordRow._fields, rows)

    def _holding(self, record: Record) -> tuple[object, ...]:
        holds = self._layouts.kept[record.dataset].holds
        return (*holding_row(record, holds), record.position)

    def _row(self, record: Record, now: int) -> RecordRow:
        kept = self._layouts.kept[record.dataset]
        naming = self._layouts.naming(kept)
        return record_row(record, self._peers, kept.number, now, holds=kept.holds, naming=naming)

    def _kept(self, statement: Statement, **values: object) -> list[Record]:
        """The records found; what of them is changed is known when they are saved."""
        return self._keeping(self._session.rows(statement, **values))

    def _keeping(self, rows: Iterable[Sequence[Any]]) -> list[Record]:
        return [self._first_read(record) for record in self._records(rows)]

    def _first_read(self, record: Record) -> Record:
        """The record, or the very object that was read before."""
        known = self._loaded.get(record.id)
        if known is None:
            self._loaded[record.id] = known = record
        return known

    def _found(self, statement: Statement, **values: object) -> list[Record]:
        return self._records(self._session.rows(statement, **values))

    def _records(self, rows: Iterable[Sequence[Any]]) -> list[Record]:
        return [self._record(row) for row in map(RecordRow._make, rows)]

    def _record(self, row: RecordRow) -> Record:
        names = None if row.naming is None else self._layouts.namings[row.naming]
        return record_of(row, self._peers, self._layouts.names[row.dataset], names)


def _chunks(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    return (items[start : start + CHUNK] for start in range(0, len(items), CHUNK))
