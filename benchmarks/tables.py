"""A table of customers in each engine: filled, edited as users would, read by its driver alone."""

from __future__ import annotations

import gc
import json
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from benchmarks.invention import customer
from mailsync.cli import COLLECT_EVERY
from mailsync.config.loading import parse
from mailsync.core.sealing import PrivateKeys
from mailsync.cycle.site import Site
from mailsync.datasets.files import RACY
from mailsync.store.state import StateStore

NAME: Final = "customers"
INVENTED: Final = 10_000
"""Customers invented; larger tables repeat them with accounts of their own."""
AT_A_TIME: Final = 1_000

CONFIGURATION: Final = """\
[site]
name = "here"
state = "state.db"
[datasets.customers]
source = "{url}"
table = "customers"
"""

COLUMNS: Final = (
    "id integer NOT NULL PRIMARY KEY, name varchar(200), company varchar(200), street"
    " varchar(200), postcode varchar(20), city varchar(100), country varchar(2), phone"
    " varchar(50), email varchar(200), account varchar(50), status varchar(20), credit_limit"
    " integer, balance integer, last_order varchar(10), note varchar(200)"
)
Row = tuple[Any, ...]


@dataclass(frozen=True)
class Base:
    """A database with the table in it. ``mark`` stands for a parameter."""

    engine: str
    url: str
    connect: Callable[[], Any]
    mark: str

    def run(self, *statements: str) -> None:
        """Execute, as one user's transaction."""
        with closing(self.connect()) as connection:
            for statement in statements:
                connection.cursor().execute(statement)
            connection.commit()

    @property
    def files(self) -> list[Path]:
        """Of a database of files, these."""
        if self.engine != "sqlite":
            return []
        path = Path(self.url.removeprefix("sqlite:///"))
        return [one for one in (path, path.with_name(f"{path.name}-wal")) if one.exists()]

    def touch(self) -> None:
        """As if somebody had written to it, who did not."""
        for path in self.files:
            path.touch()

    def settle(self) -> None:
        """Until nobody can have written to it within the moment in which it is looked at."""
        while any(time.time_ns() <= path.stat().st_mtime_ns + RACY for path in self.files):
            time.sleep(0.1)

    def insert(self, rows: Iterator[Row]) -> None:
        """Add rows, as one user's transaction."""
        marks = ", ".join([self.mark] * 15)
        with closing(self.connect()) as connection:
            cursor = connection.cursor()
            while some := list(islice(rows, AT_A_TIME)):
                cursor.executemany(f"INSERT INTO {NAME} VALUES ({marks})", some)
            connection.commit()

    def fill(self, count: int) -> None:
        """Make the table, with so many rows."""
        self.run(f"CREATE TABLE {NAME} ({COLUMNS})")
        self.insert(invented(1, count))
        if self.engine != "sqlite":
            self.run(f"ANALYZE {'TABLE ' if self.engine == 'mariadb' else ''}{NAME}")

    def edit(self, rows: int, share: float, turn: int) -> int:
        """Users' edits of a share of the rows, all over the table; returns how many there are.

        3 in 5 are updates of two columns, the others inserts and deletes in equal parts.
        """
        fifth = max(1, round(rows * share / 5))
        first = rows * 2 + turn * rows  # beyond all that were inserted in earlier turns
        with closing(self.connect()) as connection:
            cursor = connection.cursor()
            cursor.execute(f"SELECT id FROM {NAME} ORDER BY id")
            keys = [key for (key,) in cursor.fetchall()]
            chosen = random.Random(turn).sample(keys, 4 * fifth)
            updated, deleted = sorted(chosen[:-fifth]), sorted(chosen[-fifth:])
            cursor.executemany(
                f"UPDATE {NAME} SET balance = balance + 1, status = {self.mark} WHERE id ="
                f" {self.mark}",
                [(f"turn {turn}", key) for key in updated],
            )
            cursor.executemany(
                f"DELETE FROM {NAME} WHERE id = {self.mark}", [(key,) for key in deleted]
            )
            connection.commit()
        self.insert(invented(first, fifth))
        return 5 * fifth

    def read(self) -> int:
        """Every row by the driver's plain cursor, the fastest it has that holds few at a time."""
        with closing(self.connect()) as connection, closing(self._cursor(connection)) as cursor:
            cursor.execute(f"SELECT * FROM {NAME}")
            rows = 0
            while some := cursor.fetchmany(AT_A_TIME):
                rows += len(some)
        return rows

    def _cursor(self, connection: Any) -> Any:
        match self.engine:
            case "postgresql":
                return connection.cursor(name="floor")
            case "mariadb":
                import MySQLdb.cursors  # noqa: PLC0415 - only where that server runs

                return connection.cursor(MySQLdb.cursors.SSCursor)
            case _:
                return connection.cursor()


