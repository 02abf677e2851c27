"""What it costs to join two sites that both hold the same table, against copying it.

Two sites with real stores over a simulated network, each with keys of its own, in robust and
sealed mails. Run: ``python -m benchmarks.joining [--rows N] [--differing N ...] [--json]``.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.delivery import Meter, hours
from benchmarks.invention import customer
from benchmarks.options import options_of, show
from mailsync.core.model import Fields, Key
from tests.cycle.sites import Sites

MATCH = 'match = ["customer_no"]'


def customers(count: int) -> list[Fields]:
    """Rows of 15 fields, and a number that tells them apart."""
    chance = random.Random(1)
    return [{"customer_no": number, **customer(chance, str(number))} for number in range(count)]


def measure(rows: Sequence[Fields], differing: int | None) -> dict[str, int | str | bool]:
    """Join two sites of which the second holds the same but for so many rows; None: nothing."""
    with tempfile.TemporaryDirectory() as directory:
        sites = Sites(Path(directory))
        for name, peer in (("alice", "bob"), ("bob", "alice")):
            sites.add(name, {peer: ""}, section=MATCH)
        for number, row in enumerate(rows):
            sites.rows("alice")[Key(f"a{number}")] = row
        if differing is not None:
            theirs = [*enumerate(rows)]
            random.Random(2).shuffle(theirs)
            for place, (number, row) in enumerate(theirs):
                note = {"city": f"place {place}"} if place < differing else {}
                sites.rows("bob")[Key(f"b{number}")] = {**row, **note}
        meter = Meter(0, random.Random(3))
        sites.network.judge = meter.judge
        hours(sites, meter, 8)
        equal = sites.contents("alice") == sites.contents("bob")
        equal = equal and len(sites.rows("alice")) == len(rows)
    what = "copied" if differing is None else f"{differing} differ"
    return {
        "rows": len(rows), "case": what, "mails": meter.mails, "bytes": meter.size, "equal": equal
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line a case."""
    parser = options_of(__doc__, rows=50_000)
    parser.add_argument("--differing", type=int, nargs="*", default=[0, 100, 1000])
    options = parser.parse_args(arguments)
    rows = customers(options.rows)
    for differing in (*options.differing, None):
        found = measure(rows, differing)
        words = "{case:12} {mails:4} mails {bytes:10} bytes  equal: {equal}".format(**found)
        show(found, words, as_json=options.json)


if __name__ == "__main__":
    main()
