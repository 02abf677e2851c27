"""Make a failing schedule short: leave steps out while it still fails in the same way."""

from __future__ import annotations

from collections.abc import Sequence

from tests.simulation.playing import play
from tests.simulation.setting import Setting, Step


def shrink(setting: Setting, steps: Sequence[Step]) -> list[Step]:
    """Steps of ``steps``, none of which can be left out."""
    kind = play(setting, steps).kind
    left = list(steps)
    size = max(1, len(left) // 2)
    while size:
        start, shorter = 0, False
        while start < len(left):
            candidate = left[:start] + left[start + size :]
            if play(setting, candidate).kind == kind:
                left, shorter = candidate, True
            else:
                start += size
        if size > 1 or not shorter:
            size //= 2
    return left
