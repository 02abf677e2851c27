"""python -m tests.simulation.ablate: break one rule at a time, and see how soon it is noticed.

A rule whose absence is not noticed is a hole in the proof.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import sys
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from tests.core import histories, side_by_side
from tests.simulation.ablations import ABLATIONS, Ablation
from tests.simulation.campaign import Task, perform

_Play = Callable[[int, Any], str | None]
"""Plays one schedule by its seed and its mix, and says what broke."""

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


def hunt(
    ablation: Ablation, level: str, schedules: int, seconds: float = 1e9, seed: int = 0
) -> Hunt:
    """Play until a promise breaks, at most so many schedules, or so long."""
    started, played, mixes = time.monotonic(), 0, getattr(ablation, level)
    while played < schedules and time.monotonic() - started < seconds:
        chosen = seed + played, mixes[(seed + played) % len(mixes)]
        with ablation.applied():
            broken = _PLAY[level](*chosen)
        # only the missing rule may be what broke the promise
        blamed = broken is not None and _PLAY[level](*chosen) is None
        played += 1
        if blamed:
            return Hunt(played, broken, time.monotonic() - started)
    return Hunt(played, None, time.monotonic() - started)


def _play_sites(seed: int, mix: str) -> str | None:
    """What broke; a defect of the patch first, which the product would hide: it sets the bundle
    aside, and some promise breaks for that.
    """
    log, defects = logging.getLogger("mailsync"), Defects()
    log.addHandler(defects)
    try:
        broken = perform(Task(seed, mix)).broken
    finally:
        log.removeHandler(defects)
    return next(filter(_is_misfit, defects.found), broken)


def _is_misfit(broken: str) -> bool:
    return broken.partition(":")[0] in MISFITS


def _caught(play: Callable[[int, frozenset[str]], tuple[Any, str | None]]) -> _Play:
    """What broke in a history; a broken rule may raise anything."""

    def caught(seed: int, features: frozenset[str]) -> str | None:
        try:
            return play(seed, features)[1]
        except Exception as problem:  # noqa: BLE001  as above
            return f"{type(problem).__name__}: {problem}"

    return caught


_PLAY: Final[dict[str, _Play]] = {
    "core": _caught(histories.run),
    "side": _caught(side_by_side.compare),
    "sites": _play_sites,
}
"""By the level."""


class Search(NamedTuple):
    """Where a rule is missing, and how long is looked for what breaks."""

    rule: str
    level: str
    schedules: int
    seconds: float


def look(search: Search) -> Hunt:
    """Hunt for a rule by its name."""
    return hunt(ABLATIONS[search.rule], search.level, search.schedules, search.seconds)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.ablate", description=__doc__)
    parser.add_argument("rules", nargs="*", choices=[*ABLATIONS, []], default=[])
    parser.add_argument("--level", choices=list(_PLAY), help="default: all")
    parser.add_argument("--schedules", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    searches = [
        Search(rule, level, options.schedules, options.seconds)
        for rule in options.rules or ABLATIONS
        for level in ABLATIONS[rule].levels
        if options.level in (None, level)
    ]
    survivors = 0
    with multiprocessing.Pool(options.jobs) as pool:
        for search, found in zip(searches, pool.imap(look, searches), strict=True):
            survivors += found.broken is None or found.is_misfit
            sys.stdout.write(
                f"{search.rule:20} {search.level:5} {found.schedules:6} schedules "
                f"{found.seconds:6.1f} s  {'MISFIT ' * found.is_misfit}"
                f"{found.broken or 'SURVIVED'}  [{ABLATIONS[search.rule].claim}]\n"
            )
            sys.stdout.flush()
    return bool(survivors)


if __name__ == "__main__":
    sys.exit(main())
