"""Policies other than "newest": what all sites come to, and what waits for a person."""

from __future__ import annotations

import itertools
from pathlib import Path
from unittest import mock

import pytest

from mailsync.core import wire
from mailsync.core.merge import Note
from mailsync.core.model import Dot, Fields, Key
from mailsync.cycle.conflicts import Conflict, list_conflicts, resolve, restore
from mailsync.cycle.health import examine_links
from mailsync.cycle.report import Report
from mailsync.cycle.saving import save
from mailsync.errors import Exit
from mailsync.store.journal import Journal
from tests.cycle.sites import HOUR, Sites

KEY = Key("k")
NAMES = ("alice", "bob", "carol")
CHAIN = [("alice", "bob"), ("bob", "carol")]
TRIANGLE = [*CHAIN, ("alice", "carol")]
ORDERS = [NAMES, NAMES[::-1]]
"""Who writes when: the last one is the newest."""
TOPOLOGIES = pytest.mark.parametrize("edges", [CHAIN, TRIANGLE], ids=["chain", "triangle"])


def three(directory: Path, edges: list[tuple[str, str]], section: str) -> Sites:
    """Three sites that hold one row."""
    sites = Sites(directory)
    for name in ("alice", "bob", "carol"):
        peers = [other for edge in edges if name in edge for other in edge if other != name]
        sites.add(name, dict.fromkeys(peers, ""), section=section)
    sites.rows("alice")[KEY] = {"status": "open", "note": "-"}
    settle(sites)
    return sites


def settle(sites: Sites, limit: int = 12) -> dict[str, Report]:
    """Rounds until nothing is sent any more; how the last cycle of each site ended."""
    sites.network.deliver_all()
    for _ in range(limit):
        reports = {}
        for name in sorted(sites.sites):
            reports[name] = sites.sync(name)
            sites.network.deliver_all()
        peers = [peer for report in reports.values() for peer in report.peers.values()]
        if not any(peer.sent.mails for peer in peers):
            return reports
    raise AssertionError("they never come to rest")


def write(sites: Sites, name: str, **fields: str) -> None:
    (key,) = sites.rows(name)
    sites.rows(name)[key] = {**sites.rows(name)[key], **fields}


def everywhere(sites: Sites) -> list[Fields]:
    """The rows, which must be the same at all sites."""
    contents = [sites.contents(name) for name in sites.sites]
    assert all(content == contents[0] for content in contents)
    return [dict(row) for row in contents[0]]  # type: ignore[arg-type]


def conflicts(sites: Sites, name: str) -> list[Conflict]:
    with sites.sites[name].store.transaction() as transaction:
        return list_conflicts(sites.sites[name], transaction)


@TOPOLOGIES
@pytest.mark.parametrize("master", ["alice", "bob", "carol"])
@pytest.mark.parametrize("order", ORDERS)
def test_the_value_of_the_site_that_has_the_say_stands(
    tmp_path: Path, edges: list[tuple[str, str]], master: str, order: tuple[str, ...]
) -> None:
    sites = three(tmp_path, edges, f'conflict = "site:{master}"')
    for name in order:
        write(sites, name, status=name)
        sites.sync(name)
    reports = settle(sites)
    assert everywhere(sites) == [{"status": master, "note": "-"}]
    assert {report.exit_code for report in reports.values()} == {Exit.OK}
    others = {"alice", "bob", "carol"} - {master}
    for name in sites.sites:
        found = {str(c.loser): c.closed for c in conflicts(sites, name)}
        assert found.keys() >= others
        assert found.get(master, "restored") == "restored"


def test_a_site_that_is_no_party_has_no_say(tmp_path: Path) -> None:
    sites = three(tmp_path, CHAIN, 'conflict = "site:bob"')
    for name in ("alice", "carol"):
        write(sites, name, status=name)
        sites.sync(name)
    settle(sites)
    assert everywhere(sites) == [{"status": "carol", "note": "-"}]


