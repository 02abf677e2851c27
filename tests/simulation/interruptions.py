"""Points at which a process may be killed, or a user be quicker than it."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass


class Crash(BaseException):
    """The process is killed here. No ``except`` of the product may notice."""


class Point(enum.Enum):
    """Where the process is."""

    UNCOMMITTED = "at the end of a transaction, not yet committed"
    COMMITTED = "after a transaction"
    WRITING = "before a write to the dataset"
    WRITTEN = "after all writes to the dataset"
    SENDING = "before a mail is handed over"
    SENT = "after a mail was handed over"


@dataclass
class Interruptions:
    """At most one interruption of a cycle: after ``left`` more points, do ``what``."""

    left: int = 0
    what: Callable[[], None] | None = None
    """None: the process is killed."""

    def kill_after(self, points: int) -> None:
        self.left, self.what = points, None

    def act_after(self, points: int, what: Callable[[], None]) -> None:
        self.left, self.what = points, what

    def clear(self) -> None:
        self.left = 0

    def at(self, point: Point) -> None:
        """The process came to a point; users see and do nothing within a transaction."""
        if self.left == 0 or (self.what is not None and point is Point.UNCOMMITTED):
            return
        self.left -= 1
        if self.left:
            return
        if self.what is None:
            raise Crash(point.value)
        self.what()
