"""Machines, the mail between them, time, and what is known of them from outside."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from mailsync.carriers.base import Kind, Letter, SendResult, Sent
from mailsync.carriers.memory import Network
from mailsync.core.ledger import Ledger
from mailsync.core.merge import Note
from mailsync.core.model import (
    NO_MARKER,
    Guid,
    Key,
    Record,
    RecordId,
    is_alive,
    merged_fields,
)
from mailsync.cycle.sending import MailNotTaken
from mailsync.datasets.base import Field
from mailsync.errors import SafetyStop, Unreachable
from tests.cycle.sites import START
from tests.simulation.accounts import Accounts
from tests.simulation.interruptions import Interruptions
from tests.simulation.machine import (
    InterruptibleDataset,
    Machine,
    NaturalDataset,
    Row,
    TableDataset,
    numbers,
)
from tests.simulation.scopes import EVERYTHING, SCOPES, Scope
from tests.simulation.setting import Setting

TWIN = "*"
"""Behind the name of a cloned machine."""


class BrokenPromise(AssertionError):
    """One of the promises of mailsync does not hold."""


@dataclass
class World:
    """Everything a schedule plays with."""

    setting: Setting
    machines: dict[str, Machine] = field(default_factory=dict)
    network: Network = field(default_factory=Network)
    sticks: Network = field(default_factory=Network)
    """What lies on sticks."""
    kinds: dict[frozenset[str], Kind] = field(default_factory=dict)
    """What the link of two sites goes by, if not by mail."""
    archive: list[Letter] = field(default_factory=list)
    """Every letter ever handed over."""
    accounts: Accounts = field(default_factory=Accounts)
    time: int = START
    restored: set[str] = field(default_factory=set)
    """Sites of which a backup or a clone came to life."""
    damaged: set[str] = field(default_factory=set)
    """Sites whose stores say what nobody wrote."""
    cloned_at: int = 0
    """How many deletes there were when a machine was cloned."""
    scope: Scope = EVERYTHING
    """What passes between the scoped site and the others by now."""
    rescoped: bool = False
    revealed: set[str] = field(default_factory=set)
    """Fields that came to go to the scoped site midway."""
    met: set[frozenset[str]] = field(default_factory=set)
    """Sites that became peers midway."""
    troubled: bool = False
    """Have servers ever refused something?"""
    verdict: Callable[[Letter], SendResult] | None = None
    """What servers say to letters now; None: they take them."""
    retired: list[tuple[str, str]] = field(default_factory=list)
    """Sites that were peers."""
    has_returned: bool = False
    """Did any of them become peers again?"""
    counts: Counter[str] = field(default_factory=Counter)
    suspicions: list[str] = field(default_factory=list)
    """What would be a broken promise if nobody was restored or given up."""
    errors: list[str] = field(default_factory=list)
    """Promises seen broken on the way."""

    def __post_init__(self) -> None:
        self.chance = random.Random(f"{self.setting.seed}/links")
        self.network.judge = self._post
        for number, name in enumerate(self.setting.names):
            interruptions = Interruptions()
            self.machines[name] = Machine(
                name,
                self.network,
                self.read_clock,
                self._watch,
                random.Random(f"{self.setting.seed}/{name}"),
                {dataset: self._dataset(name, interruptions) for dataset in self.setting.datasets},
                interruptions,
                policy=self.setting.policy + self.setting.copies.lines,
                lines=f'guid = "timestamp32"\nguid_class = {number}\n' * self.setting.short,
                max_delete="0" if self.setting.guards else "off",
                skew=self.setting.skews.get(name, 0),
            )
        for edge in self.setting.edges:
            self.link(*edge, self.setting.narrow)
        self.scope = self.setting.scope
        for machine in self.machines.values():
            self.rescope(machine)

    def _dataset(self, name: str, interruptions: Interruptions) -> InterruptibleDataset:
        if self.setting.natural:
            return NaturalDataset(interruptions)
        if not self.setting.columns:
            return InterruptibleDataset(interruptions)
        chance = random.Random(f"{self.setting.seed}/{name}/columns")
        names = self.setting.names_of_fields
        held = chance.sample(names, chance.choice([len(names), chance.randint(1, len(names))]))
        return TableDataset(interruptions, dict.fromkeys(sorted(held), Field()))

    def read_clock(self) -> int:
        self.time += 1
        return self.time

    def link(self, one: str, other: str, datasets: frozenset[str] | None) -> None:
        """Make two sites peers. A running process keeps its configuration until it ends."""
        for name, peer in ((one, other), (other, one)):
            for machine in self.copies(name):
                machine.peers[peer] = datasets
                machine.stop()

    def rescope(self, machine: Machine) -> None:
        """Its operator writes into the configuration what passes by now."""
        if self.setting.scoped in machine.peers:
            machine.filters[self.setting.scoped] = self.scope.of_others
            machine.stop()
        if (
            self.setting.scoped == machine.name
            and self.scope.its_own not in machine.filters.values()
        ):
            machine.filters = dict.fromkeys(machine.peers, self.scope.its_own)
            machine.stop()

    def kept_from_scoped(self, guid: Guid) -> Iterator[int]:
        """What stands in fields of a record that do not come to the scoped site: who deletes the
        record there, deletes them, too.
        """
        for machine in self.machines.values():
            for record in machine.records():
                if record.guid == guid:
                    row = machine.rows(record.dataset).get(record.key or Key(""), {})
                    held = {**(merged_fields(record) or {}), **row}
                    yield from numbers({n: v for n, v in held.items() if not self.scope.shows(n)})

    def _may_have_forgotten(self, machine: Machine) -> bool:
        """May nobody know what the winner's author had seen? Where a dataset does not go to a peer,
        ancestors are not kept for it; and nobody at the scoped site knows what the others refused.
        What was on its way when a record left a filter, and is kept, counts as not seen. When more
        fields go than before, ancestors of what stands in them are gone likewise. And a site that
        becomes a peer may show what it has from others, who have told on since what overwrote it.
        """
        if any(machine.name in pair for pair in self.met):
            return True
        scope, scopes = self.setting.scope, SCOPES.get(self.setting.mix, ())
        if scope.is_one_way or (self.rescoped and any(one.shown is not None for one in scopes)):
            return True
        if self.rescoped and any(one.keeps for one in scopes):
            return True
        return scope.is_refused and machine.name == self.setting.scoped

    def _is_of_hidden(self, note: Note) -> bool:
        """Did the scoped site write what lost, in a field that does not come to it? It holds that
        still and may show it again, while the others, who overwrote it, keep no ancestors for what
        they do not send.
        """
        if self.scope.shows(note.field):
            return False
        author = self.machines[self.setting.scoped].site.keys.public.site_number
        return note.dot.site == author

    def unlink(self, one: str, other: str) -> None:
        self.retired.append((one, other))
        for name, peer in ((one, other), (other, one)):
            for machine in self.copies(name):
                machine.peers.pop(peer, None)
                machine.stop()

    def copies(self, name: str) -> Iterator[Machine]:
        """The machines that claim to be this site."""
        return (machine for machine in self.machines.values() if machine.name == name)

    def cycle(self, machine: Machine) -> bool:
        """One cycle of one machine; False if it was killed."""
        report = machine.cycle()
        if report is None:
            self.counts["crashes"] += 1
            return False
        for problem in report.problems:
            if isinstance(problem, MailNotTaken | Unreachable) and self.troubled:
                continue
            if isinstance(problem, SafetyStop) and self.setting.guards:
                self.counts["stopped"] += 1
                continue
            raise BrokenPromise(f"{machine.name}: {type(problem).__name__}: {problem}")
        for peer in report.peers.values():
            self.counts["data"] += peer.sent.upserts + peer.sent.deletes
        return True

    def components(self, dataset: str) -> list[list[str]]:
        """The sites that links with this dataset join to one another."""
        left, found = set(self.machines), []
        while left:
            group, new = set[str](), {min(left)}
            while new:
                group |= new
                new = {peer for name in new for peer in self._reach(name, dataset)} - group
            left -= group
            found.append(sorted(group))
        return found

    def _reach(self, name: str, dataset: str) -> Iterator[str]:
        for peer in self.machines[name].peers:
            both = (self.machines[name].peers[peer], self.machines[peer].peers.get(name))
            if all(carried is None or dataset in carried for carried in both):
                yield peer

    def rows(self, name: str, dataset: str) -> dict[Guid, Row]:
        """The rows of a dataset by the GUIDs of their records, with what is kept of these for
        want of columns, and without what nobody wrote.
        """
        machine = self.machines[name]
        rows = machine.rows(dataset)
        return {
            record.guid: machine.shown(dataset, record, rows[record.key])
            for record in machine.records()
            if record.dataset == dataset and record.key in rows and record.key is not None
        }

    @property
    def is_rough(self) -> bool:
        """Was a site restored, damaged, or given up as silent for too long?"""
        return bool(self.restored or self.damaged) or self.has_expired

    @property
    def has_expired(self) -> bool:
        return any(machine.expired for machine in self.machines.values())

    def _post(self, letter: Letter) -> SendResult:
        if self.verdict is not None and not isinstance(said := self.verdict(letter), Sent):
            return said
        self.note(letter, "mail")
        return Sent(len(letter.container))

    def note(self, letter: Letter, kind: Kind) -> None:
        """A letter was handed over by some carrier."""
        self.counts["mails"] += 1
        self.counts[kind] += 1
        self.archive.append(letter)

    def _watch(self, machine: Machine, ledger: Ledger, before: Mapping[RecordId, Record]) -> None:
        for note in ledger.notes.values():
            value, winner = note.value, note.winner
            record, now = before.get(note.record), ledger.get(note.record)
            broke_off = record is not None and record.marker is not NO_MARKER
            if broke_off and isinstance(value, int) and now and not is_alive(now.entries):
                self.accounts.doubted.add(value)
            emptied = note.record.guid in self.accounts.emptied
            if self.setting.columns and winner is None and not emptied:
                self.suspicions.append(f"emptied by nobody at {machine.name}: {value!r} lost")
            if isinstance(value, int):
                self.accounts.beaten.setdefault(value, set()).add(winner)
            if not isinstance(value, int) or not isinstance(winner, int):
                continue
            known = value in self.accounts.history.get(winner, ())
            known = known and not machine.is_undecidable(note, record)
            known = known and not self._may_have_forgotten(machine)
            known = known and not self._is_of_hidden(note)
            # what a person brought back was seen, perhaps, when it was first written
            known = known and value not in self.accounts.brought_back
            # what a policy brought back was seen when it was first written
            if known and value not in self.accounts.ambiguous and not self.setting.policy:
                self.suspicions.append(
                    f"false conflict at {machine.name}: {winner}'s author had seen {value}"
                )
