"""Columns come, go and change at one site: the common ones go on, and nothing is lost."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from mailsync.carriers.memory import Network
from mailsync.config.loading import parse
from mailsync.cycle.drifting import NEWS_MS
from mailsync.cycle.report import Report
from mailsync.cycle.run import Extent, run_cycle
from mailsync.cycle.site import Peer, Site, Surroundings
from mailsync.datasets.base import Dataset, Outcome, Write
from mailsync.doctor.finding import Grade
from mailsync.doctor.local import columns
from mailsync.store.state import StateStore
from tests.cycle.sites import Clock, MemoryCarrier, keys_of
from tests.servers.databases import DatabaseServer

CLOCK = Clock()
TYPES = {
    "sqlite": ("INTEGER PRIMARY KEY", "TEXT", "TEXT"),
    "postgresql": ("bigserial PRIMARY KEY", "text", "text"),
    "mariadb": ("bigint AUTO_INCREMENT PRIMARY KEY", "varchar(80)", "varchar(80)"),
}
TABLE = "CREATE TABLE defects (id {}, what {}, place {})"


class Fleet:
    """Sites in a row, each with a table ``defects`` in a database of its own: an SQLite file,
    unless ``urls`` and ``users`` say otherwise.
    """

    def __init__(
        self,
        directory: Path,
        names: tuple[str, ...] = ("ann", "bob"),
        urls: Mapping[str, str] = MappingProxyType({}),
        users: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self.directory = directory
        self.network = Network()
        self.texts: dict[str, str] = {}
        self.users = {
            name: users.get(name) or sqlite3.connect(directory / f"{name}.db", isolation_level=None)
            for name in names
        }
        for name in names:
            engine = urls.get(name, "sqlite:").partition(":")[0].partition("+")[0]
            self.run(name, TABLE.format(*TYPES[engine]))
        pairs = list(pairwise(names))
        self.sites = {}
        for name in names:
            peers = [a if b == name else b for a, b in pairs if name in (a, b)]
            self.sites[name] = self._site(name, peers, urls.get(name, f"sqlite:///{name}.db"))

    def _site(self, name: str, peers: list[str], url: str) -> Site:
        text = f'[site]\nname = "{name}"\nstate = "{name}.state"\n[mail]\n'
        text += f'address = "{name}@example.org"\nimap = "imap://localhost"\n'
        text += 'smtp = "smtp://localhost"\n'
        text += "".join(f'[peers.{peer}]\ncard = "{peer}.card"\n' for peer in peers)
        text += f'[datasets.defects]\nsource = "{url}"\ntable = "defects"\n'
        self.texts[name] = text
        settings = parse(text.encode(), self.directory / f"{name}.toml")
        accepted = {
            peer: Peer(peer, f"{peer}@example.org", keys_of(peer).public, settings.peers[peer])
            for peer in peers
        }
        store = StateStore.create(self.directory / f"{name}.state")
        with store.transaction() as transaction:
            transaction.found_site(keys_of(name).public.site_number)
        carrier = MemoryCarrier(self.network, f"{name}@example.org")
        return Site(settings, keys_of(name), accepted, store, carrier, Surroundings(CLOCK.read))

    def run(self, name: str, *statements: str) -> list[tuple[Any, ...]]:
        """What a user does at one site; the rows of the last statement."""
        cursor = self.users[name].cursor()
        for statement in statements:
            cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []

    def table(self, name: str, order: str = "what") -> list[dict[str, Any]]:
        """All rows, without their keys."""
        cursor = self.users[name].cursor()
        cursor.execute(f"SELECT * FROM defects ORDER BY {order}")
        names = [column[0] for column in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        return [{name: row[name] for name in row if name != "id"} for row in rows]

    async def sync(self, name: str) -> Report:
        report = await self.cycle(name)
        assert not report.problems, report.problems
        return report

    async def cycle(self, name: str) -> Report:
        report = await run_cycle(self.sites[name], Extent(), Report())
        self.network.deliver_all()
        return report

    async def settle(self) -> int:
        """Rounds until a whole one sends no record, nothing held; how many records were sent."""
        sent, held = await self.rest()
        assert not held, held
        return sent

    async def rest(self) -> tuple[int, dict[str, str]]:
        """The same, and what is held at bob then."""
        sent = 0
        for _ in range(12):
            reports = {name: await self.sync(name) for name in self.sites}
            peers = [peer for report in reports.values() for peer in report.peers.values()]
            now = sum(peer.sent.upserts + peer.sent.deletes for peer in peers)
            sent += now
            if not now:
                return sent, reports["bob"].held["defects"]
        raise AssertionError("they never come to rest")

    def told(self, name: str) -> tuple[list[str], list[str]]:
        """What status warns of, and what the log says of columns."""
        with self.sites[name].store.transaction() as transaction:
            warned = [one.text for one in transaction.warnings.all()]
            events = transaction.history.events()
        return warned, [event.text for event in events if event.kind == "columns"]

    def findings(self, name: str) -> list[tuple[Grade, str]]:
        """What doctor finds of columns."""
        return [(found.grade, found.what) for found in columns(self.sites[name].settings)]

    def notes(self, name: str) -> int:
        """How many conflicts the site's journal has."""
        with self.sites[name].store.transaction() as transaction:
            return len(list(transaction.journal.entries()))


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    async with sailing(Fleet(tmp_path)) as made:
        yield made


