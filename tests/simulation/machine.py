"""One machine: a state store, datasets and a clock, and the processes that come and go on it."""

from __future__ import annotations

import copy
import random
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple, Self

from mailsync.carriers.base import Kind, Letter, Place, SendResult
from mailsync.carriers.memory import MemoryMailbox, MemorySender, Network
from mailsync.config import Settings
from mailsync.config.loading import parse
from mailsync.core.decisions import note_of, resolution
from mailsync.core.ledger import Ledger
from mailsync.core.merge import Note
from mailsync.core.model import (
    Fields,
    Key,
    NoMarker,
    Record,
    RecordId,
    Value,
    merged_fields,
)
from mailsync.core.sealing import PrivateKeys
from mailsync.cycle.report import Report
from mailsync.cycle.run import Extent, run_cycle
from mailsync.cycle.site import DirectCarrier, Peer, Site, Surroundings
from mailsync.daemon.service import DUE
from mailsync.datasets.base import Field, Newcomer, Outcome, Write
from mailsync.datasets.memory import MemoryDataset
from mailsync.errors import Unreachable
from tests.cycle.sites import keys_of
from tests.simulation.interruptions import Crash, Interruptions, Point
from tests.simulation.store import SimulatedStore, copy_of, new_database

Row = dict[str, int | str | bytes | None]
Rows = dict[Key, Row]


def numbers(row: Fields, *names: str) -> list[int]:
    """The values that are accounted for, of all fields or these."""
    chosen = names or row.keys()
    return [value for name in chosen if isinstance(value := row[name], int)]


class InterruptibleDataset(MemoryDataset):
    """A dataset without transactions: a crash may fall between any two of its writes."""

    def __init__(self, interruptions: Interruptions) -> None:
        super().__init__()
        self.interruptions = interruptions

    def apply(self, writes: Sequence[Write]) -> list[Outcome]:
        outcomes = super().apply(writes)
        self.interruptions.at(Point.WRITTEN)
        return outcomes

    def _write(self, write: Write) -> Outcome:
        self.interruptions.at(Point.WRITING)
        return super()._write(write)


class TableDataset(InterruptibleDataset):
    """Rows with columns that are all there, NULL where nobody wrote; columns may come and go."""

    def __init__(
        self, interruptions: Interruptions, columns: Mapping[str, Field] | None = None
    ) -> None:
        super().__init__(interruptions)
        self.fields = dict(columns or {})

    @property
    def columns(self) -> dict[str, Field]:
        return dict(self.fields or {})

    def _write(self, write: Write) -> Outcome:
        """As MemoryDataset does, in terms of whole rows."""
        present = self.rows.get(write.key)
        expected, wanted = write.expected, write.wanted
        if present is not None and expected is not None:
            first = (wanted or {}).keys() - expected.keys()
            blank = all(self._is_blank(name, present[name]) for name in first)
            believed = {**present, **expected} if blank else expected
            expected = believed
        if wanted is not None:
            nothing = present if present is not None else self._blanks()
            emptied = dict.fromkeys((write.expected or {}).keys() - wanted.keys())
            wanted = {**nothing, **emptied, **wanted}
        return super()._write(write._replace(expected=expected, wanted=wanted))

    def _blanks(self) -> Fields:
        return {name: column.blank for name, column in self.columns.items()}

    def _is_blank(self, name: str, value: Value) -> bool:
        return value is None or value == self.columns[name].blank


class NaturalDataset(InterruptibleDataset):
    """Rows that say their keys themselves."""

    def propose_keys(self, records: Sequence[Newcomer], taken: Collection[Key]) -> list[Key]:
        return [Key(str(fields["id"])) for _, fields in records]


class InterruptibleSender(MemorySender):
    """A connection whose process may die before or after a mail was taken."""

    def __init__(self, network: Network, interruptions: Interruptions) -> None:
        super().__init__(network)
        self.interruptions = interruptions

    async def send(self, letter: Letter) -> SendResult:
        self.interruptions.at(Point.SENDING)
        result = await super().send(letter)
        self.interruptions.at(Point.SENT)
        return result


class StubbornMailbox(MemoryMailbox):
    """A mailbox whose server may not do as it is asked."""

    def __init__(self, network: Network, address: str, stubborn: set[str]) -> None:
        super().__init__(network, address)
        self._stubborn = stubborn

    async def dispose(self, places: Collection[Place], folder: str | None) -> frozenset[Place]:
        """The first of them only, and then a broken connection, if it is stubborn."""
        if self._address not in self._stubborn:
            return await super().dispose(places, folder)
        self._stubborn.discard(self._address)
        await super().dispose(sorted(places)[:1], folder)
        raise Unreachable(f"{self._address}: the connection is lost")


