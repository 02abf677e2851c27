"""Whole sites whose bundles go by stick, by a shared folder, and by mail in between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from mailsync.core.model import Key
from mailsync.cycle.folder import FolderCarrier
from mailsync.cycle.report import Report
from mailsync.cycle.run import export_bundles, import_files
from mailsync.errors import Exit
from tests.cycle.sites import DAY, HOUR, Sites, pair


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    folder = tmp_path / "stick"
    folder.mkdir()
    return folder


@pytest.fixture
def sites(tmp_path: Path) -> Sites:
    return pair(tmp_path)


def export(sites: Sites, name: str, peer: str, stick: Path, *, full: bool = False) -> Report:
    going = export_bundles(sites.sites[name], peer, stick, Report(), everything=full)
    report = asyncio.run(going)
    sites.sites[name].direct.clear()
    return report


def take(sites: Sites, name: str, stick: Path) -> Report:
    return import_files(sites.sites[name], [stick], Report())


def fill(sites: Sites, name: str, count: int, letter: str = "x") -> None:
    for number in range(count):
        sites.rows(name)[Key(f"{letter}{number}")] = {"name": f"{letter}{number}", "text": "y" * 99}


def assert_at_rest(sites: Sites) -> None:
    """Both hold the same, nobody has anything to say, nothing was doubled."""
    while sites.round():
        sites.clock.now += HOUR
    sites.clock.now += 40 * DAY
    sites.round()
    assert sites.round() == 0
    assert sites.contents("alice") == sites.contents("bob")
    for site in sites.sites.values():
        with site.store.transaction() as transaction:
            assert len(transaction.records.all()) == len(sites.rows(site.name))


def test_a_whole_first_load_by_stick_is_continued_by_mail(sites: Sites, stick: Path) -> None:
    fill(sites, "alice", 300)
    report = export(sites, "alice", "bob", stick)
    assert report.peer("bob").sent.upserts == 300
    assert report.peer("bob").sent.others["folder"].containers == len(list(stick.iterdir()))
    assert report.peer("bob").sent.mails == 0
    sites.rows("alice")[Key("x7")] = {"name": "edited while the stick travels"}
    sites.rows("alice")[Key("new")] = {"name": "new"}
    mailed = sites.sync("alice")
    assert mailed.peer("bob").sent.upserts == 2  # not what the stick holds
    sites.network.deliver_all()
    sites.sync("bob")
    taken = take(sites, "bob", stick)
    assert taken.peer("alice").received.others["folder"].containers == len(list(stick.iterdir()))
    assert sites.contents("bob") == sites.contents("alice")
    assert_at_rest(sites)


def test_what_is_on_a_stick_is_not_mailed_for_its_time_and_then_is(
    sites: Sites, stick: Path
) -> None:
    fill(sites, "alice", 3)
    export(sites, "alice", "bob", stick)
    sites.clock.now += 13 * DAY
    assert sites.sync("alice").peer("bob").sent.mails == 0
    sites.clock.now += 3 * DAY  # folder_time, and the time for an answer
    assert sites.sync("alice").peer("bob").sent.upserts == 3
    sites.network.deliver_all()
    sites.sync("bob")
    take(sites, "bob", stick)  # it was only late
    assert_at_rest(sites)


def test_several_exports_lie_on_one_stick_and_are_taken_once(sites: Sites, stick: Path) -> None:
    fill(sites, "alice", 5, "a")
    export(sites, "alice", "bob", stick)
    fill(sites, "alice", 5, "b")
    export(sites, "alice", "bob", stick)
    fill(sites, "bob", 5, "c")
    export(sites, "bob", "alice", stick)
    assert len(list(stick.iterdir())) == 3
    assert take(sites, "bob", stick).peer("alice").received.upserts == 10
    again = take(sites, "bob", stick)
    assert (again.peer("alice").received.others, again.rejected) == ({}, [])
    assert take(sites, "alice", stick).peer("bob").received.upserts == 5
    assert_at_rest(sites)


def test_a_lost_stick_is_exported_again_when_a_person_says_so(sites: Sites, stick: Path) -> None:
    fill(sites, "alice", 5)
    export(sites, "alice", "bob", stick)
    for path in stick.iterdir():
        path.unlink()
    assert export(sites, "alice", "bob", stick).peer("bob").sent.bundles == 0
    assert export(sites, "alice", "bob", stick, full=True).peer("bob").sent.upserts == 5
    take(sites, "bob", stick)
    assert_at_rest(sites)


def test_what_mail_could_not_take_goes_by_stick_and_the_answer_by_mail(
    sites: Sites, stick: Path
) -> None:
    from mailsync.carriers.base import Retry, Sent

    fill(sites, "alice", 5)
    sites.network.judge = lambda _: Retry("no answer", uncertain=True)
    asyncio.run(_cycle(sites, "alice"))
    export(sites, "alice", "bob", stick)
    take(sites, "bob", stick)
    assert sites.contents("bob") == sites.contents("alice")
    sites.network.judge = lambda letter: Sent(len(letter.container))
    sites.clock.now += DAY
    assert_at_rest(sites)


def test_a_full_stick_is_told_and_the_next_export_goes_on(
    sites: Sites, stick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mailsync.carriers import folder as module

    placed: list[Path] = []

    def place(path: Path, content: bytes) -> None:
        if placed:
            raise OSError(28, "No space left on device")
        placed.append(path)
        path.write_bytes(content)

    fill(sites, "alice", 5)
    export(sites, "alice", "bob", stick)
    sites.rows("alice")[Key("x1")] = {"name": "edited"}
    placed.append(stick)
    with monkeypatch.context() as patch:
        patch.setattr(module, "place_file", place)
        report = export(sites, "alice", "bob", stick)
    assert report.exit_code is Exit.TEMPORARY
    assert "No space left" in str(report.problems[0])
    assert export(sites, "alice", "bob", stick).exit_code is Exit.OK
    take(sites, "bob", stick)
    assert sites.contents("bob") == sites.contents("alice")
    assert_at_rest(sites)


def cut(content: bytes, at: int) -> bytes:
    return content[:at]


def hollow(content: bytes, at: int) -> bytes:
    """What FAT may leave: the size is there, some of the content is not."""
    return content[:at] + bytes(99) + content[at + 99 :]


@pytest.mark.parametrize("damage", [cut, hollow])
def test_whatever_a_stick_pulled_too_early_holds_is_named_and_never_used(
    sites: Sites, stick: Path, damage: Callable[[bytes, int], bytes]
) -> None:
    """Under its final name even, as if the file system had kept no order of writing."""
    fill(sites, "alice", 3, "a")
    export(sites, "alice", "bob", stick)
    fill(sites, "alice", 3, "b")
    export(sites, "alice", "bob", stick)
    first, _ = sorted(stick.iterdir())
    whole = first.read_bytes()
    for at in range(0, len(whole), 37):
        damaged = damage(whole, at)
        first.write_bytes(damaged[: len(whole)])
        report = take(sites, "bob", stick)
        assert [first.name in words for words in report.rejected] == [True]
        assert len(sites.rows("bob")) == 3  # what the other file brought
    assert first.exists()
    first.write_bytes(whole)
    assert take(sites, "bob", stick).rejected == []
    assert sites.contents("bob") == sites.contents("alice")
    assert_at_rest(sites)


# --- a folder that is looked at in every cycle ------------------------------------------------


def share(sites: Sites, folder: Path) -> None:
    """Both sites' folders, one inside the other's view as a synced folder is."""
    for one, other in (("alice", "bob"), ("bob", "alice")):
        site = sites.sites[one]
        peer = site.peers[other]
        settings = peer.settings.model_copy(
            update={
                "carrier": ("folder", "mail"),
                "folder_out": folder / f"to-{other}",
                "folder_in": folder / f"to-{one}",
            }
        )
        site.direct[other] = {"folder": FolderCarrier.of(settings, site.keys.public, peer.public)}


def test_a_shared_folder_carries_all_while_it_is_there_and_mail_when_it_is_not(
    sites: Sites, tmp_path: Path
) -> None:
    share(sites, tmp_path)
    fill(sites, "alice", 4, "a")
    assert sites.sync("alice").peer("bob").sent.mails == 1  # no folder yet
    for name in ("alice", "bob"):
        (tmp_path / f"to-{name}").mkdir()
    fill(sites, "alice", 4, "b")
    report = sites.sync("alice")
    assert (report.peer("bob").sent.mails, report.peer("bob").sent.upserts) == (0, 4)
    assert sites.sync("bob").peer("alice").received.upserts == 4
    sites.network.deliver_all()
    sites.sync("bob")
    assert sites.contents("bob") == sites.contents("alice")
    for _ in range(3):
        sites.sync("alice")
        sites.sync("bob")
    for name in ("alice", "bob"):  # used files are removed
        assert not list((tmp_path / f"to-{name}").iterdir())
    for number in range(9):  # names come again, what is in them is new
        sites.rows("alice")[Key("b0")] = {"name": f"edit {number}"}
        sites.sync("alice")
        assert sites.sync("bob").peer("alice").received.upserts == 1
    assert_at_rest(sites)


async def _cycle(sites: Sites, name: str) -> None:
    from mailsync.cycle.run import Extent, run_cycle

    await run_cycle(sites.sites[name], Extent(), Report())
