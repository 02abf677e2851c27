"""A first load goes in chunks, each of which counts alone; whatever stops it, the rest goes on."""

from __future__ import annotations

import random
from pathlib import Path

from mailsync.core.model import Key
from mailsync.cycle.composing import ALWAYS, compose_for
from mailsync.cycle.detecting import detect_dataset
from mailsync.cycle.report import Report
from mailsync.cycle.run import import_files
from tests.cycle.sites import DAY, HOUR, Sites, pair

ROWS = 200


def loaded(directory: Path) -> Sites:
    """Alice holds far more than one mail takes, of which Bob has nothing."""
    sites = pair(directory, 'max_message = "16 KiB"')
    chance = random.Random(1)
    for number in range(ROWS):
        sites.rows("alice")[Key(str(number))] = {"noise": chance.randbytes(200)}
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