def invented(first: int, count: int) -> Iterator[Row]:
    """So many rows, with keys from ``first`` on; the same in every run."""
    chance = random.Random("customers")
    known = [list(customer(chance, "").values()) for _ in range(min(count, INVENTED))]
    for number in range(count):
        _, *values = known[number % INVENTED]
        values[8] = f"DE{first + number:020}"
        yield (first + number, *values)


def base_of(engine: str, url: str) -> Base:
    """The database at an URL, which may be in another process's hands."""
    if engine == "sqlite":
        path = url.removeprefix("sqlite:///")
        return Base(engine, url, lambda: sqlite3.connect(path), "?")
    place, _, name = url.rpartition("/")
    host, _, port = place.rpartition("@")[2].partition(":")
    if engine == "postgresql":
        import psycopg  # noqa: PLC0415 - only where that server runs

        words = f"host={host} port={port} user=postgres dbname={name}"
        return Base(engine, url, lambda: psycopg.connect(words), "%s")
    import MySQLdb  # noqa: PLC0415 - only where that server runs

    return Base(
        engine,
        url,
        lambda: MySQLdb.connect(
            host=host, port=int(port), user="root", database=name, charset="utf8mb4", local_infile=1
        ),
        "%s",
    )


@contextmanager
def new_base(engine: str, directory: Path) -> Iterator[Base]:
    """A new database, in a file or of a server of its own."""
    if engine == "sqlite":
        path = directory / "customers.db"
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
        yield base_of(engine, f"sqlite:///{path}")
        return
    from tests.servers import databases  # noqa: PLC0415 - only where servers run

    servers = {"postgresql": databases.running_postgresql, "mariadb": databases.running_mariadb}
    with servers[engine]() as server:
        yield base_of(engine, server.new())


@contextmanager
def site_at(directory: Path, url: str) -> Iterator[Site]:
    """A site without peers, the only one to write to its store; made when it is first opened."""
    settings = parse(CONFIGURATION.format(url=url).encode(), directory / "mailsync.toml")
    path, is_new = settings.site.state, not settings.site.state.exists()
    store = StateStore.create(path) if is_new else StateStore.open(path)
    with store.lock():
        with store.transaction() as transaction:
            transaction.found_site(1)
        site = Site(settings, PrivateKeys(b"1" * 32, b"2" * 32), {}, store, None)
        yield site
        site.close()
    store.close()


# --- each measurement is a process of its own -------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """What a piece of work took. ``peak`` is MiB above what the process held before."""

    cpu: float
    wall: float
    peak: float
    count: int
    part: float = 0
    """Seconds of it that a part took, if one was watched."""

    def seconds(self, engine: str) -> float:
        """What is compared: of a server's work this process only sees how long it takes."""
        return self.cpu if engine == "sqlite" else self.wall


def measured(work: Callable[[], int]) -> Cost:
    """What it costs, in a process set up as the program's is; it returns how much it did."""
    gc.set_threshold(COLLECT_EVERY)
    Path("/proc/self/clear_refs").write_text("5", "ascii")  # the peak is counted from now on
    before, cpu, wall = _memory("VmRSS"), time.process_time(), time.perf_counter()
    count = work()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return Cost(cpu, wall, (_memory("VmHWM") - before) / 1024, count)


def _memory(name: str) -> int:
    """KiB, by proc(5)."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def tell(cost: Cost) -> None:
    """What a measuring process says to :func:`ask`."""
    print(json.dumps(cost.__dict__))


def ask(module: str, *words: str) -> Cost:
    """Have a new process measure."""
    done = subprocess.run(
        [sys.executable, "-m", module, "--measure", *words],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return Cost(**json.loads(done.stdout))


def bases(engines: Sequence[str]) -> Iterator[tuple[Path, Base]]:
    """A new database of each engine, one after the other."""
    for engine in engines:
        with TemporaryDirectory() as name, new_base(engine, Path(name)) as base:
            yield Path(name), base
