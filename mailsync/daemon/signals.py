"""Signals heard at once, even while the main thread is deep in a database or a library.

Python runs its signal handlers between two instructions of the main thread, and asyncio its
own between two steps of the loop: neither happens while a call blocks. The number of an
arrived signal, however, is written to a file descriptor at once, and a thread can wait on it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Final

GRACE_SECONDS: Final = 1.5
"""From the wish to end until the process leaves, whatever it is doing."""


@contextlib.contextmanager
def heard(acts: Mapping[signal.Signals, Callable[[], None]]) -> Iterator[None]:
    """Within the block these signals do nothing but the act given for each.

    Acts run in a thread of their own. To be used in the main thread.
    """
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    thread = threading.Thread(target=_listen, args=(receiver, acts), daemon=True)
    before = {number: signal.signal(number, _leave_to_thread) for number in acts}
    descriptor = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(descriptor)
        for number, handler in before.items():
            signal.signal(number, handler)
        sender.close()


def leave_after_grace() -> None:
    """End the process with exit code 0 unless it ends by itself in time.

    Nothing needs to be cleaned up: whatever is under way survives a crash just as well.
    """
    timer = threading.Timer(GRACE_SECONDS, os._exit, (0,))
    timer.daemon = True
    timer.start()


def _listen(receiver: socket.socket, acts: Mapping[signal.Signals, Callable[[], None]]) -> None:
    with receiver:
        while numbers := receiver.recv(64):
            for number in numbers:
                # the descriptor tells of every signal, also of those that others handle
                acts.get(signal.Signals(number), _nothing)()


def _leave_to_thread(_number: int, _frame: FrameType | None) -> None:
    """A handler must exist, or the signal would have its usual effect."""


def _nothing() -> None:
    pass
