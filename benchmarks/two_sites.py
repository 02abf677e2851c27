"""Two whole sites with real stores, memory datasets and a memory network, on a virtual clock."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from mailsync.carriers.base import Letter
from mailsync.carriers.memory import MemoryMailbox, MemorySender, Network
from mailsync.carriers.message import compose_message
from mailsync.config.loading import parse
from mailsync.core.model import Fields, Key
from mailsync.core.sealing import PrivateKeys
from mailsync.cycle.report import Report
from mailsync.cycle.run import Extent, run_cycle
from mailsync.cycle.site import Peer, Site, Surroundings
from mailsync.datasets.memory import MemoryDataset
from mailsync.store.state import StateStore

HOUR: Final = 3_600_000
QUIET_HOURS: Final = 2
"""After an hour without a mail an acknowledgement may still be due."""
ADDRESSES: Final = {"ship": "ship@a.example", "office": "office@b.example"}

CONFIGURATION: Final = """\
[site]
name = "{name}"
state = "{name}.db"
[mail]
address = "{address}"
imap = "imap://localhost"
smtp = "smtp://localhost"
[peers.{peer}]
card = "{peer}.card"
profile = "thin"
seal = false
max_message = "50 MB"
[datasets.{dataset}]
source = "vcard:{dataset}"
"""


@dataclass
class Clock:
    """Time that moves only when told to."""

    now: int = 1_790_000_000_000

    def read(self) -> int:
        """Milliseconds since 1970; no two readings are the same."""
        self.now += 1
        return self.now


@dataclass(frozen=True)
class MemoryCarrier:
    """A site's way into a network."""

    network: Network
    address: str

    def sender(self) -> MemorySender:
        """The outward half."""
        return MemorySender(self.network)

    def mailbox(self) -> MemoryMailbox:
        """The inward half."""
        return MemoryMailbox(self.network, self.address)


@dataclass
class TwoSites:
    """Ship and office, signed and thin mail between them, one dataset at each."""

    dataset: str
    network: Network
    clock: Clock
    ship: Site
    office: Site

    def rows(self, site: Site) -> dict[Key, Fields]:
        """A site's records, to be changed as a user would."""
        found = site.datasets[self.dataset]
        assert isinstance(found, MemoryDataset)
        return found.rows

    def settle(self) -> None:
        """Hours pass, with one cycle of each site in each, until both are silent."""
        silent = 0
        while silent < QUIET_HOURS:
            mails = 0
            for site in (self.ship, self.office):
                cycle(site)
                mails += self.network.deliver_all()
            silent = 0 if mails else silent + 1
            self.clock.now += HOUR

    @contextmanager
    def rehearsal(self) -> Iterator[TwoSites]:
        """The same two sites; what they do takes no effect."""
        network, now = Network(), self.clock.now
        for address in ADDRESSES.values():
            network.renumber(address)  # no place in it is one that was seen before
        with ExitStack() as stack:
            ship, office = (
                replace(
                    site,
                    store=stack.enter_context(site.store.rehearsal()),
                    carrier=MemoryCarrier(network, ADDRESSES[site.name]),
                    datasets={self.dataset: MemoryDataset(self.rows(site))},
                )
                for site in (self.ship, self.office)
            )
            yield TwoSites(self.dataset, network, self.clock, ship, office)
        self.clock.now = now


def found_sites(directory: Path, dataset: str) -> TwoSites:
    """Both sites, new and empty."""
    network, clock = Network(), Clock()
    ship, office = (
        _found(directory, dataset, network, clock, name, peer)
        for name, peer in (("ship", "office"), ("office", "ship"))
    )
    return TwoSites(dataset, network, clock, ship, office)


def _found(
    directory: Path, dataset: str, network: Network, clock: Clock, name: str, peer: str
) -> Site:
    chance = random.Random(f"surroundings of {name}")
    text = CONFIGURATION.format(name=name, peer=peer, address=ADDRESSES[name], dataset=dataset)
    settings = parse(text.encode(), directory / f"{name}.toml")
    store = StateStore.create(directory / f"{name}.db")
    with store.transaction() as transaction:
        transaction.found_site(keys_of(name).public.site_number)
    return Site(
        settings,
        keys_of(name),
        {peer: Peer(peer, ADDRESSES[peer], keys_of(peer).public, settings.peers[peer])},
        store,
        MemoryCarrier(network, ADDRESSES[name]),
        Surroundings(clock.read, chance.getrandbits, chance.randbytes),
        {dataset: MemoryDataset()},
    )


def keys_of(name: str) -> PrivateKeys:
    """A site's keys, the same in every run."""
    chance = random.Random(f"keys of {name}")
    return PrivateKeys(chance.randbytes(32), chance.randbytes(32))


def cycle(site: Site) -> None:
    """One cycle; what it sends lies in the network until delivered."""
    report = asyncio.run(run_cycle(site, Extent(), Report()))
    if report.problems:
        raise report.problems[0]


def mail_of(letter: Letter) -> bytes:
    """The whole mail of a letter, as it is handed to SMTP."""
    return compose_message(
        letter,
        sender=ADDRESSES["ship"],
        date=datetime(2026, 11, 22, 12, tzinfo=UTC),
        boundary="=" * 32,
        site="ship",
    )
