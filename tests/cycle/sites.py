"""Alice and Bob: whole sites with real stores, memory datasets and a memory network."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mailsync.carriers.memory import MemoryMailbox, MemorySender, Network
from mailsync.config.loading import parse
from mailsync.core.model import Fields, Key
from mailsync.core.sealing import PrivateKeys
from mailsync.cycle.report import Report
from mailsync.cycle.run import Extent, run_cycle
from mailsync.cycle.site import Peer, Site, Surroundings
from mailsync.datasets.memory import MemoryDataset
from mailsync.store.state import StateStore

START = 1_790_000_000_000
HOUR = 3_600_000
DAY = 24 * HOUR


@dataclass
class Clock:
    """Time that moves only when told to, for all sites alike."""

    now: int = START

    def read(self) -> int:
        self.now += 1
        return self.now


@dataclass
class MemoryCarrier:
    network: Network
    address: str

    def sender(self) -> MemorySender:
        return MemorySender(self.network)

    def mailbox(self) -> MemoryMailbox:
        return MemoryMailbox(self.network, self.address)


@dataclass
class Sites:
    """Some sites, all peers of one another unless told otherwise."""

    directory: Path
    seed: int = 0
    clock: Clock = field(default_factory=Clock)
    network: Network = field(default_factory=Network)
    sites: dict[str, Site] = field(default_factory=dict)

    def add(
        self,
        name: str,
        peers: Mapping[str, str],
        datasets: tuple[str, ...] = ("people",),
        section: str = "",
        site_lines: str = "",
    ) -> Site:
        """A site; ``peers``: lines of each peer's section beyond its card; ``section``: of each
        dataset's beyond its source; ``site_lines``: of its own beyond name and state.
        """
        chance = random.Random(f"{self.seed}/{name}")
        text = f'[site]\nname = "{name}"\nstate = "{name}.db"\n{site_lines}\n[mail]\n'
        text += f'address = "{name}@example.org"\nimap = "imap://localhost"\nsmtp = "smtp://localhost"\n'
        for peer, lines in peers.items():
            text += f'[peers.{peer}]\ncard = "{peer}.card"\n{lines}\n'
        for dataset in datasets:
            text += f'[datasets.{dataset}]\nsource = "vcard:{dataset}"\n{section}\n'
        settings = parse(text.encode(), self.directory / f"{name}.toml")
        accepted = {
            peer: Peer(peer, f"{peer}@example.org", keys_of(peer).public, settings.peers[peer])
            for peer in peers
        }
        path = self.directory / f"{name}.db"
        store = StateStore.open(path) if path.exists() else StateStore.create(path)
        with store.transaction() as transaction:
            transaction.found_site(keys_of(name).public.site_number)
        site = Site(
            settings,
            keys_of(name),
            accepted,
            store,
            MemoryCarrier(self.network, f"{name}@example.org"),
            Surroundings(self.clock.read, chance.getrandbits, chance.randbytes),
            {dataset: MemoryDataset() for dataset in datasets},
        )
        self.sites[name] = site
        return site

    def rows(self, name: str, dataset: str = "people") -> dict[Key, Fields]:
        """The dataset's rows, for a test to change as a user would."""
        found = self.sites[name].datasets[dataset]
        assert isinstance(found, MemoryDataset)
        return found.rows

    def contents(self, name: str, dataset: str = "people") -> list[list[tuple[str, object]]]:
        """The dataset's rows without their keys, in an order of their own."""
        return sorted(sorted(row.items()) for row in self.rows(name, dataset).values())

    def sync(self, name: str, extent: Extent | None = None) -> Report:
        """One cycle of one site; what it sends lies in the network until delivered."""
        report = asyncio.run(run_cycle(self.sites[name], extent or Extent(), Report()))
        assert not report.problems, report.problems
        return report

    def round(self) -> int:
        """One cycle of every site, all mail delivered; how many mails there were."""
        mails = 0
        for name in sorted(self.sites):
            report = self.sync(name)
            mails += sum(peer.sent.mails for peer in report.peers.values())
            self.network.deliver_all()
        return mails


def keys_of(name: str) -> PrivateKeys:
    """The keys every test gives to a site of this name."""
    chance = random.Random(f"keys of {name}")
    return PrivateKeys(chance.randbytes(32), chance.randbytes(32))


def pair(directory: Path, lines: str = "") -> Sites:
    """Alice and Bob."""
    sites = Sites(directory)
    sites.add("alice", {"bob": lines})
    sites.add("bob", {"alice": lines})
    return sites
