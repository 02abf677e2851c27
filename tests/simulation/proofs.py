"""Whether sites hold the same: asked midway and in the end, also after stores were damaged."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from mailsync.core.comparing import left_out, summary_of
from mailsync.core.model import (
    NO_MARKER,
    Entry,
    Link,
    Record,
    Value,
    merged_fields,
    same_fields,
)
from mailsync.cycle import verifying
from tests.simulation.machine import Machine, numbers
from tests.simulation.world import BrokenPromise, World

TAG: Final = 7
ASKED_MAX: Final = 6
"""Times that all ask one another before all must hold the same."""


def ask(world: World, machine: Machine, chance: random.Random) -> None:
    """A person asks a peer; who damages stores also has them mended."""
    if machine.peers:
        repair = bool(world.damaged) and chance.random() < 0.5
        verifying.ask(machine.site, chance.choice(sorted(machine.peers)), repair=repair)


def damage(world: World, machine: Machine, chance: random.Random) -> None:
    """A record map and its dataset come to say something else, as if nobody had changed it."""
    whole = [record for record in machine.records() if _is_at_rest(machine, record)]
    if whole:
        world.damaged.add(machine.name)
        chance.choice(_DAMAGES)(world, machine, chance.choice(whole))


def _is_at_rest(machine: Machine, record: Record) -> bool:
    if record.marker is not NO_MARKER or record.key is None or not record.had:
        return False
    row = machine.rows(record.dataset).get(record.key)
    return (
        row is not None
        and same_fields(record.shadow, row)
        and same_fields(record.shadow, merged_fields(record))
    )


def _alter(world: World, machine: Machine, record: Record) -> None:
    """One write has another value than everywhere else."""
    name = min(record.entries)
    values: list[Value] = ["z", "", None, b"", 0.5]
    value = values[world.accounts.count % len(values)]
    entries = {**record.entries, name: record.entries[name]._replace(value=value)}
    _plant(world, machine, record, entries)


def _age(world: World, machine: Machine, record: Record) -> None:
    """A write is older than everywhere else, and not what was written then."""
    name = max(record.entries)
    dot = record.entries[name].dot
    older = dot._replace(stamp=dot.stamp - 1)
    entries = {**record.entries, name: Entry(older, "old")}
    context = {older if one == dot else one: seen for one, seen in record.context.items()}
    kept = {one.dot for one in entries.values()}
    context |= {one: seen for one, seen in record.context.items() if one in kept}
    _plant(world, machine, replace(record, context=context), entries)


def _lose(world: World, machine: Machine, record: Record) -> None:
    """Nobody here ever heard of the record."""
    _give_up(world, record)
    with machine.store.peek() as transaction:
        ledger = transaction.ledger()
        ledger.drop(record.id)
        transaction.save(ledger, world.time)
    assert record.key is not None
    del machine.rows(record.dataset)[record.key]


def _plant(world: World, machine: Machine, record: Record, entries: dict[str, Entry]) -> None:
    _give_up(world, record)
    changed = replace(record, entries=entries)
    fields = merged_fields(changed)
    assert fields is not None
    assert record.key is not None
    with machine.store.peek() as transaction:
        ledger = transaction.ledger()
        ledger.changed[record.id] = replace(changed, shadow=fields)
        transaction.save(ledger, world.time)
    machine.rows(record.dataset)[record.key] = dict(fields)  # type: ignore[arg-type]


def _give_up(world: World, record: Record) -> None:
    """What the record held may be nowhere else."""
    values = numbers(dict(record.shadow or {}))
    world.accounts.lost.update(values)
    world.accounts.undone.update(values)


_DAMAGES: Final[list[Callable[[World, Machine, Record], None]]] = [_alter, _age, _lose]


def mend(world: World, settle: Callable[[], None]) -> None:
    """All ask one another until all hold the same. What is at rest is damaged first: nothing heals
    by chance there.
    """
    if world.setting.mix == "damage":
        chance = random.Random(world.setting.seed)
        for _, machine in sorted(world.machines.items()):
            damage(world, machine, chance)
    for machine, peer in _pairs(world):
        verifying.show(machine.site, peer)  # or what was found out before would be the answer
    for _ in range(ASKED_MAX if world.damaged else 0):
        for machine, peer in _pairs(world):
            verifying.ask(machine.site, peer, repair=True)
        settle()
        shown = [verifying.show(machine.site, peer) for machine, peer in _pairs(world)]
        if all(one is not None and one.finding and one.finding.equal for one in shown):
            return
    if world.damaged:
        raise BrokenPromise("not mended: some sites still differ")


def check_proofs(world: World) -> None:
    """At rest, both ends of a link share the same; and nobody ever said otherwise."""
    without: dict[frozenset[str], frozenset[str]] = {}
    for machine, peer in _pairs(world):
        pair = frozenset({machine.name, peer})
        without[pair] = without.get(pair, frozenset()) | left_out(_link(machine, peer))
    summaries = {
        (machine.name, peer): _summary(machine, peer, without[frozenset({machine.name, peer})])
        for machine, peer in _pairs(world)
    }
    for (name, peer), digest in summaries.items():
        if digest != summaries[peer, name]:
            raise BrokenPromise(f"unequal digests: {digest} at {name}, not so at {peer}")
    for machine, peer in _pairs(world):
        with machine.store.peek() as transaction:
            found = verifying.last_proof(transaction, peer)
        if found is not None and found.equal is False and not world.damaged:
            raise BrokenPromise(f"false alarm: {machine.name} says of {peer}: {found}")


def _pairs(world: World) -> Iterator[tuple[Machine, str]]:
    for _, machine in sorted(world.machines.items()):
        yield from ((machine, peer) for peer in sorted(machine.peers))


def _summary(machine: Machine, peer: str, without: frozenset[str]) -> object:
    link = _link(machine, peer)
    with machine.store.peek() as transaction:
        return summary_of(link, transaction.records.each(), TAG, without).digest


def _link(machine: Machine, peer: str) -> Link:
    with machine.store.peek() as transaction:
        return machine.site.links(transaction)[peer]
