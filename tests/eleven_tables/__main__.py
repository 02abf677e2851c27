"""python -m tests.eleven_tables FIRST END [careless]: play the seeds from FIRST up to END."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import traceback
from pathlib import Path

from tests.cycle.triangle import triangle_of
from tests.eleven_tables.playing import play
from tests.eleven_tables.schema import TABLES, schema
from tests.servers.databases import DatabaseServer, running_mariadb, running_postgresql


def main() -> int:
    first, end = int(sys.argv[1]), int(sys.argv[2])
    with running_postgresql() as postgresql, running_mariadb() as mariadb:
        failed = [seed for seed in range(first, end) if not _plays(postgresql, mariadb, seed)]
    _say(f"{end - first} seeds, failed: {failed or 'none'}")
    return bool(failed)


def _plays(postgresql: DatabaseServer, mariadb: DatabaseServer, seed: int) -> bool:
    with tempfile.TemporaryDirectory() as name:
        try:
            with triangle_of(Path(name), postgresql, mariadb, TABLES, schema, seed) as triangle:
                done = asyncio.run(play(triangle, seed, careless="careless" in sys.argv))
            _say(f"seed {seed}: {dict(done)}")
        except Exception:  # noqa: BLE001  the next seed may fail otherwise
            _say(f"seed {seed}:")
            _say(traceback.format_exc())
            return False
    return True


def _say(words: str) -> None:
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