def test_a_name_that_nobody_here_has_is_said_once_and_stops_nothing(tmp_path: Path) -> None:
    sites = three(tmp_path, CHAIN, 'conflict = "site:carol"')
    warned = {name: warnings(sites, name) for name in NAMES}
    assert {name: len(found) for name, found in warned.items()} == {
        "alice": 1,
        "bob": 0,
        "carol": 0,
    }
    assert 'people: conflict = "site:carol": neither this site nor a peer' in warned["alice"][0]
    settle(sites)
    with sites.sites["alice"].store.transaction() as transaction:
        logged = [event.text for event in transaction.history.events() if event.kind == "policy"]
    assert logged == warned["alice"]
    sites.sites["alice"].settings.datasets["people"].conflict["*"] = "site:bob"
    sites.sync("alice")
    assert not warnings(sites, "alice")


def warnings(sites: Sites, name: str) -> list[str]:
    with sites.sites[name].store.transaction() as transaction:
        return [one.text for one in transaction.warnings.all()]


def test_the_say_of_a_site_can_be_about_one_field(tmp_path: Path) -> None:
    sites = three(tmp_path, TRIANGLE, 'conflict = { note = "site:alice" }')
    for name in ("alice", "bob", "carol"):
        write(sites, name, status=name, note=name)
        sites.sync(name)
    settle(sites)
    assert everywhere(sites) == [{"status": "carol", "note": "alice"}]


def forge(sites: Sites, name: str, value: str) -> None:
    """The site says that alice wrote a value, which lost against the one that stands."""
    site = sites.sites[name]
    with site.store.transaction() as transaction:
        ledger = transaction.ledger()
        (record,) = (one for one in transaction.records.all() if one.dataset == "people")
        stands = record.entries["status"].dot
        wrote = Dot(1, sites.sites["alice"].keys.public.site_number, 1)
        ledger.note([Note(record.id, "status", wrote, value, beaten_by=stands)])
        save(site, transaction, ledger, sites.clock.now)


FORGERS = {
    "": "mallory",
    'receive = { fields = ["note"] }': "carol",
    "receive = { fields = [] }": "carol",
    'allow = ["insert", "delete"]': "carol",
    'direction = "send"': "carol",
}
"""What alice grants bob -> what stands in the end."""


@pytest.mark.parametrize("rights", FORGERS)
def test_whoever_may_not_write_a_field_does_not_say_what_is_brought_back_there(
    tmp_path: Path, rights: str
) -> None:
    sites = Sites(tmp_path)
    policy = 'conflict = { status = "site:alice" }'
    granted = f"{policy}\n[datasets.people.peers.bob]\n{rights}"
    sites.add("alice", {"bob": "", "carol": ""}, section=granted)
    for name in ("bob", "carol"):
        sites.add(name, {"alice": ""}, section=policy)
    sites.rows("carol")[KEY] = {"status": "carol", "note": "-"}
    settle(sites)
    forge(sites, "bob", "mallory")
    settle(sites)
    assert everywhere(sites) == [{"status": FORGERS[rights], "note": "-"}]


def test_what_one_is_not_believed_about_another_may_say(tmp_path: Path) -> None:
    sites = Sites(tmp_path)
    policy = 'conflict = { status = "site:alice" }'
    granted = policy + "\n[datasets.people.peers.bob]\nreceive = { fields = [] }"
    sites.add("alice", {"bob": "", "carol": ""}, section=granted)
    for name in ("bob", "carol"):
        sites.add(name, {"alice": ""}, section=policy)
    sites.rows("carol")[KEY] = {"status": "carol", "note": "-"}
    settle(sites)
    for name in ("bob", "carol"):
        forge(sites, name, "alice")
        sites.sync(name)
        sites.network.deliver_all()
        sites.sync("alice")
        assert [row["status"] for row in sites.rows("alice").values()] == [
            {"bob": "carol", "carol": "alice"}[name]
        ]
    settle(sites)
    assert everywhere(sites) == [{"status": "alice", "note": "-"}]


def test_an_edit_that_saw_the_others_value_is_no_conflict(tmp_path: Path) -> None:
    sites = three(tmp_path, TRIANGLE, 'conflict = "site:alice"')
    write(sites, "alice", status="alice")
    settle(sites)
    write(sites, "carol", status="carol")
    settle(sites)
    assert everywhere(sites) == [{"status": "carol", "note": "-"}]


