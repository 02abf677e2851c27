"""Which links are up, for other processes to see.

Rules
-----
* A link is up as long as some process holds a lock in its name: the lock ends with the process,
  however that ends, so nobody is ever told of a link that is no more.
* Whoever is the last to hold the file removes it, while nobody else can lock it. Who opened it
  before that finds, once it has the lock, that it is not the one at its place, and makes another.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mailsync.files import PRIVATE_FILE


@contextmanager
def shown(state: Path, peer: str) -> Iterator[None]:
    """Inside, this site, whose state store is named, has a link with the peer. Raises OSError."""
    place = _place(state, peer)
    handle = _held(place)
    try:
        yield
    finally:
        _remove_if_last(place, handle)
        os.close(handle)


def is_linked(state: Path, peer: str) -> bool:
    """Has some process of this site a link with the peer now?"""
    try:
        handle = os.open(_place(state, peer), os.O_RDONLY)
    except OSError:  # there is none
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _held(place: Path) -> int:
    """The file that is at its place, locked together with others."""
    while True:
        handle = os.open(place, os.O_CREAT | os.O_RDONLY, PRIVATE_FILE)
        try:
            fcntl.flock(handle, fcntl.LOCK_SH)
            is_there = _is_at(place, handle)
        except BaseException:
            os.close(handle)
            raise
        if is_there:
            return handle
        os.close(handle)


def _remove_if_last(place: Path, handle: int) -> None:
    """Of one lock follows another not in one step: meanwhile others may have done the same."""
    with suppress(OSError):  # somebody else holds it, or looks at it
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_at(place, handle):
            place.unlink()


def _is_at(place: Path, handle: int) -> bool:
    try:
        return os.path.samestat(place.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def _place(state: Path, peer: str) -> Path:
    return state.with_name(f"{state.name}.link.{peer}")
