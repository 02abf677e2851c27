"""Random histories of a :class:`tests.core.world.World`. Same seed, same history."""

from __future__ import annotations

import argparse
import collections
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from mailsync.core.disputes import Decide, Dispute, Undecided
from mailsync.core.model import Absent, Bundle, Fields, Key, Value, is_alive
from mailsync.core.policies import (
    EVERY_FIELD,
    Deletes,
    Policy,
    Way,
)
from tests.core.world import TABLE, BrokenPromise, World

TOPOLOGIES = {
    "pair": ("AB", ["AB"]),
    "line": ("ABC", ["AB", "BC"]),
    "star": ("ABCD", ["AB", "AC", "AD"]),
    "mesh": ("ABC", ["AB", "BC", "AC"]),
    "ring": ("ABCD", ["AB", "BC", "CD", "DA"]),
    "full": ("ABCD", ["AB", "AC", "AD", "BC", "BD", "CD"]),
}
RINGS = {"mesh", "ring", "full"}
"""Where a link may fall silent and the word still gets around."""

WEIGHTS = {
    "insert": 1.0,
    "edit": 3.0,
    "move": 1.0,
    "delete": 1.0,
    "scan": 5.0,
    "write": 5.0,
    "begin": 3.0,
    "step": 6.0,
    "crash": 1.0,
    "collect": 2.0,
    "purge": 0.3,
    "send": 5.0,
    "increment": 2.0,
    "chunk": 1.0,
    "deliver": 9.0,
    "expire": 0.1,
    "backup": 0.4,
    "restore": 0.3,
    "toggle": 1.0,
    "calm": 0.5,
    "post": 9.0,
    "revive": 1.0,
    "refilter": 1.0,
    "notice": 3.0,
}
FEATURES: list[frozenset[str]] = [
    frozenset(),
    frozenset({"increment"}),
    frozenset({"crash", "skew"}),
    frozenset({"increment", "crash", "skew"}),
    frozenset({"filter"}),
    frozenset({"filter", "increment", "crash"}),
    frozenset({"expire", "purge", "increment"}),
    frozenset({"restore"}),
    frozenset({"restore", "increment", "crash", "skew"}),
    frozenset({"restore", "filter"}),
    frozenset({"expire", "purge"}),
    frozenset({"restore", "purge"}),
    frozenset({"restore", "purge", "silence"}),
    frozenset({"refilter", "increment"}),
    frozenset({"refilter", "increment", "crash", "skew", "purge"}),
    frozenset({"refilter", "restore", "increment"}),
]
POLICIES: list[frozenset[str]] = [
    frozenset({"site"}),
    frozenset({"site", "increment", "crash", "skew"}),
    frozenset({"routine", "increment", "skew"}),
    frozenset({"fickle", "increment", "skew"}),
    frozenset({"delete-wins"}),
    frozenset({"delete-wins", "site", "increment", "crash", "skew"}),
    frozenset({"restore", "site", "increment"}),
    frozenset({"restore", "site", "increment", "crash", "skew"}),
    frozenset({"restore", "delete-wins", "purge"}),
]
MIXES = [*FEATURES, *POLICIES]
Action = tuple[str, Callable[[], object]]


def tagged(_dataset: str, fields: Fields) -> bool:
    value = fields.get("f0")
    return isinstance(value, int) and value % 10 == 0


def _policies(world: World, features: frozenset[str], chance: random.Random) -> None:
    """The same policies at all sites, each as one of them sees it."""
    deletes = Deletes.DELETE_WINS if "delete-wins" in features else Deletes.EDIT_WINS
    master = chance.choice(sorted(world.sites))
    for name in world.sites:
        way: Way | Decide = Way.NEWEST
        if "site" in features:
            way = Way.OURS if name == master else Way.ELSEWHERE
        elif "routine" in features:
            way = _least
        elif "fickle" in features:
            way = partial(_either, world)
        world.policies[name] = {TABLE: Policy({EVERY_FIELD: way}, deletes)}


def _least(dispute: Dispute) -> Value | Absent:
    values = [side.value for side in (dispute.lost, dispute.stands)]
    return min(value for value in values if isinstance(value, int))