@TOPOLOGIES
def test_a_person_is_asked_and_the_work_goes_on(
    tmp_path: Path, edges: list[tuple[str, str]]
) -> None:
    sites = three(tmp_path, edges, 'conflict = { status = "ask" }')
    for name in ("alice", "bob", "carol"):
        write(sites, name, status=name, note=name)
        sites.sync(name)
    reports = settle(sites)
    assert everywhere(sites) == [{"status": "carol", "note": "carol"}]
    assert {name: report.exit_code for name, report in reports.items()} == dict.fromkeys(
        sites.sites, Exit.CONFLICTS
    )
    assert {report.undecided for report in reports.values()} == {2}
    for conflict in conflicts(sites, "bob"):
        assert conflict.waits == (conflict.field == "status")
        if conflict.waits:
            resolve(sites.sites["bob"], conflict.id)
    assert {report.exit_code for report in settle(sites).values()} == {Exit.OK}


def test_what_waits_is_counted_as_it_is_listed_without_reading_the_journal(tmp_path: Path) -> None:
    section = 'conflict = { status = "ask" }\ndelete_conflict = "ask"'
    sites = three(tmp_path, CHAIN[:1], section)
    del sites.sites["carol"]
    for name in ("alice", "bob"):
        write(sites, name, status=name, note=name)
        sites.sync(name)
    with mock.patch.object(Journal, "entries", side_effect=AssertionError("it is read")):
        reports = settle(sites)
    assert {report.undecided for report in reports.values()} == {1}
    del sites.rows("alice")[KEY]
    sites.sync("alice")
    write(sites, "bob", note="-")
    assert {report.undecided for report in settle(sites).values()} == {2}
    for waiting in (one for one in conflicts(sites, "bob") if one.waits):
        resolve(sites.sites["bob"], waiting.id)
        reports = settle(sites)
        for name, report in reports.items():
            listed = sum(one.waits for one in conflicts(sites, name))
            assert report.undecided == listed
    assert {report.undecided for report in reports.values()} == {0}


def test_a_deletes_conflict_can_be_asked_about(tmp_path: Path) -> None:
    sites = three(tmp_path, TRIANGLE, 'delete_conflict = "ask"')
    write(sites, "alice", status="alice")
    sites.rows("bob").clear()
    reports = settle(sites)
    assert everywhere(sites) == [{"status": "alice", "note": "-"}]
    assert {report.exit_code for report in reports.values()} == {Exit.CONFLICTS}


@TOPOLOGIES
@pytest.mark.parametrize("order", ORDERS)
def test_where_deletes_win_they_do(
    tmp_path: Path, edges: list[tuple[str, str]], order: tuple[str, ...]
) -> None:
    sites = three(tmp_path, edges, 'delete_conflict = "delete-wins"')
    for name in order:
        if name == "bob":
            sites.rows("bob").clear()
        else:
            write(sites, name, status=name)
        sites.sync(name)
    reports = settle(sites)
    assert everywhere(sites) == []
    assert {report.exit_code for report in reports.values()} == {Exit.OK}
    for name in sites.sites:
        assert {c.loser for c in conflicts(sites, name)} == {"alice", "carol"}


def test_what_a_delete_killed_comes_back_if_a_person_says_so(tmp_path: Path) -> None:
    sites = three(tmp_path, CHAIN, 'delete_conflict = "delete-wins"')
    write(sites, "carol", status="carol")
    sites.rows("alice").clear()
    settle(sites)
    assert everywhere(sites) == []
    (conflict,) = conflicts(sites, "bob")
    restore(sites.sites["bob"], conflict.id, Report())
    settle(sites)
    assert everywhere(sites) == [{"status": "carol", "note": "-"}]
    sites.rows("carol").clear()
    settle(sites)
    assert everywhere(sites) == []
    assert all(c.closed for name in NAMES for c in conflicts(sites, name))


def two(directory: Path, *sections: str) -> Sites:
    """Alice and Bob, who need not say the same about conflicts."""
    sites = Sites(directory)
    for (name, peer), section in zip(
        itertools.permutations(("alice", "bob")), sections, strict=True
    ):
        sites.add(name, {peer: ""}, section=section)
    return sites


