"""What a first load takes: a table of one site comes to another that has nothing, by files.

Each step is a process of its own: rows are entered into the record map, bundles are composed
into the outbox, and at the other site taken from files, merged and written to its table. Printed
are the time of each, and the most memory it took above the program itself, which must not grow
with the table.

Run: ``python -m benchmarks.load [--rows N]... [--json]``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from benchmarks.options import add_measuring, options_of, show
from benchmarks.tables import COLUMNS, NAME, Cost, ask, measured, new_base, tell
from mailsync.config.loading import parse
from mailsync.core.sealing import PrivateKeys
from mailsync.cycle.composing import ALWAYS, compose_for
from mailsync.cycle.detecting import detect_dataset
from mailsync.cycle.report import Report
from mailsync.cycle.run import import_files
from mailsync.cycle.site import Peer, Site
from mailsync.store.state import StateStore

CONFIGURATION: Final = """\
[site]
name = "{name}"
state = "state.db"
[peers.{peer}]
card = "{peer}.card"
max_message = "1 MB"
[datasets.customers]
source = "sqlite:///customers.db"
table = "customers"
keys = "shared"
"""

PEERS: Final = {"ship": "office", "office": "ship"}
STEPS: Final = ("enter", "compose", "take")


class Line(NamedTuple):
    """One step of a first load. ``peak`` is MiB."""

    rows: int
    step: str
    seconds: float
    peak: float


@contextmanager
def site_at(folder: Path, name: str) -> Iterator[Site]:
    """Ship or office, the only one to write to its store; made when it is first opened."""
    directory, peer = folder / name, PEERS[name]
    settings = parse(
        CONFIGURATION.format(name=name, peer=peer).encode(), directory / "mailsync.toml"
    )
    path, is_new = settings.site.state, not settings.site.state.exists()
    store = StateStore.create(path) if is_new else StateStore.open(path)
    peers = {peer: Peer(peer, f"{peer}@x.example", _keys(peer).public, settings.peers[peer])}
    with store.lock():
        with store.transaction() as transaction:
            transaction.found_site(_keys(name).public.site_number)
        site = Site(settings, _keys(name), peers, store, None)
        site.expand()
        yield site
        site.close()
    store.close()


def _keys(name: str) -> PrivateKeys:
    return PrivateKeys((name * 32).encode()[:32], (name[::-1] * 32).encode()[:32])


def perform(folder: Path, step: str) -> Cost:
    """One step, in this process. It counts records."""
    files = folder / "files"
    with site_at(folder, "office" if step == "take" else "ship") as site:
        report = Report()

        def enter() -> int:
            detect_dataset(site, NAME, report)
            return report.detected[NAME]

        def compose() -> int:
            peer = site.peers["office"]
            bundles = compose_for(site, peer, report, everything=False, due_by=ALWAYS)
            return sum(composed.upserts.total() for composed in bundles)

        def take() -> int:
            import_files(site, sorted(files.iterdir()), report)
            return report.peer("ship").received.upserts

        cost = measured({"enter": enter, "compose": compose, "take": take}[step])
        if report.problems or any(report.held.values()):
            raise SystemExit(f"{report.problems} {report.held}")
        if step == "compose":
            with site.store.transaction() as transaction:
                for item in transaction.outbox.items():
                    content = transaction.outbox.container(item.number)
                    (files / f"{item.number:06}.bundle").write_bytes(content)
    return cost


def measure(rows: int) -> Iterator[Line]:
    """A whole first load of so many rows."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        for part in (*PEERS, "files"):
            (folder / part).mkdir()
        with new_base("sqlite", folder / "ship") as base:
            base.fill(rows)
        with new_base("sqlite", folder / "office") as base:
            base.run(f"CREATE TABLE {NAME} ({COLUMNS})")
        for step in STEPS:
            cost = ask("benchmarks.load", str(folder), step)
            if cost.count != rows:
                raise SystemExit(f"{step}: {cost.count} records, not {rows}")
            yield Line(rows, step, round(cost.cpu, 2), round(cost.peak, 1))


def main(words: Sequence[str] | None = None) -> None:
    """Print a line for each step."""
    parser = options_of(__doc__)
    parser.add_argument("--rows", type=int, action="append")
    add_measuring(parser, 2)
    options = parser.parse_args(words)
    if options.measure:
        folder, step = options.measure
        tell(perform(Path(folder), step))
        return
    for rows in options.rows or [10_000, 100_000]:
        for line in measure(rows):
            text = f"{rows:8} rows, {line.step:7}: {line.seconds:8.2f} s, peak {line.peak:6.1f} MiB"
            show(line._asdict(), text, as_json=options.json)


if __name__ == "__main__":
    main()