@dataclass
class Carrier:
    """Both halves of the mail of one address."""

    network: Network
    address: str
    interruptions: Interruptions
    stubborn: set[str]

    def sender(self) -> InterruptibleSender:
        return InterruptibleSender(self.network, self.interruptions)

    def mailbox(self) -> MemoryMailbox:
        return StubbornMailbox(self.network, self.address, self.stubborn)


Carriers = Callable[["Machine"], dict[str, dict[Kind, DirectCarrier]]]


class Backup(NamedTuple):
    """A copy of the state store's file, and one of the datasets."""

    state: bytes
    rows: dict[str, Rows]
    deletes: int
    """How many deletes users had made anywhere by then."""
    behind: tuple[Backup, ...]
    """Those that its rows went on from."""


@dataclass
class Machine:
    """What outlives a process."""

    name: str
    """Of the site. A cloned machine has the same one."""
    network: Network
    clock: Callable[[], int]
    watch: Callable[[Machine, Ledger, Mapping[RecordId, Record]], None]
    chance: random.Random
    datasets: dict[str, InterruptibleDataset]
    interruptions: Interruptions
    policy: str = ""
    """Lines of every dataset's section."""
    stubborn: set[str] = field(default_factory=set)
    """Addresses whose mailboxes will fail to dispose of mails once."""
    database: sqlite3.Connection = field(default_factory=new_database)
    peers: dict[str, frozenset[str] | None] = field(default_factory=dict)
    """Peer -> the datasets the link to it carries; None: all."""
    filters: dict[str, str] = field(default_factory=dict)
    """Peer -> what its section says of what passes."""
    lines: str = ""
    """Of the site's section, beyond name and state."""
    max_delete: str = "off"
    skew: int = 0
    expired: bool = False
    freed: dict[str, list[Key]] = field(default_factory=dict)
    """Keys whose rows users deleted, by dataset."""
    backups: list[Backup] = field(default_factory=list)
    behind: tuple[Backup, ...] = ()
    """Those that the rows went on from."""
    cycles: int = 0
    carriers: Carriers = lambda _: {}
    """What there is besides mail to each peer now."""
    _site: Site | None = None

    @property
    def site(self) -> Site:
        """The present process, started if there is none."""
        if self._site is None:
            self._site = self._start()
        return self._site

    @property
    def store(self) -> SimulatedStore:
        store = self.site.store
        assert isinstance(store, SimulatedStore)
        return store

    def _start(self) -> Site:
        store = SimulatedStore(
            self.database,
            self.interruptions,
            lambda ledger, before: self.watch(self, ledger, before),
        )
        settings = _settings(
            self.name,
            self.lines,
            _sections(self.peers),
            tuple(self.datasets),
            self.max_delete,
            tuple(self.filters.items()),
            self.policy,
        )
        with store.peek() as transaction:
            transaction.found_site(keys(self.name).public.site_number)
        return Site(
            settings,
            keys(self.name),
            {
                peer: Peer(peer, address(peer), keys(peer).public, settings.peers[peer])
                for peer in self.peers
            },
            store,
            Carrier(self.network, address(self.name), self.interruptions, self.stubborn),
            Surroundings(
                lambda: self.clock() + self.skew, self.chance.getrandbits, self.chance.randbytes
            ),
            dict(self.datasets),
        )

    def stop(self) -> None:
        """The process ends, however it ends; the next one reads state and configuration anew."""
        if self._site is not None:
            self.expired |= self.store.expired
        self._site = None

    def cycle(self) -> Report | None:
        """One whole cycle of the product, of ``sync`` and of the daemon in turn; None if it was
        killed.
        """
        report = Report()
        self.cycles += 1
        self.site.direct = self.carriers(self)
        try:
            if self.cycles % 2:
                _run(run_cycle(self.site, Extent(), report))
            else:
                _run(run_cycle(self.site, DUE, report))
        except Crash:
            self.stop()
            return None
        finally:
            self.interruptions.clear()
        self.expired |= self.store.expired
        return report

    def rows(self, dataset: str) -> Rows:
        """The rows, to be changed as users do."""
        return self.datasets[dataset].rows  # type: ignore[return-value]

    def records(self) -> list[Record]:
        """The record map."""
        with self.store.peek() as transaction:
            return transaction.records.all()

    def journal(self) -> dict[Note, str | None]:
        """Its conflicts, and how each was closed, if so."""
        with self.store.peek() as transaction:
            entries = [entry.note for entry in transaction.journal.entries()]
        found = {note_of(entry): resolution(entry) for entry in entries}
        return {note: closed for note, closed in found.items() if note is not None}

    def notes(self) -> set[Note]:
        """Its conflicts."""
        return set(self.journal())

    def record_under(self, dataset: str, key: Key) -> Record | None:
        """The record whose row this is, as far as the site knows."""
        with self.store.peek() as transaction:
            return transaction.records.by_key(dataset, [key]).get(key)

    def is_undecidable(self, note: Note, record: Record | None) -> bool:
        """Can nothing here tell whether users had seen the noted value?

        A process was killed over the write of it, and the row shows nothing of that write: users
        who were quicker than it and users who came after it leave the same behind.
        ``record``: as the killed process left it.
        """
        if record is None or record.key is None or isinstance(record.marker, NoMarker):
            return False
        if record.shadow is None and self.datasets[record.dataset].has_local_keys:
            return False
        written = set(numbers(record.marker or {})) - set(numbers(record.shadow or {}))
        row = self.rows(record.dataset).get(record.key, {})
        return note.value in written and written.isdisjoint(numbers(row))

    def seen_columns(self, dataset: str) -> list[str]:
        """The columns of a table as the site last saw them."""
        with self.store.peek() as transaction:
            layout = transaction.layouts.layout(dataset)
        return [] if layout is None else list(layout.fields)

    def shown(self, dataset: str, record: Record, row: Row) -> Row:
        """What somebody wrote of a row, with what is kept of it for want of columns."""
        columns = self.datasets[dataset].fields or {}
        blanks = {
            name: column.blank
            for name, column in columns.items()
            if name not in record.entries and row[name] == column.blank
        }
        return {
            name: value
            for name, value in {**row, **self.kept(dataset, record)}.items()
            if value is not None and name not in blanks
        }

    def kept(self, dataset: str, record: Record | None) -> Row:
        """What the site keeps of a record for want of columns."""
        fields = self.datasets[dataset].fields
        merged = None if record is None else merged_fields(record)
        if fields is None or merged is None:
            return {}
        return {name: value for name, value in merged.items() if name not in fields}  # type: ignore[misc]

    def kept_until_now(self, dataset: str, record: Record | None) -> Row:
        """What the site kept of a record for want of columns that came since it last looked."""
        merged = None if record is None else merged_fields(record)
        columns = self.datasets[dataset].fields
        if record is None or merged is None or columns is None or record.shadow is None:
            return {}
        come = columns.keys() - self.seen_columns(dataset) - record.shadow.keys()
        return {name: value for name, value in merged.items() if name in come}  # type: ignore[misc]

    def back_up(self, deletes: int) -> Backup:
        rows = {name: copy.deepcopy(self.rows(name)) for name in self.datasets}
        return Backup(self.database.serialize(), rows, deletes, self.behind)

    def replace_state(self, state: bytes) -> None:
        self.stop()
        self.database = copy_of(state)

    def replace_rows(self, rows: Mapping[str, Rows]) -> None:
        for name, content in rows.items():
            self.datasets[name].rows = dict[Key, Fields](copy.deepcopy(content))

    def clone(self) -> Self:
        """A second machine with the same state, keys and configuration."""
        interruptions = Interruptions()
        twin = type(self)(
            self.name,
            self.network,
            self.clock,
            self.watch,
            random.Random(self.chance.random()),
            {name: type(each)(interruptions) for name, each in self.datasets.items()},
            interruptions,
            policy=self.policy,
            peers=dict(self.peers),
            filters=dict(self.filters),
            lines=self.lines,
            max_delete=self.max_delete,
            skew=self.skew,
            carriers=self.carriers,
            freed=copy.deepcopy(self.freed),
        )
        backup = self.back_up(0)
        twin.replace_state(backup.state)
        twin.replace_rows(backup.rows)
        return twin