def confirm(sites: Sites) -> None:
    """Everything gets there, and is acknowledged."""
    settle(sites)
    sites.clock.now += 2 * HOUR
    settle(sites)


def told(sites: Sites, name: str) -> tuple[list[str], list[str]]:
    """What status and log say of policies at a site."""
    with sites.sites[name].store.transaction() as transaction:
        (health,) = examine_links(sites.sites[name], transaction)
        events = transaction.history.events()
    sentences = [one for one in health.sentences() if "policy" in one]
    return sentences, [one.text for one in events if one.kind == "policies differ"]


def test_policies_that_differ_are_named_at_both_sites(tmp_path: Path) -> None:
    sites = two(tmp_path, 'conflict = { status = "site:bob" }', 'delete_conflict = "delete-wins"')
    sites.rows("alice")[KEY] = {"status": "open"}
    confirm(sites)
    one, other = "newest, status site:bob, edit-wins", "newest, delete-wins"
    for name, here, there in (("alice", one, other), ("bob", other, one)):
        peer = "bob" if name == "alice" else "alice"
        sentence = f"people has the conflict policy {there} at {peer}, here {here}; "
        assert told(sites, name) == (
            [sentence + "it must be the same at all sites."],
            [f"people: its conflict policy is {there}, here it is {here}"],
        )


def test_a_site_without_policies_says_so_to_one_that_has(tmp_path: Path) -> None:
    sites = two(tmp_path, 'conflict = "ask"', "")
    sites.rows("alice")[KEY] = {"status": "open"}
    settle(sites)
    write(sites, "bob", status="done")
    settle(sites)
    assert told(sites, "alice")[1] == [
        "people: its conflict policy is newest, edit-wins, here it is ask, edit-wins"
    ]


def test_policies_are_told_once_and_only_where_there_are_any(tmp_path: Path) -> None:
    bundles: dict[str, list[object]] = {}
    for directory, section in (("with", 'conflict = "ask"'), ("without", "")):
        (tmp_path / directory).mkdir()
        sites = two(tmp_path / directory, section, section)
        with mock.patch.object(wire, "encode", wraps=wire.encode) as encode:
            for status in ("open", "in work", "done"):
                sites.rows("alice")[KEY] = {"status": status}
                confirm(sites)
        saying = [call.args[0] for call in encode.call_args_list if call.args[0].policies]
        bundles[sites.directory.name] = saying
        assert told(sites, "alice") == told(sites, "bob") == ([], [])
    assert len(bundles["with"]) == 2
    assert not bundles["without"]


RULES = """\
def longest(conflict):
    sides = [conflict.lost, conflict.stands]
    return max((side.value for side in sides), key=lambda value: (len(value), value))


def both(conflict):
    assert conflict.dataset == "people" and conflict.record["note"] == "-"
    sides = sorted([conflict.lost, conflict.stands], key=lambda side: side.at)
    return ", ".join(f"{side.site}: {side.value}" for side in sides)


def stern(conflict):
    raise ValueError("who wrote this?")


def merged(conflict):
    sides = (conflict.base, conflict.lost.value, conflict.stands.value)
    base, lost, stands = (set(value.split()) for value in sides)
    return " ".join(sorted((lost & stands) | ((lost | stands) - base)))


def based(conflict):
    return f"{conflict.base} {conflict.knows_base}"
"""


@TOPOLOGIES
@pytest.mark.parametrize("order", ORDERS)
def test_a_routine_decides(
    tmp_path: Path, edges: list[tuple[str, str]], order: tuple[str, ...]
) -> None:
    (tmp_path / "rules.py").write_text(RULES)
    sites = three(tmp_path, edges, 'conflict = "routine:rules.py:longest"')
    for name in order:
        write(sites, name, status=name)
        sites.sync(name)
    settle(sites)
    assert everywhere(sites) == [{"status": "carol", "note": "-"}]


