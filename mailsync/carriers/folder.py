"""Bundles as files in a folder: on a stick that is carried, or in one that others keep in step.

Rules
-----
* A file is called ``TTTNNNNN.msy``: three characters that tell from whom to whom, and a number that
  grows. Any file system takes such names; none depends on the case of letters.
* A file is whole or is called otherwise: content first, then its name. Of a stick that was pulled
  too early no half bundle remains under a name that anybody reads.
* A folder that is not there now is no error: a stick is mounted now and then.
* Files of other names, and bundles between other sites, are passed over.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import stat
import time
from base64 import b32encode
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final, Self

from mailsync.carriers.base import (
    CONTAINER_MAX,
    Arrival,
    Letter,
    NotHere,
    Place,
    Quota,
    Retry,
    SendResult,
    Sent,
)
from mailsync.core import container
from mailsync.files import place_file

_log = logging.getLogger(__name__)

SUFFIX: Final = ".msy"
ATTACHMENT_SUFFIX: Final = ".msync"
"""Of attachments that people saved: they may lie in a folder as well, whatever they are called."""
ACCOUNT: Final = "folder"
"""What a :class:`Place` in a folder says of itself."""

NUMBER_MAX: Final = 99_999
LOOK_SECONDS: Final = 1.0

_TAG_SIZE: Final = 3
_END_SIZE: Final = 16
_NAME: Final = re.compile(rf"([a-z2-7]{{{_TAG_SIZE}}})(\d{{5}})\.(?:msy|tmp)")


def tag_of(sender: bytes, recipient: bytes) -> str:
    """What the names of files begin with that go from one site to the other, by thumbprints."""
    digest = sha256(b"mailsync folder\0" + sender + recipient).digest()
    return b32encode(digest)[:_TAG_SIZE].decode().lower()


class FolderSender:
    """The outward half: lays down one file a letter."""

    def __init__(self, folder: Path, tag: str) -> None:
        """Prepare to write files whose names begin with ``tag`` into ``folder``."""
        self._folder = folder
        self._tag = tag
        self._last = 0

    async def __aenter__(self) -> Self:
        """Find the last number used. Raises NotHere."""
        found = (_NAME.fullmatch(name.lower()) for name in _names(self._folder))
        numbers = [int(one[2]) for one in found if one is not None and one[1] == self._tag]
        self._last = max(numbers, default=0)
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Nothing to disconnect from: each file is on the disk already."""

    @property
    def size_limit(self) -> int | None:
        """Says nothing: a full disk is noticed when it is full."""
        return None

    async def send(self, letter: Letter) -> SendResult:
        """Lay down one letter as a file."""
        self._last += 1
        if self._last > NUMBER_MAX:
            return Retry(f"{self._folder}: it is full of bundles; remove those that were taken")
        path = self._folder / f"{self._tag}{self._last:05}{SUFFIX}"
        try:
            await asyncio.to_thread(place_file, path, letter.container)
        except OSError as error:
            return Retry(f"{self._folder}: {error.strerror}")
        return Sent(len(letter.container))


class FolderMailbox:
    """The inward half: the files in a folder."""

    def __init__(self, folder: Path, tags: Collection[str]) -> None:
        """Prepare to read files whose names begin with one of ``tags``."""
        self._folder = folder
        self._tags = tags
        self._seen: frozenset[Place] = frozenset()

    async def __aenter__(self) -> Self:
        """See whether it is there. Raises NotHere."""
        _names(self._folder)
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Nothing to disconnect from."""

    async def arrivals(self, settled: Collection[Place]) -> AsyncIterator[Arrival]:
        """Every file not in ``settled``, in the order of names. Raises NotHere."""
        self._seen = frozenset(_places(self._folder, self._tags))
        for arrival in arrivals_in(self._folder, self._tags, settled):
            yield arrival

    async def again(self, places: Mapping[Place, int]) -> AsyncIterator[Arrival]:  # noqa: ARG002
        """Nothing: a file that was replaced is in another place."""
        return
        yield

    def vanished(self, places: Collection[Place]) -> frozenset[Place]:
        """Those in this folder where the last look saw no file."""
        return frozenset(one for one in places if _is_in(one, self._folder)) - self._seen

    async def quota(self) -> Quota | None:
        """Not known."""
        return None

    async def dispose(self, places: Collection[Place], folder: str | None) -> frozenset[Place]:  # noqa: ARG002
        """Remove exactly these files; those that are now gone. Raises NotHere."""
        mine = {one for one in places if _is_in(one, self._folder)}
        present = _places(self._folder, self._tags)
        for place in mine & present.keys():
            try:
                present[place].unlink(missing_ok=True)
            except OSError:  # a stick may be read-only: it is looked at, and left
                mine.discard(place)
        return frozenset(mine)

    async def wait(self, seconds: float) -> bool:
        """Wait until there are files that the last look did not show."""
        end = time.monotonic() + seconds
        while not _places(self._folder, self._tags).keys() - self._seen:
            left = end - time.monotonic()
            if left <= 0:
                return False
            await asyncio.sleep(min(left, LOOK_SECONDS))
        return True


def arrivals_in(
    folder: Path, tags: Collection[str], settled: Collection[Place] = ()
) -> Iterator[Arrival]:
    """What is in the files of a folder that are not in ``settled``, in the order of names.

    Raises NotHere.
    """
    known = frozenset(settled)
    for place, path in _places(folder, tags).items():
        if place not in known:
            yield _arrival(place, path)


def _arrival(place: Place, path: Path) -> Arrival:
    found: tuple[bytes, ...] = ()
    size = 0
    try:
        with path.open("rb") as file:
            raw = file.read(CONTAINER_MAX + 1)
        size = len(raw)
    except OSError as error:
        problem: str | None = error.strerror or "it cannot be read"
    else:
        found = tuple(container.find(raw))
        problem = None if found else container.problem_in(raw) or "there is no bundle in it"
    return Arrival(place, size, found, message_id=str(path), problem=problem, carrier="folder")


def _places(folder: Path, tags: Collection[str]) -> dict[Place, Path]:
    """Regular files that may hold bundles for us; another content of a name is another place."""
    found = {}
    for name in sorted(_names(folder)):
        match = _NAME.fullmatch(name.lower())
        is_ours = match is not None and match[1] in tags and name.lower().endswith(SUFFIX)
        if not is_ours and not name.lower().endswith(ATTACHMENT_SUFFIX):
            continue
        path = folder / name
        try:
            if stat.S_ISREG(path.lstat().st_mode):
                found[_place(path)] = path
        except OSError as error:  # gone meanwhile, or not for us
            _log.debug("%s: %s", path, error)
    return found


def _place(path: Path) -> Place:
    """By name, size and end, which holds a container's check: times say little on a stick.

    Raises OSError.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - _END_SIZE, 0))
        known = path.name.lower().encode() + b"/" + file.read(_END_SIZE)
    number = int.from_bytes(sha256(known).digest()[:7], "big")
    return Place(ACCOUNT, str(path.parent.absolute()), size, number)


def _names(folder: Path) -> list[str]:
    """Raises NotHere."""
    try:
        return [path.name for path in folder.iterdir()]
    except OSError as error:
        raise NotHere(f"{folder}: {error.strerror}") from error


def _is_in(place: Place, folder: Path) -> bool:
    return place.account == ACCOUNT and place.folder == str(folder.absolute())
