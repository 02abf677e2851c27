"""What it costs to prove two replicas equal, and to find and mend what differs, by mail.

Two sites with real stores over a simulated network, in sealed mails. Counted are the mails each
way, and the bytes of each: its container; what of that proofs take, all they cost in a mail that
goes anyway; and as text, in base85 and base64, all that a thin mail holds besides its header.
*Beyond the records* are containers without what the damaged records took themselves.
Run: ``python -m benchmarks.verify [--rows N] [--differing N ...] [--json]``.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from benchmarks.invention import customer
from benchmarks.options import options_of, show
from mailsync.carriers.base import Letter, SendResult, Sent
from mailsync.carriers.message import compose_message
from mailsync.core import wire
from mailsync.core.model import Bundle, Key, Record
from mailsync.core.preface import Preface
from mailsync.cycle import verifying
from tests.cycle.sites import HOUR, Sites, pair

SITES = ("alice", "bob")
TURNS = 4
"""Two mails each way."""


class Size(NamedTuple):
    """Bytes of a mail without its header."""

    container: int
    proofs: int
    records: int
    base85: int
    base64: int


@dataclass
class Meter:
    """The mails of each site."""

    sizes: dict[str, list[Size]] = field(default_factory=lambda: {name: [] for name in SITES})
    current: str = ""
    _proofs: int = 0
    _records: int = 0

    def judge(self, letter: Letter) -> SendResult:
        """Every mail is taken."""
        thin = replace(letter, profile="thin")
        texts = (text_of(replace(thin, step=step)) for step in (0, 1))
        size = Size(len(letter.container), self._proofs, self._records, *map(len, texts))
        self.sizes[self.current].append(size)
        return Sent(len(letter.container))

    def encode(self, bundle: Bundle, preface: Preface, prior: bytes) -> wire.Written:
        """As ``wire.encode``; noted is what records and proofs take."""
        written = _encode(bundle, preface, prior)
        empty = _encode(replace(bundle, extractions=(), deletes=()), preface, prior)
        mute = _encode(replace(bundle, proofs=()), preface, prior)
        self._records = len(written.content) - len(empty.content)
        self._proofs = len(written.content) - len(mute.content)
        return written


def text_of(letter: Letter) -> bytes:
    """A mail without its header."""
    date = datetime(2026, 11, 29, tzinfo=UTC)
    raw = compose_message(letter, sender="a@example.org", date=date, boundary="=", site="a")
    return raw.partition(b"\r\n\r\n")[2]


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
    sizes = [size for sent in meter.sizes.values() for size in sent]
    return {
        "differing": differing,
        "found": None if found is None else found.differing,
        "equal": sites.contents("alice") == sites.contents("bob"),
        "mails": {name: len(sent) for name, sent in meter.sizes.items()},
        "bytes": {name: [one.container for one in sent] for name, sent in meter.sizes.items()},
        "proofs": {name: [one.proofs for one in sent] for name, sent in meter.sizes.items()},
        "base85": {name: [one.base85 for one in sent] for name, sent in meter.sizes.items()},
        "base64": {name: [one.base64 for one in sent] for name, sent in meter.sizes.items()},
        "beyond_records": sum(size.container - size.records for size in sizes),
        "seconds": round(seconds, 1),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line a case."""
    parser = options_of(__doc__, rows=100_000)
    parser.add_argument("--differing", type=int, nargs="*", default=[0, 10])
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as directory:
        sites = alike(Path(directory), options.rows)
        for differing in options.differing:
            found = {"rows": options.rows, **measure(sites, differing)}
            words = (
                "{rows} rows, {differing} differ: found {found}, then equal: {equal};"
                " bytes of each mail {bytes}, of that for the proof {proofs}, as text {base85} or"
                " {base64}, beyond the records {beyond_records}; {seconds} s"
            ).format(**found)
            show(found, words, as_json=options.json)


if __name__ == "__main__":
    main()
