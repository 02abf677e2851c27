"""What goes to whom: filters, what enters and leaves them, direction and rights."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from mailsync.core.decisions import note_of
from mailsync.core.forgetting import expire
from mailsync.core.model import Fields, Key
from mailsync.core.rights import TOLD_MAX
from mailsync.cycle import widening
from mailsync.cycle.conflicts import Choice, restore_all
from mailsync.cycle.health import examine_links
from mailsync.cycle.planning import plan_sync
from mailsync.cycle.report import Report
from mailsync.cycle.run import export_bundles, import_files
from mailsync.datasets.memory import MemoryDataset
from mailsync.datasets.sql.table import SqlTable
from tests.cycle.sites import DAY, Sites

ADA, BOB, CLEO = Key("ada"), Key("bob"), Key("cleo")
OPEN_ONLY = "send = { where = \"status <> 'draft'\" }"


def sites_of(directory: Path, alice: str = "", bob: str = "") -> Sites:
    """Alice and Bob, with these lines in their datasets' sections."""
    sites = Sites(directory)
    sites.add("alice", {"bob": ""}, section=alice)
    sites.add("bob", {"alice": ""}, section=bob)
    return sites


def settle(sites: Sites) -> int:
    """Rounds until nothing is sent; how many records and deletes went in them."""
    moved = 0
    for _ in range(10):
        reports = {}
        for name in sorted(sites.sites):
            reports[name] = sites.sync(name)
            sites.network.deliver_all()
        sent = sum(
            peer.sent.upserts + peer.sent.deletes
            for report in reports.values()
            for peer in report.peers.values()
        )
        if not sent:
            return moved
        moved += sent
        sites.clock.now += DAY // 2
    raise AssertionError("they never come to rest")


def reconfigure(sites: Sites, name: str, section: str) -> None:
    """The site's operator writes something else into the dataset's section."""
    before = sites.sites[name]
    before.close()
    before.store.close()  # type: ignore[attr-defined]
    peers = dict.fromkeys(before.peers, "")
    after = sites.add(name, peers, tuple(before.datasets), section)
    after.datasets.update(before.datasets)


def names(sites: Sites, site: str) -> set[object]:
    return {row.get("name") for row in sites.rows(site).values()}


def person(name: str, status: str = "open", **more: int | str) -> Fields:
    return {"name": name, "status": status, **more}


def test_what_is_not_for_the_peer_stays_and_what_enters_goes_whole(tmp_path: Path) -> None:
    sites = sites_of(tmp_path, OPEN_ONLY)
    rows = sites.rows("alice")
    rows |= {ADA: person("ada"), BOB: person("bob", "draft"), CLEO: {"name": "cleo"}}
    settle(sites)
    assert names(sites, "bob") == {"ada"}
    rows[BOB] = person("bob", "open")
    settle(sites)
    assert sites.contents("bob") == [sorted(person("ada").items()), sorted(person("bob").items())]
    rows[ADA] = person("ada", "draft")
    assert settle(sites) == 1
    assert names(sites, "bob") == {"bob"}
    assert names(sites, "alice") == {"ada", "bob", "cleo"}
    rows[ADA] = person("ada", "draft", age=7)
    assert settle(sites) == 0, "who knows that it left hears nothing more of it"
    rows[ADA] = person("ada", "closed", age=7)
    settle(sites)
    assert sorted(person("ada", "closed", age=7).items()) in sites.contents("bob")


def test_what_leaves_may_be_kept_and_is_deleted_with_the_rest(tmp_path: Path) -> None:
    sites = sites_of(tmp_path, OPEN_ONLY + '\non_leave = "keep"')
    rows = sites.rows("alice")
    rows |= {ADA: person("ada"), BOB: person("bob")}
    settle(sites)
    rows[ADA] = person("ada", "draft")
    assert settle(sites) == 0
    rows[ADA] = person("ada", "draft", age=7)
    assert settle(sites) == 0
    assert sites.contents("bob")[0] == sorted(person("ada").items())
    [there] = [key for key, row in sites.rows("bob").items() if row["name"] == "ada"]
    sites.rows("bob")[there] = person("ada", "open", ship=1)
    settle(sites)
    assert rows[ADA] == person("ada", "draft", age=7, ship=1)
    rows[ADA] = person("ada", "back", age=8, ship=1)
    settle(sites)
    assert sites.rows("bob")[there] == rows[ADA]
    rows[ADA] = person("ada", "draft", age=9)
    settle(sites)
    del rows[ADA]
    settle(sites)
    assert names(sites, "bob") == {"bob"}


