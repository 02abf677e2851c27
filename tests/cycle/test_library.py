"""The library's face, on whole sites."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from mailsync import Report, Site
from mailsync.carriers.base import Mailbox
from mailsync.core.model import Key
from mailsync.cycle.mail import MailCarrier
from mailsync.datasets.sql.table import SqlTable
from mailsync.errors import LoginRefused
from tests.cycle.sites import Sites, pair


def face(sites: Sites, name: str) -> Site:
    return Site(sites.sites[name])


async def test_a_plan_prices_what_a_sync_then_does(tmp_path: Path) -> None:
    sites = pair(tmp_path)
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    plan = await face(sites, "alice").plan("bob")
    result = await face(sites, "alice").sync("bob")
    sent = result.report.peers["bob"].sent
    assert (plan.peers["bob"].mails, plan.peers["bob"].upserts["people"]) == (1, 1)
    assert (sent.mails, sent.upserts) == (1, 1)


async def test_a_plan_writes_nothing(tmp_path: Path) -> None:
    sites = pair(tmp_path)
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    before = (tmp_path / "alice.db").read_bytes()
    await face(sites, "alice").plan()
    assert (tmp_path / "alice.db").read_bytes() == before
    with sites.sites["alice"].store.transaction() as transaction:
        assert len(transaction.records) == 0


async def test_a_conflict_is_restored_at_both_ends(tmp_path: Path) -> None:
    sites = pair(tmp_path)
    alice, bob = face(sites, "alice"), face(sites, "bob")

    async def settle() -> None:
        for _ in range(4):
            for site in (alice, bob):
                await site.sync()
                sites.network.deliver_all()

    sites.rows("alice")[Key("1")] = {"name": "Ada", "age": 36}
    await settle()
    sites.rows("alice")[Key("1")] = {"name": "Ada", "age": 37}
    await alice.sync()
    (key,) = sites.rows("bob")
    sites.rows("bob")[key] = {"name": "Ada", "age": 38}
    await settle()
    (conflict,) = await alice.conflicts()
    assert (conflict.winner, conflict.loser, conflict.sites) == (38, 37, ("bob", "alice"))
    await bob.restore((await bob.conflicts())[0])
    await settle()
    assert sites.contents("alice") == sites.contents("bob") == [[("age", 37), ("name", "Ada")]]
    assert await alice.conflicts() == await bob.conflicts() == []


async def test_what_is_restored_goes_into_the_file_that_is_there(tmp_path: Path) -> None:
    sites, path = pair(tmp_path), tmp_path / "people.sqlite"

    def run(statement: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(path)) as user, user:
            return user.execute(statement).fetchall()

    run("CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT, age INTEGER)")
    table = SqlTable(f"sqlite:///{path}", "people")
    site = sites.sites["alice"]
    site.datasets["people"], site.databases["people"] = table, table.database
    alice, bob = face(sites, "alice"), face(sites, "bob")
    with closing(table):
        for edit in ("INSERT INTO people VALUES (1, 'Ada', 36)", "UPDATE people SET age = 37"):
            run(edit)
            await alice.sync()
            for key in sites.rows("bob"):
                sites.rows("bob")[key] = {"name": "Ada", "age": 38}
            for _ in range(4):
                sites.network.deliver_all()
                await bob.sync()
                sites.network.deliver_all()
                await alice.sync()
        (conflict,) = await alice.conflicts()
        copy = path.with_suffix(".copy")
        shutil.copyfile(path, copy)
        copy.replace(path)
        await alice.restore(conflict)
        assert run("SELECT age FROM people") == [(conflict.loser,)]


async def test_a_refused_password_is_fetched_anew(tmp_path: Path) -> None:
    site = pair(tmp_path).sites["alice"]
    assert site.settings.mail is not None

    class Refusing(MailCarrier):
        def mailbox(self) -> Mailbox:
            raise LoginRefused("mail.example:993: no")

    site.carrier = carrier = Refusing(site.settings.mail, site.settings, [])
    carrier.__dict__["password"] = "old"
    result = await Site(site).sync()
    assert [type(one) for one in result.report.problems] == [LoginRefused]
    assert "password" not in carrier.__dict__
    report = Report()
    assert await Site(site).verify("bob", report=report) == {"bob": None}
    assert LoginRefused in map(type, report.problems)


async def test_a_question_is_answered_after_later_syncs(tmp_path: Path) -> None:
    sites = pair(tmp_path)
    alice, bob = face(sites, "alice"), face(sites, "bob")
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    for _ in range(2):
        for site in (alice, bob):
            await site.sync()
            sites.network.deliver_all()
    assert await alice.verify("bob") == {"bob": None}
    sites.network.deliver_all()
    await bob.sync()
    sites.network.deliver_all()
    found = (await alice.verify("bob"))["bob"]
    assert found is not None
    assert (found.equal, found.differing) == (True, 0)
    assert await alice.verify("bob") == {"bob": None}
