"""A site put together: settings, keys, peers, state store, datasets, carriers, clock."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from mailsync.carriers.base import NAME_SIZE, Kind, Mailbox, Sender, name_of_mail
from mailsync.config import DatasetSettings, PeerSettings, PeerTerms, Settings, load
from mailsync.core.model import Link, Stream
from mailsync.core.policies import Policy
from mailsync.core.sealing import PrivateKeys, PublicKeys
from mailsync.core.timers import latest, not_later
from mailsync.cycle.filtering import Sayings, behind_routine
from mailsync.cycle.groups import Expansion, Memory, Opened, expand, has_open_group
from mailsync.cycle.mail import MailCarrier
from mailsync.cycle.noting import Noted
from mailsync.cycle.policies import policies_of, stances
from mailsync.datasets.base import Dataset, Reference
from mailsync.datasets.mapped import unmapped
from mailsync.errors import BadCard, MailsyncError
from mailsync.keys import load_keys, read_card, require_classes
from mailsync.store.state import StateStore
from mailsync.store.transaction import Transaction

if TYPE_CHECKING:
    from mailsync.datasets.sql.database import SqlDatabase

MATCH_OF_KIND: Final[Mapping[str, tuple[str, ...]]] = dict.fromkeys(
    ("vcard", "ical", "carddav", "caldav"), ("uid",)
)
"""What tells records apart wherever they came up, where nothing else is declared."""


class Carrier(Protocol):
    """Both halves of what brings bundles from site to site."""

    def sender(self) -> Sender:
        """A new outward connection."""
        ...

    def mailbox(self) -> Mailbox:
        """A new inward connection."""
        ...


class DirectCarrier(Protocol):
    """What brings bundles to one peer alone, and its bundles here."""

    def sender(self) -> Sender:
        """The outward half, which raises NotHere where there is none now."""
        ...

    def mailbox(self) -> Mailbox | None:
        """The inward half; None if nothing is found by looking: arrivals are handed in."""
        ...


class Store(Protocol):
    """What work is done in: a state store, or a rehearsal on one."""

    def lock(self, wait_seconds: float = 0) -> AbstractContextManager[None]:
        """Be the only writer. Raises Locked."""
        ...

    def rehearsal(self) -> AbstractContextManager[Store]:
        """The same store, but nothing takes effect."""
        ...

    def transaction(self) -> AbstractContextManager[Transaction]:
        """One transaction."""
        ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Time and chance, passed in so that a simulation can rule them."""

    now: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    """Milliseconds since 1970."""
    bits: Callable[[int], int] = secrets.randbits
    octets: Callable[[int], bytes] = os.urandom
    zone: tzinfo | None = None
    """Whose clock days and quiet hours mean; None: this machine's."""


@dataclass(frozen=True, slots=True)
class Peer:
    """An accepted peer."""

    name: str
    address: str
    public: PublicKeys
    settings: PeerSettings
    largest: int | None = None
    """Bytes of the largest container; None: what fits into a mail."""
    calls_itself: str | None = None
    """What its card says; None: as we call it."""


