"""Guards at both ends: what would delete much at once waits until a person says that it is meant.

Rules
-----
* What a look at a dataset shows is counted before any of it is entered into the record map. If
  it is stopped nothing of it is entered: nothing is deleted anywhere, and once the dataset is as
  it was all goes on by itself. Until then nothing is written to it either.
* Who looks twice may see two things: what is entered is counted again.
* A person's word holds for what they saw: a release is used up by the look that it lets pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain, islice

from mailsync.core.guards import FEW, Suspicion, Tally, suspicion, suspicion_received
from mailsync.core.model import Fields, Record, is_alive
from mailsync.cycle.report import Report
from mailsync.cycle.site import Site
from mailsync.datasets.base import Change
from mailsync.errors import SafetyStop
from mailsync.store.history import Event
from mailsync.store.stops import Stop
from mailsync.store.transaction import Transaction

BATCH = 2_000
"""Changes taken over in one transaction of the store."""

KEPT_MAX = 32 * 2**20
"""Bytes of memory that changes take, about, which are kept while they are counted; of more there is
a second look."""

SAMPLE = 200
"""Changed records that are compared with what was known of them, if nearly all changed."""


def guarded(
    site: Site, name: str, look: Callable[[], Iterator[Change]], meant: int
) -> Iterator[list[Change]]:
    """What a look at the dataset shows, in batches, if it may be taken over. ``meant``: so many
    records may be gone, says a person now.

    Raises SafetyStop, DatasetError.
    """
    batches = _batches(look())
    tally = _Tallying(site, name)
    kept, room = [], KEPT_MAX
    for batch in batches:
        kept.append(batch)
        if len(batch) == BATCH and not tally.is_guarding:
            break
        room -= sum(map(_weight, batch))
        if room < 0:
            break
    if room >= 0 or not tally.is_guarding:
        for batch in kept:
            tally.count(batch)
        tally.judge(meant)
        yield from chain(kept, batches)
        return
    for batch in chain(kept, batches):
        tally.count(batch)
    meant = tally.judge(meant)
    yield from _again(site, name, _batches(look()), meant)


def _weight(change: Change) -> int:
    """About how many bytes of memory it takes."""
    values = (change.fields or {}).values()
    return 800 + sum(50 + (len(one) if isinstance(one, str | bytes) else 0) for one in values)


def _again(
    site: Site, name: str, batches: Iterable[list[Change]], meant: int
) -> Iterator[list[Change]]:
    """The batches of a second look."""
    tally = _Tallying(site, name)
    for batch in batches:
        tally.count(batch)
        tally.judge(meant)
        yield batch


def stop_if_suspect(site: Site, name: str, changes: Sequence[Change]) -> None:
    """Some more of what users did was seen just now. Raises SafetyStop."""
    tally = _Tallying(site, name)
    tally.count(changes)
    tally.judge(0)


def undeletable(site: Site, names: Iterable[str], report: Report, meant: int) -> frozenset[str]:
    """The datasets in which nothing is deleted now, for peers deleted too much at once. ``meant``:
    so many may go, says a person.
    """
    waiting = set()
    for name in names:
        with site.store.transaction() as transaction:
            stopped = transaction.stops.of(name, received=True)
            released = 0 if stopped is None else stopped.meant
            meant_here = max(meant, released, report.meant.get(name, 0))
            found = None
            if deleted := transaction.records.count_undeleted(name):
                known = transaction.records.count_keys(name)
                limit = site.sections[name].max_delete.of(known)
                found = suspicion_received(known, deleted, limit, meant_here)
            if found is not None:
                note_stop(site, transaction, name, found, stopped)
                report.problems.append(SafetyStop(stop_words(name, found.text, found.records)))
                waiting.add(name)
            elif stopped is not None:
                drop_stop(site, transaction, stopped)
    return frozenset(waiting)


class _Tallying:
    """Counts what a look at a dataset shows."""

    def __init__(self, site: Site, name: str) -> None:
        """Nothing is counted yet."""
        self._site, self._name = site, name

    @cached_property
    def _tally(self) -> Tally:
        with self._site.store.transaction() as transaction:
            return Tally(transaction.records.count_keys(self._name))

    @cached_property
    def _limit(self) -> int | None:
        return self._site.sections[self._name].max_delete.of(self._tally.known)

    @property
    def is_guarding(self) -> bool:
        """Is there anything to lose?"""
        return self._limit is not None and self._tally.known > 0

    def count(self, changes: Sequence[Change]) -> None:
        """Some more of it. What cannot be suspect costs nothing."""
        gone = [one.key for one in changes if one.fields is None]
        others = [one for one in changes if one.fields is not None]
        if not (gone or len(others) >= FEW) or not self.is_guarding:
            return
        tally = self._tally
        tally.others += len(others)
        tally.vanished += len(gone)
        with self._site.store.transaction() as transaction:
            found = transaction.records.by_key(self._name, gone).values()
            tally.gone += sum(map(stands, found))
            if not tally.sampled and others:
                self._compare(transaction, others[:: max(len(others) // SAMPLE, 1)])

    def _compare(self, transaction: Transaction, sample: Sequence[Change]) -> None:
        """How like is it to what is known? References stand otherwise there."""
        references = self._site.references(self._name)
        spelled = self._site.dataset(self._name).spelled
        known = transaction.records.by_key(self._name, [one.key for one in sample])
        self._tally.sampled = len(sample)
        for key, shown in ((one.key, one.fields or {}) for one in sample):
            if key in known and stands(known[key]):
                believed = _without(known[key].shadow or {}, references)
                self._tally.likeness.compare(spelled(believed), _without(shown, references))

    def judge(self, meant: int) -> int:
        """How many records may be gone or replaced, as people said. Raises SafetyStop."""
        with self._site.store.transaction() as transaction:
            stopped = transaction.stops.of(self._name, received=False)
            meant = max(meant, 0 if stopped is None else stopped.meant)
            found = None
            if "_tally" in self.__dict__:
                found = suspicion(self._tally, self._limit, meant)
            if found is not None:
                note_stop(self._site, transaction, self._name, found, stopped)
            elif stopped is not None:
                drop_stop(self._site, transaction, stopped)
        if found is not None:
            raise SafetyStop(stop_words(self._name, found.text, found.records))
        return meant


def note_stop(
    site: Site, transaction: Transaction, name: str, found: Suspicion, before: Stop | None
) -> None:
    """Something of the dataset is stopped, or still is."""
    now, kind = site.surroundings.now(), found.kind.value
    if before is not None:
        transaction.stops.again(before.number, kind, found.records, found.text)
        return
    number = transaction.inbox.reserve_number()
    transaction.stops.add(Stop(number, name, kind, found.records, found.text, 0, now))
    transaction.history.log(Event(now, "stopped", "", None, f"{name}: {found.text}"))


def drop_stop(site: Site, transaction: Transaction, stop: Stop) -> None:
    """It goes on: somebody released it, or it is as it was."""
    transaction.stops.drop(stop.number)
    words = "released" if stop.meant else "no longer so"
    event = Event(site.surroundings.now(), "goes on", "", None, f"{stop.dataset}: {words}")
    transaction.history.log(event)


def stop_words(name: str, text: str, records: int) -> str:
    """What is stopped, and how it is released."""
    command = f"mailsync sync --allow-delete {records}"
    return f"{name}: {text}; nothing was deleted. If it is meant: {command}"


def stands(record: Record) -> bool:
    """Is it a record with a row that should be there?"""
    return record.shadow is not None and not record.withdrawn and is_alive(record.entries)


def _without(fields: Fields, names: Iterable[str]) -> Fields:
    left_out = frozenset(names)
    return {name: value for name, value in fields.items() if name not in left_out}


def _batches(changes: Iterator[Change]) -> Iterator[list[Change]]:
    while batch := list(islice(changes, BATCH)):
        yield batch
