"""Rules taken out of the product one by one: the schedules notice.

Those that are noticed only after thousands of schedules are left to
``python -m tests.simulation.ablate``.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from unittest import mock

import pytest

from mailsync.core.ledger import Ledger
from tests.simulation.ablate import hunt
from tests.simulation.ablations import ABLATIONS, Ablation
from tests.simulation.playing import play
from tests.simulation.setting import setting_of, steps_of
from tests.simulation.shrinking import shrink

LATE = {
    "no_gate",
    "no_rejoin",
    "no_heal",
    "no_marker",
    "blind_write",
    "no_notes",
    "spare_unheld",
    "late_say",
}
"""Rules against rare coincidences, or whose schedules of whole sites take long."""

SCHEDULES = 1000


@pytest.mark.parametrize("rule", sorted(ABLATIONS.keys() - LATE))
def test_without_a_rule_a_promise_breaks(rule: str) -> None:
    ablation = ABLATIONS[rule]
    found = hunt(ablation, ablation.levels[0], SCHEDULES)
    assert found.broken is not None
    assert not found.is_misfit, found.broken


def _misfits() -> list[AbstractContextManager[object]]:
    """A function that takes less than its callers say."""

    def note() -> None: ...

    return [mock.patch.object(Ledger, "note", note)]


@pytest.mark.parametrize("level", ["core", "side", "sites"])
def test_a_patch_that_fits_no_more_proves_nothing(level: str) -> None:
    plain = (frozenset[str](),)
    ablation = Ablation("nothing", _misfits, sites=("plain",), core=plain, side=plain)
    assert hunt(ablation, level, SCHEDULES).is_misfit


def test_a_failing_schedule_shrinks_to_steps_that_all_matter() -> None:
    setting, steps = setting_of(34, "plain"), steps_of(34, "plain")
    with ABLATIONS["no_notes"].applied():
        shrunk = shrink(setting, steps)
        assert play(setting, shrunk).kind == play(setting, steps).kind == "journals differ"
        for number in range(len(shrunk)):
            shorter = shrunk[:number] + shrunk[number + 1 :]
            assert play(setting, shorter).kind != "journals differ"
