"""The record map in the store: read by key, by position, or one by one as the core asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    Select,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects import postgresql

from mailsync.core.model import Etag, Guid, Key, Record, RecordId
from mailsync.core.positions import Positions
from mailsync.store import schema
from mailsync.store.codec import Peers, RecordRow, record_of, record_row
from mailsync.store.statements import Session, Statement, parameters

CHUNK = 500
"""Records fetched or written by one statement."""

POSITION_MAX = 2**63 - 1

_T = TypeVar("_T")

_dataset, _record = schema.dataset.c, schema.record.c
_DATASETS = Statement(select(_dataset.name, _dataset.number))
_ADD_DATASET = Statement(insert(schema.dataset).values(name=bindparam("name")))


def _where(*conditions: ColumnElement[bool]) -> Select[Any]:
    columns = (_record[name] for name in RecordRow._fields)
    return select(*columns).where(*conditions).order_by(_record.position)


def _among(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    return column.in_(bindparam(name, expanding=True))


_of_dataset = _record.dataset == bindparam("dataset")
_has_key = _record.key.is_not(None)
# written out: for a parameter, the index of such records alone is chosen anew each time
_is_unwritten, _is_prunable, _is_gone = (
    column == literal_column("1") for column in (_record.unwritten, _record.prunable, _record.gone)
)
_IDS = Statement(select(_record.dataset, _record.guid))
_COUNT_ALL = Statement(select(func.count()).select_from(schema.record))
_COUNT = Statement(
    select(func.count()).select_from(schema.record).where(_of_dataset, _record.shadow.is_not(None))
)
_ALL = Statement(_where())
_BY_GUID = Statement(_where(_of_dataset, _among(_record.guid, "guids")))
_BY_KEY = Statement(_where(_of_dataset, _among(_record.key, "keys")))
_BETWEEN = Statement(_where(_record.position.between(bindparam("low"), bindparam("high"))))
_UNWRITTEN = Statement(
    _where(_of_dataset, _is_unwritten, _record.position > bindparam("after")).limit(
        bindparam("limit")
    )
)
_PRUNABLE = Statement(_where(_is_prunable))
_GONE = Statement(_where(_is_gone, _record.changed_at <= bindparam("before")))
_AGE = Statement(
    update(schema.record)
    .where(_is_gone, _record.changed_at > bindparam("now"))
    .values(changed_at=bindparam("now"))
)
_KNOWN = Statement(select(_record.key, _record.etag, _record.marker).where(_of_dataset, _has_key))
_FREE_KEYS = Statement(
    update(schema.record)
    .where(_of_dataset, _among(_record.guid, "guids"), _has_key)
    .values(key=None)
)
_DROP = Statement(delete(schema.record).where(_of_dataset, _record.guid == bindparam("guid")))

_new = postgresql.insert(schema.record).values(parameters(schema.record))
_kept = {name: _new.excluded[name] for name in RecordRow._fields[2:]}
# a record that only settles is not news: its age counts from its last change
_moved = _new.excluded.position != _record.position
_changed_at = case((_moved, _new.excluded.changed_at), else_=_record.changed_at)
_SAVE = Statement(
    _new.on_conflict_do_update(
        index_elements=["dataset", "guid"], set_={**_kept, "changed_at": _changed_at}
    )
)


class StoredRecords(Mapping[RecordId, Record]):
    """The record map, loaded as it is read. ``fetch`` loads many at once ahead of use."""

    def __init__(self, session: Session, peers: Peers) -> None:
        """Within the session's open transaction."""
        self._session = session
        self._peers = peers
        self._loaded: dict[RecordId, Record | None] = {}

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return dict(self._session.rows(_DATASETS))

    @cached_property
    def _names(self) -> dict[int, str]:
        return {number: name for name, number in self._numbers.items()}

    def __getitem__(self, record_id: RecordId) -> Record:
        if record_id not in self._loaded:
            self.fetch([record_id])
        record = self._loaded[record_id]
        if record is None:
            raise KeyError(record_id)
        return record

    def __iter__(self) -> Iterator[RecordId]:
        for number, guid in self._session.rows(_IDS):
            yield RecordId(self._names[number], Guid(guid))

    def __len__(self) -> int:
        ((count,),) = self._session.rows(_COUNT_ALL)
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
                for record in self._found(_BY_GUID, dataset=self._number(name), guids=chunk):
                    self._loaded[record.id] = record

    def all(self) -> list[Record]:
        """Every record, in the order of their positions."""
        return self._found(_ALL)

    def outside(self, positions: Positions) -> Iterator[Record]:
        """The records whose position is not among these, in the order of their positions."""
        start = 1
        for low, high in positions.intervals:
            if low > start:
                yield from self._found(_BETWEEN, low=start, high=low - 1)
            start = high + 1
        yield from self._found(_BETWEEN, low=start, high=POSITION_MAX)

    def unwritten(self, dataset: str, after: int, limit: int) -> list[Record]:
        """Up to ``limit`` records, at positions beyond ``after``, of which the dataset holds
        something else than it should.
        """
        return self._found(_UNWRITTEN, dataset=self._number(dataset), after=after, limit=limit)

    def known(self, dataset: str) -> dict[Key, Etag | None]:
        """Key and etag of each record the dataset should hold; no etag where a write stands."""
        return {
            Key(key): None if etag is None or marker is not None else Etag(etag)
            for key, etag, marker in self._session.rows(_KNOWN, dataset=self._number(dataset))
        }

    def by_key(self, dataset: str, keys: Sequence[Key]) -> dict[Key, Record]:
        """The records that sit under these keys."""
        found: dict[Key, Record] = {}
        for chunk in _chunks(keys):
            for record in self._found(_BY_KEY, dataset=self._number(dataset), keys=chunk):
                if record.key is not None:
                    found[record.key] = record
                    self._loaded[record.id] = record
        return found

    def prunable(self) -> list[Record]:
        """Records with ancestors, or fields owed whole."""
        return self._found(_PRUNABLE)

    def gone(self, before: int) -> list[Record]:
        """Tombstones and stubs that have not changed since ``before``."""
        return self._found(_GONE, before=before)

    def age(self, now: int) -> None:
        """The clock was set back: what changed in times to come counts as changed now."""
        self._session.run(_AGE, now=now)

    def count(self, dataset: str) -> int:
        """How many records the dataset holds, as far as we know."""
        ((count,),) = self._session.rows(_COUNT, dataset=self._number(dataset))
        return int(count)

    def save(self, changed: Sequence[Record], dropped: Iterable[RecordId], now: int) -> None:
        """Write what a ledger gathered."""
        new = {record.dataset for record in changed} - self._numbers.keys()
        if new:
            self._session.run_each(_ADD_DATASET, [{"name": name} for name in sorted(new)])
            del self._numbers
            self.__dict__.pop("_names", None)
        self._free_keys(changed)
        for chunk in _chunks(changed):
            rows = [
                record_row(record, self._peers, self._numbers[record.dataset], now)
                for record in chunk
            ]
            self._session.run_each(_SAVE, [row._asdict() for row in rows])
        for name, guid in dropped:
            self._session.run(_DROP, dataset=self._number(name), guid=bytes(guid))
        self._loaded.clear()

    def _free_keys(self, changed: Sequence[Record]) -> None:
        """Keys that change hands within one save must not collide half-way."""
        for name in {record.dataset for record in changed}:
            guids = [bytes(record.guid) for record in changed if record.dataset == name]
            for chunk in _chunks(guids):
                self._session.run(_FREE_KEYS, dataset=self._numbers[name], guids=chunk)

    def _found(self, statement: Statement, **values: object) -> list[Record]:
        rows = map(RecordRow._make, self._session.rows(statement, **values))
        return [record_of(row, self._peers, self._names[row.dataset]) for row in rows]

    def _number(self, dataset: str) -> int:
        return self._numbers.get(dataset, -1)


def _chunks(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    return (items[start : start + CHUNK] for start in range(0, len(items), CHUNK))