@asynccontextmanager
async def sailing(made: Fleet) -> AsyncIterator[Fleet]:
    """With two defects that every site has."""
    made.run("ann", "INSERT INTO defects (what, place) VALUES ('hatch', 'bow'), ('pump', 'aft')")
    await made.settle()
    yield made
    for site in made.sites.values():
        site.close()
    for user in made.users.values():
        user.close()


async def test_a_dropped_column_is_nobodys_edit_and_comes_back_filled(fleet: Fleet) -> None:
    fleet.run("bob", "ALTER TABLE defects DROP COLUMN place")
    assert await fleet.settle() == 0
    assert [row["place"] for row in fleet.table("ann")] == ["bow", "aft"]
    fleet.run("bob", "UPDATE defects SET what = 'big pump' WHERE what = 'pump'")
    fleet.run("ann", "UPDATE defects SET place = 'stern' WHERE what = 'pump'")
    await fleet.settle()
    assert fleet.table("ann") == [
        {"what": "big pump", "place": "stern"},
        {"what": "hatch", "place": "bow"},
    ]
    assert fleet.table("bob") == [{"what": "big pump"}, {"what": "hatch"}]
    fleet.run("bob", "ALTER TABLE defects ADD COLUMN place TEXT DEFAULT 'unknown'")
    assert await fleet.settle() == 0
    assert fleet.table("bob") == fleet.table("ann")
    assert fleet.notes("ann") == fleet.notes("bob") == 0


async def test_a_new_column_sends_what_somebody_wrote_into_it_and_nothing_else(
    fleet: Fleet,
) -> None:
    fleet.run("ann", "ALTER TABLE defects ADD COLUMN part TEXT")
    assert await fleet.settle() == 0
    fleet.run("ann", "UPDATE defects SET part = 'P7' WHERE what = 'pump'")
    assert await fleet.settle() == 1
    assert fleet.table("bob") == [
        {"what": "hatch", "place": "bow"},
        {"what": "pump", "place": "aft"},
    ]
    fleet.run("bob", "ALTER TABLE defects ADD COLUMN part TEXT")
    assert await fleet.settle() == 0
    assert fleet.table("bob") == fleet.table("ann")
    assert [row["part"] for row in fleet.table("bob")] == [None, "P7"]


async def test_what_users_wrote_into_a_column_that_came_back_is_an_edit(fleet: Fleet) -> None:
    fleet.run("bob", "ALTER TABLE defects DROP COLUMN place")
    await fleet.settle()
    fleet.run(
        "bob",
        "ALTER TABLE defects ADD COLUMN place TEXT DEFAULT 'unknown'",
        "UPDATE defects SET place = 'keel' WHERE what = 'pump'",
    )
    await fleet.settle()
    both = [{"what": "hatch", "place": "bow"}, {"what": "pump", "place": "keel"}]
    assert fleet.table("ann") == fleet.table("bob") == both
    assert fleet.notes("ann") == fleet.notes("bob") == 1


