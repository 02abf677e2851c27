"""Short histories of one record, between few sites whose filter changes link by link: what a peer
covers without being sent it must never seem to be what it has seen. Same seed, same history.

Long histories come by such places too seldom: here nearly every step is one.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from functools import partial

from mailsync.core import outbound
from mailsync.core.model import Key
from mailsync.core.terms import Terms
from tests.core.histories import Scope, everything, tagged, untagged
from tests.core.world import TABLE, BrokenPromise, Letter, World

SITES = {
    "pair": ("AB", ["AB"]),
    "mesh": ("ABC", ["AB", "BC", "AC"]),
    "ring": ("ABCD", ["AB", "BC", "CD", "DA"]),
}
SCOPES: list[Scope] = [everything, untagged, tagged]
ROW = Key("u0")

STEPS = (
    *("edit", "edit", "edit", "delete", "notice", "notice", "rescope"),
    *("send", "lose", "post", "post", "post", "late", "write", "collect"),
)
WITH_RESTORES = (*STEPS, "backup", "restore")


class KeepingWorld(World):
    """What leaves the filter of a site stays there as it is."""

    def terms(self, peer: str) -> dict[str, Terms]:
        scope = self.scope.get(peer)
        return {} if scope is None else {TABLE: Terms(wanted=partial(scope, TABLE), keeps=True)}

    def send(self, name: str, peer: str, *, increment: bool = False, limit: int = 10**6) -> Letter:
        site, ledger = self.sites[name], self.ledger(name)
        link = site.links[peer]
        candidates = [one for one in site.records.values() if one.position not in link.acked]
        for _ in outbound.passed_over(ledger, link, candidates):
            pass
        self.commit(name, ledger)
        return super().send(name, peer, increment=increment, limit=limit)


class Narrow:
    """One history."""

    def __init__(self, seed: int, world: type[World], steps: tuple[str, ...]) -> None:
        self._chance = chance = random.Random(seed)
        self._steps = steps
        self._names, self._edges = SITES[chance.choice(["mesh", "mesh", "ring", "pair"])]
        self._scoped = chance.choice(self._names)
        scope = {self._scoped: chance.choice(SCOPES)}
        self.world = world(self._names, self._edges, seed, scope)
        # a tombstone outlives its way round a ring: retention times are longer than that
        self.world.purging = "never" if steps is WITH_RESTORES or len(self._names) > 2 else "always"
        self._letters: list[Letter] = []

    def play(self) -> None:
        """Raises BrokenPromise."""
        world, chance = self.world, self._chance
        maker = chance.choice(self._names)
        world.insert(maker, ROW, chance.choice([1, 1, 2]), tag=chance.choice([0, 1]))
        world.scan(maker)
        for _ in range(chance.choice([0, 1, 3, 4])):
            self._meet()
        for _ in range(chance.choice([6, 10, 14, 20])):
            step = chance.choice(self._steps)
            world.trace.append(step)
            getattr(self, f"_{step}")()
        if isinstance(world, KeepingWorld):
            world.scope[self._scoped] = everything
            world.settle()
            world.check()
        else:
            world.check_quiet()

    def _meet(self) -> None:
        for edge in self._edges:
            self.world.post(edge[0], edge[1])
            self.world.post(edge[1], edge[0])
        for name in self._names:
            self.world.write_all(name)

    def _site(self) -> str:
        return self._chance.choice(self._names)

    def _way(self) -> tuple[str, str]:
        ways = [(edge[0], edge[1]) for edge in self._edges]
        return self._chance.choice([*ways, *((other, one) for one, other in ways)])

    def _edit(self) -> None:
        name = self._site()
        if rows := self.world.data[name]:
            key = self._chance.choice(sorted(rows))
            column = self._chance.choice(sorted(rows[key]))
            self.world.edit(name, key, column, tag=self._chance.choice([0, 1]))
            self.world.scan(name)

    def _delete(self) -> None:
        name = self._site()
        if self.world.data[name] and self._chance.random() < 0.5:
            self.world.delete(name, self._chance.choice(sorted(self.world.data[name])))
            self.world.scan(name)

    def _rescope(self) -> None:
        self.world.scope[self._scoped] = self._chance.choice(SCOPES)

    def _notice(self) -> None:
        peers = [edge.replace(self._scoped, "") for edge in self._edges if self._scoped in edge]
        self.world.notice(self._chance.choice(peers), self._scoped)

    def _send(self) -> None:
        self._letters.append(self.world.send(*self._way()))

    def _lose(self) -> None:
        self.world.send(*self._way())

    def _post(self) -> None:
        self.world.post(*self._way())

    def _late(self) -> None:
        if self._letters:
            self.world.deliver(self._letters.pop(self._chance.randrange(len(self._letters))))

    def _write(self) -> None:
        self.world.write_all(self._site())

    def _collect(self) -> None:
        self.world.collect(self._site())

    def _backup(self) -> None:
        self.world.backup(self._site())

    def _restore(self) -> None:
        name = self._site()
        if name in self.world.backups and not self.world.restores:
            self.world.restore(name)


KINDS: dict[str, tuple[type[World], tuple[str, ...]]] = {
    "drop": (World, STEPS),
    "keep": (KeepingWorld, STEPS),
    "restore": (World, WITH_RESTORES),
}


def run(seed: int, kind: str) -> tuple[World, str | None]:
    """One history. Returns the world and the broken promise, if any."""
    history = Narrow(seed, *KINDS[kind])
    try:
        history.play()
    except BrokenPromise as broken:
        return history.world, str(broken)
    return history.world, None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.core.narrow", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    started, count = time.monotonic(), 0
    broken: Counter[str] = Counter()
    while time.monotonic() - started < options.seconds:
        seed, kind = options.seed + count, sorted(KINDS)[count % len(KINDS)]
        count += 1
        _, message = run(seed, kind)
        if message:
            broken[message.split(":")[0][:30]] += 1
            sys.stdout.write(f"{seed} {kind} {message}\n")
    sys.stdout.write(f"histories {count}, broken {dict(broken)}\n")
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