def _either(world: World, dispute: Dispute) -> Value | Absent:
    """A routine that does not say the same twice."""
    side = world.random.choice([dispute.lost, dispute.stands, None])
    if side is None:
        raise Undecided("rules.py:1: no idea")
    return side.value


def untagged(dataset: str, fields: Fields) -> bool:
    return not tagged(dataset, fields)


def everything(_dataset: str, _fields: Fields) -> bool:
    return True


Scope = Callable[[str, Fields], bool]
SCOPES: list[Scope] = [tagged, untagged, everything]


def _user_actions(world: World, budget: collections.Counter[str], fields: int) -> Iterator[Action]:
    for name, data in sorted(world.data.items()):
        if budget["insert"] and len(data) < 3:
            new = Key(f"u{world.count}")
            yield f"insert {name} {new}", partial(world.insert, name, new, fields)
        for key in sorted(data):
            if budget["edit"]:
                for column in sorted(data[key]):
                    yield f"edit {name} {key} {column}", partial(world.edit, name, key, column)
                if world.scope:
                    tag = 1 - data[key]["f0"] % 10
                    yield f"move {name} {key}", partial(world.edit, name, key, "f0", tag)
            if budget["delete"]:
                yield f"delete {name} {key}", partial(world.delete, name, key)


def _program_actions(
    world: World, features: frozenset[str], budget: collections.Counter[str]
) -> Iterator[Action]:
    if "silence" in features:
        yield "calm", world.calm
    for name in sorted(world.sites):
        if world.busy[name]:
            yield f"step {name}", partial(world.write_step, name)
            if "crash" in features:
                yield f"crash {name}", partial(world.crash, name)
            continue
        yield f"scan {name}", partial(world.scan, name)
        yield f"collect {name}", partial(world.collect, name)
        if "purge" in features and budget["purge"]:
            yield f"purge {name}", partial(world.purge, name)
        if "delete-wins" in features and budget["revive"]:
            for record_id, record in sorted(world.sites[name].records.items()):
                if record.entries and not is_alive(record.entries):
                    label = f"revive {name} {record_id.guid.hex()}"
                    yield label, partial(world.revive, name, record_id)
        if budget["backup"]:
            yield f"backup {name}", partial(world.backup, name)
        yield from _write_actions(world, name, features)
        yield from _link_actions(world, name, features, budget)


def _write_actions(world: World, name: str, features: frozenset[str]) -> Iterator[Action]:
    unwritten = world.to_write(name)
    if unwritten:
        yield f"write {name}", partial(world.write_all, name)
    if "crash" in features:
        for record_id in unwritten:
            label = f"begin {name} {record_id.guid.hex()}"
            yield label, partial(world.write_step, name, record_id)


def _link_actions(
    world: World, name: str, features: frozenset[str], budget: collections.Counter[str]
) -> Iterator[Action]:
    for peer, link in sorted(world.sites[name].links.items()):
        if "silence" in features and name < peer:
            yield f"toggle {name}{peer}", partial(world.toggle, name, peer)
        if frozenset((name, peer)) in world.silent:
            continue
        if world.wants_to_send(name, peer):
            yield f"send {name}{peer}", partial(world.send, name, peer)
            if "silence" in features and not world.busy[peer]:
                yield f"post {name}{peer}", partial(world.post, name, peer)
            if "increment" in features:
                yield f"increment {name}{peer}", partial(world.send, name, peer, increment=True)
                chunk = partial(world.send, name, peer, increment=True, limit=1)
                yield f"chunk {name}{peer}", chunk
        if "refilter" in features and world.scope.keys() & {peer}:
            yield f"notice {name}{peer}", partial(world.notice, name, peer)
        if "expire" in features and budget["expire"] and not link.stale:
            yield f"expire {name}{peer}", partial(world.expire, name, peer)


def _fate_actions(world: World, budget: collections.Counter[str]) -> Iterator[Action]:
    for index, letter in enumerate(world.letters):
        silent = frozenset((letter.sender, letter.recipient)) in world.silent
        if not world.busy[letter.recipient] and not silent:
            label = f"deliver {letter.sender}{letter.recipient}#{index}"
            yield label, partial(world.deliver, letter)
    if budget["refilter"]:
        for name in sorted(world.scope):
            for number, scope in enumerate(SCOPES):
                change = partial(world.scope.__setitem__, name, scope)
                yield f"refilter {name} {number}", change
    if budget["restore"]:
        for name in sorted(world.backups):
            yield f"restore {name}", partial(world.restore, name)