def test_a_changed_filter_is_noticed_and_only_the_difference_travels(tmp_path: Path) -> None:
    sites = sites_of(tmp_path, 'send = { where = "n < 30" }')
    sites.rows("alice").update({Key(f"k{n}"): {"name": str(n), "n": n} for n in range(40)})
    settle(sites)
    assert len(sites.rows("bob")) == 30
    reconfigure(sites, "alice", 'send = { where = "n >= 5 and n < 32" }')
    planned = plan_sync(sites.sites["alice"])
    [moved] = planned.moves["bob"].values()
    assert moved == (2, 5)
    assert (planned.peers["bob"].upserts.total(), planned.peers["bob"].deletes.total()) == (2, 5)
    assert settle(sites) == 7
    assert {row["n"] for row in sites.rows("bob").values()} == set(range(5, 32))
    assert settle(sites) == 0
    reconfigure(sites, "alice", "")
    assert settle(sites) == 13
    assert len(sites.rows("bob")) == 40


def test_what_ages_is_withdrawn_and_never_taken_for_deleted(tmp_path: Path) -> None:
    section = 'send = { max_age = "90d", age_field = "at" }'
    sites = sites_of(tmp_path, section, section)
    sites.rows("alice").update(
        {ADA: {"name": "ada", "at": "2026-09-21"}, BOB: {"name": "bob", "at": "2026-06-30"}}
    )
    settle(sites)
    assert names(sites, "bob") == {"ada", "bob"}
    sites.clock.now += 5 * DAY
    settle(sites)
    # both ends let it age, neither asks the other to drop it
    assert names(sites, "alice") == names(sites, "bob") == {"ada", "bob"}
    reconfigure(sites, "bob", "")
    sites.clock.now += 85 * DAY
    settle(sites)
    assert names(sites, "alice") == {"ada", "bob"}
    assert names(sites, "bob") == set(), "where only one end's filter says so, it holds"


def test_two_sites_that_change_their_filters_at_once_lose_nothing(tmp_path: Path) -> None:
    sites = sites_of(tmp_path)
    sites.rows("alice").update({ADA: person("ada"), BOB: person("bob", "draft")})
    settle(sites)
    for name in ("alice", "bob"):
        reconfigure(sites, name, OPEN_ONLY)
    for name in ("alice", "bob"):
        sites.sync(name)
    sites.network.deliver_all()
    settle(sites)
    assert names(sites, "alice") == names(sites, "bob") == {"ada", "bob"}
    for name in ("alice", "bob"):
        reconfigure(sites, name, "")
    settle(sites)
    assert sites.contents("alice") == sites.contents("bob")


@pytest.mark.parametrize("closed", ["alice", "bob"])
def test_a_site_may_only_send_or_only_receive(tmp_path: Path, closed: str) -> None:
    sections = {"alice": 'direction = "send"', "bob": 'direction = "receive"'}
    sites = sites_of(tmp_path, **{closed: sections[closed]})
    sites.rows("alice")[ADA] = person("ada")
    sites.rows("bob")[BOB] = person("bob")
    settle(sites)
    assert names(sites, "alice") == {"ada"}
    assert names(sites, "bob") == {"ada", "bob"}
    sites.rows("alice")[ADA] = person("ada", "closed")
    settle(sites)
    assert "closed" in {row["status"] for row in sites.rows("bob").values()}
    reconfigure(sites, closed, "")
    settle(sites)
    assert names(sites, "alice") == {"ada", "bob"}


def test_terms_are_for_all_peers_or_for_one(tmp_path: Path) -> None:
    sites = Sites(tmp_path)
    section = 'send = { where = "n > 1" }\n[datasets.people.peers.cleo]\nsend = { where = "n > 2" }'
    sites.add("alice", {"bob": "", "cleo": ""}, section=section)
    sites.add("bob", {"alice": ""})
    sites.add("cleo", {"alice": ""})
    sites.rows("alice").update({Key(str(n)): {"name": str(n), "n": n} for n in range(5)})
    settle(sites)
    assert names(sites, "bob") == {"2", "3", "4"}
    assert names(sites, "cleo") == {"3", "4"}
    assert isinstance(sites.sync("alice"), Report)


