"""python -m tests.simulation.ablate: break one rule at a time, and see how soon it is noticed.

A rule whose absence is not noticed is a hole in the proof.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from typing import Final, NamedTuple

from tests.core import histories, side_by_side
from tests.simulation.ablations import ABLATIONS, Ablation
from tests.simulation.campaign import Task, perform

MISFITS: Final = frozenset(
    {"TypeError", "AttributeError", "NameError", "UnboundLocalError", "KeyError"}
)
"""What a patch raises, or makes its caller raise, that no longer fits the product."""


class Hunt(NamedTuple):
    """How it went."""

    schedules: int
    broken: str | None
    seconds: float

    @property
    def is_misfit(self) -> bool:
        """Was it the patch that failed, and no promise? Then nothing is known of the rule."""
        return self.broken is not None and _is_misfit(self.broken)


class Defects(logging.Handler):
    """What the product took for defects of its own, and went on from."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            self.found.append(f"{type(error).__name__}: {error}")


def hunt(ablation: Ablation, schedules: int, seconds: float = 1e9, seed: int = 0) -> Hunt:
    """Play until a promise breaks, at most so many schedules, or so long."""
    started, played = time.monotonic(), 0
    while played < schedules and time.monotonic() - started < seconds:
        with ablation.applied():
            broken = _play(ablation, seed + played)
        # only the missing rule may be what broke the promise
        blamed = broken is not None and _play(ablation, seed + played) is None
        played += 1
        if blamed:
            return Hunt(played, broken, time.monotonic() - started)
    return Hunt(played, None, time.monotonic() - started)


def _play(ablation: Ablation, seed: int) -> str | None:
    if ablation.cycle:
        return _perform(Task(seed, ablation.cycle[seed % len(ablation.cycle)]))
    try:
        if ablation.side:
            return side_by_side.compare(seed, ablation.side[seed % len(ablation.side)])[1]
        return histories.run(seed, ablation.core[seed % len(ablation.core)])[1]
    except Exception as problem:  # noqa: BLE001  a broken rule may break anything
        return f"{type(problem).__name__}: {problem}"


def _perform(task: Task) -> str | None:
    """What broke; a defect of the patch first, which the product would hide: it sets the bundle
    aside, and some promise breaks for that.
    """
    log, defects = logging.getLogger("mailsync"), Defects()
    log.addHandler(defects)
    try:
        broken = perform(task).broken
    finally:
        log.removeHandler(defects)
    return next(filter(_is_misfit, defects.found), broken)


def _is_misfit(broken: str) -> bool:
    return broken.partition(":")[0] in MISFITS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.ablate", description=__doc__)
    parser.add_argument("rules", nargs="*", choices=[*ABLATIONS, []], default=[])
    parser.add_argument("--schedules", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    survivors = 0
    for rule in options.rules or ABLATIONS:
        ablation = ABLATIONS[rule]
        found = hunt(ablation, options.schedules, options.seconds)
        survivors += found.broken is None or found.is_misfit
        level = "sites" if ablation.cycle else "side" if ablation.side else "core"
        sys.stdout.write(
            f"{rule:20} {level:5} {found.schedules:6} schedules {found.seconds:6.1f} s  "
            f"{'MISFIT ' * found.is_misfit}{found.broken or 'SURVIVED'}  [{ablation.claim}]\n"
        )
        sys.stdout.flush()
    return bool(survivors)


if __name__ == "__main__":
    sys.exit(main())
