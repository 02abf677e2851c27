"""What comes in is written as a routine makes it, and is the same record at all sites."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from mailsync.core.model import Fields, Key
from mailsync.cycle import materialising
from mailsync.cycle.conflicts import list_conflicts
from mailsync.datasets.base import Outcome
from mailsync.datasets.sql.table import SqlTable
from tests.cycle.sites import DAY, Sites

ADA, BOB = Key("ada"), Key("bob")

RULES = """
def tidy(record):
    fields = dict(record.fields)
    if fields["name"] == "nobody":
        return None
    if fields["name"] == "?":
        raise ValueError("who is that?")
    fields["name"] = fields["name"].upper()
    fields["label"] = f"{fields['name']} {fields['n']}"
    return record._replace(fields=fields)


def in_place(record):
    record.fields["name"] = record.fields["name"].upper()
    return record


def by_peer(record):
    return record._replace(fields={**record.fields, "name": f"from {record.peer}"})


def more(record):
    return record._replace(fields={**record.fields, "more": 1})


def odd(record):
    return record._replace(fields={**record.fields, "name": ["a", "list"]})
"""
TIDY = 'receive = { routine = "rules.py:tidy" }'


def person(name: str, n: int, label: str = "-") -> Fields:
    return {"name": name, "n": n, "label": label}


def three(directory: Path, bob: str = TIDY, carol: str = "") -> Sites:
    """Alice, Bob, Carol in a chain; Bob, or Carol too, rewrites what comes."""
    (directory / "rules.py").write_text(RULES)
    sites = Sites(directory)
    sites.add("alice", {"bob": ""})
    sites.add("bob", {"alice": "", "carol": ""}, section=bob)
    sites.add("carol", {"bob": ""}, section=carol)
    return sites


def settle(sites: Sites) -> set[tuple[str, str]]:
    """Rounds until nobody has anything to say any more; who sent records to whom."""
    went = set()
    silent = 0
    for _ in range(20):
        mails = 0
        for name in sorted(sites.sites):
            peers = sites.sync(name).peers
            mails += sum(one.sent.mails for one in peers.values())
            went |= {
                (name, peer) for peer, one in peers.items() if one.sent.upserts or one.sent.deletes
            }
            sites.network.deliver_all()
        silent = 0 if mails else silent + 1
        sites.clock.now += DAY // 2
        if silent == 2:
            return went
    raise AssertionError("they never come to rest")


def row(sites: Sites, name: str) -> Fields:
    (found,) = sites.rows(name).values()
    return dict(found)


def write(sites: Sites, site: str, /, **fields: str | int) -> None:
    (key,) = sites.rows(site)
    sites.rows(site)[key] = {**sites.rows(site)[key], **fields}


def test_what_comes_is_written_otherwise_here_and_stays_what_it_is_elsewhere(
    tmp_path: Path,
) -> None:
    sites = three(tmp_path)
    sites.rows("alice")[ADA] = person("ada", 1)
    assert settle(sites) == {("alice", "bob"), ("bob", "carol")}, "nothing comes back"
    assert row(sites, "alice") == row(sites, "carol") == person("ada", 1)
    assert row(sites, "bob") == person("ADA", 1, "ADA 1")
    write(sites, "carol", n=2)
    assert settle(sites) == {("carol", "bob"), ("bob", "alice")}
    assert row(sites, "alice") == row(sites, "carol") == person("ada", 2)
    assert row(sites, "bob") == person("ADA", 2, "ADA 2"), "of all fields together"


def test_of_an_edit_only_what_was_edited_travels_and_it_stays_as_it_was_written(
    tmp_path: Path,
) -> None:
    sites = three(tmp_path)
    sites.rows("alice")[ADA] = person("ada", 1)
    settle(sites)
    write(sites, "bob", n=2)
    settle(sites)
    assert row(sites, "alice") == row(sites, "carol") == person("ada", 2)
    assert row(sites, "bob") == person("ADA", 2, "ADA 2"), "what the routine makes follows"
    write(sites, "bob", name="Zoe")
    settle(sites)
    assert row(sites, "alice") == row(sites, "carol") == person("Zoe", 2)
    assert row(sites, "bob")["name"] == "Zoe"
    write(sites, "alice", n=3)
    settle(sites)
    assert row(sites, "bob") == person("Zoe", 3, "ZOE 3"), "nobody else wrote the name"
    assert row(sites, "alice") == row(sites, "carol") == person("Zoe", 3)
    write(sites, "carol", name="eve")
    settle(sites)
    assert row(sites, "bob") == person("EVE", 3, "EVE 3")
    assert row(sites, "alice") == person("eve", 3)


def test_what_the_routine_made_of_what_users_then_edited_is_no_edit(tmp_path: Path) -> None:
    sites = three(tmp_path)
    sites.rows("alice")[ADA] = person("ada", 1)
    settle(sites)
    write(sites, "bob", name="Zoe", n=2)
    settle(sites)
    assert row(sites, "alice") == row(sites, "carol") == person("Zoe", 2)
    assert row(sites, "bob") == person("Zoe", 2, "ZOE 2")


def test_both_ends_may_rewrite_and_nothing_goes_to_and_fro(tmp_path: Path) -> None:
    (tmp_path / "lower.py").write_text(
        "def lower(record):\n"
        "    name = record.fields['name'].lower()\n"
        "    return record._replace(fields={**record.fields, 'name': name})\n"
    )
    sites = three(tmp_path, carol='receive = { routine = "lower.py:lower" }')
    sites.rows("alice")[ADA] = person("Ada", 1)
    assert settle(sites) == {("alice", "bob"), ("bob", "carol")}
    assert [row(sites, name)["name"] for name in sites.sites] == ["Ada", "ADA", "ada"]
    for name in ("carol", "bob", "alice"):
        write(sites, name, n=len(name))
        sites.sync(name)
    settle(sites)
    assert [row(sites, name)["name"] for name in sites.sites] == ["Ada", "ADA", "ada"]
    assert {row(sites, name)["n"] for name in sites.sites} == {5}


def test_conflicts_are_of_what_people_wrote(tmp_path: Path) -> None:
    sites = three(tmp_path)
    sites.rows("alice")[ADA] = person("ada", 1)
    settle(sites)
    write(sites, "bob", name="Bob")
    sites.sync("bob")
    write(sites, "alice", name="eve")
    sites.sync("alice")
    settle(sites)
    assert row(sites, "alice")["name"] == row(sites, "carol")["name"] == "eve"
    assert row(sites, "bob") == person("EVE", 1, "EVE 1")
    for name in sites.sites:
        with sites.sites[name].store.transaction() as transaction:
            (conflict,) = list_conflicts(sites.sites[name], transaction)
        assert conflict.loser == "Bob"


class Killed(BaseException):
    """The process is no more."""


@pytest.mark.parametrize("edited", [{}, {"n": 7}], ids=["", "edited"])
@pytest.mark.parametrize("step", ["_apply", "_settle"])
def test_a_process_that_dies_over_it_leaves_no_edit_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, edited: dict[str, int]
) -> None:
    sites = three(tmp_path)
    sites.rows("alice")[ADA] = person("ada", 1)
    settle(sites)
    write(sites, "alice", name="eve", n=2)
    sites.sync("alice")
    sites.network.deliver_all()

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(materialising, step, die)
        with pytest.raises(Killed):
            sites.sync("bob")
    write(sites, "bob", **edited)
    settle(sites)
    n = edited.get("n", 2)
    assert row(sites, "alice") == row(sites, "carol") == person("eve", n)
    assert row(sites, "bob") == person("EVE", n, f"EVE {n}")


def test_who_is_quicker_than_what_comes_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sites = three(tmp_path)
    sites.rows("alice")[ADA] = person("ada", 1)
    settle(sites)
    write(sites, "alice", name="eve")
    sites.sync("alice")
    sites.network.deliver_all()
    apply = materialising._apply

    def raced(*arguments: Any) -> list[Outcome]:
        write(sites, "bob", n=5)
        return apply(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(materialising, "_apply", raced)
        sites.sync("bob")
    settle(sites)
    assert row(sites, "alice") == row(sites, "carol") == person("eve", 5)
    assert row(sites, "bob") == person("EVE", 5, "EVE 5")


@pytest.mark.parametrize("where", ["alice", "bob", "carol"])
def test_what_was_rewritten_is_deleted_as_any(tmp_path: Path, where: str) -> None:
    sites = three(tmp_path)
    sites.rows("alice")[ADA] = person("ada", 1)
    settle(sites)
    sites.rows(where).clear()
    settle(sites)
    assert not any(sites.rows(name) for name in sites.sites)


def test_what_the_routine_gives_up_on_is_held_and_the_rest_goes_on(tmp_path: Path) -> None:
    sites = three(tmp_path)
    rows = sites.rows("alice")
    rows |= {ADA: person("ada", 1), BOB: person("?", 2), Key("c"): person("nobody", 3)}
    settle(sites)
    assert [one["name"] for one in sites.rows("bob").values()] == ["ADA"]
    held = sites.sync("bob").held["people"]
    assert list(held.values()) == ["rules.py:7: who is that?"]
    assert sites.contents("carol") == sites.contents("alice")
    rows[ADA] = person("?", 1)
    settle(sites)
    assert list(sites.sync("bob").held["people"].values()) == ["rules.py:7: who is that?"] * 2
    rows[ADA], rows[BOB] = person("Eve", 1), person("bob", 2)
    settle(sites)
    assert {one["name"] for one in sites.rows("bob").values()} == {"EVE", "BOB"}
    assert not sites.sync("bob").held["people"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("by_peer", "what it writes depends on the peer"),
        ("more", "a value to each field of the record, and to no others"),
        ("odd", "name: a field holds a text or a number"),
    ],
)
def test_what_cannot_be_written_is_held(tmp_path: Path, name: str, why: str) -> None:
    sites = three(tmp_path, f'receive = {{ routine = "rules.py:{name}" }}')
    sites.rows("alice")[ADA] = person("ada", 1)
    settle(sites)
    assert not sites.rows("bob")
    [reason] = sites.sync("bob").all_held()["people"].values()
    assert reason.endswith(why) or why in reason
    assert row(sites, "carol") == person("ada", 1)


def test_one_peer_has_no_values_of_its_own(tmp_path: Path) -> None:
    sites = three(tmp_path, f"[datasets.people.peers.alice]\n{TIDY}")
    sites.rows("alice")[ADA] = person("ada", 1)
    settle(sites)
    [reason] = sites.sync("bob").all_held()["people"].values()
    assert "for all peers alike" in reason


@pytest.mark.parametrize("name", ["tidy", "in_place"])
def test_what_goes_out_is_not_rewritten(tmp_path: Path, name: str) -> None:
    sites = three(tmp_path, f'send = {{ routine = "rules.py:{name}" }}')
    sites.rows("bob")[ADA] = person("ada", 1)
    [reason] = sites.sync("bob").all_held()["people"].values()
    assert "what is sent cannot be rewritten, for a write has one value at all sites" in reason
    settle(sites)
    assert not sites.rows("alice")
    sites.rows("bob")[ADA] = person("ADA", 1, "ADA 1")
    settle(sites)
    assert row(sites, "alice") == person("ADA", 1, "ADA 1")


def test_a_table_holds_what_the_routine_makes(tmp_path: Path) -> None:
    path = tmp_path / "people.db"
    user = sqlite3.connect(path, isolation_level=None)
    user.execute("CREATE TABLE staff (id INTEGER PRIMARY KEY, name text, n int, label text)")
    sites = three(tmp_path)
    sites.sites["bob"].datasets["people"] = SqlTable(f"sqlite:///{path}", "staff")
    sites.rows("alice").update({ADA: person("ada", 1), BOB: person("bob", 2)})
    settle(sites)
    rows = "SELECT name, n, label FROM staff ORDER BY n"
    assert user.execute(rows).fetchall() == [("ADA", 1, "ADA 1"), ("BOB", 2, "BOB 2")]
    user.execute("UPDATE staff SET n = 7 WHERE name = 'ADA'")
    sites.rows("alice")[BOB] = person("bob", 9)
    settle(sites)
    assert user.execute(rows).fetchall() == [("ADA", 7, "ADA 7"), ("BOB", 9, "BOB 9")]
    assert sites.contents("alice") == sites.contents("carol")
    assert sites.rows("alice")[ADA] == person("ada", 7)
