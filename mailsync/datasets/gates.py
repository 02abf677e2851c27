"""The gate of a whole file: what tells later that nothing has changed, without a look at records.

Rules
-----
* A gate is the status of a file and the digest of what was read from it. An equal status is
  enough, unless the file was changed so shortly before that it may have changed again unnoticed;
  then, and where only the status is another, the digest decides.
* Nobody can set the time at which a status changed: a copied or restored file has another one,
  though its size and its time of modification are those of before.
* Of files that only a database engine writes to, size, time of modification and number are the
  gate, and their content is not looked at: an engine that only opens them may change their status
  otherwise. An empty file is as good as none.
* A gate hides nothing as long as it is forgotten before anything is written, and kept only after
  all that was read is known.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, Final

from mailsync.datasets.files import RACY, Clock, nanoseconds, opened, utc_now

_STATUS: Final = struct.Struct(">qqqQ")
_UNSURE: Final = _STATUS.pack(-1, 0, 0, 0)
_PIECE: Final = 1 << 20


class Watched:
    """A file that is being read from its beginning to its end, and its gate then."""

    def __init__(self, file: BinaryIO, status: os.stat_result, meaning: Sequence[str]) -> None:
        """``status``: before anything is read. ``meaning``: how the file is read."""
        self.file = file
        self._status = status
        self._digest = blake2b(repr(meaning).encode(), digest_size=16)

    def read(self, size: int) -> bytes:
        """Up to so many bytes of what follows."""
        found = self.file.read(size)
        self._digest.update(found)
        return found

    def gate(self, seen_at: datetime) -> bytes:
        """Of what was read. ``seen_at``: when the status was taken, or before."""
        return _status(self._status, seen_at) + self._digest.digest()

    def still(self, gate: bytes, seen_at: datetime) -> bytes | None:
        """What to keep instead of the gate if the file is as it was then; None: it is not."""
        status = _status(self._status, seen_at)
        if status != _UNSURE and gate.startswith(status):
            return gate
        while self.read(_PIECE):
            pass
        found = self.gate(seen_at)
        return found if found[_STATUS.size :] == gate[_STATUS.size :] else None


def still(path: Path, meaning: Sequence[str], gate: bytes, clock: Clock) -> bytes | None:
    """What to keep instead of the gate if the file is as it was then; None: it is not.

    Raises :class:`mailsync.errors.DatasetError`.
    """
    seen_at = clock()
    with opened(path) as (file, status):
        return Watched(file, status, meaning).still(gate, seen_at)


def status_gate(paths: Sequence[Path], meaning: Sequence[object]) -> bytes | None:
    """The gate of files as they are now, by their statuses alone; None: too young for that."""
    trusted, found = nanoseconds(utc_now()) - RACY, []
    for path in paths:
        with suppress(OSError):
            status = path.stat()
            if status.st_size:
                found.append((status.st_mtime_ns, status.st_size, status.st_ino))
    if not found or max(found)[0] > trusted:
        return None
    return blake2b(repr((found, meaning)).encode(), digest_size=16).digest()


def _status(status: os.stat_result, seen_at: datetime) -> bytes:
    changed_at = max(status.st_mtime_ns, status.st_ctime_ns)
    if changed_at > nanoseconds(seen_at) - RACY:
        return _UNSURE
    return _STATUS.pack(
        status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino & (2**64 - 1)
    )
