"""Sites that follow the reference, with their datasets."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from tests.core.reference import mails, rows
from tests.core.reference.mails import Mail
from tests.core.reference.rows import Rows
from tests.core.reference.states import Link, Row, Site, Stream


class Letter(NamedTuple):
    sender: str
    recipient: str
    mail: Mail


Shown = tuple[str, str | None, tuple[int, ...], object]
"""Record, field, the write, its value."""


class NeverQuiet(AssertionError):
    """The sites do not stop writing to each other."""


class ReferenceWorld:
    """The same steps as those of the world around the product."""

    def __init__(
        self, names: str, edges: list[str], scope: Mapping[str, Callable[[Row], bool]]
    ) -> None:
        self.draw = itertools.count(1).__next__
        self.sites = {
            name: Site(
                ord(name),
                {
                    peer: Link(Stream(1, self.draw()), scope.get(peer))
                    for peer in (edge.replace(name, "") for edge in edges if name in edge)
                },
                self.draw,
            )
            for name in names
        }
        self.data: dict[str, Rows] = {name: {} for name in names}
        self.busy: dict[str, tuple[str, bool | None] | None] = dict.fromkeys(names)
        self.backups: dict[str, tuple[Site, Rows]] = {}
        self.purging = "always"

    def scan(self, name: str, now: int, number: int, names: Iterator[str]) -> None:
        rows.scan(self.sites[name], self.data[name], now, number, names)

    def unwritten(self, name: str) -> list[str]:
        return rows.unwritten(self.sites[name])

    def write_step(self, name: str, record: str | None = None) -> None:
        """One of the three steps of one write to the dataset."""
        busy, site = self.busy[name], self.sites[name]
        if busy is None:
            assert record is not None
            if rows.begin(site, self.data[name], record):
                self.busy[name] = (record, None)
        elif busy[1] is None:
            self.busy[name] = (busy[0], rows.write(site, self.data[name], busy[0]))
        else:
            rows.finish(site, busy[0], landed=busy[1])
            self.busy[name] = None

    def write_all(self, name: str) -> None:
        for record in self.unwritten(name):
            self.write_step(name, record)
            while self.busy[name]:
                self.write_step(name)

    def crash(self, name: str) -> None:
        self.busy[name] = None

    def send(self, name: str, peer: str) -> Letter:
        return Letter(name, peer, mails.compose(self.sites[name], peer))

    def send_news(self, name: str, peer: str, limit: int = 10**6) -> Letter:
        """What is not on its way already."""
        site = self.sites[name]
        flying = site.links[peer].flying
        return Letter(name, peer, mails.compose(site, peer, leaving_out=flying, limit=limit))

    def deliver(self, letter: Letter) -> None:
        mails.receive(self.sites[letter.recipient], letter.sender, letter.mail)

    def collect(self, name: str) -> None:
        mails.prune(self.sites[name])
        if self.purging == "always":
            self.purge(name)

    def purge(self, name: str) -> None:
        mails.purge(self.sites[name])

    def expire(self, name: str, peer: str) -> None:
        mails.expire(self.sites[name], peer)

    def backup(self, name: str) -> None:
        self.backups[name] = (self.sites[name].copy(), copy.deepcopy(self.data[name]))

    def restore(self, name: str) -> None:
        site, data = self.backups[name]
        self.sites[name], self.data[name] = site.copy(), copy.deepcopy(data)
        self.busy[name] = None

    def settle(self, scan: Callable[[str], None], limit: int = 40) -> None:
        """Every mail gets through until there is nothing to say."""
        self.busy = dict.fromkeys(self.sites)
        for turn in range(limit):
            active = False
            for name in sorted(self.sites):
                scan(name)
                self.write_all(name)
                self.collect(name)
            for name, site in sorted(self.sites.items()):
                for peer in sorted(site.links):
                    if turn == 0 or mails.is_due(site, peer):
                        active = True
                        self.deliver(self.send(name, peer))
            if not active and not any(self.unwritten(name) for name in self.sites):
                return
        raise NeverQuiet(f"not quiet after {limit} turns")

    def shown(self, name: str) -> set[Shown]:
        """What the dataset shows, field by field, with the write that made it so."""
        data = self.data[name]
        return {
            (record.name, field, tuple(entry.dot), data[record.key][field])
            for record in self.sites[name].records.values()
            if record.key is not None and record.key in data
            for field, entry in record.entries.items()
        }

    def journal(self, name: str) -> set[Shown]:
        """Every conflict that was ever noted."""
        notes = (record.note for record in self.sites[name].records.values())
        return {(n.record, n.field, tuple(n.dot), n.value) for n in notes if n is not None}
