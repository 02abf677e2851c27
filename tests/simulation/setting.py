"""Schedules as values: where they play, and the steps that are played.

A step names no thing that only exists in one run: it holds a number from which its handler draws
among whatever is there. So any steps can be left out, and the rest still make sense.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Self

from tests.cycle.sites import DAY
from tests.simulation.copies import NO_COPIES, Copies, copies_of
from tests.simulation.scopes import EVERYTHING, SCOPES, Scope

YEAR: Final = 365 * DAY


class Step(NamedTuple):
    """One step: what, at which site (by number), and the seed of its choices."""

    kind: str
    site: int
    pick: int

    def __str__(self) -> str:
        return f"{self.kind}.{self.site}.{self.pick}"

    @classmethod
    def parse(cls, text: str) -> Self:
        kind, site, pick = text.split(".")
        return cls(kind, int(site), int(pick))


@dataclass(frozen=True)
class Setting:
    """Where a schedule plays."""

    seed: int
    mix: str
    names: str
    edges: tuple[tuple[str, str], ...]
    fields: int
    datasets: tuple[str, ...] = ("people",)
    narrow: frozenset[str] | None = None
    """The datasets that links carry at first; None: all."""
    loss: int = 0
    """Percent of letters."""
    skews: dict[str, int] = field(default_factory=dict)
    natural: bool = False
    """Do users at all sites take the same few keys?"""
    bulk: int = 0
    """Bytes a row may hold besides what is accounted for."""
    short: bool = False
    """Have records identifiers of 32 bits?"""
    guards: bool = False
    """Does every delete wait for a person?"""
    columns: bool = False
    """Are the datasets tables, whose columns come and go?"""
    scoped: str = ""
    """A site between which and the others not everything passes; the others hear of all without
    it.
    """
    scope: Scope = EVERYTHING
    """What passes at first."""
    policy: str = ""
    """Lines of every dataset's section, the same at all sites."""
    copies: Copies = NO_COPIES
    """Of what rows sites begin with copies."""
    echoed: bool = True
    """Does every letter come once more in the end?"""

    @property
    def names_of_fields(self) -> list[str]:
        """Every field a row may have, but what tells it apart and what fills it up."""
        return [*(f"f{number}" for number in range(self.fields)), "extra"]


ECHOED_PERCENT: Final = 10
"""Of schedules are played with every letter once more in the end, which takes long."""

BASE: Final[dict[str, float]] = {
    "insert": 3,
    "edit": 6,
    "delete": 2,
    "reinsert": 1,
    "swap": 1,
    "same": 1,
    "sync": 12,
    "carry": 7,
    "deliver": 3,
    "wait": 2,
}
"""How often each kind of step comes in every mix."""

MIXES: Final[dict[str, dict[str, float]]] = {
    "plain": {},
    "mail": {"lose": 1, "replay": 1},
    "crash": {"killed": 6, "raced": 3},
    "clock": {"jump": 2, "killed": 2},
    "restore": {"backup": 2, "restore": 1},
    "restore-state": {"backup": 2, "restore_state": 1, "killed": 1},
    "restore-rows": {"backup": 2, "restore_rows": 1, "killed": 1},
    "clone": {"clone": 1, "unclone": 1},
    "silence": {"silence": 2, "lose": 1},
    "peers": {"meet": 1, "retire": 1, "killed": 1},
    "datasets": {"widen": 2, "killed": 1},
    "keys": {"insert": 3, "killed": 1, "raced": 1},
    "busy": {"trouble": 3, "calm": 2, "killed": 1, "lose": 0.5},
    "again": {"retire": 1, "return_": 2, "silence": 0.5, "killed": 1},
    "columns": {
        "drop_column": 2,
        "add_column": 3,
        "remake_column": 1,
        "killed": 2,
        "raced": 1,
        "lose": 0.5,
    },
    "filters": {"tag": 5, "refilter": 3, "killed": 2, "raced": 1, "lose": 1, "replay": 0.5},
    "filters-restore": {"tag": 5, "refilter": 3, "backup": 2, "restore": 1, "killed": 1},
    "leaving-restore": {"tag": 3, "refilter": 1.5, "backup": 2, "restore": 1, "killed": 1},
    "inbound-restore": {"tag": 3, "refilter": 1.5, "backup": 2, "restore": 1, "killed": 1},
    "fields-restore": {"tag": 3, "backup": 2, "restore": 1, "killed": 1, "lose": 0.5},
    "leaving": {"tag": 5, "refilter": 2, "killed": 2, "raced": 1, "lose": 1, "replay": 0.5},
    "inbound": {"tag": 5, "refilter": 2, "killed": 2, "raced": 1, "lose": 1, "replay": 0.5},
    "fields": {"tag": 2, "killed": 2, "raced": 1, "lose": 1},
    "fields-changed": {"tag": 2, "refilter": 1.5, "killed": 2, "raced": 1, "lose": 1},
    "rights": {"tag": 2, "killed": 2, "raced": 1, "lose": 1, "replay": 0.5},
    "carriers": {"switch": 5, "stick": 6, "killed": 2, "raced": 0.5, "lose": 0.5, "replay": 0.5},
    "asked": {
        "ask": 4,
        "lose": 1,
        "replay": 0.5,
        "killed": 2,
        "raced": 1,
        "widen": 0.2,
        "meet": 0.2,
    },
    "damage": {"damage": 2, "ask": 3, "lose": 0.5, "killed": 1, "raced": 0.5},
    "policies": {"edit": 6, "delete": 1, "killed": 2, "raced": 1, "lose": 0.5, "replay": 0.5},
    "policies-restore": {"edit": 6, "backup": 2, "restore": 1, "killed": 1, "lose": 0.5},
    "decided": {"exchange": 8, "differ": 12, "decide": 12, "sync": 6, "killed": 2, "lose": 0.5},
    "requests": {"request": 8, "lose": 1, "restore": 0.5, "backup": 1, "killed": 1},
    "short": {"jump": 1, "killed": 2, "raced": 1, "replay": 1},
    "guards": {"delete": 6, "insert": 6, "release": 2, "killed": 2, "raced": 1, "lose": 1},
    "spoilt": {
        "sync": 16,
        "spoil": 10,
        "carry": 4,
        "lose": 0.5,
        "replay": 1,
        "trouble": 1,
        "calm": 2,
        "killed": 3,
    },
    "mailbox": {"stubborn": 2, "reappear": 1, "renumber": 1, "wait": 2, "killed": 1},
    "copied": {"rename": 1, "killed": 3, "raced": 2, "lose": 1, "replay": 1, "meet": 0.3},
    "copied-restore": {
        "rename": 1,
        "backup": 2,
        "restore": 1,
        "restore_state": 0.5,
        "restore_rows": 0.3,
        "killed": 1,
        "raced": 0.5,
        "lose": 0.5,
        "replay": 0.5,
    },
    "all": {
        "killed": 3,
        "raced": 1,
        "lose": 1,
        "replay": 1,
        "jump": 0.3,
        "backup": 1,
        "restore": 0.5,
        "silence": 0.3,
        "meet": 0.5,
        "widen": 0.5,
    },
}
"""What each mix adds to it."""


