"""Do two sites say the same about conflicts? Policies must be the same at all sites of a dataset.

Rules
-----
* Each tells the other its policies, in words for people, when they change; before that nothing, if
  neither ever had others than the defaults. So it costs nothing where nothing is configured.
* It is said with whatever goes anyway, and again until the peer confirms what came with it.
* Nothing depends on it but what people are told: a policy is carried out as the site's own
  configuration says.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

Stances = tuple[tuple[str, str], ...]
"""Datasets whose policies are not the defaults, in order, and these policies, in words."""

DEFAULTS: Final = "newest, edit-wins"

WORDS_MAX: Final = 200
"""Bytes of a policy in words."""


class Difference(NamedTuple):
    """A dataset that both sides treat unlike, and how."""

    dataset: str
    here: str
    there: str


class Agreement(NamedTuple):
    """What both ends of a link say."""

    here: Stances = ()
    """As configured."""
    said: Stances | None = None
    """What we said last."""
    said_from: int = 0
    """The bundles from this position of ours on say it."""
    there: Stances | None = None
    """What the peer said last."""

    def is_news(self) -> bool:
        """Was what is configured never said?"""
        return self.said != self.here and bool(self.here or self.there or self.said is not None)

    def to_say(self, confirmed: int) -> Stances | None:
        """What the next bundle must say; None: nothing. ``confirmed``: the position of the newest
        bundle that the peer confirmed.
        """
        is_open = self.said is not None and confirmed < self.said_from
        return self.here if self.is_news() or is_open else None

    def saying(self, position: int) -> Agreement:
        """Once the bundles from this position on say what is configured."""
        return self._replace(said=self.here, said_from=position)

    def differences(self, datasets: Collection[str]) -> Iterator[Difference]:
        """Of these datasets those that both sides treat unlike."""
        if self.there is None:
            return
        here, there = dict(self.here), dict(self.there)
        for name in sorted(datasets):
            ours, theirs = here.get(name, DEFAULTS), there.get(name, DEFAULTS)
            if ours != theirs:
                yield Difference(name, ours, theirs)


NOTHING_SAID: Final = Agreement()