def status_of(sites: Sites, name: str) -> str:
    site = sites.sites[name]
    with site.store.transaction() as transaction:
        return " ".join(
            one for link in examine_links(site, transaction) for one in link.sentences()
        )


def quiet(sites: Sites) -> None:
    """Nobody has anything to say, now or after every timer."""
    settle(sites)
    silent = 0
    for _ in range(20):
        sites.clock.now += DAY // 2
        silent = 0 if sites.round() else silent + 1
        if silent == 2:
            break
    for _ in range(3):
        sites.clock.now += 10 * DAY
        assert sites.round() == 0


@pytest.mark.parametrize(
    ("rights", "refused"),
    [
        ('receive = { fields = ["note"] }', "edit"),
        ("receive = { fields = [] }", "edit"),
        ('allow = ["insert"]', "edit"),
        ('allow = ["insert", "delete"]', "edit"),
        ('allow = ["insert", "update"]', "delete"),
        ('allow = ["insert"]', "delete"),
        ('allow = ["update", "delete"]', "insert"),
        ("allow = []", "insert"),
    ],
)
def test_what_the_peer_may_not_write_is_refused_and_told_once(
    tmp_path: Path, rights: str, refused: str
) -> None:
    sites = sites_of(tmp_path)
    sites.rows("alice").update({ADA: person("ada", note=1), BOB: person("bob")})
    settle(sites)
    reconfigure(sites, "alice", rights)
    before = sites.contents("alice")
    there = {row["name"]: key for key, row in sites.rows("bob").items()}
    if refused == "edit":
        sites.rows("bob")[there["ada"]] = person("ada", "closed", note=1)
    elif refused == "delete":
        del sites.rows("bob")[there["ada"]]
    else:
        sites.rows("bob")[CLEO] = person("cleo")
    quiet(sites)
    assert sites.contents("alice") == before
    assert "alice refused what was done here to 1 records of people" in status_of(sites, "bob")
    assert "What bob did to 1 records of people was refused" in status_of(sites, "alice")
    sites.rows("alice")[BOB] = person("bob", "busy")
    quiet(sites)
    assert "busy" in {row["status"] for row in sites.rows("bob").values()}
    reconfigure(sites, "alice", "")
    quiet(sites)
    # so long after it, nobody but the site that refused it knows of the delete any more
    assert sites.contents("alice") == sites.contents("bob")
    assert (sites.contents("alice")[0] == before[0]) is (refused != "edit")
    assert "refused" not in status_of(sites, "alice") + status_of(sites, "bob")


def test_of_an_edit_what_is_granted_is_taken_and_the_rest_does_not_travel_on(
    tmp_path: Path,
) -> None:
    sites = Sites(tmp_path)
    sites.add("alice", {"bob": "", "cleo": ""},
              section='[datasets.people.peers.bob]\nreceive = { fields = ["note"] }')  # fmt: skip
    sites.add("bob", {"alice": ""})
    sites.add("cleo", {"alice": ""})
    sites.rows("alice")[ADA] = person("ada", note=1)
    settle(sites)
    [key] = sites.rows("bob")
    sites.rows("bob")[key] = person("ada", "closed", note=2)
    quiet(sites)
    assert (
        sites.contents("alice") == sites.contents("cleo") == [sorted(person("ada", note=2).items())]
    )
    [key] = sites.rows("cleo")
    sites.rows("cleo")[key] = person("ada", "seen", note=2)
    quiet(sites)
    assert sites.contents("alice") == sites.contents("bob") == sites.contents("cleo")
    assert sites.rows("alice")[ADA]["status"] == "seen"


def test_an_edit_by_which_a_record_leaves_is_unseen_where_it_is_deleted(tmp_path: Path) -> None:
    sites = sites_of(tmp_path, OPEN_ONLY)
    sites.rows("alice")[ADA] = person("ada", note=1)
    settle(sites)
    [key] = sites.rows("bob")
    del sites.rows("bob")[key]
    sites.rows("alice")[ADA] = person("ada", "draft", note=2)
    sites.sync("alice")
    sites.network.deliver_all()
    quiet(sites)
    assert sites.rows("alice")[ADA] == person("ada", "draft", note=2)
    assert not sites.rows("bob")
    reconfigure(sites, "alice", "")
    quiet(sites)
    assert sites.contents("alice") == sites.contents("bob")


