"""How long it takes to write what arrived to a table, beside the fastest way its engine has.

Ours is the whole way of the product: records merged in a real state store are begun there,
compared with their rows, written, looked at again and settled there. The floor is what the
engine does fastest with the same writes in one transaction, without looking: on SQLite
``executemany`` in the order of the keys, on PostgreSQL and MariaDB a load into a temporary table
and statements for all of it at once. A tenth of the rows is written: 3 in 5 updates of two
columns, the others inserts and deletes in equal parts. Both run in new processes, in turns.

Run: ``python -m benchmarks.apply [--rows N] [--rounds N] [--engine NAME]... [--json]``.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

from benchmarks.options import add_measuring, options_of, show
from benchmarks.tables import (
    COLUMNS,
    NAME,
    Base,
    Cost,
    Row,
    ask,
    base_of,
    bases,
    invented,
    measured,
    site_at,
    tell,
)
from mailsync.core.identifiers import minted
from mailsync.core.model import Entry, Guid, Key, Record, Sighting, merged_fields
from mailsync.cycle.detecting import detect_dataset
from mailsync.cycle.materialising import materialise_datasets
from mailsync.cycle.report import Report
from mailsync.cycle.site import Site
from mailsync.datasets.sql.database import SqlDatabase

ENGINES: Final = ("sqlite", "postgresql", "mariadb")
SHARE: Final = 0.1
TWIN: Final = "twin"
"""The same table again, for the floor."""
AT_A_TIME: Final = 2_000

NAMES: Final = [column.split()[0] for column in COLUMNS.split(", ")[1:]]


class Line(NamedTuple):
    """One line of the table. Times are the medians' of the rounds, ``peak`` is MiB."""

    engine: str
    rows: int
    writes: int
    floor: float
    ours: float
    ratio: float
    table_alone: float
    peak: float


# --- the floor ---------------------------------------------------------------------------------


class Load(NamedTuple):
    """The writes of one turn."""

    updated: list[Row]
    inserted: list[Row]
    deleted: list[int]


def load_of(base: Base, name: str, rows: int, turn: int) -> Load:
    """The same in every process: whole rows to be there afterwards, and keys to be gone."""
    fifth = max(1, round(rows * SHARE / 5))
    with closing(base.connect()) as connection:
        cursor = connection.cursor()
        cursor.execute(f"SELECT * FROM {name} ORDER BY id")
        chosen = set(random.Random(turn).sample(range(rows), 4 * fifth))
        found = [row for place, row in enumerate(cursor.fetchall()) if place in chosen]
    random.Random(turn).shuffle(found)
    deleted = sorted(row[0] for row in found[:fifth])
    updated = [
        (*row[:10], f"turn {turn}", row[11], row[12] + 1, *row[13:]) for row in found[fifth:]
    ]
    inserted = list(invented(rows * (turn + 2), fifth))
    return Load(sorted(updated), inserted, deleted)


def floor(base: Base, load: Load) -> int:
    """Write it as the engine does fastest."""
    written = sorted([*load.updated, *load.inserted])
    with closing(base.connect()) as connection:
        cursor = connection.cursor()
        FLOORS[base.engine](cursor, written, [(key,) for key in load.deleted])
        connection.commit()
    return len(written) + len(load.deleted)


def _on_sqlite(cursor: Any, written: list[Row], deleted: list[Row]) -> None:
    cursor.execute("PRAGMA synchronous = FULL")
    marks = ", ".join("?" * 15)
    there = ", ".join(f"{name} = excluded.{name}" for name in NAMES)
    cursor.executemany(
        f"INSERT INTO {TWIN} VALUES ({marks}) ON CONFLICT (id) DO UPDATE SET {there}", written
    )
    cursor.executemany(f"DELETE FROM {TWIN} WHERE id = ?", deleted)


