"""Schedules that once broke a promise."""

from __future__ import annotations

import pytest

from tests.simulation.playing import play
from tests.simulation.setting import Step, setting_of

FOUND = {
    "a late bundle of a twin": (
        5005527,
        "clone",
        """
        sync.3.54393 clone.0.51510 insert.2.37723 sync.2.87023 edit.2.42268 insert.1.7109
        carry.4.52802 insert.4.51056 sync.2.50922 insert.2.89417 sync.2.30066 sync.1.89495
        sync.0.74125 edit.0.75256 sync.4.92320 edit.0.2541 sync.0.72481 carry.1.76561
        """,
    ),
    "a deleted row comes back before anybody looks, and is edited": (
        5022982,
        "restore-rows",
        """
        insert.2.25725 backup.2.36255 sync.0.20006 delete.4.73671 restore_rows.4.30703
        edit.0.71293 edit.2.38957
        """,
    ),
}
"""What happens -> seed, mix and steps, shrunk."""


@pytest.mark.parametrize("what", FOUND)
def test_promises_hold_after_what_once_broke_one(what: str) -> None:
    seed, mix, steps = FOUND[what]
    assert play(setting_of(seed, mix), [Step.parse(step) for step in steps.split()]).broken is None