@dataclass(slots=True)
class Site:
    """One installation, ready to work."""

    settings: Settings
    keys: PrivateKeys
    peers: Mapping[str, Peer]
    store: Store
    carrier: Carrier | None
    surroundings: Surroundings = field(default_factory=Surroundings)
    datasets: dict[str, Dataset] = field(default_factory=dict)
    databases: dict[str, SqlDatabase] = field(default_factory=dict)
    """Those that datasets were opened from, by their URLs."""
    direct: dict[str, dict[Kind, DirectCarrier]] = field(default_factory=dict)
    """By peer, what else than mail brings bundles to it now."""
    notes: dict[str, Noted] = field(default_factory=dict)
    """What adapters noted of their datasets."""
    _expansion: Expansion | None = None
    _references: dict[str, Mapping[str, str]] = field(default_factory=dict)
    as_of: int = 0
    """The moment as of which filters are applied, for the length of a cycle."""
    _links: dict[str, tuple[Link, Link, int]] = field(default_factory=dict)
    """By peer: its link as it was last stored, as configured, and the latest time in it."""
    _sayings: Sayings = field(default_factory=Sayings)
    _policies: Mapping[str, Policy] | None = None

    @property
    def name(self) -> str:
        """The site's name."""
        return self.settings.site.name

    def links(self, transaction: Transaction) -> dict[str, Link]:
        """Every accepted peer's link, carrying what the configuration says."""
        stored = transaction.links()
        for peer in self.peers.keys() - stored.keys():
            transaction.add_link(peer, Stream(1, self.surroundings.bits(64)))
        if self.peers.keys() - stored.keys():
            stored = transaction.links()
        now = self.surroundings.now()
        return {name: self._configured(stored[name], now) for name in self.peers}

    def _configured(self, link: Link, now: int) -> Link:
        stored, configured, last = self._links.get(link.peer, (None, link, 0))
        if stored is not link:
            configured, last = self._with_datasets(link), latest(link)
            self._links[link.peer] = (link, configured, last)
        return configured if last <= now else not_later(configured, now)

    def _with_datasets(self, link: Link) -> Link:
        chosen = self.peers[link.peer].settings.datasets
        names = frozenset(
            name
            for name in self.sections
            if chosen is None or name in chosen or self.settings.section_of(name) in chosen
        )
        peer = link.peer
        terms = {
            name: self._sayings.terms(self.sections[name], name, peer, self.as_of) for name in names
        }
        taken = frozenset(name for name in names if terms[name].takes)
        accepted = link.refusing & taken
        owe_since = 0 if accepted and link.owe_since is None else link.owe_since
        refusing = link.refusing - taken
        told = link.agreement._replace(here=stances(self.sections, names))
        link = replace(link, terms=terms, agreement=told)
        return replace(link, datasets=names, refusing=refusing, owe_since=owe_since)

    def said(self, dataset: str, peer: str) -> PeerTerms:
        """What the configuration says of what may pass between us and a peer."""
        return self._sayings.of(self.sections[dataset], dataset, peer)

    @property
    def expansion(self) -> Expansion:
        """What the configuration's sections stand for, as of the last time we looked."""
        if self._expansion is None:
            self.expand()
        assert self._expansion is not None  # noqa: S101 - see there
        return self._expansion

    @property
    def sections(self) -> Mapping[str, DatasetSettings]:
        """By the name of each dataset: what the configuration says of it."""
        return self.expansion.sections

    @property
    def policies(self) -> Mapping[str, Policy]:
        """By dataset: what becomes of conflicts, where it is not the default."""
        if self._policies is None:
            self._policies = policies_of(self.sections, self.name, self.name_of)
        return self._policies

    def name_of(self, number: int) -> str:
        """What we call the site of this number; the number itself if we do not know it."""
        if number == self.keys.public.site_number:
            return self.name
        known = (p.name for p in self.peers.values() if p.public.site_number == number)
        return next(known, f"{number:016x}")

    def expand(self) -> None:
        """Find out which datasets there are now. Not within a transaction of the store."""
        for database in self.databases.values():
            database.close()  # another file, or a server started anew, may be in its place
        memory = Memory()
        if has_open_group(self.settings):
            with self.store.transaction() as transaction:
                offered = (link.offered for link in transaction.links().values())
                memory = Memory(transaction.records.holding(), frozenset().union(*offered))
        self._expansion = expand(self.settings, memory, self._opened)
        self._policies = None
        self._references.clear()
        self._links.clear()
        self.as_of = self.surroundings.now()

    @property
    def _opened(self) -> Opened:
        return Opened(self.directory, self.datasets, self.databases, self.notes)

    def dataset(self, name: str) -> Dataset:
        """The dataset, opened at first use. Raises DatasetError, BadConfiguration."""
        problem = self.expansion.unavailable.get(self.settings.section_of(name))
        if problem is not None:
            raise problem
        return behind_routine(self._opened.open(name, self.sections[name]), self.sections, name)

    def looking(self) -> AbstractContextManager[None]:
        """Inside, each database tells of its tables once, however many datasets look."""
        return self._opened.looking(self.sections.values())

    def look(self, name: str) -> Dataset:
        """The dataset, as it looks now. Raises DatasetError, BadConfiguration."""
        known = name in self.datasets
        dataset = self.dataset(name)
        if known:
            dataset.look()
            self._references.clear()
        return dataset

    def recall(self, transaction: Transaction, name: str) -> None:
        """Give a dataset that keeps notes those that are in the store."""
        if name in self.notes:
            self.notes[name].recall(transaction.notes.of(name))

    def keep_notes(self, names: Iterable[str]) -> None:
        """Store what these datasets noted. Not within a transaction of the store."""
        taken = {name: self.notes[name].taken() for name in names if name in self.notes}
        if any(taken.values()):
            with self.store.transaction() as transaction:
                for name, notes in taken.items():
                    transaction.notes.keep(name, notes)

    def references(self, name: str) -> Mapping[str, str]:
        """Fields that travel as GUIDs, for they hold the key of a record of a dataset whose keys
        are the site's own: that dataset's name. Raises DatasetError, BadConfiguration.
        """
        if name not in self._references:
            references = self.dataset(name).references
            fields = chain.from_iterable(one.fields for one in references)
            owners = {field: self._owner(name, references, field, frozenset()) for field in fields}
            self._references[name] = {field: one for field, one in owners.items() if one}
        return self._references[name]

    def parents(self, name: str) -> list[str]:
        """The datasets its records refer to. Raises DatasetError, BadConfiguration."""
        tables = self._tables(name)
        found = (tables.get(one.table) for one in self.dataset(name).references)
        return sorted({parent for parent in found if parent})

    def children(self, name: str) -> dict[str, list[str]]:
        """The datasets whose records refer to its records by GUID, and the fields that do.

        Raises DatasetError, BadConfiguration.
        """
        found = {
            other: [field for field, owner in self.references(other).items() if owner == name]
            for other in self._tables(name).values()
        }
        return {other: fields for other, fields in found.items() if fields}

    def _owner(
        self,
        name: str,
        references: Sequence[Reference],
        field: str,
        below: frozenset[tuple[str, str]],
    ) -> str:
        """The dataset whose local key the field holds: the one it refers to, or one that the
        column it refers to refers to; empty: none.
        """
        tables = self._tables(name)
        for one in references:
            if field not in one.fields or one.table not in tables:
                continue
            parent, column = tables[one.table], one.columns[one.fields.index(field)]
            dataset = unmapped(self.dataset(parent))
            if one.is_key and one.columns == (column,) and dataset.has_local_keys:
                return parent
            met = below | {(parent, column)}
            if met != below and (owner := self._owner(parent, dataset.references, column, met)):
                return owner
        return ""

    def _tables(self, name: str) -> dict[str, str]:
        """The datasets in the same database by their tables."""
        source = self.sections[name].source
        return {
            section.table: other
            for other, section in self.sections.items()
            if section.source == source and section.table is not None
        }

    def parents_first(self, names: Collection[str]) -> list[str]:
        """The datasets, each behind those it refers to; in a circle, any may be first.

        Raises DatasetError, BadConfiguration.
        """
        ordered: list[str] = []
        for name in names:
            self._place(name, names, ordered, ())
        return ordered

    def _place(
        self, name: str, names: Collection[str], ordered: list[str], below: tuple[str, ...]
    ) -> None:
        if name not in names or name in ordered or name in below:
            return
        for parent in self.parents(name):
            self._place(parent, names, ordered, (*below, name))
        ordered.append(name)

    def matching(self, name: str) -> tuple[str, ...]:
        """Fields by which its records and other sites' are told to be the same; maybe none."""
        section = self.sections[name]
        declared = tuple(section.match or ())
        return declared or MATCH_OF_KIND.get(section.source.partition(":")[0], ())

    @property
    def directory(self) -> Path:
        """Where the configuration file is."""
        return self.settings.path.parent

    def message_id(self) -> str:
        """A name for a new mail."""
        address = self.settings.mail.address if self.settings.mail is not None else "local"
        return name_of_mail(self.surroundings.octets(NAME_SIZE), address)

    def close(self) -> None:
        """Release the datasets."""
        self._opened.close()


