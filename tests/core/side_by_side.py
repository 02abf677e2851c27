"""python -m tests.core.side_by_side: one schedule, played by the product's core and by the
reference; whenever it has come to rest, both hold the same records and the same journal.

The same users do the same things in both, but only where both show them the same row: what a
mail brings may come one mail later in the product, which sends fields, than in the reference,
which sends states. Each delivers, loses, doubles and delays its own mail of the same step. Both
draw the same numbers and read the same clock, so that the same write has the same dot.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final

from mailsync.core.decisions import note_of
from mailsync.core.identifiers import minted
from mailsync.core.model import CONFLICTS, Absent, Dot, Key
from tests.core.histories import FEATURES, TOPOLOGIES, Action, history, tagged
from tests.core.reference.world import Letter, NeverQuiet, ReferenceWorld, Shown
from tests.core.world import BrokenPromise

STEP: Final = 1000
"""Milliseconds between two steps."""

CALM: Final = 10**7
"""Milliseconds of rest: longer than any clock is wrong."""

REINSERTED: Final = 0.02
"""How often a key that was used before gets a new row, if there is one."""


MIXES: Final = [features for features in FEATURES if "refilter" not in features]
"""Those that both can play: the reference's filters never change."""


class Difference(AssertionError):
    """The product and the reference came to different ends."""


