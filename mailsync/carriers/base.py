"""What every carrier of bundles offers, and the values it speaks in.

A carrier moves opaque containers (``carriers.container``): it neither knows nor cares what is
inside, and promises nothing: what it carries may be lost, doubled, delayed, reordered, altered.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, Self

from mailsync.core.letters import Place
from mailsync.errors import Unreachable

__all__ = [
    "CONTAINER_MAX",
    "NAME_SIZE",
    "STEP_MAX",
    "Arrival",
    "Bounce",
    "Kind",
    "Letter",
    "Mailbox",
    "NotHere",
    "Place",
    "Profile",
    "Quota",
    "Refused",
    "Retry",
    "SendResult",
    "Sender",
    "Sent",
    "Throttled",
    "name_of_mail",
]


Profile = Literal["robust", "thin"]
"""The form of a mail: one that survives gateways, or the fewest header bytes."""

Kind = Literal["mail", "tcp", "folder"]
"""What a carrier is, as the configuration calls it."""

CONTAINER_MAX = 16 * 2**20
"""Bytes of the largest container that goes by another carrier than mail. No message of ours is as
large; the bound is for those that others claim to send."""

STEP_MAX = 2
"""The last step of the carrier ladder; see :attr:`Letter.step`."""

NAME_SIZE = 6
"""Random bytes in a mail's name: among a million from one domain two hardly ever share it. A server
that knows a name swallows the second mail, whose content then goes again under another one."""


def name_of_mail(octets: bytes, address: str) -> str:
    """A Message-ID (RFC 5322, 3.6.4) of ``NAME_SIZE`` random bytes for a mail from an address."""
    return f"<{urlsafe_b64encode(octets).decode()}@{address.rpartition('@')[2]}>"


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
    step: int = 0
    """Of the carrier ladder: 0 binary attachment, 1 text attachment, 2 text in the body. Each
    passes filters that the one before does not. If thin: 0 dense armour, 1 base64, 2 as robust."""


class Sent(NamedTuple):
    """The carrier took it; ``size`` is the whole mail in bytes as handed over."""

    size: int


class Retry(NamedTuple):
    """Not taken now, or not certainly taken (``uncertain``): try the same letter again."""

    reason: str
    uncertain: bool = False
    throttled: bool = False
    """Too much was sent: further letters by this way would be refused as well."""


class Refused(NamedTuple):
    """The carrier will not take this letter as it is; ``too_large`` if its size is why."""

    reason: str
    too_large: bool = False
    limit: int | None = None
    """Bytes of the largest whole mail that would be taken, if the carrier said so."""


SendResult = Sent | Retry | Refused


class Throttled(Unreachable):
    """Nothing is lost; the server asked not to be disturbed for a while, and will not be."""

    def __init__(self, words: str, seconds: float = 0.0) -> None:
        """``seconds``: for how long; 0 if the server did not say."""
        super().__init__(words)
        self.seconds = seconds


class NotHere(Unreachable):
    """Nothing is lost: what is due waits for it, or goes by another carrier."""


class Bounce(NamedTuple):
    """What a report says of a mail that was not delivered. Anybody can write one: a hint."""

    message_ids: tuple[str, ...]
    """Whatever in the report looks like the mail's identifier."""
    status: str
    """The enhanced code (RFC 3463), e.g. ``5.1.1``; empty if there is none."""
    is_final: bool
    """False where the servers go on trying."""
    reason: str


class Quota(NamedTuple):
    """Bytes used of those granted to the mailbox."""

    used: int
    limit: int


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
    sender: str = ""
    """The address in From: a hint, as everybody can write there what he likes."""
    unfinished: bool = False
    """Scanners put a placeholder first and the real mail later: worth another look."""
    stripped: int = 0
    """One more than the ladder's step at which a mail of ours seems to have lost its container;
    without a ``problem``, provided that it is from a peer."""
    bounce: Bounce | None = None
    in_junk: bool = False
    """It lay where the account's spam filter puts things."""
    carrier: Kind = "mail"
    """What brought it."""


class Sender(Protocol):
    """The outward half of a carrier. Used as an async context manager: one connection a batch."""

    async def __aenter__(self) -> Self:
        """Connect and log in. Raises ``Unreachable``, ``LoginRefused``, ``BadCertificate``."""
        ...

    async def __aexit__(self, *exc: object) -> None:
        """Disconnect."""
        ...

    @property
    def size_limit(self) -> int | None:
        """Bytes of the largest whole mail the carrier says it takes; None if it does not say."""
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

    def again(self, places: Mapping[Place, int]) -> AsyncIterator[Arrival]:
        """Letters seen before, with their size then: those that may have changed, as they are."""
        ...

    def vanished(self, places: Collection[Place]) -> frozenset[Place]:
        """Of these, seen before the last look at all letters: the places in what it saw whole that
        hold none now.
        """
        ...

    async def quota(self) -> Quota | None:
        """How full the mailbox is; None if that is not known."""
        ...

    async def dispose(self, places: Collection[Place], folder: str | None) -> frozenset[Place]:
        """Move to ``folder``, or delete, exactly these letters; those that are now gone."""
        ...

    async def wait(self, seconds: float) -> bool:
        """Wait for new mail as the server offers it; True if there may be some."""
        ...
