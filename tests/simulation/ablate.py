"""python -m tests.simulation.ablate: break one rule at a time, and see how soon it is noticed.

A rule whose absence is not noticed is a hole in the proof.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import NamedTuple

from tests.core import histories, side_by_side
from tests.simulation.ablations import ABLATIONS, Ablation
from tests.simulation.campaign import Task, perform


class Hunt(NamedTuple):
    """How it went."""

    schedules: int
    broken: str | None
    seconds: float


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
        return perform(Task(seed, ablation.cycle[seed % len(ablation.cycle)])).broken
    try:
        if ablation.side:
            return side_by_side.compare(seed, ablation.side[seed % len(ablation.side)])[1]
        return histories.run(seed, ablation.core[seed % len(ablation.core)])[1]
    except Exception as problem:  # noqa: BLE001  a broken rule may break anything
        return f"{type(problem).__name__}: {problem}"


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
        survivors += found.broken is None
        level = "sites" if ablation.cycle else "side" if ablation.side else "core"
        sys.stdout.write(
            f"{rule:20} {level:5} {found.schedules:6} schedules {found.seconds:6.1f} s  "
            f"{found.broken or 'SURVIVED'}  [{ablation.claim}]\n"
        )
        sys.stdout.flush()
    return bool(survivors)


if __name__ == "__main__":
    sys.exit(main())