class SideBySide:
    """One schedule on both."""

    def __init__(self, seed: int, features: frozenset[str]) -> None:
        self.told = history(seed, features)
        self.product = self.told.world
        names, edges = TOPOLOGIES[self.told.topology]
        scope = dict.fromkeys(self.product.scope, lambda row: tagged("", row))
        self.reference = ReferenceWorld(names, edges, scope)
        self.reference.purging = self.product.purging
        self.letters: list[Letter] = []
        self.inserted: set[tuple[str, Key]] = set()
        self.counts: Counter[str] = Counter()

    def play(self) -> None:
        """Some stretches of steps, each ending at rest."""
        chance, budget = self.told.chance, Counter(self.told.budget)
        for _ in range(chance.choice([1, 1, 2, 3])):
            for _ in range(chance.choice([10, 30, 80, 150])):
                self.step()
            self.rest()
            self.compare()
            self.told.budget = Counter(budget)

    def step(self) -> None:
        """The same on both."""
        label, do = self._choose()
        kind, *words = label.split()
        self._tick()
        self.counts["steps"] += 1
        if kind in {"insert", "edit", "move", "delete"}:
            self._use(words[0], Key(words[1]), do)
        elif kind == "begin" and words[1] not in self.reference.unwritten(words[0]):
            self.counts["apart"] += 1
        elif kind == "calm":
            self.rest()
            for name in self.product.sites:
                self.product.purge(name)
                self.reference.purge(name)
        else:
            do()
            _PROGRAM[kind](self, *words)

    def _choose(self) -> Action:
        """Of the story's actions, or now and then a row under a key that was used before."""
        rows = self.product.data
        free = sorted(place for place in self.inserted if place[1] not in rows[place[0]])
        if not free or self.told.chance.random() > REINSERTED:
            return self.told.choose()
        name, key = self.told.chance.choice(free)
        label = f"insert {name} {key}"
        self.product.trace.append(label)
        return label, partial(self.product.insert, name, key, self.told.fields)

    def _tick(self) -> None:
        """The next moment, and the numbers drawn at it."""
        self.product.now = (self.product.now // STEP + 1) * STEP
        self.product.random = random.Random(self.product.now)

    def _use(self, name: str, key: Key, do: Callable[[], object]) -> None:
        """What a user does, if the row is the same to see in both."""
        ours, theirs = self.product.data[name], self.reference.data[name]
        if ours.get(key) != theirs.get(key):
            self.counts["apart"] += 1
            return
        do()
        self.counts["edits"] += 1
        if key in ours:
            theirs[key] = dict(ours[key])
        else:
            del theirs[key]
        if key.startswith("u"):
            self.inserted.add((name, key))

    # --- the program

    def _scan(self, name: str) -> None:
        """At the same time as the product, with the same numbers."""
        now = self.product.now // STEP * STEP + 1
        number = random.Random(now - 1).getrandbits(32)
        names = minted(now, Dot(0, self.product.sites[name].state.number, number))
        skew = self.product.sites[name].skew
        self.reference.scan(name, now + skew, number, (guid.hex() for guid in names))

    def _step(self, name: str) -> None:
        if self.reference.busy[name]:
            self.reference.write_step(name)

    def _posted(self, letter: Letter) -> None:
        """Its twin is the product's letter of the same number; the same letter again is none."""
        if len(self.product.letters) > len(self.letters):
            self.letters.append(letter)

    def _post(self, link: str) -> None:
        letter = self.reference.send(*link)
        self._posted(letter)
        self.reference.deliver(letter)

    def _deliver(self, link: str) -> None:
        self.reference.deliver(self.letters[int(link.partition("#")[2])])

    # --- the end

    def rest(self) -> None:
        """Both, each by its own mails, until nobody has anything to say."""
        for name in self.product.sites:
            self.product.crash(name)
            self.reference.crash(name)
            self._tick()
            self.product.scan(name)
            self._scan(name)
        self.product.settle()
        self.reference.settle(self._scan)
        del self.product.letters[len(self.letters) :]  # they have no twins
        self.product.now += CALM

    def compare(self) -> None:
        """The same records and the same journal, at every site."""
        for name in self.product.sites:
            records = self._records(name)
            _same(f"records at {name}", records, self.reference.shown(name))
            living = {shown[0] for shown in records}
            ours = self._owed(self._journal(name), living)
            _same(f"journal at {name}", ours, self._owed(self.reference.journal(name), living))

    def _owed(self, journal: set[Shown], living: set[str]) -> set[Shown]:
        """The notes that must be there. A delete is noted by its record alone: it may have met one
        unseen write in the one, and that write's successor in the other.

        Where a site was restored or given up, what its authors had seen may be forgotten; then
        both note some conflicts that are none, and not the same. What no user had knowingly
        overwritten or deleted must be noted all the same, and every delete of what lives again.
        """
        self.counts["notes"] += len(journal)
        owed = {note if note[1] is not None else (note[0], None, (), None) for note in journal}
        if self.product.rough:
            known = self.product.overwritten | self.product.gone
            overruled = living & {guid.hex() for guid, _ in self.product.deleted}
            owed = {
                note
                for note in owed
                if (note[0] in overruled if note[1] is None else note[3] not in known)
            }
        self.counts["owed"] += len(owed)
        return owed

    def _records(self, name: str) -> set[Shown]:
        """What the dataset shows, field by field, with the write that made it so."""
        rows = self.product.rows(name)
        return {
            (record.guid.hex(), field, tuple(entry.dot), rows[record.guid].get(field))
            for record in self.product.sites[name].records.values()
            if record.guid in rows and record.dataset != CONFLICTS
            for field, entry in record.entries.items()
        }

    def _journal(self, name: str) -> set[Shown]:
        notes = (note_of(record) for record in self.product.sites[name].records.values())
        return {
            (
                note.record.guid.hex(),
                note.field,
                tuple(note.dot),
                None if isinstance(note.value, Absent) else note.value,
            )
            for note in notes
            if note is not None
        }


def _same(what: str, ours: set[Shown], theirs: set[Shown]) -> None:
    if ours != theirs:
        raise Difference(
            f"{what}: product {sorted(map(str, ours - theirs))}, "
            f"reference {sorted(map(str, theirs - ours))}"
        )


_PROGRAM: Final[dict[str, Callable[..., None]]] = {
    "scan": SideBySide._scan,
    "write": lambda self, name: self.reference.write_all(name),
    "begin": lambda self, name, record: self.reference.write_step(name, record),
    "step": SideBySide._step,
    "crash": lambda self, name: self.reference.crash(name),
    "collect": lambda self, name: self.reference.collect(name),
    "purge": lambda self, name: self.reference.purge(name),
    "send": lambda self, link: self._posted(self.reference.send(*link)),
    "increment": lambda self, link: self._posted(self.reference.send_news(*link)),
    "chunk": lambda self, link: self._posted(self.reference.send_news(*link, limit=1)),
    "post": SideBySide._post,
    "deliver": SideBySide._deliver,
    "toggle": lambda self, link: None,
    "expire": lambda self, link: self.reference.expire(*link),
    "backup": lambda self, name: self.reference.backup(name),
    "restore": lambda self, name: self.reference.restore(name),
}
"""What the reference does at each kind of step."""


def compare(seed: int, features: frozenset[str]) -> tuple[SideBySide, str | None]:
    """Play one schedule. Returns it, and the difference, if any."""
    both = SideBySide(seed, features)
    try:
        both.play()
    except (Difference, BrokenPromise, NeverQuiet) as problem:
        return both, str(problem)
    return both, None


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.core.side_by_side", description=__doc__.partition("\n\n")[0]
    )
    parser.add_argument("--schedules", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mix", type=int, choices=range(len(MIXES)), help="default: in turn")
    parser.add_argument("--trace", action="store_true", help="print the steps to a difference")
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    for seed in range(options.seed, options.seed + options.schedules):
        mix = seed % len(MIXES) if options.mix is None else options.mix
        both, difference = compare(seed, MIXES[mix])
        counts += both.counts
        if difference is not None:
            counts["different"] += 1
            counts[f"different in mix {mix}"] += 1
            sys.stdout.write(f"--seed {seed} --mix {mix} --schedules 1: {difference}\n")
            if options.trace:
                sys.stdout.write("\n".join(both.product.trace) + "\n")
    sys.stdout.write(f"schedules {options.schedules}, {dict(counts)}\n")
    return bool(counts["different"])


if __name__ == "__main__":
    sys.exit(main())