async def test_a_record_with_fields_that_the_table_lacks_is_written_without_them(
    fleet: Fleet,
) -> None:
    fleet.run("ann", "ALTER TABLE defects ADD COLUMN part TEXT")
    fleet.run("ann", "INSERT INTO defects (what, part) VALUES ('anchor', 'P1')")
    await fleet.settle()
    assert {"what": "anchor", "place": None} in fleet.table("bob")
    fleet.run("bob", "UPDATE defects SET place = 'bow' WHERE what = 'anchor'")
    await fleet.settle()
    assert {"what": "anchor", "place": "bow", "part": "P1"} in fleet.table("ann")
    fleet.run("bob", "DELETE FROM defects WHERE what = 'anchor'")
    await fleet.settle()
    assert len(fleet.table("ann")) == len(fleet.table("bob")) == 2


async def test_a_default_is_nothing_that_somebody_wrote(fleet: Fleet) -> None:
    fleet.run("bob", "ALTER TABLE defects ADD COLUMN state TEXT NOT NULL DEFAULT 'open'")
    assert await fleet.settle() == 0
    fleet.run("ann", "INSERT INTO defects (what) VALUES ('anchor')")
    assert await fleet.settle() == 1
    fleet.run("bob", "UPDATE defects SET place = 'bow' WHERE what = 'anchor'")
    fleet.run("bob", "UPDATE defects SET state = 'closed' WHERE what = 'pump'")
    await fleet.settle()
    fleet.run("ann", "ALTER TABLE defects ADD COLUMN state TEXT DEFAULT 'new'")
    assert await fleet.settle() == 0
    assert [row["state"] for row in fleet.table("ann")] == ["new", "new", "closed"]
    assert [row["state"] for row in fleet.table("bob")] == ["open", "open", "closed"]
    fleet.run("bob", "UPDATE defects SET state = 'open' WHERE what = 'pump'")
    await fleet.settle()
    assert [row["state"] for row in fleet.table("ann")] == ["new", "new", "open"]