def test_a_routine_may_make_a_new_value_of_both(tmp_path: Path) -> None:
    (tmp_path / "rules.py").write_text(RULES)
    sites = three(tmp_path, TRIANGLE, 'conflict = { status = "routine:rules.py:both" }')
    for name in ("bob", "carol"):
        write(sites, name, status=name)
        sites.sync(name)
    settle(sites)
    assert everywhere(sites) == [{"status": "bob: bob, carol: carol", "note": "-"}]
    for name in sites.sites:
        assert {c.loser: c.closed for c in conflicts(sites, name)} == {
            "bob": "decided",
            "carol": "decided",
        }


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("rules.py:stern", "rules.py:13: who wrote this?"),
        ("rules.py:missing", "rules.py defines no function missing"),
        ("nowhere.py:decide", "cannot read the routines in nowhere.py: No such file or directory"),
    ],
)
def test_where_a_routine_fails_the_newest_stands_and_a_person_is_asked(
    tmp_path: Path, place: str, reason: str
) -> None:
    (tmp_path / "rules.py").write_text(RULES)
    sites = three(tmp_path, CHAIN, f'conflict = "routine:{place}"')
    for name in ("alice", "carol"):
        write(sites, name, status=name)
        sites.sync(name)
    reports = settle(sites)
    assert everywhere(sites) == [{"status": "carol", "note": "-"}]
    assert {report.exit_code for report in reports.values()} == {Exit.CONFLICTS}
    for name in sites.sites:
        (conflict,) = conflicts(sites, name)
        assert conflict.reason == reason


@TOPOLOGIES
@pytest.mark.parametrize("order", [("alice", "carol"), ("carol", "alice"), ("bob", "alice")])
def test_a_routine_merges_by_what_both_began_with(
    tmp_path: Path, edges: list[tuple[str, str]], order: tuple[str, str]
) -> None:
    (tmp_path / "rules.py").write_text(RULES)
    sites = three(tmp_path, edges, 'conflict = "routine:rules.py:merged"')
    write(sites, "bob", status="blue round")
    settle(sites)
    for name, status in zip(order, ("blue round heavy", "round red"), strict=True):
        write(sites, name, status=status)
        sites.sync(name)
    settle(sites)
    assert everywhere(sites) == [{"status": "heavy red round", "note": "-"}]


@pytest.mark.parametrize(("rounds", "base"), [(0, "open True"), (3, "first True")])
def test_the_base_is_what_both_had_seen(tmp_path: Path, rounds: int, base: str) -> None:
    """Alice edits twice; Bob may have heard of the first edit when he makes his."""
    (tmp_path / "rules.py").write_text(RULES)
    sites = three(tmp_path, CHAIN, 'conflict = "routine:rules.py:based"')
    write(sites, "alice", status="first")
    sites.sync("alice")
    for _ in range(rounds):
        sites.round()
    write(sites, "alice", status="second")
    sites.sync("alice")
    write(sites, "bob", status="bob")
    settle(sites)
    assert everywhere(sites) == [{"status": base, "note": "-"}]


def test_what_noted_before_was_not_before_both(tmp_path: Path) -> None:
    """Bob's edit has beaten Alice's first one when her second one meets it."""
    (tmp_path / "rules.py").write_text(RULES)
    sites = three(tmp_path, CHAIN, 'conflict = "routine:rules.py:based"')
    write(sites, "alice", status="first")
    sites.sync("alice")
    write(sites, "bob", status="bob")
    sites.sync("bob")
    write(sites, "alice", status="second")
    sites.sync("alice")
    sites.network.deliver_all()
    write(sites, "carol", status="carol")
    sites.sync("carol")
    settle(sites)
    (row,) = everywhere(sites)
    assert str(row["status"]).endswith("open True")


def test_of_rows_that_came_to_be_apart_there_is_no_base(tmp_path: Path) -> None:
    (tmp_path / "rules.py").write_text(RULES)
    section = 'match = ["name"]\nconflict = "routine:rules.py:based"'
    sites = two(tmp_path, section, section)
    for name in ("alice", "bob"):
        sites.rows(name)[KEY] = {"name": "pump", "status": "old"}
        sites.sync(name)
        sites.rows(name)[KEY] = {"name": "pump", "status": name}
        sites.sync(name)
    confirm(sites)
    assert everywhere(sites) == [{"name": "pump", "status": "None False"}]
