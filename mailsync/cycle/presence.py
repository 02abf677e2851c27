"""Which links are up, for other processes to see.

Rules
-----
* A link is up as long as some process holds a lock in its name: the lock ends with the process,
  however that ends, so nobody is ever told of a link that is no more.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mailsync.files import PRIVATE_FILE


@contextmanager
def shown(state: Path, peer: str) -> Iterator[None]:
    """Inside, this site, whose state store is named, has a link with the peer. Raises OSError."""
    handle = os.open(_place(state, peer), os.O_CREAT | os.O_RDONLY, PRIVATE_FILE)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)


def is_linked(state: Path, peer: str) -> bool:
    """Has some process of this site a link with the peer now?"""
    try:
        handle = os.open(_place(state, peer), os.O_RDONLY)
    except OSError:  # there never was one
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _place(state: Path, peer: str) -> Path:
    return state.with_name(f"{state.name}.link.{peer}")