@dataclass
class History:
    """A world, and the chances of what happens next in it."""

    world: World
    chance: random.Random
    features: frozenset[str]
    topology: str
    fields: int
    budget: collections.Counter[str]
    weights: dict[str, float]

    def choose(self) -> Action:
        """The next step, not yet taken."""
        by_kind: dict[str, list[Action]] = collections.defaultdict(list)
        for action in (
            *_user_actions(self.world, self.budget, self.fields),
            *_program_actions(self.world, self.features, self.budget),
            *_fate_actions(self.world, self.budget),
        ):
            by_kind[action[0].split()[0]].append(action)
        kinds = sorted(by_kind)
        kind = self.chance.choices(kinds, [self.weights[k] for k in kinds])[0]
        actions = by_kind[kind]
        if kind == "deliver" and self.chance.random() < 0.7:
            action = actions[-1 - min(int(self.chance.expovariate(0.25)), len(actions) - 1)]
        else:
            action = self.chance.choice(actions)
        self.world.trace.append(action[0])
        self.budget["edit" if kind == "move" else kind] -= 1
        return action


def history(
    seed: int, features: frozenset[str], carry: Callable[[Bundle], Bundle] = lambda b: b
) -> History:
    """A world at its beginning."""
    chance = random.Random(seed)
    known = RINGS if "silence" in features else TOPOLOGIES.keys()
    topology = chance.choice(sorted(known))
    names, edges = TOPOLOGIES[topology]
    leaves = [name for name in names if sum(name in edge for edge in edges) == 1]
    scope: dict[str, Scope] = {}
    if "filter" in features and leaves:
        scope[leaves[-1]] = tagged
    if "refilter" in features:
        # any site that no other needs to hear of a third one
        scope[chance.choice(leaves or list(names))] = chance.choice(SCOPES)
    world = World(names, edges, seed, scope, carry)
    if "skew" in features:
        for site in world.sites.values():
            site.skew = chance.choice([0, 0, 1000, 10**6])
    if features in POLICIES:
        _policies(world, features, chance)
    fields = chance.choice([1, 2, 3])
    restoring = (4 if "silence" in features else 2) if "restore" in features else 0
    budget = collections.Counter(
        insert=6 if "silence" in features else 3,
        edit=chance.choice([3, 6, 12]),
        delete=chance.choice([1, 2, 3]),
        backup=restoring,
        restore=chance.choice([1, 1, 2]) if restoring else 0,
        expire=chance.choice([1, 2, 4]),
        purge=4,
        revive=2,
        refilter=4 if "refilter" in features else 0,
    )
    weights = {**WEIGHTS, **({"expire": 1, "purge": 2} if "purge" in features else {})}
    world.purging = "action" if "purge" in features else "never" if restoring else "always"
    return History(world, chance, features, topology, fields, budget, weights)


def run(
    seed: int, features: frozenset[str], carry: Callable[[Bundle], Bundle] = lambda b: b
) -> tuple[World, str | None]:
    """One history. Returns the world and the broken promise, if any."""
    told = history(seed, features, carry)
    world = told.world
    try:
        for _ in range(told.chance.choice([20, 60, 150, 300])):
            _label, do = told.choose()
            do()
        world.trace.append("quiet")
        world.check_quiet()
    except BrokenPromise as broken:
        return world, f"{broken} ({told.topology}, {told.fields} fields)"
    return world, None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mix", type=int)
    options = parser.parse_args()
    started, count, letters = time.monotonic(), 0, 0
    broken: collections.Counter[str] = collections.Counter()
    while time.monotonic() - started < options.seconds:
        mix = options.mix if options.mix is not None else count % len(MIXES)
        world, message = run(options.seed + count, MIXES[mix])
        count += 1
        letters += len(world.letters)
        if message:
            kind = f"{sorted(MIXES[mix])} {message.split(':')[0][:30]}"
            broken[kind] += 1
            if broken[kind] <= 2:
                sys.stdout.write(f"{options.seed + count - 1} {mix} {message}\n")
    sys.stdout.write(f"histories {count}, letters {letters}, broken {dict(broken)}\n")
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
