"""Mechanics of files: reading without following links, replacing, the gate by a file's status.

A file is replaced by writing another beside it and renaming: whoever reads sees the old text
or the new one, also after a power failure (file and folder are flushed).
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

from mailsync.core.model import Etag
from mailsync.errors import (
    NO_SPACE,
    DatasetBusy,
    DatasetError,
    DatasetMissing,
    DatasetReadOnly,
    DiskFull,
    MailsyncError,
)

Clock = Callable[[], datetime]
Made = TypeVar("Made")

ATTEMPTS: Final = 5
"""How often a file is edited anew because another program was quicker."""

RACY: Final = 2_000_000_000
"""Nanoseconds. FAT keeps times to two seconds: a file may change again within that time and
keep its status ("racy clean", as git calls it)."""

TEMPORARY_PREFIX: Final = ".mailsync-"

_STATUS: Final = struct.Struct(">qqQ")
_READ_ONLY: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_LEFT_BEHIND: Final = 3600.0
"""Seconds after which a temporary file has surely lost its writer."""


class Overtaken(Exception):
    """The file is not what it was when we read it."""


def utc_now() -> datetime:
    """The time."""
    return datetime.now(UTC)


def nanoseconds(moment: datetime) -> int:
    """Since 1970."""
    return int(moment.timestamp() * 1_000_000) * 1000


def status_gate(status: os.stat_result, seen_at: int) -> bytes:
    """The status of a file in 24 bytes; equal ones mean that it has not changed.

    ``seen_at`` (nanoseconds since 1970): when it was looked at. A file changed so shortly
    before may change again unnoticed; its gate equals that of no file.
    """
    if status.st_mtime_ns > seen_at - RACY:
        return _STATUS.pack(-1, 0, 0)
    return _STATUS.pack(status.st_mtime_ns, status.st_size, status.st_ino & (2**64 - 1))


def is_open(gate: bytes) -> bool:
    """Does the gate equal that of no file?"""
    return gate == _STATUS.pack(-1, 0, 0)


def gated(gate: bytes, digest: bytes) -> Etag:
    """An etag of a file's gate and its record's digest."""
    return Etag(gate + digest)


def split_etag(etag: Etag) -> tuple[bytes, bytes]:
    """Gate and digest."""
    return etag[: _STATUS.size], etag[_STATUS.size :]


def read_regular(path: Path) -> tuple[bytes, os.stat_result] | None:
    """A file's content and status; None: no such file.

    Raises :class:`DatasetError` for symbolic links and what is no file.
    """
    found = open_regular(path)
    if found is None:
        return None
    file, status = found
    with file:
        return file.read(), status


def open_regular(path: Path) -> tuple[BinaryIO, os.stat_result] | None:
    """A file to read, and its status; None: no such file.

    Raises :class:`DatasetError` for symbolic links and what is no file.
    """
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise DatasetError(f"{path} is a symbolic link; those are not followed") from error
        raise
    status = os.fstat(number)
    if not stat.S_ISREG(status.st_mode):
        os.close(number)
        raise DatasetError(f"{path} is not a file")
    return os.fdopen(number, "rb"), status


def replace(path: Path, before: bytes | None, after: bytes) -> os.stat_result:
    """Make ``path`` hold ``after`` if it still holds ``before`` (None: is not there).

    Keeps mode and, where allowed, owner. The folder is not flushed: see :func:`flush_folder`.
    Raises :class:`Overtaken`.
    """
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}")
    present = read_regular(path)
    number = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(number, "wb") as file:
            if present:
                _keep_rights(number, present[1])
            file.write(after)
            file.flush()
            os.fsync(number)
            status = os.fstat(number)
        demand(path, before)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return status


def demand(path: Path, content: bytes | None) -> None:
    """Raise :class:`Overtaken` unless the file holds ``content`` (None: is not there)."""
    present = read_regular(path)
    if (present[0] if present else None) != content:
        raise Overtaken


def demand_folder(path: Path) -> None:
    """Raise :class:`DatasetError` unless there is such a folder, and we can see that."""
    with explaining(path):
        if not path.is_dir():
            raise DatasetMissing(f"there is no folder {path}")


def demand_file(path: Path, what: str = "file") -> None:
    """The same of a file; ``what`` to call it."""
    with explaining(path):
        if not path.is_file():
            raise DatasetMissing(f"there is no {what} {path}")


def read_content(path: Path) -> bytes:
    """What a file holds that must be there. Raises :class:`DatasetError`."""
    with opened(path) as (file, _):
        return file.read()


@contextmanager
def opened(path: Path) -> Iterator[tuple[BinaryIO, os.stat_result]]:
    """A file that must be there, to read, and its status before. Raises :class:`DatasetError`."""
    with explaining(path):
        found = open_regular(path.resolve())
        if found is None:
            raise DatasetMissing(f"there is no file {path}")
        with found[0] as file:
            yield file, found[1]


def rewrite(path: Path, edit: Callable[[bytes], tuple[bytes, Made]], now: datetime) -> Made:
    """Make a file hold what ``edit`` makes of its content; the other half of that is returned.

    Should another program be quicker, what it wrote is edited instead. The result is durable,
    and what writers killed long before ``now`` left beside the file is gone.
    Raises :class:`DatasetError`, and what ``edit`` raises; the file is as it was then.
    """
    target = path.resolve()
    for _ in range(ATTEMPTS):
        before = read_content(path)
        after, made = edit(before)
        if after == before:
            return made
        with suppress(Overtaken), explaining(target):
            sweep(target.parent, now)
            replace(target, before, after)
            flush_folder(target.parent)
            return made
    raise DatasetBusy(f"another program keeps changing {path}")


def flush_folder(path: Path) -> None:
    """Make renames and removals in the folder outlive a power failure."""
    number = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def sweep(folder: Path, now: datetime) -> None:
    """Remove temporary files of ours whose writer was killed; what we may not remove stays."""
    for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
        with suppress(OSError):
            if path.lstat().st_mtime < now.timestamp() - _LEFT_BEHIND:
                path.unlink()


@contextmanager
def explaining(path: Path) -> Iterator[None]:
    """Inside, the system's errors become the dataset's."""
    try:
        yield
    except OSError as error:
        raise _explained(error, path) from error


def _explained(error: OSError, path: Path) -> MailsyncError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return DatasetMissing(f"there is no {path}")
    if error.errno in NO_SPACE:
        return DiskFull(f"no space left for {path}")
    if error.errno in _READ_ONLY:
        return DatasetReadOnly(f"{path}: {error.strerror}")
    return DatasetError(f"{path}: {error.strerror or error}")


def _keep_rights(number: int, status: os.stat_result) -> None:
    with suppress(PermissionError):
        os.fchown(number, status.st_uid, status.st_gid)
    os.fchmod(number, stat.S_IMODE(status.st_mode))
