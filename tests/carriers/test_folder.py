"""Bundles as files: names, half files, folders that are not there, full disks."""

from __future__ import annotations

import errno
import itertools
import os
import re
from pathlib import Path

import pytest

from mailsync import files
from mailsync.carriers import folder
from mailsync.carriers.base import Arrival, NotHere, Retry, Sent
from mailsync.carriers.folder import FolderMailbox, FolderSender, arrivals_in, tag_of
from tests.carriers.letters import container, letter

TAG = "abc"


async def lay_down(folder: Path, *contents: bytes, tag: str = TAG) -> list[object]:
    async with FolderSender(folder, tag) as sender:
        return [await sender.send(letter("hub", content)) for content in contents]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def found(folder: Path) -> list[Arrival]:
    return list(arrivals_in(folder, [TAG]))


def test_tags_tell_from_whom_to_whom() -> None:
    one, other = bytes(16), bytes([1] * 16)
    assert tag_of(one, other) != tag_of(other, one)
    assert len(tag_of(one, other)) == 3
    assert tag_of(one, other).isalnum()


async def test_names_fit_any_file_system_and_go_on_where_the_last_export_ended(
    tmp_path: Path,
) -> None:
    await lay_down(tmp_path, container(9, 1), container(9, 2))
    (tmp_path / "abc00002.msy").rename(tmp_path / "ABC00007.MSY")  # as FAT may give it back
    await lay_down(tmp_path, container(9, 3))
    assert names(tmp_path) == ["ABC00007.MSY", "abc00001.msy", "abc00008.msy"]
    assert {one.containers for one in found(tmp_path)} == {(container(9, n),) for n in (1, 2, 3)}


async def test_names_are_eight_and_three_characters_that_differ_in_more_than_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those under which content is written, too."""
    written: list[str] = []

    def place(path: Path, content: bytes) -> None:
        written.extend([path.name, path.with_suffix(".tmp").name])
        files.place_file(path, content)

    monkeypatch.setattr(folder, "place_file", place)
    thumbprints = [bytes([number] * 16) for number in range(20)]
    for one, other in itertools.pairwise(thumbprints):
        await lay_down(tmp_path, container(9), container(9), tag=tag_of(one, other))
    assert len(written) == 4 * 19
    assert all(re.fullmatch(r"[a-z0-9]{8}\.[a-z]{3}", name) for name in written)
    assert len({name.upper() for name in written}) == len(set(written)) == 4 * 19


async def test_times_tell_nothing_where_a_name_comes_again(tmp_path: Path) -> None:
    """FAT knows times to two seconds, in whatever zone; the stick was emptied in between."""
    await lay_down(tmp_path, container(9, 1))
    path = tmp_path / "abc00001.msy"
    os.utime(path, (1_700_000_000, 1_700_000_000))
    [first] = found(tmp_path)
    path.unlink()
    await lay_down(tmp_path, container(9, 2))
    os.utime(path, (1_700_000_000, 1_700_000_000))
    [second] = arrivals_in(tmp_path, [TAG], [first.place])
    assert second.containers == (container(9, 2),)
    os.utime(path, (1_600_000_000, 1_600_000_000))
    assert list(arrivals_in(tmp_path, [TAG], [second.place])) == []


async def test_a_number_that_was_begun_is_not_used_again(tmp_path: Path) -> None:
    (tmp_path / "abc00004.tmp").write_bytes(container(9)[:20])  # the stick was pulled
    assert found(tmp_path) == []
    await lay_down(tmp_path, container(9))
    assert "abc00005.msy" in names(tmp_path)


async def test_what_is_not_ours_is_passed_over(tmp_path: Path) -> None:
    await lay_down(tmp_path, container(9), tag="xyz")
    (tmp_path / "abc00001.msy.txt").write_bytes(container(9))
    (tmp_path / "abc00002.msy").symlink_to(tmp_path / "xyz00001.msy")
    (tmp_path / "abc00003.msy").mkdir()
    (tmp_path / "notes.txt").write_text("dear diary")
    (tmp_path / "7f3a-1of1.msync").write_bytes(container(5))
    assert [one.containers for one in found(tmp_path)] == [(container(5),)]


async def test_half_a_file_is_named_and_once_it_is_whole_it_is_another_place(
    tmp_path: Path,
) -> None:
    path = tmp_path / "abc00001.msy"
    path.write_bytes(container(100)[:50])
    [half] = found(tmp_path)
    assert (half.containers, half.problem) == ((), "cut")
    path.write_bytes(container(100))
    [whole] = arrivals_in(tmp_path, [TAG], [half.place])
    assert (whole.containers, whole.problem) == ((container(100),), None)


async def test_a_folder_that_is_not_there_now_is_not_here(tmp_path: Path) -> None:
    with pytest.raises(NotHere):
        await lay_down(tmp_path / "away", container(9))
    with pytest.raises(NotHere):
        async with FolderMailbox(tmp_path / "away", [TAG]):
            raise AssertionError


async def test_a_full_stick_takes_nothing_and_keeps_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        [result] = await lay_down(tmp_path, container(9))
    assert isinstance(result, Retry)
    assert "No space left" in result.reason
    assert names(tmp_path) == []
    [result] = await lay_down(tmp_path, container(9))
    assert result == Sent(len(container(9)))


async def test_a_stick_pulled_amid_a_write_leaves_no_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is on it then, nobody reads it as a bundle."""

    class Pulled(BaseException):
        pass

    def pulled(_descriptor: int) -> None:
        raise Pulled

    monkeypatch.setattr(os, "fsync", pulled)
    with pytest.raises(Pulled):
        files.place_file(tmp_path / "abc00001.msy", container(9))
    assert names(tmp_path) == ["abc00001.tmp"]
    assert found(tmp_path) == []