def test_what_lost_in_a_record_that_was_withdrawn_comes_back_where_that_is(tmp_path: Path) -> None:
    sites = sites_of(tmp_path, OPEN_ONLY)
    sites.rows("alice")[ADA] = person("ada", note=0)
    settle(sites)
    [key] = sites.rows("bob")
    sites.rows("alice")[ADA] = person("ada", note=1)
    sites.rows("bob")[key] = person("ada", note=2)
    settle(sites)
    sites.rows("alice")[ADA] = person("ada", "draft", note=2)
    settle(sites)
    assert not sites.rows("bob")
    everything = Choice(everything=True)
    assert not restore_all(sites.sites["bob"], everything, Report()).back
    settle(sites)
    [restored], _, gone = restore_all(sites.sites["alice"], everything, Report())
    assert (restored.loser, gone, sites.rows("alice")[ADA]["note"]) == (1, [], 1)


def reconcile(sites: Sites, name: str, peer: str) -> None:
    """The site gave its peer up, which returns."""
    site = sites.sites[name]
    with site.store.transaction() as transaction:
        transaction.save_links({peer: expire(site.links(transaction)[peer])})
    quiet(sites)


def test_what_a_peer_refused_it_has_not_deleted(tmp_path: Path) -> None:
    sites = sites_of(tmp_path, bob='allow = ["update", "delete"]')
    sites.rows("alice").update({Key(f"k{n}"): person(f"p{n}") for n in range(TOLD_MAX + 2)})
    quiet(sites)
    reconcile(sites, "bob", "alice")
    assert len(sites.rows("alice")) == TOLD_MAX + 2
    assert not sites.rows("bob")


def test_more_is_refused_than_is_named_and_all_of_it_comes_when_it_may(tmp_path: Path) -> None:
    sites = sites_of(tmp_path, bob="allow = []")
    sites.rows("alice").update({Key(f"k{n}"): person(f"p{n}") for n in range(TOLD_MAX + 2)})
    quiet(sites)
    reconfigure(sites, "bob", "")
    quiet(sites)
    assert len(sites.rows("bob")) == TOLD_MAX + 2


def test_what_was_withdrawn_and_passed_on_is_never_taken_for_deleted(tmp_path: Path) -> None:
    sites = Sites(tmp_path)
    sites.add("alice", {"hub": ""})
    sites.add("hub", {"alice": "", "cleo": ""})
    sites.add("cleo", {"hub": ""}, section=OPEN_ONLY)
    rows = sites.rows("cleo")
    rows |= {ADA: person("ada"), BOB: person("bob")}
    quiet(sites)
    rows[ADA] = person("ada", "draft")
    for _ in range(2):
        quiet(sites)
        sites.clock.now += 40 * DAY
    reconcile(sites, "hub", "alice")
    assert names(sites, "hub") == {"bob"}
    assert names(sites, "alice") == names(sites, "cleo") == {"ada", "bob"}


def values_noted(sites: Sites, name: str) -> list[str]:
    with sites.sites[name].store.transaction() as transaction:
        notes = [note_of(one.note) for one in transaction.journal.entries()]
    return sorted(str(note.value) for note in notes if note is not None)


def test_what_was_refused_is_a_conflict_when_others_overwrite_or_delete_it(tmp_path: Path) -> None:
    sites = sites_of(tmp_path, 'receive = { fields = ["note"] }')
    sites.rows("alice")[ADA] = person("ada", note=1)
    settle(sites)
    [key] = sites.rows("bob")
    sites.rows("bob")[key] = person("ada", "closed", note=2)
    quiet(sites)
    sites.rows("alice")[ADA] = person("ada", "shut", note=2)
    quiet(sites)
    assert sites.rows("bob")[key] == person("ada", "shut", note=2)
    assert values_noted(sites, "alice") == values_noted(sites, "bob") == ["closed"]
    sites.rows("bob")[key] = person("ada", "open again", note=2)
    quiet(sites)
    del sites.rows("alice")[ADA]
    quiet(sites)
    assert not sites.rows("alice") | sites.rows("bob")
    assert (
        values_noted(sites, "alice") == values_noted(sites, "bob") == ["2", "closed", "open again"]
    )


