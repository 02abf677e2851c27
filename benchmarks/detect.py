"""How long it takes to find what users changed in a table, beside reading it by its driver alone.

Ours is the whole way of the product: the table is looked at and read, compared with the record
map of a real state store, and what changed is entered there. The floor is ``SELECT *`` by the
driver's fastest cursor, a thousand rows at a time. Both run in new processes, in turns; a ratio
is the median of the rounds'. On SQLite it is one of processor time, else of time.

Run: ``python -m benchmarks.detect [--rows N] [--rounds N] [--engine NAME]... [--json]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from benchmarks.options import add_measuring, options_of, show
from benchmarks.tables import NAME, Base, Cost, ask, base_of, bases, measured, site_at, tell
from mailsync.cycle.detecting import detect_dataset
from mailsync.cycle.report import Report

ENGINES: Final = ("sqlite", "postgresql", "mariadb")
UNTOUCHED: Final = "none"
"""The files of the database are those of the last look: there is none at its rows."""
SHARES: Final = (0.0, 0.01, 0.1)


class Line(NamedTuple):
    """One line of the table. Times are the medians' of the rounds, ``peak`` is MiB."""

    engine: str
    rows: int
    what: str
    changes: int
    floor: float
    ours: float
    ratio: float
    peak: float


def detect(directory: Path, url: str) -> Cost:
    """One detection, in this process. It counts changes."""
    with site_at(directory, url) as site:
        report = Report()

        def work() -> int:
            detect_dataset(site, NAME, report)
            return report.detected.get(NAME, 0)

        return measured(work)


def measure(directory: Path, base: Base, rows: int, rounds: int) -> list[Line]:
    """All lines of one engine."""
    base.fill(rows)
    words = (str(directory), base.engine, base.url)
    turn = 0

    def line(what: str, share: float, times: int) -> Line:
        nonlocal turn
        floors, ours = [], []
        for _ in range(times):
            expected = rows if what == "first" else 0
            if share:
                expected = base.edit(rows, share, turn)
                turn += 1
            elif what == UNTOUCHED:
                base.settle()
                ask("benchmarks.detect", "ours", *words)  # nobody has written since long ago
            elif what != "first":
                base.touch()
            floors.append(ask("benchmarks.detect", "floor", *words))
            ours.append(ask("benchmarks.detect", "ours", *words))
            if ours[-1].count != expected:
                raise SystemExit(f"{ours[-1].count} changes were found, not {expected}")
        pairs = [
            (low.seconds(base.engine), high.seconds(base.engine))
            for low, high in zip(floors, ours, strict=True)
        ]
        return Line(
            base.engine,
            rows,
            what,
            expected,
            round(median(low for low, _ in pairs), 3),
            round(median(high for _, high in pairs), 3),
            round(median(high / low for low, high in pairs), 2),
            round(max(cost.peak for cost in ours), 1),
        )

    lines = [line("first", 0, 1)]
    if base.files:
        lines.append(line(UNTOUCHED, 0, rounds))
    lines += [line(f"{share:.0%}", share, rounds) for share in SHARES]
    return lines


def main(words: Sequence[str] | None = None) -> None:
    """Print a line for each engine and share of changed rows."""
    parser = options_of(__doc__, rows=10_000, rounds=5)
    parser.add_argument("--engine", action="append", choices=ENGINES)
    add_measuring(parser, 4)
    options = parser.parse_args(words)
    if options.measure:
        what, directory, engine, url = options.measure
        if what == "floor":
            tell(measured(base_of(engine, url).read))
        else:
            tell(detect(Path(directory), url))
        return
    for directory, base in bases(options.engine or ENGINES):
        for found in measure(directory, base, options.rows, options.rounds):
            words_of_it = (
                f"{found.engine:10} {found.rows:8} rows, changed {found.what:>5}: "
                f"{found.ours:8.3f} s, {found.ratio:6.2f} x floor of {found.floor:7.3f} s, "
                f"peak {found.peak:6.1f} MiB"
            )
            show(found._asdict(), words_of_it, as_json=options.json)


if __name__ == "__main__":
    main()
