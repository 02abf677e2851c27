"""Many schedules, one after the other or in several processes."""

from __future__ import annotations

import gc
import multiprocessing
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tests.simulation.playing import play
from tests.simulation.setting import MIXES, setting_of, steps_of

GARBAGE_EVERY = 25


class Task(NamedTuple):
    """One schedule, by its seed and its mix."""

    seed: int
    mix: str


class Result(NamedTuple):
    """What became of it."""

    task: Task
    broken: str | None
    counts: Counter[str]


def tasks(seed: int, count: int, mixes: Iterable[str] = tuple(MIXES)) -> Iterator[Task]:
    """``count`` schedules from ``seed`` on, the mixes in turn."""
    chosen = list(mixes)
    return (Task(seed + n, chosen[n % len(chosen)]) for n in range(count))


def perform(task: Task) -> Result:
    """One schedule. Garbage is collected between schedules, where it is cheap."""
    gc.disable()
    if task.seed % GARBAGE_EVERY == 0:
        gc.collect()
    outcome = play(setting_of(*task), steps_of(*task))
    return Result(task, outcome.broken, outcome.counts)


def campaign(work: Iterable[Task], jobs: int = 1) -> Iterator[Result]:
    """Every result as it comes."""
    if jobs <= 1:
        try:
            yield from map(perform, work)
        finally:
            gc.enable()
        return
    gc.freeze()  # what was imported stays, and is not looked through again
    with multiprocessing.Pool(jobs) as pool:
        yield from pool.imap_unordered(perform, work, chunksize=4)