def test_what_the_inbound_filter_keeps_out_travels_on_and_comes_in_later(tmp_path: Path) -> None:
    sites = Sites(tmp_path)
    sites.add("alice", {"bob": ""})
    sites.add("bob", {"alice": "", "cleo": ""}, section='receive = { where = "n > 1" }')
    sites.add("cleo", {"bob": ""})
    sites.rows("alice").update({Key(str(n)): {"name": str(n), "n": n} for n in range(4)})
    sites.rows("bob")[BOB] = {"name": "own", "n": 0}
    quiet(sites)
    assert names(sites, "bob") == {"2", "3", "own"}
    assert names(sites, "cleo") == names(sites, "alice") == {"0", "1", "2", "3", "own"}
    sites.rows("alice")[Key("0")] = {"name": "0", "n": 7}
    sites.rows("alice")[Key("3")] = {"name": "3", "n": 1}
    quiet(sites)
    assert names(sites, "bob") == {"0", "2", "own"}
    assert sites.contents("alice") == sites.contents("cleo")
    del sites.rows("alice")[Key("1")]
    reconfigure(sites, "bob", 'receive = { where = "n = 1" }')
    quiet(sites)
    assert names(sites, "bob") == {"0", "2", "3", "own"}
    reconfigure(sites, "bob", "")
    quiet(sites)
    assert sites.contents("alice") == sites.contents("bob") == sites.contents("cleo")


def test_of_a_table_only_what_may_have_moved_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "people.db"
    user = sqlite3.connect(path, isolation_level=None)
    user.execute("CREATE TABLE people (id INTEGER PRIMARY KEY, name text, n int, at text)")
    sites = sites_of(tmp_path, 'send = { where = "n < 30", max_age = "90d", age_field = "at" }')
    sites.sites["alice"].datasets["people"] = SqlTable(f"sqlite:///{path}", "people")
    rows = [(n, str(n), n, f"2026-{9 - n % 3}-21".replace("-9", "-09").replace("-8", "-08")
             .replace("-7", "-07")) for n in range(40)]  # fmt: skip
    user.executemany("INSERT INTO people VALUES (?, ?, ?, ?)", rows)
    settle(sites)
    assert len(sites.rows("bob")) == 30
    monkeypatch.setattr(widening, "_records", None)  # nothing is read one by one
    sites.clock.now += 40 * DAY
    assert settle(sites) == 10
    assert {row["at"] for row in sites.rows("bob").values()} == {"2026-08-21", "2026-09-21"}
    reconfigure(sites, "alice", 'send = { where = "n < 30" }')
    monkeypatch.undo()
    assert settle(sites) == 10
    reconfigure(sites, "alice", "send = { where = \"n >= 2 and name <> '3'\" }")
    monkeypatch.setattr(widening, "_records", None)
    assert settle(sites) == 3 + 10
    assert names(sites, "bob") == {str(n) for n in range(2, 40)} - {"3"}


RULES = """
def outbound(record):
    assert (record.dataset, record.peer, record.direction) == ("people", "bob", "send")
    return record if 10 / record.fields["n"] >= 1 else None


def inbound(record):
    if record.fields["n"] == 3:
        raise ValueError("three is odd")
    return record.fields["n"] != 4
"""


def test_a_routine_keeps_or_drops_records_and_holds_what_it_does_not_understand(
    tmp_path: Path,
) -> None:
    (tmp_path / "rules.py").write_text(RULES)
    sites = sites_of(
        tmp_path, 'send = { routine = "rules.py:outbound" }',
        'receive = { routine = "rules.py:inbound" }',
    )  # fmt: skip
    sites.rows("alice").update({Key(str(n)): {"name": str(n), "n": n} for n in (0, 1, 3, 4, 20)})
    held = sites.sync("alice").withheld["bob"]["people"]
    assert held == {"0": "rules.py:4: ZeroDivisionError: division by zero"}
    sites.network.deliver_all()
    held = sites.sync("bob").held["people"]
    assert list(held.values()) == ["rules.py:9: three is odd"]
    assert names(sites, "bob") == {"1"}
    quiet(sites)
    assert list(sites.sync("bob").held["people"].values()) == ["rules.py:9: three is odd"]
    sites.rows("alice")[Key("0")] = {"name": "0", "n": 5}
    sites.rows("alice")[Key("1")] = {"name": "1", "n": 11}
    quiet(sites)
    assert names(sites, "bob") == {"0"}
    (tmp_path / "rules.py").write_text(RULES.replace("== 3", "== 33").replace(">= 1", ">= 0"))
    quiet(sites)
    assert names(sites, "bob") == {"0", "1", "3", "20"}
    assert not any(sites.sync("alice").all_held().values())


