"""Work done with nobody's rights, for tests that may themselves run as root."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from pathlib import Path

NOBODY = 65534


def open_to_all(folder: Path) -> None:
    """Let nobody look into pytest's folders."""
    for one in [folder, *list(folder.parents)[:-2]]:
        if one.owner() == folder.owner():
            one.chmod(one.stat().st_mode | 0o055)


def give_away(path: Path) -> None:
    """Make it the property of whom ``as_nobody`` works as."""
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)


def as_nobody(work: Callable[[], None]) -> None:
    """Run ``work`` in a process of its own without privileges; it must raise nothing."""
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            work()
        except BaseException:  # noqa: BLE001 - the parent sees the exit code
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
