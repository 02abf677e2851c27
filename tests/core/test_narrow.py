"""Short histories of one record whose filter changes. Read ``narrow`` first."""

from __future__ import annotations

import pytest

from tests.core.narrow import KINDS, run

SEEDS = 150


@pytest.mark.parametrize("kind", KINDS)
def test_promises_hold_after_short_histories(kind: str) -> None:
    for seed in range(SEEDS):
        world, broken = run(seed, kind)
        assert broken is None, f"seed {seed}: {broken}\n" + "\n".join(world.trace)