def test_a_routine_rewrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "rules.py").write_text("def outbound(record):\n    return {'name': 'other'}\n")
    sites = sites_of(tmp_path, 'send = { routine = "rules.py:outbound" }')
    sites.rows("alice")[ADA] = person("ada")
    [why] = sites.sync("alice").withheld["bob"]["people"].values()
    assert "it gave neither the record nor None" in why
    quiet(sites)
    assert not sites.rows("bob")


def test_fields_that_stay_here_do_not_travel_in_any_form(tmp_path: Path) -> None:
    sites = Sites(tmp_path)
    section = '[datasets.people.peers.bob]\nsend = { fields = ["name", "status"] }'
    sites.add("alice", {"bob": "", "cleo": ""}, section=section)
    sites.add("bob", {"alice": ""})
    sites.add("cleo", {"alice": ""})
    rows = sites.rows("alice")
    rows |= {ADA: person("ada", pay=1), BOB: person("bob", pay=2), CLEO: {"pay": 3}}
    quiet(sites)
    assert names(sites, "bob") == {"ada", "bob"}
    assert all("pay" not in row for row in sites.rows("bob").values())
    assert sites.contents("cleo") == sites.contents("alice")
    rows[ADA] = person("ada", pay=10)
    sites.clock.now += DAY
    assert sites.sync("alice").peer("bob").sent.upserts == 0
    quiet(sites)
    there = {row["name"]: key for key, row in sites.rows("bob").items()}
    sites.rows("bob")[there["ada"]] = person("ada", "closed")
    quiet(sites)
    assert rows[ADA] == person("ada", "closed", pay=10)
    rows[ADA] = person("ada", "shut", pay=11)
    sites.rows("bob")[there["ada"]] = person("ada", "closed", pay=99)
    quiet(sites)
    assert rows[ADA] == person("ada", "shut", pay=99), "his is later, and a conflict"
    with sites.sites["alice"].store.transaction() as transaction:
        values = [note_of(one.note) for one in transaction.journal.entries()]
    assert [note.value for note in values if note] == [11]
    with sites.sites["bob"].store.transaction() as transaction:
        assert not list(transaction.journal.entries())
    rows[BOB] = person("bob", pay=20)
    del sites.rows("bob")[there["bob"]]
    quiet(sites)
    assert names(sites, "alice") == {"ada", None}
    assert values_noted(sites, "alice") == ["11", "20"], "of the edit he could not know"
    assert values_noted(sites, "bob") == []
    reconfigure(sites, "alice", "")
    quiet(sites)
    assert sites.contents("alice") == sites.contents("bob") == sites.contents("cleo")


def test_other_fields_go_and_only_records_that_have_them_travel(tmp_path: Path) -> None:
    sites = Sites(tmp_path)
    sites.add("alice", {"bob": "", "cleo": ""}, section=showing("name"))
    sites.add("bob", {"alice": ""})
    sites.add("cleo", {"alice": ""})
    sites.rows("alice").update({ADA: person("ada", pay=1), BOB: person("bob"), CLEO: {"pay": 3}})
    quiet(sites)
    reconfigure(sites, "alice", showing("name", "pay"))
    assert settle(sites) == 2, "two have a pay; nothing goes to cleo, who has all of it"
    assert {row.get("pay") for row in sites.rows("bob").values()} == {1, None, 3}
    reconfigure(sites, "alice", showing("name"))
    assert settle(sites) == 1, "a record without a name is gone; what else there is stays"
    assert {row.get("pay") for row in sites.rows("bob").values()} == {1, None}
    assert sites.contents("cleo") == sites.contents("alice")


