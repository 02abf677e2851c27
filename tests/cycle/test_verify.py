"""Sites find out by mail whether they hold the same, and mend what differs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mailsync.core.model import Entry, Guid, Key, Record
from mailsync.core.proving import Finding
from mailsync.cycle import verifying
from tests.cycle.sites import HOUR, Sites, pair


def filled(directory: Path, count: int = 40, lines: str = "") -> Sites:
    """Alice and Bob, who hold the same and know it."""
    sites = pair(directory, lines)
    for number in range(count):
        sites.rows("alice")[Key(f"k{number}")] = {"name": f"person {number}", "note": "n" * 30}
    settle(sites)
    return sites


def settle(sites: Sites, rounds: int = 4) -> int:
    mails = 0
    for _ in range(rounds):
        mails += sites.round()
        sites.clock.now += 2 * HOUR
    return mails


def ask(sites: Sites, name: str, peer: str, *, repair: bool = False) -> None:
    verifying.ask(sites.sites[name], peer, repair=repair)


def finding(sites: Sites, name: str, peer: str) -> Finding | None:
    inquiry = verifying.show(sites.sites[name], peer)
    return None if inquiry is None else inquiry.finding


def exchange(sites: Sites, *names: str) -> list[int]:
    """One cycle of each, in turn, and its mails delivered; the bytes of each one's mails."""
    sizes = []
    for name in names:
        report = sites.sync(name)
        sizes.append(sum(peer.sent.bytes for peer in report.peers.values()))
        sites.network.deliver_all()
    return sizes


def records(sites: Sites, name: str) -> dict[str, Record]:
    """By the name of a person."""
    with sites.sites[name].store.transaction() as transaction:
        found = transaction.records.of("people")
    return {str(one.entries["name"].value): one for one in found}


def plant(sites: Sites, name: str, record: Record, row: dict[str, str] | None) -> None:
    """Damage: record map and dataset come to say this, as if nobody had changed anything."""
    assert record.key is not None
    with sites.sites[name].store.transaction() as transaction:
        ledger = transaction.ledger()
        ledger.changed[record.id] = replace(record, shadow=row)
        transaction.save(ledger, sites.clock.now)
    if row is None:
        sites.rows(name).pop(record.key, None)
    else:
        sites.rows(name)[record.key] = dict(row)


def lose(sites: Sites, name: str, record: Record) -> None:
    """Damage: record map and dataset never heard of the record."""
    assert record.key is not None
    with sites.sites[name].store.transaction() as transaction:
        ledger = transaction.ledger()
        ledger.drop(record.id)
        transaction.save(ledger, sites.clock.now)
    del sites.rows(name)[record.key]


def alter(sites: Sites, name: str, person: str, note: str) -> None:
    """Damage: one write has another value here than everywhere else."""
    record = records(sites, name)[person]
    entries = {**record.entries, "note": record.entries["note"]._replace(value=note)}
    plant(sites, name, replace(record, entries=entries), {"name": person, "note": note})


def invent(sites: Sites, name: str, person: str) -> None:
    """Damage: a record that all are said to have confirmed, and nobody has."""
    model = records(sites, name)["person 0"]
    guid = Guid(bytes(reversed(model.guid)))
    dot = next(iter(model.context))
    entries = {"name": Entry(dot, person), "note": Entry(dot, "invented")}
    made = replace(model, guid=guid, entries=entries, key=Key("invented"))
    plant(sites, name, made, {"name": person, "note": "invented"})


def test_two_that_hold_the_same_prove_it_with_a_mail_each(tmp_path: Path) -> None:
    sites = filled(tmp_path)
    ask(sites, "alice", "bob")
    question, answer = exchange(sites, "alice", "bob")
    assert sites.sync("alice").peers["bob"].sent.mails == 0
    found = finding(sites, "alice", "bob")
    assert found is not None
    assert (found.equal, found.differing, found.in_flight) == (True, 0, 0)
    assert settle(sites) == 0
    with sites.sites["bob"].store.transaction() as transaction:
        last = verifying.last_proof(transaction, "alice")
    assert last is not None
    assert last.equal
    assert 0 < answer < question


@pytest.mark.parametrize("damaged", ["alice", "bob"])
def test_what_differs_is_found_and_named(tmp_path: Path, damaged: str) -> None:
    sites = filled(tmp_path)
    alter(sites, damaged, "person 3", "damaged")
    lose(sites, damaged, records(sites, damaged)["person 7"])
    invent(sites, damaged, "nobody")
    ask(sites, "alice", "bob")
    exchange(sites, "alice", "bob", "alice")
    found = finding(sites, "alice", "bob")
    assert found is not None
    assert (found.equal, found.differing, found.mending) == (False, 3, False)
    known = [records(sites, "alice")[name].id for name in ("person 3",)]
    assert set(known) <= set(found.records)
    assert settle(sites) == 0
    assert sites.contents("alice") != sites.contents("bob")


@pytest.mark.parametrize("damaged", ["alice", "bob"])
def test_what_differs_is_mended_in_two_mails_each_way(tmp_path: Path, damaged: str) -> None:
    sites = filled(tmp_path)
    alter(sites, damaged, "person 3", "zz damaged")
    alter(sites, damaged, "person 4", "damaged")
    lose(sites, damaged, records(sites, damaged)["person 7"])
    invent(sites, damaged, "nobody")
    ask(sites, "alice", "bob", repair=True)
    exchange(sites, "alice", "bob", "alice", "bob")
    sites.sync("alice")
    assert sites.contents("alice") == sites.contents("bob")
    assert len(sites.rows("alice")) == 41
    mended = finding(sites, "alice", "bob")
    assert mended is not None
    assert (mended.equal, mended.differing, mended.mending) == (False, 4, True)
    settle(sites)
    ask(sites, "alice", "bob")
    exchange(sites, "alice", "bob", "alice")
    found = finding(sites, "alice", "bob")
    assert found is not None
    assert found.equal
