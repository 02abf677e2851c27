"""Bundles lean on earlier ones: smaller where both ends remember them, and never stuck."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from mailsync.core import priors
from mailsync.core.model import Key
from mailsync.store.state import StateStore
from tests.cycle.sites import DAY, HOUR, Sites, pair

NAMES = ("alice", "bob")


@pytest.fixture
def sites(tmp_path: Path) -> Sites:
    return pair(tmp_path)


def sentence(chance: random.Random) -> str:
    """Words that no two edits share, so that nothing but a prior makes them small."""
    return " ".join(chance.randbytes(6).hex("-", 2) for _ in range(8))


def edit(sites: Sites, name: str, number: int) -> str:
    """A new record, made by a user of this site."""
    text = sentence(random.Random(f"{name} {number}"))
    sites.rows(name)[Key(f"{name} {number}")] = {"number": number, "by": name, "note": text}
    return text


def talk(sites: Sites, numbers: range) -> None:
    """Both edit, everything arrives and is acknowledged."""
    for number in numbers:
        for name in NAMES:
            edit(sites, name, number)
        for _ in range(3):
            sites.round()
            sites.clock.now += 2 * HOUR


def agreed(sites: Sites) -> bool:
    return sites.contents("alice") == sites.contents("bob")


def mails_until_quiet(sites: Sites, wait: int = HOUR, rounds: int = 40) -> int:
    """Cycles until nobody says anything any more; how many mails it took."""
    mails, silent = 0, 0
    for _ in range(rounds):
        sent = sites.round()
        sites.clock.now += wait
        mails += sent
        silent = 0 if sent else silent + 1
        if silent == 4:
            return mails
    raise AssertionError(f"not silent after {mails} mails")


def path_of(sites: Sites, name: str) -> Path:
    return sites.directory / f"{name}.db"


def rows_of(sites: Sites, name: str, query: str) -> list[tuple[int, ...]]:
    with closing(sqlite3.connect(path_of(sites, name))) as database:
        return database.execute(query).fetchall()


def unreadable(sites: Sites, name: str) -> int:
    """Bundles that this site could not read."""
    ((count,),) = rows_of(sites, name, "SELECT count(*) FROM event WHERE kind = 'unreadable'")
    return count


def forgotten(sites: Sites, name: str) -> bool:
    """Does this site tell its peer that it holds nothing any more?"""
    return rows_of(sites, name, "SELECT forgot FROM memory") == [(1,)]


def held(sites: Sites, name: str, ours: int) -> list[int]:
    """Serials of the bodies that this site keeps: its own, or its peer's."""
    query = f"SELECT serial FROM body WHERE ours = {ours} ORDER BY serial"
    return [serial for (serial,) in rows_of(sites, name, query)]


class Backup(NamedTuple):
    name: str
    store: bytes


def backup(sites: Sites, name: str) -> Backup:
    path = sites.directory / f"{name}.copy"
    with (
        closing(sqlite3.connect(path_of(sites, name))) as store,
        closing(sqlite3.connect(path)) as copy,
    ):
        store.backup(copy)
    return Backup(name, path.read_bytes())


def restore(sites: Sites, copy: Backup) -> None:
    """The state store as it was; the dataset has gone on."""
    path, site = path_of(sites, copy.name), sites.sites[copy.name]
    assert isinstance(site.store, StateStore)
    site.store.close()
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    path.write_bytes(copy.store)
    sites.sites[copy.name] = replace(site, store=StateStore.open(path))


def tamper(sites: Sites, name: str) -> None:
    """What this site remembers of its peer's bundles is not what they were."""
    with closing(sqlite3.connect(path_of(sites, name))) as database:
        database.execute("UPDATE body SET octets = CAST(x'00' || octets AS BLOB) WHERE ours = 0")
        database.commit()


def sent_bytes(sites: Sites, name: str, peer: str) -> int:
    return sites.sync(name).peers[peer].sent.bytes


# --- what it is for --------------------------------------------------------------------------


def test_bundles_get_smaller_once_earlier_ones_are_acknowledged(sites: Sites) -> None:
    text = edit(sites, "alice", 1)
    first = sent_bytes(sites, "alice", "bob")
    sites.rows("alice")[Key("again")] = {"number": 2, "by": "alice", "note": text}
    unconfirmed = sent_bytes(sites, "alice", "bob")
    assert abs(unconfirmed - first) < 40
    mails_until_quiet(sites)
    sites.rows("alice")[Key("once more")] = {"number": 3, "by": "alice", "note": text}
    assert sent_bytes(sites, "alice", "bob") < first - 60