def _run(cycle: object) -> None:
    """Drive a coroutine that never waits for anything: nothing here is slow."""
    try:
        cycle.send(None)  # type: ignore[attr-defined]
    except StopIteration:
        return
    raise AssertionError("the memory network made somebody wait")


@cache
def keys(name: str) -> PrivateKeys:
    return keys_of(name)


def address(name: str) -> str:
    return f"{name}@example.org"


def _sections(peers: Mapping[str, frozenset[str] | None]) -> str:
    text = ""
    for peer, datasets in sorted(peers.items()):
        text += f'[peers.{peer}]\ncard = "{peer}.card"\nfolder_time = "2d"\n'
        if datasets is not None:
            text += f"datasets = {sorted(datasets)}\n"
    return text


@cache
def _settings(
    name: str,
    lines: str,
    peers: str,
    datasets: tuple[str, ...],
    max_delete: str,
    filters: tuple[tuple[str, str], ...],
    policy: str,
) -> Settings:
    text = f'[site]\nname = "{name}"\nstate = "{name}.db"\n{lines}'
    text += f'[mail]\naddress = "{address(name)}"\n'
    text += 'imap = "imap://localhost"\nsmtp = "smtp://localhost"\n' + peers
    for dataset in datasets:
        text += f'[datasets.{dataset}]\nsource = "vcard:{dataset}"\n'
        text += f'max_delete = "{max_delete}"\n{policy}\n'
        for peer, said in filters:
            text += f"[datasets.{dataset}.peers.{peer}]\n{said}\n"
    return parse(text.encode(), Path(f"/{name}.toml"))