@contextmanager
def open_site(path: Path) -> Iterator[Site]:
    """The site whose configuration is at ``path``; closed at the end.

    Raises NotInitialised, BadConfiguration, BadKeys, BadCard.
    """
    settings = load(path)
    keys = load_keys(settings.site.keys)
    peers = accepted_peers(settings)
    store = StateStore.open(settings.site.state)
    with store.transaction() as transaction:
        transaction.found_site(keys.public.site_number)
    mail, addresses = settings.mail, [peer.address for peer in peers.values()]
    carrier = None if mail is None else MailCarrier(mail, settings, addresses)
    site = Site(settings, keys, peers, store, carrier)
    for peer in peers.values():
        if "folder" in peer.settings.carrier:
            from mailsync.cycle.folder import FolderCarrier  # noqa: PLC0415  only for who has one

            folder = FolderCarrier.of(peer.settings, keys.public, peer.public)
            site.direct[peer.name] = {"folder": folder}
    try:
        site.expand()
        yield site
    finally:
        site.close()
        store.close()


def accepted_peers(settings: Settings) -> dict[str, Peer]:
    """The peers of the configuration with what their cards say. Raises BadCard."""
    peers, cards = {}, {}
    for name, given in settings.peers.items():
        try:
            card = read_card(given.card.read_bytes().decode("ascii", "replace"))
        except (OSError, MailsyncError) as problem:
            why = problem.strerror if isinstance(problem, OSError) else problem
            raise BadCard(f"[peers.{name}] card {given.card}: {why}") from problem
        peers[name] = Peer(name, given.address or card.address, card.public, given, None, card.site)
        cards[name] = card
    require_classes(settings.site.guid_class, cards)
    return peers
