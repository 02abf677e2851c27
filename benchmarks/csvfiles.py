"""How long it takes to find what changed in a CSV file, beside reading it by ``csv.reader`` alone.

Ours is the whole way of the product: the file is looked at, what is not known is compared with
the record map of a real state store, and entered there. Both run in new processes, in turns; a
ratio is the median of the rounds' of processor time.

Run: ``python -m benchmarks.csvfiles [--rows N]... [--rounds N] [--json]``.
"""

from __future__ import annotations

import csv
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from benchmarks.options import add_measuring, options_of, show
from benchmarks.tables import COLUMNS, Cost, ask, invented, measured, tell
from mailsync.config.loading import parse
from mailsync.core.sealing import PrivateKeys
from mailsync.cycle.detecting import detect_dataset
from mailsync.cycle.report import Report
from mailsync.cycle.site import Site
from mailsync.datasets.files import RACY
from mailsync.store.state import StateStore

CONFIGURATION: Final = b"""\
[site]
name = "here"
state = "state.db"
[datasets.customers]
source = "csv:customers.csv"
key = ["id"]
"""

Edit = Callable[[Path, int, int], int]
"""Of a file with so many rows, in this turn; how many records it changes."""


class Line(NamedTuple):
    """One line of the table. Times are the medians' of the rounds, ``peak`` is MiB."""

    rows: int
    what: str
    changes: int
    floor: float
    ours: float
    ratio: float
    peak: float


def fill(path: Path, rows: int) -> None:
    """Make the file."""
    header = [column.split()[0] for column in COLUMNS.split(", ")]
    save(path, chain([header], invented(1, rows)))


def save(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Whoever saves it writes all of it, in one style."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)


def read(path: Path) -> int:
    """Every row by the standard library alone."""
    with path.open(encoding="utf-8", newline="") as file:
        return sum(1 for _ in csv.reader(file))


def detect(directory: Path) -> Cost:
    """One detection, in this process. It counts changes."""
    settings = parse(CONFIGURATION, directory / "mailsync.toml")
    path, is_new = settings.site.state, not settings.site.state.exists()
    store = StateStore.create(path) if is_new else StateStore.open(path)
    with store.lock():
        with store.transaction() as transaction:
            transaction.found_site(1)
        site, report = Site(settings, PrivateKeys(b"1" * 32, b"2" * 32), {}, store, None), Report()

        def work() -> int:
            detect_dataset(site, "customers", report)
            return report.detected.get("customers", 0)

        cost = measured(work)
        site.close()
    store.close()
    return cost


def nothing(_path: Path, _rows: int, _turn: int) -> int:
    """Nobody does anything."""
    return 0


def touch(path: Path, _rows: int, _turn: int) -> int:
    """It is saved as it was."""
    path.touch()
    return 0


def edited(share: float) -> Edit:
    """A share of the rows gets another note."""

    def edit(path: Path, rows: int, turn: int) -> int:
        with path.open(encoding="utf-8", newline="") as file:
            header, *lines = csv.reader(file)
        chosen = random.Random(turn).sample(range(rows), max(1, round(rows * share)))
        for place in chosen:
            lines[place][-1] = f"turn {turn}"
        save(path, [header, *lines])
        return len(chosen)

    return edit


WHATS: Final[dict[str, Edit]] = {
    "nothing": nothing, "saved as it was": touch, "1%": edited(0.01), "10%": edited(0.1)
}  # fmt: skip


def measure(rows: int, rounds: int) -> Iterator[Line]:
    """All lines of one size."""
    with TemporaryDirectory() as name:
        path, turn = Path(name) / "customers.csv", 0
        fill(path, rows)
        todo: list[tuple[str, Edit, int]] = [("first", lambda *_: rows, 1)]
        todo += [(what, edit, rounds) for what, edit in WHATS.items()]
        for what, edit, times in todo:
            floors, ours, expected = [], [], 0
            for _ in range(times):
                turn += 1
                expected = edit(path, rows, turn)
                if what == "nothing":
                    settle(path)
                    ask("benchmarks.csvfiles", "ours", name)  # what was written is written long ago
                floors.append(ask("benchmarks.csvfiles", "floor", name))
                ours.append(ask("benchmarks.csvfiles", "ours", name))
                if ours[-1].count != expected:
                    raise SystemExit(f"{ours[-1].count} changes were found, not {expected}")
            yield Line(
                rows,
                what,
                expected,
                round(median(cost.cpu for cost in floors), 3),
                round(median(cost.cpu for cost in ours), 3),
                round(median(b.cpu / a.cpu for a, b in zip(floors, ours, strict=True)), 3),
                round(max(cost.peak for cost in ours), 1),
            )


def settle(path: Path) -> None:
    """Until nobody can have changed the file within the moment in which it is looked at."""
    while time.time_ns() <= path.stat().st_ctime_ns + RACY:
        time.sleep(0.1)


def main(words: Sequence[str] | None = None) -> None:
    """Print a line for each size and kind of change."""
    parser = options_of(__doc__, rounds=3)
    parser.add_argument("--rows", type=int, action="append")
    add_measuring(parser, 2)
    options = parser.parse_args(words)
    if options.measure:
        what, directory = options.measure
        path = Path(directory) / "customers.csv"
        tell(measured(lambda: read(path)) if what == "floor" else detect(Path(directory)))
        return
    for rows in options.rows or [10_000, 100_000]:
        for line in measure(rows, options.rounds):
            text = (
                f"{rows:8} rows, changed {line.what:>15}: {line.ours:8.3f} s, {line.ratio:7.3f}"
                f" x floor of {line.floor:7.3f} s, peak {line.peak:6.1f} MiB"
            )
            show(line._asdict(), text, as_json=options.json)


if __name__ == "__main__":
    main()
