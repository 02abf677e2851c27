"""The record map in the store: read by key, by position, or one by one as the core asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, case, delete, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from mailsync.core.model import Etag, Guid, Key, Record, RecordId
from mailsync.core.positions import Positions
from mailsync.store import schema
from mailsync.store.codec import Peers, record_of, record_row

CHUNK = 500
"""Records fetched or written by one statement."""


class StoredRecords(Mapping[RecordId, Record]):
    """The record map, loaded as it is read. ``fetch`` loads many at once ahead of use."""

    def __init__(self, connection: Connection, peers: Peers) -> None:
        """Reads through ``connection``, within its transaction."""
        self._connection = connection
        self._peers = peers
        self._loaded: dict[RecordId, Record | None] = {}
        rows = connection.execute(select(schema.dataset.c.number, schema.dataset.c.name))
        self._names: dict[int, str] = {number: name for number, name in rows}  # noqa: C416

    def __getitem__(self, record_id: RecordId) -> Record:
        if record_id not in self._loaded:
            self.fetch([record_id])
        record = self._loaded[record_id]
        if record is None:
            raise KeyError(record_id)
        return record

    def __iter__(self) -> Iterator[RecordId]:
        rows = self._connection.execute(select(schema.record.c.dataset, schema.record.c.guid))
        for number, guid in rows.all():
            yield RecordId(self._names[number], Guid(guid))

    def __len__(self) -> int:
        count = select(func.count()).select_from(schema.record)
        return self._connection.execute(count).scalar_one()

    def fetch(self, record_ids: Iterable[RecordId]) -> None:
        """Load these records in few statements."""
        wanted: dict[str, list[bytes]] = {}
        for record_id in record_ids:
            if record_id not in self._loaded:
                self._loaded[record_id] = None
                wanted.setdefault(record_id.dataset, []).append(bytes(record_id.guid))
        for name, guids in wanted.items():
            for start in range(0, len(guids), CHUNK):
                chunk = guids[start : start + CHUNK]
                for record in self.where(self._in(name), schema.record.c.guid.in_(chunk)):
                    self._loaded[record.id] = record

    def where(self, *conditions: Any) -> Iterator[Record]:
        """The records that meet these conditions, in the order of their positions."""
        query = select(schema.record).where(*conditions).order_by(schema.record.c.position)
        for row in self._connection.execute(query).all():
            yield record_of(row, self._peers, self._names[row.dataset])

    def outside(self, positions: Positions) -> Iterator[Record]:
        """The records whose position is not among these."""
        column, gaps, start = schema.record.c.position, [], 1
        for low, high in positions.intervals:
            if low > start:
                gaps.append(and_(column >= start, column < low))
            start = high + 1
        return self.where(or_(*gaps, column >= start))

    def unwritten(self, dataset: str, after: int, limit: int) -> list[Record]:
        """Up to ``limit`` records, at positions beyond ``after``, of which the dataset holds
        something else than it should.
        """
        query = (
            select(schema.record)
            .where(
                self._in(dataset),
                schema.record.c.unwritten == 1,
                schema.record.c.position > after,
            )
            .order_by(schema.record.c.position)
            .limit(limit)
        )
        rows = self._connection.execute(query).all()
        return [record_of(row, self._peers, dataset) for row in rows]

    def known(self, dataset: str) -> dict[Key, Etag | None]:
        """Key and etag of each record the dataset should hold; no etag where a write stands."""
        columns = schema.record.c
        query = select(columns.key, columns.etag, columns.marker).where(
            self._in(dataset), columns.key.is_not(None)
        )
        return {
            Key(key): None if etag is None or marker is not None else Etag(etag)
            for key, etag, marker in self._connection.execute(query)
        }

    def by_key(self, dataset: str, keys: Sequence[Key]) -> dict[Key, Record]:
        """The records that sit under these keys."""
        found: dict[Key, Record] = {}
        for start in range(0, len(keys), CHUNK):
            chunk = list(keys[start : start + CHUNK])
            for record in self.where(self._in(dataset), schema.record.c.key.in_(chunk)):
                if record.key is not None:
                    found[record.key] = record
                    self._loaded[record.id] = record
        return found

    def prunable(self) -> Iterator[Record]:
        """Records with ancestors, or fields owed whole."""
        return self.where(schema.record.c.prunable == 1)

    def gone(self, before: int) -> Iterator[Record]:
        """Tombstones and stubs that have not changed since ``before``."""
        return self.where(schema.record.c.gone == 1, schema.record.c.changed_at <= before)

    def age(self, now: int) -> None:
        """The clock was set back: what changed in times to come counts as changed now."""
        later = and_(schema.record.c.gone == 1, schema.record.c.changed_at > now)
        self._connection.execute(update(schema.record).where(later).values(changed_at=now))

    def count(self, dataset: str) -> int:
        """How many records the dataset holds, as far as we know."""
        query = (
            select(func.count())
            .select_from(schema.record)
            .where(self._in(dataset), schema.record.c.shadow.is_not(None))
        )
        return self._connection.execute(query).scalar_one()

    def save(self, changed: Sequence[Record], dropped: Iterable[RecordId], now: int) -> None:
        """Write what a ledger gathered."""
        for name in {record.dataset for record in changed} - set(self._names.values()):
            self._add_dataset(name)
        numbers = {name: number for number, name in self._names.items()}
        self._free_keys(changed, numbers)
        for start in range(0, len(changed), CHUNK):
            rows = [
                record_row(record, self._peers, numbers[record.dataset], now)
                for record in changed[start : start + CHUNK]
            ]
            self._upsert(rows)
        for record_id in dropped:
            columns = schema.record.c
            same = and_(self._in(record_id.dataset), columns.guid == bytes(record_id.guid))
            self._connection.execute(delete(schema.record).where(same))
        self._loaded.clear()

    def _free_keys(self, changed: Sequence[Record], numbers: Mapping[str, int]) -> None:
        """Keys that change hands within one save must not collide half-way."""
        columns = schema.record.c
        for name in {record.dataset for record in changed}:
            guids = [bytes(record.guid) for record in changed if record.dataset == name]
            for start in range(0, len(guids), CHUNK):
                chunk = columns.guid.in_(guids[start : start + CHUNK])
                same = and_(columns.dataset == numbers[name], chunk, columns.key.is_not(None))
                self._connection.execute(update(schema.record).where(same).values(key=None))

    def _upsert(self, rows: list[dict[str, Any]]) -> None:
        dialect = postgresql if self._connection.dialect.name == "postgresql" else sqlite
        statement = dialect.insert(schema.record)
        keep = {"dataset", "guid", "changed_at"}
        values = {name: statement.excluded[name] for name in rows[0] if name not in keep}
        # a record that only settles is not news: its age counts from its last change
        moved = statement.excluded.position != schema.record.c.position
        values["changed_at"] = case(
            (moved, statement.excluded.changed_at), else_=schema.record.c.changed_at
        )
        self._connection.execute(
            statement.on_conflict_do_update(index_elements=["dataset", "guid"], set_=values), rows
        )

    def _add_dataset(self, name: str) -> None:
        result = self._connection.execute(insert(schema.dataset).values(name=name))
        assert result.inserted_primary_key is not None  # noqa: S101 - an autoincrement key
        self._names[result.inserted_primary_key[0]] = name

    def _in(self, dataset: str) -> Any:
        number = next((number for number, name in self._names.items() if name == dataset), -1)
        return schema.record.c.dataset == number