def test_a_peer_that_never_answers_can_read_everything(sites: Sites) -> None:
    for number in range(5):
        edit(sites, "alice", number)
        sites.sync("alice")
    letters = list(sites.network.in_transit)
    for letter in reversed(letters):
        sites.network.deliver(letter)
    sites.sync("bob")
    assert agreed(sites)
    assert unreadable(sites, "bob") == 0


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_unreadable_whatever_happens_to_mails(
    sites: Sites, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost, doubled, late, in any order; old bodies being dropped all the time."""
    monkeypatch.setattr(priors, "WINDOW", 1_000)
    monkeypatch.setattr(priors, "KEPT", 8_000)
    monkeypatch.setattr(priors, "BODY_COST", 50)
    chance = random.Random(seed)
    network = sites.network
    for number in range(40):
        name = chance.choice(NAMES)
        edit(sites, name, number)
        sites.sync(name)
        chance.shuffle(network.in_transit)
        for letter in list(network.in_transit):
            fate = chance.random()
            if fate < 0.3:
                network.in_transit.remove(letter)
            elif fate < 0.6:
                network.deliver(letter)
            elif fate < 0.7:
                network.deliver(letter)
                network.deliver(letter)
        sites.clock.now += chance.choice((HOUR, 12 * HOUR))
    network.deliver_all()
    mails_until_quiet(sites, wait=2 * DAY)
    assert agreed(sites)
    for name in NAMES:
        assert unreadable(sites, name) == 0
        for ours in (0, 1):
            query = f"SELECT coalesce(sum(length(octets) + 50), 0) FROM body WHERE ours = {ours}"
            assert rows_of(sites, name, query)[0][0] <= 8_000


# --- what the two ends remember differs ---------------------------------------------------------


@pytest.mark.parametrize("who", [("alice",), ("bob",), NAMES], ids="-".join)
@pytest.mark.parametrize("gone", [1, 4])
def test_after_a_restore_everything_arrives_in_few_mails(
    sites: Sites, who: tuple[str, ...], gone: int
) -> None:
    talk(sites, range(4))
    copies = [backup(sites, name) for name in who]
    talk(sites, range(4, 4 + gone))
    for copy in copies:
        restore(sites, copy)
    for name in NAMES:
        edit(sites, name, 100)
    assert mails_until_quiet(sites) <= 12
    assert agreed(sites)
    edit(sites, "alice", 101)
    assert mails_until_quiet(sites) <= 2
    assert agreed(sites)


def test_other_bodies_cost_two_mails_and_no_time(sites: Sites) -> None:
    talk(sites, range(4))
    tamper(sites, "bob")
    edit(sites, "alice", 100)
    for expected in ("alice", "bob", "alice"):
        sites.sync(expected)
        assert len(sites.network.in_transit) == 1
        sites.network.deliver_all()
    sites.sync("bob")
    assert unreadable(sites, "bob") == 1
    assert agreed(sites)
    assert not forgotten(sites, "bob")
    assert mails_until_quiet(sites) <= 1


@pytest.mark.parametrize("who", [("bob",), NAMES], ids="-".join)
def test_the_word_that_nothing_is_held_may_be_lost(sites: Sites, who: tuple[str, ...]) -> None:
    talk(sites, range(4))
    for name in who:
        tamper(sites, name)
        edit(sites, name, 99)
    edit(sites, "alice", 100)
    for _ in range(3):
        for name in NAMES:
            sites.sync(name)
            if name == "bob":
                sites.network.in_transit.clear()
            sites.network.deliver_all()
        assert forgotten(sites, "bob")
        sites.clock.now += HOUR
    assert mails_until_quiet(sites, wait=DAY) <= 8
    assert agreed(sites)


def test_stale_bodies_are_not_found_out_one_by_one(sites: Sites) -> None:
    """A restored sender counts its bundles anew, and its peer holds others by those numbers."""
    talk(sites, range(3))
    copy = backup(sites, "alice")
    talk(sites, range(3, 15))
    restore(sites, copy)
    for number in range(100, 106):
        edit(sites, "alice", number)
        sites.sync("alice")
        sites.network.in_transit.clear()
    before = unreadable(sites, "bob")
    for number in range(200, 215):
        edit(sites, "alice", number)
        sites.round()
        sites.clock.now += 2 * HOUR
    mails_until_quiet(sites, wait=DAY)
    assert unreadable(sites, "bob") - before <= 2
    assert agreed(sites)


def test_two_copies_of_a_site_do_not_keep_their_peer_from_reading(sites: Sites) -> None:
    talk(sites, range(3))
    twins = [backup(sites, "alice"), backup(sites, "alice")]
    for number in range(10):
        restore(sites, twins[number % 2])
        edit(sites, "alice", 100 + number)
        sites.round()
        sites.clock.now += 2 * HOUR
        twins[number % 2] = backup(sites, "alice")
    assert mails_until_quiet(sites, wait=DAY) <= 12
    assert agreed(sites)


# --- what was here before ---------------------------------------------------------------------


def test_old_mails_shown_again_change_nothing(sites: Sites) -> None:
    """A mailbox that is rebuilt shows all its mails anew, whose priors may be gone by now."""
    talk(sites, range(4))
    with closing(sqlite3.connect(path_of(sites, "bob"))) as database:
        database.execute("DELETE FROM body WHERE ours = 0 AND serial < 4")
        database.commit()
    kept = held(sites, "bob", 0)
    sites.network.renumber("bob@example.org")
    sites.sync("bob")
    assert not forgotten(sites, "bob")
    assert held(sites, "bob", 0) == kept
    assert mails_until_quiet(sites) <= 1


def test_a_bundle_is_read_once_its_prior_is_back(sites: Sites) -> None:
    talk(sites, range(4))
    copy = backup(sites, "bob")
    tamper(sites, "bob")
    edit(sites, "alice", 100)
    sites.sync("alice")
    (letter,) = sites.network.in_transit
    sites.network.deliver(letter)
    sites.sync("bob")
    assert not agreed(sites)
    sites.network.in_transit.clear()
    with closing(sqlite3.connect(path_of(sites, "bob"))) as database:
        database.execute("ATTACH ? AS other", (str(sites.directory / "bob.copy"),))
        database.execute("INSERT INTO body SELECT * FROM other.body WHERE ours = 0")
        database.commit()
    assert copy.name == "bob"
    sites.network.deliver(letter)
    sites.sync("bob")
    assert agreed(sites)


def test_an_unreadable_bundle_shown_again_is_answered_once(sites: Sites) -> None:
    talk(sites, range(4))
    tamper(sites, "bob")
    edit(sites, "alice", 100)
    sites.sync("alice")
    (letter,) = sites.network.in_transit
    for _ in range(5):
        sites.network.deliver(letter)
        sites.sync("bob")
    assert len(sites.network.in_transit) == 1
    assert mails_until_quiet(sites) <= 3
    assert agreed(sites)
