"""What it costs to prove two replicas equal, and to find and mend what differs, by mail.

Two sites with real stores over a simulated network, in sealed mails. Counted are mails each way,
and bytes of containers: what a mail holds besides its header, before it is written as text.
*Beyond the records* is that without what the damaged records took themselves.
Run: ``python -m benchmarks.verify [--rows N] [--differing N ...] [--json]``.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from unittest import mock

from benchmarks.invention import customer
from mailsync.carriers.base import Letter, SendResult, Sent
from mailsync.core import wire
from mailsync.core.model import Bundle, Key, Record
from mailsync.core.preface import Preface
from mailsync.cycle import verifying
from tests.cycle.sites import HOUR, Sites, pair

SITES = ("alice", "bob")
TURNS = 4
"""Two mails each way."""


@dataclass
class Meter:
    """The mails of each site: bytes of their containers."""

    sizes: dict[str, list[int]] = field(default_factory=lambda: {name: [] for name in SITES})
    records: int = 0
    """Bytes that records took in them."""
    current: str = ""
    _latest: int = 0

    def judge(self, letter: Letter) -> SendResult:
        """Every mail is taken."""
        self.sizes[self.current].append(len(letter.container))
        self.records += self._latest
        return Sent(len(letter.container))

    def encode(self, bundle: Bundle, preface: Preface, prior: bytes) -> wire.Written:
        """As ``wire.encode``; noted is what the records take."""
        written = _encode(bundle, preface, prior)
        empty = _encode(replace(bundle, extractions=(), deletes=()), preface, prior)
        self._latest = len(written.content) - len(empty.content)
        return written


_encode = wire.encode


def alike(directory: Path, count: int) -> Sites:
    """Two sites that hold the same and have confirmed it."""
    sites = pair(directory)
    chance = random.Random(1)
    for number in range(count):
        sites.rows("alice")[Key(f"k{number}")] = customer(chance, str(number))
    for _ in range(4):
        sites.round()
        sites.clock.now += 2 * HOUR
    return sites


def damage(sites: Sites, count: int) -> None:
    """Of so many records one value differs at Bob's, in his record map and his dataset."""
    with sites.sites["bob"].store.transaction() as transaction:
        ledger = transaction.ledger()
        for number, record in zip(range(count), transaction.records.each(), strict=False):
            ledger.changed[record.id] = altered(record, f"damaged {number}")
        for record in ledger.changed.values():
            assert record.key is not None
            sites.rows("bob")[record.key] = dict(record.shadow or {})
        transaction.save(ledger, sites.clock.now)


def altered(record: Record, city: str) -> Record:
    """The record with another city, said to be of the same write."""
    entries = {**record.entries, "city": record.entries["city"]._replace(value=city)}
    return replace(record, entries=entries, shadow={**(record.shadow or {}), "city": city})


def measure(sites: Sites, differing: int) -> dict[str, object]:
    """Ask, and let both sites do what they have to."""
    damage(sites, differing)
    meter = Meter()
    sites.network.judge = meter.judge
    verifying.ask(sites.sites["alice"], "bob", repair=True)
    started = time.process_time()
    with mock.patch.object(wire, "encode", meter.encode):
        for turn in range(TURNS):
            meter.current = SITES[turn % 2]
            sites.sync(meter.current)
            sites.network.deliver_all()
    sites.sync("alice")
    seconds = time.process_time() - started
    inquiry = verifying.show(sites.sites["alice"], "bob")
    found = None if inquiry is None else inquiry.finding
    total = sum(sum(sizes) for sizes in meter.sizes.values())
    return {
        "differing": differing,
        "found": None if found is None else found.differing,
        "equal": sites.contents("alice") == sites.contents("bob"),
        "mails": {name: len(sizes) for name, sizes in meter.sizes.items()},
        "bytes": meter.sizes,
        "beyond_records": total - meter.records,
        "seconds": round(seconds, 1),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line a case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--differing", type=int, nargs="*", default=[0, 10])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as directory:
        sites = alike(Path(directory), options.rows)
        for differing in options.differing:
            found = {"rows": options.rows, **measure(sites, differing)}
            words = (
                "{rows} rows, {differing} differ: found {found}, then equal: {equal};"
                " bytes of each mail {bytes}, beyond the records {beyond_records}; {seconds} s"
            ).format(**found)
            print(json.dumps(found) if options.json else words, flush=True)


if __name__ == "__main__":
    main()
