"""How many mails and bytes of mail some changes cost, acknowledgements and repeats included.

Two sites with real stores over a simulated network on a virtual clock: one cycle of each site an
hour. Run: ``python -m benchmarks.delivery [--json]``.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.options import options_of, show
from mailsync.carriers.base import Letter, SendResult, Sent
from mailsync.carriers.message import compose_message
from mailsync.core.model import Key
from tests.cycle.sites import HOUR, Sites, pair

ROWS = 2_000
WEEK = 7 * 24


@dataclass
class Meter:
    """Counts whole mails, and loses some of them."""

    loss: float
    chance: random.Random
    mails: int = 0
    size: int = 0

    def judge(self, letter: Letter) -> SendResult:
        """Every mail is taken; its bytes are those of the real mail."""
        mail = compose_message(
            letter,
            sender="office@mail.example",
            date=datetime(2026, 11, 22, tzinfo=UTC),
            boundary="=" * 32,
            site="office",
        )
        self.mails += 1
        self.size += len(mail)
        return Sent(len(mail))


def row(number: int, version: int) -> dict[str, str | int]:
    """A record of eight fields."""
    chance = random.Random(number * 1000 + version)
    return {f"field{i}": f"{chance.getrandbits(40):x}" for i in range(7)} | {"version": version}


def change(sites: Sites, name: str, count: int, version: int) -> None:
    """One field of so many rows is edited."""
    rows = sites.rows(name)
    for key in sorted(rows)[:count]:
        rows[key] = {**rows[key], "version": random.Random(f"{key} {version}").getrandbits(40)}


def hours(sites: Sites, meter: Meter, count: int) -> None:
    """So many hours, one cycle of each site in each."""
    for _ in range(count):
        for name in ("alice", "bob"):
            sites.sync(name)
            network = sites.network
            network.in_transit[:] = [
                letter for letter in network.in_transit if meter.chance.random() >= meter.loss
            ]
            network.deliver_all()
        sites.clock.now += HOUR


def nothing(sites: Sites, meter: Meter) -> None:
    """A week without a change."""
    hours(sites, meter, WEEK)


def one_change(sites: Sites, meter: Meter) -> None:
    """One edit, and a week of silence."""
    change(sites, "alice", 1, 2)
    hours(sites, meter, WEEK)


def many_changes(sites: Sites, meter: Meter) -> None:
    """1,000 edits at once, and a week of silence."""
    change(sites, "alice", 1000, 2)
    hours(sites, meter, WEEK)


def lossy(sites: Sites, meter: Meter) -> None:
    """10 and 20 edits a day at the two sites for two weeks while 30 % of the mails are lost."""
    meter.loss = 0.3
    for day in range(14):
        change(sites, "alice", 10, 2 * day)
        change(sites, "bob", 20, 2 * day + 1)
        hours(sites, meter, 24)
    hours(sites, meter, 2 * WEEK)


def silence(sites: Sites, meter: Meter) -> None:
    """10 edits a day while the peer is silent for 8 weeks, then it returns."""
    for day in range(56):
        change(sites, "alice", 10, day + 2)
        for _ in range(24):
            sites.sync("alice")
            sites.network.in_transit.clear()
            sites.clock.now += HOUR
    hours(sites, meter, WEEK)


SCENARIOS: dict[str, Callable[[Sites, Meter], None]] = {
    "nothing": nothing,
    "one change": one_change,
    "1,000 changes": many_changes,
    "30 % loss": lossy,
    "8 weeks of silence": silence,
}


def measure(name: str) -> dict[str, int | str | bool]:
    """Play one scenario on two sites that had been equal."""
    with tempfile.TemporaryDirectory() as directory:
        sites = pair(Path(directory), "retention = '90d'")
        for number in range(ROWS):
            sites.rows("alice")[Key(str(number))] = row(number, 1)
        meter = Meter(0, random.Random(1))
        hours(sites, meter, 6)
        meter = Meter(0, random.Random(2))
        sites.network.judge = meter.judge
        SCENARIOS[name](sites, meter)
        equal = sites.contents("alice") == sites.contents("bob")
    return {"scenario": name, "mails": meter.mails, "bytes": meter.size, "equal": equal}


def main() -> None:
    """Print a line a scenario."""
    parser = options_of(__doc__)
    parser.add_argument("scenarios", nargs="*", default=list(SCENARIOS))
    options = parser.parse_args()
    for name in options.scenarios:
        found = measure(name)
        words = (
            f"{name:20} {found['mails']:5} mails {found['bytes']:9} bytes  equal: {found['equal']}"
        )
        show(found, words, as_json=options.json)


if __name__ == "__main__":
    main()
