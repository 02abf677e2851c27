"""A first load goes in chunks, each of which counts alone; whatever stops it, the rest goes on."""

from __future__ import annotations

import random
import tracemalloc
from pathlib import Path

import pytest

from mailsync.core.model import Key
from mailsync.cycle.composing import ALWAYS, compose_for
from mailsync.cycle.detecting import detect_dataset
from mailsync.cycle.report import Report
from mailsync.cycle.run import import_files
from mailsync.store import record_rows
from tests.cycle.sites import DAY, HOUR, Sites, pair

ROWS = 200
FEW, MANY, LARGE = 400, 1_600, 1_000


def loaded(directory: Path, rows: int = ROWS, size: int = 200) -> Sites:
    """Alice holds far more than one mail takes, of which Bob has nothing."""
    sites = pair(directory, 'max_message = "16 KiB"')
    chance = random.Random(1)
    for number in range(rows):
        sites.rows("alice")[Key(str(number))] = {"noise": chance.randbytes(size)}
    return sites


def test_what_was_composed_before_a_crash_is_not_composed_again(tmp_path: Path) -> None:
    sites = loaded(tmp_path)
    alice = sites.sites["alice"]
    detect_dataset(alice, "people", Report())
    bundles = compose_for(alice, alice.peers["bob"], Report(), everything=False, due_by=ALWAYS)
    before = [next(bundles), next(bundles)]
    bundles.close()  # type: ignore[attr-defined]
    assert all(len(bundle.containers) == 1 for bundle in before)
    report = sites.sync("alice")
    assert report.peer("bob").sent.mails > 3
    sites.network.deliver_all()
    sites.sync("bob")
    assert sites.contents("bob") == sites.contents("alice")


def test_each_chunk_is_applied_and_confirmed_alone(tmp_path: Path) -> None:
    sites = loaded(tmp_path)
    sent = sites.sync("alice").peer("bob").sent
    mails = sites.network.in_transit
    assert sent.mails == len(mails) > 3
    del mails[1]
    sites.network.deliver_all()
    sites.sync("bob")
    there = len(sites.rows("bob"))
    assert ROWS // 2 < there < ROWS
    sites.clock.now += 2 * HOUR  # the acknowledgement is due
    sites.sync("bob")
    sites.network.deliver_all()
    sites.clock.now += 8 * DAY  # and now what it lacks
    again = sites.sync("alice").peer("bob").sent
    assert again.mails == 1
    assert again.upserts == ROWS - there
    sites.network.deliver_all()
    sites.sync("bob")
    assert sites.contents("bob") == sites.contents("alice")


def test_chunks_come_by_files_in_any_order(tmp_path: Path) -> None:
    sites = loaded(tmp_path)
    sites.sync("alice")
    mails = list(sites.network.in_transit)
    sites.network.in_transit.clear()
    paths = []
    for number, letter in enumerate(reversed(mails)):
        paths.append(tmp_path / f"{number}.bundle")
        paths[-1].write_bytes(letter.container)
    import_files(sites.sites["bob"], paths[:2], Report())
    assert 0 < len(sites.rows("bob")) < ROWS
    import_files(sites.sites["bob"], paths, Report())
    assert sites.contents("bob") == sites.contents("alice")


def composed(directory: Path, rows: int) -> int:
    """The most memory that composing so many takes, in bytes."""
    directory.mkdir()
    alice = loaded(directory, rows, LARGE).sites["alice"]
    detect_dataset(alice, "people", Report())
    tracemalloc.start()
    try:
        bundles = compose_for(alice, alice.peers["bob"], Report(), everything=False, due_by=ALWAYS)
        assert sum(bundle.upserts.total() for bundle in bundles) == rows
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_composing_takes_the_same_memory_however_much_there_is(tmp_path: Path) -> None:
    composed(tmp_path / "warm", FEW)  # statements are compiled, modules imported
    assert composed(tmp_path / "many", MANY) < 1.25 * composed(tmp_path / "few", FEW)


def test_each_record_is_read_twice_and_hardly_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once to see where it is, once to send it; besides, the rest of each page that is read."""
    alice = loaded(tmp_path, FEW).sites["alice"]
    detect_dataset(alice, "people", Report())
    read = 0
    real = record_rows.record_of

    def counting(*values: object) -> object:
        nonlocal read
        read += 1
        return real(*values)  # type: ignore[arg-type]

    monkeypatch.setattr("mailsync.store.records.record_of", counting)
    monkeypatch.setattr("mailsync.store.records.AHEAD", 5)
    bundles = compose_for(alice, alice.peers["bob"], Report(), everything=False, due_by=ALWAYS)
    mails = sum(len(bundle.containers) for bundle in bundles)
    assert mails > 5
    assert 2 * FEW <= read < 4 * FEW
