"""Small files written whole or not at all, and kept from other people's eyes.

What is written here is on the disk when the function returns: content first, then its name.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path
from typing import Final

from mailsync.errors import NO_SPACE, BadKeys, DiskFull, OperatorError

PRIVATE_FILE: Final = 0o600
PRIVATE_DIRECTORY: Final = 0o700
PUBLIC_FILE: Final = 0o644


def replace_file(path: Path, content: bytes) -> None:
    """Give an existing file new content; its mode stays. Raises OSError, the file untouched."""
    target = path.resolve()  # a link to the file stays a link
    temporary = _write_beside(target, content, stat.S_IMODE(target.stat().st_mode))
    try:
        temporary.replace(target)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    _sync_directory(target.parent)


def create_file(path: Path, content: bytes, mode: int) -> None:
    """Write a new file with the permission bits ``mode``.

    Raises FileExistsError if there is one, whoever made it and however recently.
    """
    temporary = _write_beside(path, content, mode)
    try:
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise
        except OSError:  # FAT and some network file systems have no hard links
            _create_in_place(path, content, mode)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_directory(path.parent)


def place_file(path: Path, content: bytes) -> None:
    """Write a file so that it is whole or not there, on a file system without links as well.

    Until then it is called ``NAME.tmp``; a leftover of that name is replaced. Raises OSError.
    """
    temporary = path.with_suffix(".tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def require_private(path: Path) -> None:
    """Raise ``BadKeys`` if anybody but the owner may use this file or directory."""
    if os.name == "nt":  # permission bits say nothing there
        return
    found = path.stat()
    if found.st_mode & 0o077:
        mode = PRIVATE_DIRECTORY if stat.S_ISDIR(found.st_mode) else PRIVATE_FILE
        raise BadKeys(f"{path} is open to others than its owner: chmod {mode:o} {path}")


def not_written(path: Path, error: OSError) -> OperatorError:
    """The error to raise when writing failed, in the operator's words."""
    kind = DiskFull if error.errno in NO_SPACE else OperatorError
    return kind(f"cannot write {path}: {error.strerror}")


def _write_beside(path: Path, content: bytes, mode: int) -> Path:
    descriptor, name = tempfile.mkstemp(prefix=".", suffix=".new", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            temporary.chmod(mode)
            os.fsync(file.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _create_in_place(path: Path, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _sync_directory(directory: Path) -> None:
    with contextlib.suppress(OSError):  # some systems cannot open or sync a directory
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
