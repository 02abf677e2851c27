"""python -m tests.simulation: play any number of schedules.

A broken promise is printed with a trace that --replay plays again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter

from tests.simulation.campaign import Task, campaign, tasks
from tests.simulation.playing import play
from tests.simulation.setting import MIXES, Step, setting_of, steps_of
from tests.simulation.shrinking import shrink

SHRUNK_MAX = 3
"""Failures of one kind that are shrunk and shown; of the rest only the seed."""


def main() -> int:
    options = _options()
    if options.replay is not None:
        return _replay(options.seed, options.mix[0], options.replay)
    started = time.monotonic()
    totals: Counter[str] = Counter()
    kinds: Counter[tuple[str, str]] = Counter()
    work = tasks(options.seed, options.schedules, options.mix)
    for result in campaign(work, options.jobs):
        totals += result.counts
        totals["schedules"] += 1
        if result.broken is not None:
            totals["broken"] += 1
            kind = (result.task.mix, result.broken.split(":")[0])
            kinds[kind] += 1
            _show(result.task, result.broken, shrunk=kinds[kind] <= options.shrink)
        if totals["schedules"] % 100 == 0 and not options.quiet:
            _say(f"{totals['schedules']} schedules, {time.monotonic() - started:.0f} s")
    numbers = {name: totals[name] for name in ("schedules", "broken", "crashes", "mails", "lost")}
    numbers["seconds"] = round(time.monotonic() - started)
    _say(json.dumps(numbers) if options.json else f"{numbers} {dict(kinds)}")
    return bool(totals["broken"])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--schedules", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mix", nargs="+", choices=list(MIXES), default=list(MIXES))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    parser.add_argument(
        "--shrink", type=int, default=SHRUNK_MAX, help="failures of a kind to shrink"
    )
    parser.add_argument("--replay", nargs="*", metavar="STEP", help="play these steps of one seed")
    return parser.parse_args()


def _show(task: Task, broken: str, *, shrunk: bool) -> None:
    _say(f"BROKEN seed {task.seed} mix {task.mix}: {broken}")
    if not shrunk:
        return
    setting = setting_of(*task)
    steps = shrink(setting, steps_of(*task))
    _say(f"  {setting}")
    _say(f"  shrunk to: {play(setting, steps).broken}")
    trace = " ".join(map(str, steps))
    _say(f"  --seed {task.seed} --mix {task.mix} --replay {trace}")


def _replay(seed: int, mix: str, texts: list[str]) -> int:
    outcome = play(setting_of(seed, mix), [Step.parse(text) for text in texts])
    _say(f"{outcome.broken or 'every promise holds'}; {dict(outcome.counts)}")
    return outcome.broken is not None


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