def _on_postgresql(cursor: Any, written: list[Row], deleted: list[Row]) -> None:
    cursor.execute(f"CREATE TEMP TABLE came (LIKE {TWIN}) ON COMMIT DROP")
    cursor.execute("CREATE TEMP TABLE gone (id integer) ON COMMIT DROP")
    for name, rows in (("came", written), ("gone", deleted)):
        with cursor.copy(f"COPY {name} FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
    there = ", ".join(f"{name} = excluded.{name}" for name in NAMES)
    cursor.execute(f"INSERT INTO {TWIN} SELECT * FROM came ON CONFLICT (id) DO UPDATE SET {there}")
    cursor.execute(f"DELETE FROM {TWIN} WHERE id IN (SELECT id FROM gone)")


def _on_mariadb(cursor: Any, written: list[Row], deleted: list[Row]) -> None:
    cursor.execute(f"CREATE TEMPORARY TABLE came LIKE {TWIN}")
    cursor.execute("CREATE TEMPORARY TABLE gone (id integer PRIMARY KEY)")
    marks = ", ".join(["%s"] * 15)
    cursor.executemany(f"INSERT INTO came VALUES ({marks})", written)
    cursor.executemany("INSERT INTO gone VALUES (%s)", deleted)
    there = ", ".join(f"{name} = VALUES({name})" for name in NAMES)
    cursor.execute(f"INSERT INTO {TWIN} SELECT * FROM came ON DUPLICATE KEY UPDATE {there}")
    cursor.execute(f"DELETE {TWIN} FROM {TWIN} JOIN gone USING (id)")


FLOORS: Final[dict[str, Callable[[Any, list[Row], list[Row]], None]]] = {
    "sqlite": _on_sqlite,
    "postgresql": _on_postgresql,
    "mariadb": _on_mariadb,
}


# --- ours ----------------------------------------------------------------------------------------


def merge(site: Site, load: Load) -> None:
    """Have the record map say what came, as if a peer had sent it."""
    wanted: dict[Key, Row | None] = {Key(f"[{row[0]}]"): row[1:] for row in load.updated}
    wanted |= dict.fromkeys((Key(f"[{key}]") for key in load.deleted), None)
    keys = iter(wanted)
    while some := list(islice(keys, AT_A_TIME)):
        with site.store.transaction() as transaction:
            ledger = transaction.ledger()
            stroke = ledger.stroke(site.surroundings.now(), 1)
            for key, record in transaction.records.by_key(NAME, some).items():
                ledger.bump(_changed(record, wanted[key], stroke, ledger.next_position))
            transaction.save(ledger, site.surroundings.now())
    rows = iter(load.inserted)
    while fresh := list(islice(rows, AT_A_TIME)):
        with site.store.transaction() as transaction:
            ledger = transaction.ledger()
            stroke = ledger.stroke(site.surroundings.now(), 1)
            for row, guid in zip(fresh, minted(site.surroundings.now(), stroke), strict=False):
                empty = Record(NAME, Guid(guid), {}, {})
                ledger.bump(_changed(empty, row[1:], stroke, ledger.next_position))
            transaction.save(ledger, site.surroundings.now())


def _changed(record: Record, wanted: Row | None, stroke: Any, position: int) -> Record:
    context = {**record.context, stroke: Sighting(position)}
    if wanted is None:
        entries = {name: one._replace(killed=True) for name, one in record.entries.items()}
        return replace(record, entries=entries)
    present = merged_fields(record) or {}
    new = {
        name: Entry(stroke, value)
        for name, value in zip(NAMES, wanted, strict=True)
        if name not in present or present[name] != value
    }
    return replace(record, entries={**record.entries, **new}, context=context)


def ours(directory: Path, base: Base, load: Load) -> Cost:
    """Write it as the product does, in this process."""
    with site_at(directory, base.url) as site:
        report = Report()
        detect_dataset(site, NAME, report)
        merge(site, load)
        database = site.dataset(NAME).database
        assert isinstance(database, SqlDatabase)
        spent = 0.0

        def work() -> int:
            materialise_datasets(site, [NAME], report)
            return len(load.updated) + len(load.inserted) + len(load.deleted)

        def watched(batches: Any, apply: Any = database.apply) -> Any:
            nonlocal spent
            clock = time.process_time if base.engine == "sqlite" else time.perf_counter
            before = clock()
            outcomes = apply(batches)
            spent += clock() - before
            return outcomes

        database.apply = watched  # type: ignore[method-assign]
        cost = measured(work)
        with site.store.transaction() as transaction:
            if report.problems or transaction.records.unwritten(NAME, 0, 1):
                raise SystemExit(f"not all was written: {report.held} {report.problems}")
        return replace(cost, part=spent)


def measure(directory: Path, base: Base, rows: int, rounds: int) -> Line:
    """One engine's line."""
    base.fill(rows)
    base.run(f"CREATE TABLE {TWIN} ({COLUMNS})", f"INSERT INTO {TWIN} SELECT * FROM {NAME}")
    words = (str(directory), base.engine, base.url, str(rows))
    pairs = []
    for turn in range(rounds):
        low = ask("benchmarks.apply", "floor", *words, str(turn))
        high = ask("benchmarks.apply", "ours", *words, str(turn))
        if low.count != high.count:
            raise SystemExit(f"{high.count} writes beside {low.count}")
        pairs.append((low, high))
    if _content(base, NAME) != _content(base, TWIN):
        raise SystemExit("the table is not what the floor made of it")
    seconds = [(low.seconds(base.engine), high.seconds(base.engine)) for low, high in pairs]
    return Line(
        base.engine,
        rows,
        pairs[0][0].count,
        round(median(low for low, _ in seconds), 3),
        round(median(high for _, high in seconds), 3),
        round(median(high / low for low, high in seconds), 2),
        round(median(high.part / low.seconds(base.engine) for low, high in pairs), 2),
        round(max(high.peak for _, high in pairs), 1),
    )


def _content(base: Base, name: str) -> list[Row]:
    """What a table holds, in short; keys are each site's own."""
    with closing(base.connect()) as connection:
        cursor = connection.cursor()
        cursor.execute(
            f"SELECT status, count(*), sum(balance) FROM {name} GROUP BY status ORDER BY status"
        )
        return list(cursor.fetchall())


def main(words: Sequence[str] | None = None) -> None:
    """Print a line for each engine."""
    parser = options_of(__doc__, rows=10_000, rounds=5)
    parser.add_argument("--engine", action="append", choices=ENGINES)
    add_measuring(parser, 6)
    options = parser.parse_args(words)
    if options.measure:
        what, directory, engine, url, rows, turn = options.measure
        base = base_of(engine, url)
        if what == "floor":
            load = load_of(base, TWIN, int(rows), int(turn))
            tell(measured(lambda: floor(base, load)))
        else:
            tell(ours(Path(directory), base, load_of(base, NAME, int(rows), int(turn))))
        return
    for where, there in bases(options.engine or ENGINES):
        line = measure(where, there, options.rows, options.rounds)
        text = (
            f"{line.engine:10} {line.rows:8} rows, {line.writes:7} writes: {line.ours:8.3f} s, "
            f"{line.ratio:6.2f} x floor of {line.floor:7.3f} s, the table alone "
            f"{line.table_alone:5.2f}, peak {line.peak:6.1f} MiB"
        )
        show(line._asdict(), text, as_json=options.json)


if __name__ == "__main__":
    main()