async def test_a_user_quicker_than_the_first_value_of_a_new_column_is_heard(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.run("ann", "ALTER TABLE defects ADD COLUMN part TEXT")
    fleet.run("ann", "UPDATE defects SET part = 'P7' WHERE what = 'pump'")
    await fleet.settle()
    fleet.run("bob", "ALTER TABLE defects ADD COLUMN part TEXT")
    database = fleet.sites["bob"].dataset("defects").database
    assert database is not None
    real = database.apply

    def apply(batches: Sequence[tuple[Dataset, Sequence[Write]]]) -> list[list[Outcome]]:
        fleet.run("bob", "UPDATE defects SET part = 'P8' WHERE what = 'pump'")
        monkeypatch.undo()
        return real(batches)

    monkeypatch.setattr(database, "apply", apply)
    await fleet.settle()
    assert [row["part"] for row in fleet.table("ann")] == [None, "P8"]
    assert fleet.table("ann") == fleet.table("bob")
    assert fleet.notes("ann") == 1


async def test_a_column_that_goes_is_told_once_with_what_to_do_if_it_was_renamed(
    fleet: Fleet,
) -> None:
    fleet.run("bob", "ALTER TABLE defects RENAME COLUMN place TO location")
    gone = (
        "column place of defects is gone; its values are kept and go on travelling; if it was "
        "renamed to location, write under [datasets.defects]: "
        'map = { what = "what", place = "location" }'
    )
    new = "column location of defects is new; what is in it travels"
    assert fleet.findings("bob") == [(Grade.WARNING, gone), (Grade.WARNING, new)]
    assert (await fleet.sync("bob")).warnings == [gone, new]
    assert (await fleet.sync("bob")).warnings == []
    assert fleet.told("bob") == ([gone], [f"{gone}; {new}"])
    kept = "kept for other sites, for want of columns: place"
    assert fleet.findings("bob") == [(Grade.WARNING, gone), (Grade.OK, kept)]
    await fleet.settle()
    assert [row["place"] for row in fleet.table("ann")] == ["bow", "aft"]
    assert fleet.findings("ann") == [
        (Grade.OK, "kept for other sites, for want of columns: location")
    ]
    fleet.run("bob", "ALTER TABLE defects ADD COLUMN place")
    assert (await fleet.sync("bob")).warnings == [
        "column place of defects is new; the values kept for it come in"
    ]
    assert fleet.told("bob")[0] == []


async def test_what_became_of_a_column_is_news_for_a_month(fleet: Fleet) -> None:
    fleet.run("bob", "ALTER TABLE defects DROP COLUMN place")
    await fleet.sync("bob")
    CLOCK.now += NEWS_MS // 2
    await fleet.sync("bob")
    assert len(fleet.told("bob")[0]) == 1
    CLOCK.now += NEWS_MS // 2
    await fleet.sync("bob")
    assert fleet.told("bob")[0] == []


async def test_another_key_stops_the_dataset_and_deletes_nothing(fleet: Fleet) -> None:
    fleet.run(
        "bob",
        "ALTER TABLE defects RENAME TO old",
        "CREATE TABLE defects (id INTEGER, what TEXT PRIMARY KEY, place TEXT)",
        "INSERT INTO defects SELECT * FROM old",
    )
    fleet.run("ann", "UPDATE defects SET place = 'keel'")
    await fleet.sync("ann")
    report = await fleet.cycle("bob")
    [problem] = report.problems
    assert "its key is now (what), it was (id)" in str(problem)
    assert (Grade.FAILURE, str(problem)) in fleet.findings("bob")
    assert sum(peer.sent.upserts + peer.sent.deletes for peer in report.peers.values()) == 0
    fleet.run("bob", "DROP TABLE defects", "ALTER TABLE old RENAME TO defects")
    assert await fleet.settle() == 0
    assert [row["place"] for row in fleet.table("bob")] == ["keel", "keel"]


async def test_a_renamed_key_of_numbers_goes_on_once_it_is_named(fleet: Fleet) -> None:
    fleet.run("bob", "ALTER TABLE defects RENAME COLUMN id TO nr")
    [problem] = (await fleet.cycle("bob")).problems
    assert 'write key = ["nr"] under [datasets.defects]' in str(problem)
    site = fleet.sites["bob"]
    section = site.settings.datasets["defects"].model_copy(update={"key": ("nr",)})
    datasets = {**site.settings.datasets, "defects": section}
    site.settings = site.settings.model_copy(update={"datasets": datasets})
    fleet.run("ann", "UPDATE defects SET place = 'keel'")
    assert await fleet.settle() == 2
    assert [row["place"] for row in fleet.table("bob")] == ["keel", "keel"]


async def test_a_site_in_between_passes_on_what_it_has_no_column_for(tmp_path: Path) -> None:
    async with sailing(Fleet(tmp_path, ("ann", "bob", "cem"))) as fleet:
        fleet.run("bob", "ALTER TABLE defects DROP COLUMN place")
        await fleet.settle()
        fleet.run("ann", "UPDATE defects SET place = 'keel' WHERE what = 'pump'")
        fleet.run("cem", "UPDATE defects SET place = 'mast' WHERE what = 'hatch'")
        fleet.run("bob", "UPDATE defects SET what = what || '!'")
        await fleet.settle()
        assert fleet.table("ann") == fleet.table("cem")
        assert fleet.table("ann") == [
            {"what": "hatch!", "place": "mast"},
            {"what": "pump!", "place": "keel"},
        ]
        assert fleet.notes("ann") == fleet.notes("cem") == 0


RETYPE = {
    "postgresql": "ALTER TABLE defects ALTER COLUMN {0} TYPE {1}",
    "mariadb": "ALTER TABLE defects MODIFY {0} {1}",
}


@pytest.mark.parametrize("engine", RETYPE)
async def test_columns_change_on_a_server(
    engine: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    server: DatabaseServer = request.getfixturevalue(engine)
    url = server.new()
    users = {"bob": server.connect(url)}
    async with sailing(Fleet(tmp_path, ("ann", "bob"), {"bob": url}, users)) as fleet:
        fleet.run("bob", "ALTER TABLE defects DROP COLUMN place")
        assert await fleet.settle() == 0
        fleet.run("bob", "ALTER TABLE defects ADD COLUMN place varchar(80) DEFAULT 'no place'")
        assert await fleet.settle() == 0
        assert fleet.table("bob") == fleet.table("ann")
        await narrow(fleet, RETYPE[engine])
        fleet.run("bob", "ALTER TABLE defects RENAME COLUMN place TO spot")
        fleet.run("ann", "UPDATE defects SET place = 'mast' WHERE what = 'hatch'")
        await fleet.settle()
        assert 'map = { what = "what", place = "spot" }' in fleet.told("bob")[0][0]
        fleet.run("bob", "ALTER TABLE defects RENAME COLUMN spot TO place")
        await fleet.settle()
        assert [row["place"] for row in fleet.table("bob")] == ["mast", "starboard"]
        await demand(fleet)
        assert fleet.notes("ann") == 0


async def narrow(fleet: Fleet, retype: str) -> None:
    """What does not fit any more is held until it does; the rest goes on."""
    fleet.run("bob", retype.format("place", "varchar(4)"))
    report = await fleet.sync("bob")
    assert "column place of defects is VARCHAR(4) now, it was VARCHAR(80)" in report.warnings[0]
    fleet.run("ann", "UPDATE defects SET place = 'starboard' WHERE what = 'pump'")
    fleet.run("ann", "UPDATE defects SET place = 'keel' WHERE what = 'hatch'")
    _, held = await fleet.rest()
    assert "column place holds texts of up to 4 characters" in str(held)
    assert [row["place"] for row in fleet.table("bob")] == ["keel", "aft"]
    fleet.run("bob", retype.format("place", "varchar(80)"))
    await fleet.settle()
    assert [row["place"] for row in fleet.table("bob")] == ["keel", "starboard"]


async def demand(fleet: Fleet) -> None:
    """A column that needs a value holds the records that have none, until it has a default."""
    fleet.run(
        "bob",
        "ALTER TABLE defects ADD COLUMN state varchar(9) NOT NULL DEFAULT 'open'",
        "ALTER TABLE defects ALTER COLUMN state DROP DEFAULT",
    )
    fleet.run("ann", "INSERT INTO defects (what) VALUES ('anchor')")
    _, held = await fleet.rest()
    [reason] = held.values()
    assert "state" in reason
    fleet.run("bob", "ALTER TABLE defects ALTER COLUMN state SET DEFAULT 'new'")
    assert await fleet.settle() == 0
    assert {"what": "anchor", "place": None, "state": "new"} in fleet.table("bob")


async def test_a_renamed_column_is_one_again_behind_the_mapping_that_the_message_names(
    fleet: Fleet,
) -> None:
    fleet.run("bob", "ALTER TABLE defects RENAME COLUMN place TO location")
    await fleet.settle()
    fleet.run("ann", "UPDATE defects SET place = 'keel' WHERE what = 'pump'")
    await fleet.settle()
    section = fleet.directory / "bob.toml"
    mapping = fleet.told("bob")[0][0].rpartition(": ")[2]
    section.write_text(fleet.texts["bob"] + mapping + "\n")
    site = fleet.sites["bob"]
    fleet.sites["bob"] = Site(
        parse(section.read_bytes(), section),
        site.keys,
        site.peers,
        site.store,
        site.carrier,
        site.surroundings,
    )
    fleet.run("bob", "UPDATE defects SET location = 'mast' WHERE what = 'hatch'")
    await fleet.settle()
    assert [row["place"] for row in fleet.table("ann")] == ["mast", "keel"]
    assert [row["location"] for row in fleet.table("bob")] == ["mast", "keel"]
    assert fleet.notes("ann") == 1  # nobody knows whether who wrote 'mast' saw 'bow'
