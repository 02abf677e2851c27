"""The whole database of eleven tables, edited at three sites at once; more seeds: __main__."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cycle.triangle import triangle_of
from tests.eleven_tables.playing import play
from tests.eleven_tables.schema import TABLES, schema
from tests.servers.databases import DatabaseServer


@pytest.mark.parametrize("seed", [0, 1])
async def test_three_engines_end_equal(
    seed: int, tmp_path: Path, postgresql: DatabaseServer, mariadb: DatabaseServer
) -> None:
    with triangle_of(tmp_path, postgresql, mariadb, TABLES, schema, seed) as triangle:
        done = await play(triangle, seed)
    assert len(done) == 6


async def test_careless_edits_are_held_until_people_decide_and_end_equal_too(
    tmp_path: Path, postgresql: DatabaseServer, mariadb: DatabaseServer
) -> None:
    with triangle_of(tmp_path, postgresql, mariadb, TABLES, schema, 3) as triangle:
        done = await play(triangle, 3, careless=True)
    assert done["resolve"] > 5
