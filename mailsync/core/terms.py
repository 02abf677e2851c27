"""What the configuration lets pass on a link, of one dataset.

Rules
-----
* Terms are a site's own. They are never sent, and a peer is believed nothing about them.
* What is not for the peer is not sent; what is not granted to it is refused before it is merged.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mailsync.core.entries import Fields

Passes = Callable[[Fields], bool]
"""Does a record with these fields pass?"""


class Act(enum.Enum):
    """What can be done to a record."""

    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"


EVERY_ACT: Final = frozenset(Act)


@dataclass(frozen=True, slots=True)
class Terms:
    """What may pass between us and a peer; by default everything."""

    sends: bool = True
    """Does anything of ours go to the peer?"""
    takes: bool = True
    """Is anything of the peer's taken?"""
    wanted: Passes | None = None
    """Outbound filter: is a record for the peer? None: every one."""
    keeps: bool = False
    """Does a record that leaves the filter stay with the peer, as it was?"""
    shown: frozenset[str] | None = None
    """The fields that go to the peer; None: all."""
    admits: Passes | None = None
    """Inbound filter: is a record from the peer for our dataset? None: every one."""
    granted: frozenset[str] | None = None
    """The fields that the peer may write; None: all."""
    allowed: frozenset[Act] = EVERY_ACT
    """What the peer may do to records."""


OPEN: Final = Terms()
"""Everything passes."""