def test_what_is_shown_from_now_on_was_not_seen_before(tmp_path: Path) -> None:
    """Neither by an edit nor by a delete that is on its way."""
    sites = sites_of(tmp_path, showing("name"))
    rows = sites.rows("alice")
    rows |= {ADA: person("ada"), BOB: person("bob")}
    quiet(sites)
    rows |= {ADA: person("ada", pay=1), BOB: person("bob", pay=2)}
    quiet(sites)
    rows[CLEO] = person("cleo")  # with this he confirms all there is, seen or not
    quiet(sites)
    there = {row["name"]: key for key, row in sites.rows("bob").items()}
    sites.rows("bob")[there["ada"]] = {"name": "ada", "pay": 7}
    del sites.rows("bob")[there["bob"]]
    sites.sync("bob")
    sites.network.deliver_all()
    reconfigure(sites, "alice", showing("name", "pay"))
    quiet(sites)
    assert values_noted(sites, "alice") == values_noted(sites, "bob")
    assert "1" in values_noted(sites, "bob")
    assert {row["pay"] for row in rows.values() if "pay" in row} == {2, 7}


def test_what_returns_to_one_peer_others_have_seen_all_the_same(tmp_path: Path) -> None:
    """What came in while it was away comes in for it anew, and for nobody else."""
    sites = Sites(tmp_path)
    sites.add("alice", {"bob": "", "cleo": ""}, section=f"[datasets.people.peers.bob]\n{OPEN_ONLY}")
    sites.add("bob", {"alice": ""})
    sites.add("cleo", {"alice": ""})
    rows = sites.rows("alice")
    for note, status in enumerate(("open", "draft", "draft")):
        rows[ADA] = person("ada", status, note=note)
        quiet(sites)
    assert not sites.rows("bob")
    [key] = sites.rows("cleo")
    sites.rows("cleo")[key] = person("ada", "draft", note=3)
    sites.sync("cleo")
    rows[ADA] = person("ada", "open", note=2)
    sites.sync("alice")
    sites.network.deliver_all()
    quiet(sites)
    assert [*sites.rows("bob").values()] == [*sites.rows("cleo").values()] == [*rows.values()]
    assert rows[ADA] == person("ada", "open", note=3)
    assert values_noted(sites, "alice") == [], "she who wrote it had seen what she overwrote"


def test_so_it_is_if_what_the_peer_says_comes_by_a_stick(tmp_path: Path) -> None:
    """Before any other cycle after the change."""
    sites = sites_of(tmp_path, showing("name"))
    rows, stick = sites.rows("alice"), tmp_path / "stick"
    rows[ADA] = person("ada")
    quiet(sites)
    rows |= {ADA: person("ada", pay=1), BOB: person("bob")}
    quiet(sites)
    there = {row["name"]: key for key, row in sites.rows("bob").items()}
    sites.rows("bob")[there["ada"]] = {"name": "ada", "pay": 7}
    stick.mkdir()
    asyncio.run(export_bundles(sites.sites["bob"], "alice", stick, Report(), everything=False))
    reconfigure(sites, "alice", showing("name", "pay"))
    import_files(sites.sites["alice"], [stick], Report())
    assert rows[ADA]["pay"] == 7
    assert values_noted(sites, "alice") == ["1"]


def test_what_was_held_or_refused_once_is_old_once_it_is_no_more(tmp_path: Path) -> None:
    """Also to who hears of it once more, or late."""
    sites = sites_of(tmp_path, bob='receive = { fields = ["name"] }')
    there = sites.sites["bob"].datasets["people"]
    assert isinstance(there, MemoryDataset)
    there.refuses = lambda _key, _fields: "not on Sundays"
    sites.rows("alice")[ADA] = person("ada")
    told = []
    for rights in ('receive = { fields = ["name"] }', ""):
        for _ in range(4):
            sites.round()
            sites.clock.now += DAY
        with sites.sites["alice"].store.transaction() as transaction:
            link = transaction.links()["bob"]
            told.append((len(link.held), len(link.denied)))
        if rights:
            there.refuses = lambda _key, _fields: ""
            early = sites.network.letters("alice@example.org")
            reconfigure(sites, "bob", "")
    for letter in early:
        sites.network.deliver(letter)
    sites.sync("alice")
    with sites.sites["alice"].store.transaction() as transaction:
        link = transaction.links()["bob"]
    assert [*told, (len(link.held), len(link.denied))] == [(1, 1), (0, 0), (0, 0)]


def showing(*fields: str) -> str:
    """These fields go to bob."""
    return f"[datasets.people.peers.bob]\nsend = {{ fields = {list(fields)} }}"
