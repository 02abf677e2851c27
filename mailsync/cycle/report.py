"""What a cycle did, counted as it goes."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from mailsync.carriers.base import Kind, NotHere
from mailsync.core.model import RecordId
from mailsync.errors import Exit, MailsyncError, OurError, PeerError, SafetyStop

_log = logging.getLogger(__name__)


class Progress(Protocol):
    """Told what is under way, how many more are done, and of how many if that is known."""

    def __call__(self, what: str, count: int, total: int | None = None, /) -> None:
        """So many more are done."""
        ...


def silent(_what: str, _count: int, _total: int | None = None, /) -> None:
    """Progress nobody watches."""


@dataclass(slots=True)
class Carried:
    """What went one way by another carrier than mail."""

    containers: int = 0
    bytes: int = 0


@dataclass(slots=True)
class Traffic:
    """What went one way. ``bytes`` are whole mails as handed over or read."""

    mails: int = 0
    bytes: int = 0
    bundles: int = 0
    upserts: int = 0
    deletes: int = 0
    others: dict[Kind, Carried] = field(default_factory=dict)
    """By other carriers than mail."""

    def add(self, other: Traffic) -> None:
        """What went in a later cycle, too."""
        self.mails += other.mails
        self.bytes += other.bytes
        self.bundles += other.bundles
        self.upserts += other.upserts
        self.deletes += other.deletes
        for kind, carried in other.others.items():
            mine = self.others.setdefault(kind, Carried())
            mine.containers += carried.containers
            mine.bytes += carried.bytes

    def count(self, kind: Kind, size: int) -> None:
        """One more letter of ``size`` bytes went by this carrier."""
        if kind == "mail":
            self.mails += 1
            self.bytes += size
        else:
            carried = self.others.setdefault(kind, Carried())
            carried.containers += 1
            carried.bytes += size


@dataclass(slots=True)
class PeerReport:
    """What passed between us and one peer."""

    sent: Traffic = field(default_factory=Traffic)
    received: Traffic = field(default_factory=Traffic)
    conflicts: int = 0
    held: int = 0


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a budget holds back from a peer."""

    records: dict[str, int]
    """By dataset, deletes included."""
    mails: int
    """In the outbox, composed before."""
    bytes: int
    """Of whole mails, about."""
    why: str
    until: int | None
    """Milliseconds since 1970; None: until the budget is raised."""
    too_large: tuple[str, ...] = ()
    """What does not fit into any day, in words."""


@dataclass(slots=True)
class Report:
    """What one cycle did."""

    peers: dict[str, PeerReport] = field(default_factory=dict)
    detected: dict[str, int] = field(default_factory=dict)
    """Local changes by dataset."""
    read: set[str] = field(default_factory=set)
    """Datasets that the record map is up to date with."""
    held: dict[str, dict[str, str]] = field(default_factory=dict)
    """By dataset: record or file, and why it waits for a person."""
    withheld: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    """By peer to whom something was to be composed, and dataset: which record does not go to it,
    and why."""
    meant: dict[str, int] = field(default_factory=dict)
    """By dataset: so many deletes are meant, says a peer's person."""
    doubtful: set[RecordId] = field(default_factory=set)
    """Records that may be one with what is held; they are not sent."""
    rejected: list[str] = field(default_factory=list)
    """Mails that looked like ours and were not used, and why."""
    warnings: list[str] = field(default_factory=list)
    """What a person should know although everything goes on."""
    problems: list[MailsyncError] = field(default_factory=list)
    """What stopped a part of the cycle; everything else went on."""
    undecided: int = 0
    """Conflicts that wait for a person."""
    waiting: dict[str, Waiting] = field(default_factory=dict)
    """By peer: what its budget holds back."""
    more_mails_at: int | None = None
    """When ``max_mails`` lets go on what it stopped, in milliseconds since 1970."""
    progress: Progress = silent

    def peer(self, name: str) -> PeerReport:
        """The report on one peer."""
        return self.peers.setdefault(name, PeerReport())

    def add(self, later: Report) -> None:
        """What a cycle did that followed: counts add up, what waits is as that one left it."""
        for name, other in later.peers.items():
            mine = self.peer(name)
            mine.sent.add(other.sent)
            mine.received.add(other.received)
            mine.conflicts += other.conflicts
        for name, count in later.detected.items():
            self.detected[name] = self.detected.get(name, 0) + count
        self.held |= later.held
        self.withheld |= later.withheld
        self.rejected += later.rejected
        self.warnings += [words for words in later.warnings if words not in self.warnings]
        told = set(map(str, self.problems))
        self.problems += [problem for problem in later.problems if str(problem) not in told]
        self.undecided = later.undecided

    def withhold(self, peer: str, dataset: str, name: str, reason: str) -> None:
        """This record does not go to the peer, for this reason."""
        self.withheld.setdefault(peer, {}).setdefault(dataset, {})[name] = reason

    def all_held(self) -> dict[str, dict[str, str]]:
        """By dataset: record or file, and why it waits here, or does not go to a peer."""
        found = {dataset: dict(reasons) for dataset, reasons in self.held.items()}
        for by_dataset in self.withheld.values():
            for dataset, reasons in by_dataset.items():
                mine = found.setdefault(dataset, {})
                for name, reason in reasons.items():
                    before = [mine[name]] if name in mine and mine[name] != reason else []
                    mine[name] = "; ".join([*before, reason])
        return found

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Around the use of one carrier: what stops it is noted, unless it is just not there."""
        try:
            yield
        except NotHere as absence:
            _log.debug("%s", absence)
        except MailsyncError as problem:
            self.problems.append(problem)

    @contextmanager
    def guarding(self) -> Iterator[None]:
        """Around one part of the cycle: what stops it is noted, and everything else goes on."""
        try:
            yield
        except MailsyncError as problem:
            if problem not in self.problems:  # one database keeps all its datasets from work
                self.problems.append(problem)
        except Exception as defect:  # noqa: BLE001  a defect in one dataset must not stop the others
            _log.exception("a defect")
            words = f"this is a defect in mailsync: {type(defect).__name__}: {defect}"
            self.problems.append(OurError(words))

    @property
    def exit_code(self) -> Exit:
        """How the cycle ended: the problems decide, then what is held, then what waits: for
        the budget, for a person.
        """
        problems = [one for one in self.problems if not isinstance(one, PeerError)]
        if problems:
            return exit_of(problems)
        if any(self.all_held().values()):
            return Exit.PARTLY
        if self.waiting:
            return Exit.BUDGET_USED_UP
        return Exit.CONFLICTS if self.undecided else Exit.OK

    @property
    def goes_on_at(self) -> int | None:
        """When more may go of what was held back, in milliseconds since 1970."""
        times = [self.more_mails_at, *(one.until for one in self.waiting.values())]
        return min((at for at in times if at is not None), default=None)


def exit_of(problems: Sequence[MailsyncError]) -> Exit:
    """What these make of the exit code: a safety stop first, for it waits for a person; else the
    first of them.
    """
    stops = (one for one in problems if isinstance(one, SafetyStop))
    decisive = next(stops, problems[0] if problems else None)
    return Exit.OK if decisive is None else decisive.exit_code
