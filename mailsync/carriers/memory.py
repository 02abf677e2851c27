"""A carrier without a network, for simulations: the test is the mail system.

What senders hand over lies in ``Network.in_transit``, a plain list. A test loses a letter by
removing it, doubles it by adding it again, alters it with ``dataclasses.replace``, reorders by
sorting, and brings it to its mailbox with ``deliver`` or ``deliver_all``. No clock, no chance.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Self

from mailsync.carriers.base import Arrival, Letter, Place, Quota, SendResult, Sent
from mailsync.core import container

_FOLDER: Final = "INBOX"


class _Kept(NamedTuple):
    number: int
    letter: Letter


def _taken(letter: Letter) -> SendResult:
    return Sent(len(letter.container))


@dataclass
class _Store:
    """What one address keeps: folders of letters, numbered in the order of their arrival."""

    validity: int = 1
    last_number: int = 0
    news: bool = False
    folders: dict[str, list[_Kept]] = field(default_factory=lambda: {_FOLDER: []})

    def add(self, folder: str, letter: Letter) -> None:
        self.last_number += 1
        self.folders.setdefault(folder, []).append(_Kept(self.last_number, letter))


@dataclass
class Network:
    """All mailboxes of a simulation, and the letters on their way to them."""

    judge: Callable[[Letter], SendResult] = _taken
    """The answer to a sender. Only what is ``Sent`` enters ``in_transit`` by itself."""
    in_transit: list[Letter] = field(default_factory=list)
    _stores: dict[str, _Store] = field(default_factory=dict)

    def post(self, letter: Letter) -> SendResult:
        """What a sender is told, and the letter on its way if it was taken."""
        result = self.judge(letter)
        if isinstance(result, Sent):
            self.in_transit.append(letter)
        return result

    def deliver(self, letter: Letter) -> None:
        """Bring a letter to its recipient's mailbox; it leaves ``in_transit`` if it was there."""
        if letter in self.in_transit:
            self.in_transit.remove(letter)
        store = self.store(letter.recipient)
        store.add(_FOLDER, letter)
        store.news = True

    def deliver_all(self) -> int:
        """Bring everything in transit, in its present order; how many letters that was."""
        letters = list(self.in_transit)
        for letter in letters:
            self.deliver(letter)
        return len(letters)

    def letters(self, address: str, folder: str = _FOLDER) -> tuple[Letter, ...]:
        """What an address has in a folder, oldest first."""
        return tuple(kept.letter for kept in self.store(address).folders.get(folder, ()))

    def renumber(self, address: str) -> None:
        """Rebuild a mailbox as servers do: new validity, numbers from 1 (RFC 3501, 2.3.1.1)."""
        store = self.store(address)
        store.validity += 1
        store.last_number = 0
        for folder, kept in store.folders.items():
            store.folders[folder] = []
            for _, letter in kept:
                store.add(folder, letter)

    def store(self, address: str) -> _Store:
        """The store of an address, made at its first mention."""
        return self._stores.setdefault(address, _Store())


class MemorySender:
    """The outward half, into a network."""

    def __init__(self, network: Network) -> None:
        """Prepare to post into ``network``."""
        self._network = network

    async def __aenter__(self) -> Self:
        """Nothing to connect to."""
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Nothing to disconnect from."""

    @property
    def size_limit(self) -> int | None:
        """Says nothing: the network's judge decides."""
        return None

    async def send(self, letter: Letter) -> SendResult:
        """Hand over one letter; the network's judge answers."""
        return self._network.post(letter)


class MemoryMailbox:
    """The inward half: one address of a network."""

    def __init__(self, network: Network, address: str) -> None:
        """Prepare to read what ``network`` delivered to ``address``."""
        self._address = address
        self._store = network.store(address)

    async def __aenter__(self) -> Self:
        """Nothing to connect to."""
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Nothing to disconnect from."""

    async def arrivals(self, settled: Collection[Place]) -> AsyncIterator[Arrival]:
        """Every letter not in ``settled``, oldest first."""
        known = frozenset(settled)
        self._store.news = False
        for number, letter in tuple(self._store.folders[_FOLDER]):
            place = self._place(number)
            if place not in known:
                yield Arrival(
                    place=place,
                    size=len(letter.container),
                    containers=_apart(letter.container),
                    message_id=letter.message_id,
                    subject=letter.label,
                )

    async def again(self, places: Mapping[Place, int]) -> AsyncIterator[Arrival]:
        """What lies in these places now, where its size is another one."""
        async for arrival in self.arrivals(()):
            if places.get(arrival.place, arrival.size) != arrival.size:
                yield arrival

    def vanished(self, places: Collection[Place]) -> frozenset[Place]:
        """Those of this address where no letter lies now."""
        present = {self._place(number) for number, _ in self._store.folders[_FOLDER]}
        mine = (one for one in places if one[:2] == (self._address, _FOLDER))
        return frozenset(mine) - present

    async def quota(self) -> Quota | None:
        """No mailbox here is ever full."""
        return None

    async def dispose(self, places: Collection[Place], folder: str | None) -> frozenset[Place]:
        """Move to ``folder``, or delete, exactly these letters; those that are now gone."""
        kept = self._store.folders[_FOLDER]
        numbers = {number for number, _ in kept}
        gone = frozenset(place for place in places if place == self._place(place.number))
        doomed = {place.number for place in gone} & numbers
        self._store.folders[_FOLDER] = [one for one in kept if one.number not in doomed]
        if folder is not None:
            for number, letter in kept:
                if number in doomed:
                    self._store.add(folder, letter)
        return gone

    async def wait(self, seconds: float) -> bool:  # noqa: ARG002  no clock here
        """Return at once: has something been delivered since the last look?"""
        return self._store.news

    def _place(self, number: int) -> Place:
        return Place(self._address, _FOLDER, self._store.validity, number)


def _apart(content: bytes) -> tuple[bytes, ...]:
    """Each container in a letter; what holds none is handed on as it is."""
    return tuple(container.find(content)) or ((content,) if content else ())