LASTING: Final = ("fields", "fields-changed", "fields-restore", "rights")
"""Mixes in which not everything passes from the beginning."""

COPIED_MAX: Final = 4
"""Sites that begin with copies of the same rows."""

POLICIES: Final = (
    'conflict = "site:a"',
    'conflict = { f0 = "site:b", f1 = "ask" }',
    'conflict = "ask"\ndelete_conflict = "ask"',
    'delete_conflict = "delete-wins"',
    'conflict = { "*" = "site:b", extra = "newest" }\ndelete_conflict = "delete-wins"',
)


def setting_of(seed: int, mix: str) -> Setting:
    """Where the schedule of this seed plays."""
    chance = random.Random(f"setting {seed} {mix}")
    copied = mix.startswith("copied")
    names = "abcde"[: chance.choice([2, 2, 2, 3, 3, 4, 5])][: COPIED_MAX if copied else None]
    skews = {}
    if mix in ("clock", "all"):
        skews = {name: chance.choice([0, 0, -3 * YEAR, YEAR // 2, 5 * YEAR]) for name in names}
    several = mix in ("datasets", "all")
    edges = _edges(names, chance)
    fields, loss = chance.choice([1, 2, 3]), chance.choice([0, 10, 30, 60])
    scoped = _scoped_site(mix, names, edges, chance) if mix in SCOPES else ""
    if mix.startswith("fields"):
        edges = _with_one_peer(scoped, edges)
    copies = copies_of(chance) if copied else NO_COPIES
    return Setting(
        seed,
        mix,
        names,
        edges,
        fields,
        ("boats", "people") if several else ("people",),
        frozenset({"people"}) if several else None,
        loss,
        skews,
        natural=mix == "keys" or copies.is_natural,
        bulk=6_000 if mix in ("busy", "spoilt") else 0,
        columns=mix == "columns",
        scoped=scoped,
        scope=chance.choice(SCOPES[mix]) if mix in LASTING else EVERYTHING,
        policy=_policy(mix, chance),
        short=mix == "short",
        guards=mix == "guards",
        copies=copies,
        echoed=chance.randrange(100) < ECHOED_PERCENT,
    )


def _policy(mix: str, chance: random.Random) -> str:
    if mix == "decided":
        return chance.choice(["", *POLICIES])
    return chance.choice(POLICIES) if mix.startswith("policies") else ""


def _scoped_site(
    mix: str, names: str, edges: tuple[tuple[str, str], ...], chance: random.Random
) -> str:
    """A site without which the others are still joined, unless it passes everything on."""

    def is_dispensable(left_out: str) -> bool:
        others = [name for name in names if name != left_out]
        reached = {others[0]}
        for _ in others:
            for one, other in edges:
                if left_out not in (one, other) and reached & {one, other}:
                    reached |= {one, other}
        return reached >= set(others)

    return chance.choice(
        [name for name in names if mix.startswith("inbound") or is_dispensable(name)]
    )


def _with_one_peer(name: str, edges: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """A site that gets some fields of a record cannot pass on the others: it is no way between
    two sites that share them all.
    """
    its_own = [edge for edge in edges if name in edge]
    return tuple(edge for edge in edges if edge not in its_own[1:])


def steps_of(seed: int, mix: str) -> list[Step]:
    """The steps of the schedule of this seed."""
    chance = random.Random(f"steps {seed} {mix}")
    weights = BASE | MIXES[mix]
    count = chance.choice([8, 15, 15, 30, 60])
    kinds = chance.choices(list(weights), list(weights.values()), k=count)
    return [Step(kind, chance.randrange(5), chance.randrange(100_000)) for kind in kinds]


def _edges(names: str, chance: random.Random) -> tuple[tuple[str, str], ...]:
    chain = list(itertools.pairwise(names))
    star = [(names[0], name) for name in names[1:]]
    ring = [*chain, (names[0], names[-1])] if len(names) > 2 else chain
    mesh = list(itertools.combinations(names, 2))
    return tuple(chance.choice([chain, star, ring, mesh]))
