"""The promises after random schedules of faults, on whole sites."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter

import pytest

from tests.simulation.campaign import campaign, tasks
from tests.simulation.playing import play
from tests.simulation.setting import MIXES, Setting, Step, setting_of, steps_of

SCHEDULES_PER_MIX = 100


@pytest.mark.parametrize("mix", MIXES)
def test_promises_hold_after_random_schedules(mix: str) -> None:
    for result in campaign(tasks(0, SCHEDULES_PER_MIX, [mix])):
        steps = " ".join(map(str, steps_of(*result.task)))
        assert result.broken is None, f"--seed {result.task.seed} --mix {mix} --replay {steps}"


def test_a_clone_is_noticed_and_nobody_is_harmed() -> None:
    setting = Setting(0, "clone", "ab", (("a", "b"),), 2)
    started = ["insert.0.1", "sync.0.0", "deliver.0.0", "sync.1.0", "deliver.0.0", "clone.0.0"]
    apart = ["insert.0.2", "insert.1.3"]
    exchange = ["sync.0.0", "sync.1.0", *["deliver.0.0"] * 4, "wait.0.1", "sync.2.0"]
    outcome = play(setting, [*map(Step.parse, started + apart + (exchange + apart) * 3)])
    assert outcome.counts["alarms"] > 0
    assert outcome.broken is None


def test_one_link_goes_by_mail_by_connection_and_by_stick() -> None:
    counts = sum((result.counts for result in campaign(tasks(0, 20, ["carriers"]))), Counter())
    assert min(counts[kind] for kind in ("mail", "tcp", "folder")) > 10


def test_one_seed_is_one_history() -> None:
    setting, steps = setting_of(7, "all"), steps_of(7, "all")
    assert play(setting, steps) == play(setting, steps)


def test_a_step_survives_being_written_down() -> None:
    assert [Step.parse(str(step)) for step in steps_of(3, "all")] == steps_of(3, "all")


def test_the_command_counts_what_it_played() -> None:
    command = [sys.executable, "-m", "tests.simulation", "--schedules", "3", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    counted = json.loads(done.stdout.splitlines()[-1])
    assert counted.keys() == {"schedules", "broken", "crashes", "mails", "lost", "seconds"}
    assert (counted["schedules"], counted["broken"]) == (3, 0)
