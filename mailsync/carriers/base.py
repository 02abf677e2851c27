"""What every carrier of bundles offers, and the values it speaks in.

A carrier moves opaque containers (``carriers.container``): it neither knows nor cares what is
inside, and promises nothing: what it carries may be lost, doubled, delayed, reordered, altered.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, Self

from mailsync.core.model import Place

__all__ = [
    "Arrival",
    "Letter",
    "Mailbox",
    "Place",
    "Profile",
    "Refused",
    "Retry",
    "SendResult",
    "Sender",
    "Sent",
]


Profile = Literal["robust", "thin"]
"""The form of a mail: one that survives gateways, or the fewest header bytes."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One container on its way to one peer."""

    recipient: str
    """Mail address, or whatever the carrier calls the peer."""
    container: bytes
    message_id: str
    """``<unique@domain>``: the same for a retry of the same attempt, new for a resend."""
    label: str
    """Few ASCII characters that name the bundle to a human reader, e.g. ``7f3a91c2``."""
    part: int = 1
    parts: int = 1
    profile: Profile = "robust"


class Sent(NamedTuple):
    """The carrier took it; ``size`` is the whole mail in bytes as handed over."""

    size: int


class Retry(NamedTuple):
    """Not taken now, or not certainly taken (``uncertain``): try the same letter again."""

    reason: str
    uncertain: bool = False


class Refused(NamedTuple):
    """The carrier will not take this letter as it is; ``too_large`` if its size is why."""

    reason: str
    too_large: bool = False


SendResult = Sent | Retry | Refused


@dataclass(frozen=True, slots=True)
class Arrival:
    """Something found in a mailbox: the containers in it, if any, and its whole size.

    ``problem`` says why nothing usable was found although it looked like ours; None where it
    is simply not ours.
    """

    place: Place
    size: int
    containers: tuple[bytes, ...] = ()
    message_id: str = ""
    subject: str = ""
    problem: str | None = None


class Sender(Protocol):
    """The outward half of a carrier. Used as an async context manager: one connection a batch."""

    async def __aenter__(self) -> Self:
        """Connect and log in. Raises ``Unreachable``, ``LoginRefused``, ``BadCertificate``."""
        ...

    async def __aexit__(self, *exc: object) -> None:
        """Disconnect."""
        ...

    async def send(self, letter: Letter) -> SendResult:
        """Hand over one letter. Never raises for what happens to a letter or the connection."""
        ...


class Mailbox(Protocol):
    """The inward half of a carrier. Used as an async context manager."""

    async def __aenter__(self) -> Self:
        """Connect, log in, select the folder. Raises as :meth:`Sender.__aenter__`."""
        ...

    async def __aexit__(self, *exc: object) -> None:
        """Disconnect."""
        ...

    def arrivals(self, settled: Collection[Place]) -> AsyncIterator[Arrival]:
        """Every letter not in ``settled``, oldest first, without marking it in any way."""
        ...

    async def dispose(self, places: Collection[Place], folder: str | None) -> frozenset[Place]:
        """Move to ``folder``, or delete, exactly these letters; those that are now gone."""
        ...

    async def wait(self, seconds: float) -> bool:
        """Wait for new mail as the server offers it; True if there may be some."""
        ...
