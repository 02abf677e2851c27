"""Two datasets compared and made equal, a batch of differences at a time.

Rules
-----
* Every record of either side is read once for its name and its digest; what differs is read
  again, compared field by field, and written by compare-and-set against that very reading.
* What one write needs another may bring: refused ones are tried again, as they were, for as long
  as that helps.
* Nothing is kept between two runs. Whatever a run that was killed has written is found equal.
* A record that cannot be read, nor be told by its key, may be the counterpart of any other: while
  there is one, what its side seems to lack is neither added there nor deleted at the other side.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple

from mailsync.core.model import Key
from mailsync.datasets.base import Change, Result, Unreadable, Write
from mailsync.reconcile.findings import Ambiguous, Difference, Finding, Plan, Refused
from mailsync.reconcile.pairing import NOBODY, Both, Holding, Pair, Side
from mailsync.reconcile.reading import Progress, Reading
from mailsync.reconcile.spill import Group, Refusal, Spill
from mailsync.reconcile.writing import keyed, write_to

BATCH: Final = 10_000
"""Differences looked at together: some datasets are read and written as a whole for each batch."""

_OVERTAKEN: Final = "it was changed meanwhile; run it again"
_TAKEN: Final = "another record has its key there"
_DOUBTFUL: Final = "the {} holds records that cannot be read, and this may be one of them"


class _Found(NamedTuple):
    """A difference and the group it comes from."""

    group: Group
    difference: Difference


class _Task(NamedTuple):
    """A write that settles a difference."""

    group: Group
    write: Write


class Reconciliation:
    """One comparison of a pair, and what came of it."""

    def __init__(self, pair: Pair, reading: Reading, plan: Plan | None, progress: Progress) -> None:
        """``plan`` None: nothing is written."""
        self._pair = pair
        self._reading = reading
        self._plan = plan
        self._progress = progress
        self._doubtful: frozenset[Side] = frozenset()
        self.written: Counter[Side] = Counter()
        """How many records were written to each side."""
        self.unsettled = 0
        """How many differences there are after all."""

    def findings(self) -> Iterator[Finding]:
        """Everything that differs; while this is consumed, it is written as planned.

        Raises DatasetError, DiskFull.
        """
        with Spill() as spill:
            for side in Side:
                spill.add(side, self._reading.lines(side))
            spill.compare()
            for side in Side:
                yield from self._unreadable(spill, side)
            for batch in spill.groups(BATCH):
                yield from _ambiguous(spill, batch)
                found = self._differences(spill, batch)
                yield from (one.difference for one in found)
                self._carry_out(spill, found)
            self._try_again(spill)
            for refusals in spill.refusals(BATCH):
                for group, side, reason, _ in refusals:
                    yield Refused(group.name, side, group.keys[side], reason)
            self.unsettled = spill.unsettled()

    def _unreadable(self, spill: Spill, side: Side) -> Iterator[Refused]:
        records = spill.unreadable(side)
        while batch := list(islice(records, BATCH)):
            if any(name == NOBODY for name, _ in batch):
                self._doubtful |= {side}
            found = self._reading.read(side, [key for _, key in batch])
            for name, key in batch:
                now = found[key]
                reason = now.reason if isinstance(now, Unreadable) else _OVERTAKEN
                yield Refused(name, side, key, reason)

    def _differences(self, spill: Spill, batch: Sequence[Group]) -> list[_Found]:
        """What of these differs, as both sides hold it now; what does not is settled."""
        single = [group for group in batch if group.is_single]
        now = {side: self._read(side, single) for side in Side}
        found, equal, refusals = [], [], []
        for group in single:
            records = {side: now[side][key] for side, key in group.held}
            unreadable = {side: one for side, one in records.items() if isinstance(one, Unreadable)}
            difference = self._difference(group.name, _held(records))
            if unreadable:
                refusals += [Refusal(group, side, one.reason) for side, one in unreadable.items()]
            elif difference is None:
                equal.append(group)
            else:
                found.append(_Found(group, difference))
        spill.refuse(refusals)
        spill.settle(equal)
        self._progress("comparing", len(single))
        return found

    def _read(self, side: Side, groups: Sequence[Group]) -> Mapping[Key, Change | Unreadable]:
        keys = [key for group in groups for holder, key in group.held if holder is side]
        return self._reading.read(side, keys) if keys else {}

    def _difference(self, name: str, held: Both) -> Difference | None:
        if len(held) < len(Side):
            return Difference(name, held, ()) if held else None
        fields = self._pair.differing(held[Side.SOURCE].fields, held[Side.TARGET].fields)
        return Difference(name, held, fields) if fields else None

    def _carry_out(self, spill: Spill, found: Sequence[_Found]) -> None:
        """Write what of these is to be written, each side in one go."""
        if self._plan is None:
            return
        tasks: dict[Side, list[_Task]] = {side: [] for side in Side}
        refusals = []
        for group, difference in found:
            prevailing = self._plan.prevailing(difference.held)
            doubtful = self._doubtful - difference.held.keys()
            if prevailing is not None and doubtful:
                reasons = (_DOUBTFUL.format(side) for side in doubtful)
                refusals += [Refusal(group, prevailing.other, reason) for reason in reasons]
            elif prevailing is not None:
                side = prevailing.other
                tasks[side].append(_Task(group, write_to(side, self._pair, difference)))
        spill.refuse(refusals)
        for side, mine in tasks.items():
            self._write(spill, side, mine)

    def _write(self, spill: Spill, side: Side, tasks: Sequence[_Task]) -> None:
        if not tasks:
            return
        writes = keyed(side, self._pair, [task.write for task in tasks])
        outcomes = self._pair.datasets[side].apply(writes)
        written, refusals = [], []
        for (group, _), write, (result, _, reason) in zip(tasks, writes, outcomes, strict=True):
            if result is Result.WRITTEN:
                written.append(group)
            else:
                overtaken = _TAKEN if write.expected is None else _OVERTAKEN
                refusals.append(Refusal(group, side, reason or overtaken, write))
        spill.settle(written)
        spill.refuse(refusals)
        self.written[side] += len(written)
        self._progress(f"writing the {side}", len(tasks))

    def _try_again(self, spill: Spill) -> None:
        """Write what was refused, just as it was, for as long as that helps."""
        before = 0
        while before != (before := self.written.total()):
            for refusals in spill.refusals(BATCH):
                for side in Side:
                    tasks = [
                        _Task(group, write)
                        for group, at, _, write in refusals
                        if at is side and write is not None
                    ]
                    self._write(spill, side, tasks)


def _ambiguous(spill: Spill, batch: Sequence[Group]) -> Iterator[Ambiguous]:
    for group in batch:
        if group.is_ambiguous:
            keys = {side: spill.keys(side, group.name) for side in Side}
            yield Ambiguous(group.name, dict(zip(Side, group.counts, strict=True)), keys)


def _held(records: Mapping[Side, Change | Unreadable]) -> Both:
    return {
        side: Holding(one.key, one.fields)
        for side, one in records.items()
        if isinstance(one, Change) and one.fields is not None
    }
