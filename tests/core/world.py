"""The world around the core: users and their datasets, a hostile network, crashes, backups.

Users write values never written before, so a value names the edit that made it, and what
became of each edit can be told at the end.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from mailsync.core import decisions, forgetting, outbound, record_map
from mailsync.core.desired import desired_fields, needs_writing
from mailsync.core.enrolment import Enrolled
from mailsync.core.identifiers import minted
from mailsync.core.inbound import Verdict, receive
from mailsync.core.ledger import Ledger, SiteState
from mailsync.core.merge import Note, dots_of_deletes
from mailsync.core.model import (
    CONFLICTS,
    NO_MARKER,
    Bundle,
    Fields,
    Guid,
    Key,
    Link,
    Record,
    RecordId,
    Stream,
    is_alive,
    same_fields,
)
from mailsync.core.offering import sort_out
from mailsync.core.policies import OUR_USERS, Deletes, Policies, Way, Writer, decide, due
from mailsync.core.terms import Terms

TABLE = "table"
Row = dict[str, int]


class BrokenPromise(AssertionError):
    """One of the promises of the protocol does not hold."""


@dataclass
class SimulatedSite:
    """One site: durable state, dataset, and what its process holds in memory."""

    name: str
    state: SiteState
    links: dict[str, Link]
    records: dict[RecordId, Record] = field(default_factory=dict)
    skew: int = 0

    def snapshot(self) -> SimulatedSite:
        return replace(self, links=dict(self.links), records=dict(self.records))


@dataclass(frozen=True)
class Letter:
    sender: str
    recipient: str
    bundle: Bundle


class World:
    """Sites, their datasets, and every letter ever handed to the network."""

    def __init__(
        self,
        names: str,
        edges: list[str],
        seed: int,
        scope: Mapping[str, Callable[[str, Fields], bool]] | None = None,
        carry: Callable[[Bundle], Bundle] = lambda bundle: bundle,
    ) -> None:
        self.policies: dict[str, Policies] = {}
        self.authors: dict[int, str] = {}
        self.revived: set[Guid] = set()
        self.restated: set[object] = set()
        self.random = random.Random(seed)
        self.scope = dict(scope or {})
        self.carry = carry
        self.sites = {name: self._site(name, edges) for name in names}
        self.data: dict[str, dict[Key, Row]] = {name: {} for name in names}
        self.busy: dict[str, tuple[RecordId, int, bool] | None] = dict.fromkeys(names)
        self.letters: list[Letter] = []
        self.silent: set[frozenset[str]] = set()
        self.backups: dict[str, tuple[SimulatedSite, dict[Key, Row], int]] = {}
        self.now = 1_000_000
        self.count = 0
        self.history: dict[int, frozenset[int]] = {}
        self.overwritten: set[int] = set()
        self.replaced: set[int] = set()
        """Written over by users of the same site, whether or not the value still stood there: what
        beat it may have come meanwhile, and the note of that later.
        """
        self.written: dict[tuple[str, Key, str], set[int]] = {}
        self.gone: set[int] = set()
        self.doubted: set[object] = set()
        """Gone by a delete after a write that broke off: nobody can tell whether its users saw
        them, so it counts as one that did, and notes them."""
        self.undone: set[int] = set()
        self.lost: set[int] = set()
        self.deletes: list[tuple[str, frozenset[int], Guid | None]] = []
        self.deleted: set[tuple[Guid, str]] = set()
        """What is to stay deleted, and by whose users."""
        self.escaped_kills: set[int] = set()
        self.purging = "always"
        self.forced = self.rough = False
        self.restores = self.data_letters = self.created = 0
        self.trace: list[str] = []

    def _site(self, name: str, edges: list[str]) -> SimulatedSite:
        peers = [edge.replace(name, "") for edge in edges if name in edge]
        links = {
            peer: Link(
                peer,
                frozenset({TABLE}),
                Stream(1, self.random.getrandbits(64)),
                terms=self.terms(peer),
            )
            for peer in peers
        }
        return SimulatedSite(name, SiteState(ord(name)), links)

    def terms(self, peer: str) -> dict[str, Terms]:
        scope = self.scope.get(peer)
        return {} if scope is None else {TABLE: Terms(wanted=partial(scope, TABLE))}

    def notice(self, name: str, peer: str) -> None:
        """The site reads what may go to the peer by now."""
        site, ledger = self.sites[name], self.ledger(name)
        site.links[peer] = replace(site.links[peer], terms=self.terms(peer))
        sort_out(ledger, site.links, peer, list(site.records.values()))
        self.commit(name, ledger)

    # --- users

    def value(self, name: str, old: int | None = None, tag: int | None = None) -> int:
        self.count += 1
        new = self.count * 10 + (tag if tag is not None else 0)
        self.authors[new] = name
        seen = self.history.get(old, frozenset()) | {old} if old is not None else frozenset()
        self.history[new] = seen
        return new

    def insert(self, name: str, key: Key, fields: int, tag: int = 0) -> None:
        self.created += 1
        row = {f"f{i}": self.value(name, tag=tag) for i in range(fields)}
        for record in self.sites[name].records.values():
            if record.key == key:  # no scan saw it gone
                self.deleted.discard((record.guid, name))
        self.data[name][key] = row
        for column, value in row.items():
            self._count_written(name, key, column, value)

    def edit(self, name: str, key: Key, column: str, tag: int | None = None) -> None:
        row = self.data[name][key]
        old = row[column]
        self.overwritten.add(old)
        new = self.value(name, old, old % 10 if tag is None else tag)
        self.data[name][key] = {**row, column: new}
        self._count_written(name, key, column, new)

    def _count_written(self, name: str, key: Key, column: str, value: int) -> None:
        written = self.written.setdefault((name, key, column), set())
        self.replaced |= written
        written.add(value)

    def delete(self, name: str, key: Key) -> None:
        row = self.data[name].pop(key)
        values = frozenset(row.values())
        self.gone |= values
        guid: Guid | None = None
        for record in self.sites[name].records.values():
            if record.key != key:
                continue
            in_doubt = record.marker is not NO_MARKER
            if in_doubt or (self.restores and not same_fields(record.shadow, row)):
                self.undone |= values
            else:
                guid = record.guid
                self.deleted.add((guid, name))
        if guid is None and self.restores:
            self.undone |= values
        self.deletes.append((name, values, guid))

    def revive(self, name: str, record_id: RecordId) -> None:
        """A person brings a deleted record back."""
        ledger = self.ledger(name)
        stroke = ledger.stroke(self.now + self.sites[name].skew, self.random.getrandbits(32))
        decisions.revive(ledger, self.sites[name].records[record_id], {}, stroke)
        self.commit(name, ledger)
        values = {entry.value for entry in self.sites[name].records[record_id].entries.values()}
        self.undone |= {value for value in values if isinstance(value, int)}
        self._undelete(record_id.guid)
        self.revived.add(record_id.guid)

    def _count_delete(self, name: str, record: Record) -> None:
        """A row that its users deleted when others had deleted the record counts as theirs."""
        if record.key not in self.data[name] and not is_alive(record.entries):
            self.deleted.discard((record.guid, name))

    def _undelete(self, guid: Guid) -> None:
        self.deleted -= {(guid, name) for name in self.sites}

    # --- the program

    def ledger(self, name: str) -> Ledger:
        self.now += 1
        return Ledger(self.sites[name].state, self.sites[name].records)

    def commit(self, name: str, ledger: Ledger, writer: Writer | None = None) -> None:
        site = self.sites[name]
        if name in self.policies and (
            found := due(ledger, self.policies[name], site.links, writer)
        ):
            stroke = ledger.stroke(self.now + site.skew, self.random.getrandbits(32))
            decide(ledger, self.policies[name], found, stroke)
            for record in ledger.changed.values():
                self.restated |= {e.value for e in record.entries.values() if e.dot == stroke}
        site.state = ledger.site
        for enrolment in ledger.enrolments:
            site.records.update((record.id, record) for record in enrolment)
        site.records.update(ledger.changed)
        for record_id in ledger.dropped:
            site.records.pop(record_id, None)

    def scan(self, name: str) -> None:
        site, data, ledger = self.sites[name], self.data[name], self.ledger(name)
        stroke = ledger.stroke(self.now + site.skew, self.random.getrandbits(32))
        guids = minted(self.now, stroke)
        mine = [r for r in site.records.values() if r.key is not None]
        for record in sorted(mine, key=lambda record: record.guid):
            assert record.key is not None
            current = data.get(record.key)
            marked = record.marker is not NO_MARKER
            self._count_delete(name, record)
            if marked or not same_fields(current, record.shadow):
                now = record_map.detect(ledger, record, current, None, stroke)
                if marked and current is None:
                    self.doubted |= {e.value for e in now.entries.values() if e.killed}
        new = sorted(data.keys() - {record.key for record in mine})
        rows = [Enrolled(next(guids), key, dict(data[key]), None) for key in new]
        ledger.enrol(TABLE, stroke, rows)
        self.commit(name, ledger, OUR_USERS)

    def to_write(self, name: str) -> list[RecordId]:
        return sorted(i for i, r in self.sites[name].records.items() if needs_writing(r))

    def write_step(self, name: str, record_id: RecordId | None = None) -> None:
        """One of the three steps of one write to the dataset."""
        busy, site = self.busy[name], self.sites[name]
        ledger = self.ledger(name)
        if busy is None:
            assert record_id is not None
            record = site.records[record_id]
            key = record.key
            if record.withdrawn and key is not None and key not in self.data[name]:
                return  # a user was quicker: the next scan must see that first
            if key is None and desired_fields(record) is not None:
                key = Key("k" + record.guid.hex())
            self._count_delete(name, record)
            record_map.begin(ledger, record, key)
            self.commit(name, ledger)
            self.busy[name] = (record_id, 1, False)
        elif busy[1] == 1:
            self.busy[name] = (busy[0], 2, self._write(name, site.records[busy[0]]))
        else:
            record = site.records[busy[0]]
            if busy[2]:
                record_map.settle(ledger, record, None)
            else:
                record_map.abandon(ledger, record)
            self.commit(name, ledger)
            self.busy[name] = None

    def _write(self, name: str, record: Record) -> bool:
        data = self.data[name]
        if record.key is None:
            return record.marker is None
        if not same_fields(data.get(record.key), record.shadow):
            return False
        if record.marker is None:
            data.pop(record.key, None)
        else:
            assert record.marker is not NO_MARKER
            data[record.key] = {k: v for k, v in record.marker.items() if isinstance(v, int)}
        return True

    def write_all(self, name: str) -> None:
        for record_id in self.to_write(name):
            self.write_step(name, record_id)
            while self.busy[name]:
                self.write_step(name)

    def crash(self, name: str) -> None:
        self.busy[name] = None

    def wants_to_send(self, name: str, peer: str) -> bool:
        site = self.sites[name]
        pending = outbound.survey(site.links, peer, site.records.values()).pending
        later = self.now + 1
        return outbound.is_due(site.links[peer], pending, resend_before=later, owed_before=later)

    def send(self, name: str, peer: str, *, increment: bool = False, limit: int = 10**6) -> Letter:
        site, ledger = self.sites[name], self.ledger(name)
        manifest = None
        if site.links[peer].stale and not increment:
            manifest = frozenset(i for i, r in site.records.items() if r.dataset != CONFLICTS)
        bundle, link = outbound.compose(
            ledger,
            site.links,
            peer,
            outbound.survey(site.links, peer, site.records.values()),
            sorted(site.records.values(), key=lambda record: record.position),
            now=self.now,
            resend_before=0 if increment else self.now + 1,
            tag=self.random.getrandbits(32),
            size_limit=limit,
            manifest=manifest,
        )
        self.commit(name, ledger)
        site.links[peer] = link
        letter = Letter(name, peer, self.carry(bundle))
        if letter not in self.letters:
            self.letters.append(letter)
        self.data_letters += bool(bundle.extractions or bundle.deletes)
        return letter

    def deliver(self, letter: Letter) -> Verdict:
        site, ledger = self.sites[letter.recipient], self.ledger(letter.recipient)
        nonce = self.random.getrandbits(64)
        received = receive(
            ledger, site.links, letter.sender, letter.bundle, now=self.now, nonce=nonce
        )
        if received.verdict is Verdict.RESTORED and not self.restores:
            raise BrokenPromise(f"{letter.recipient} thinks it was restored, but it was not")
        for order in letter.bundle.deletes:
            record = site.records.get(RecordId(order.dataset, order.guid))
            entries = {**(record.entries if record else {}), **order.entries}
            self.escaped_kills |= {e.value for e in entries.values() if isinstance(e.value, int)}
        self._check_notes(ledger)
        self.commit(letter.recipient, ledger, received.links[letter.sender])
        site.links.update(received.links)
        return received.verdict

    def _check_notes(self, ledger: Ledger) -> None:
        for note in ledger.notes.values():
            winner = note.winner if isinstance(note.winner, int) else 0
            known = (
                note.value in self.history.get(winner, ())
                and note.value not in self.undone | self.restated
            )
            if known and not self.rough:
                raise BrokenPromise(
                    f"false conflict: the author of {winner} had seen {note.value!r}"
                )

    def post(self, name: str, peer: str) -> None:
        """A letter that arrives at once."""
        self.deliver(self.send(name, peer))

    def toggle(self, name: str, peer: str) -> None:
        """The link falls silent for a while, or is heard again."""
        self.silent ^= {frozenset((name, peer))}

    def calm(self) -> None:
        """Nothing happens for so long that all is confirmed, and then all tombstones go."""
        self.settle()
        for name in self.sites:
            self.purge(name)

    def collect(self, name: str) -> None:
        site, ledger = self.sites[name], self.ledger(name)
        for record in list(site.records.values()):
            forgetting.prune(ledger, site.links, record)
        self.commit(name, ledger)
        if self.purging == "always":
            self.purge(name)

    def purge(self, name: str) -> None:
        site, ledger = self.sites[name], self.ledger(name)
        for record in list(site.records.values()):
            site.links = forgetting.purge(ledger, site.links, record)
        self.commit(name, ledger)

    def expire(self, name: str, peer: str) -> None:
        site = self.sites[name]
        site.links[peer] = forgetting.expire(site.links[peer])
        self.rough = self.forced = True

    # --- backups

    def backup(self, name: str) -> None:
        copied = copy.deepcopy(self.data[name])
        self.backups[name] = (self.sites[name].snapshot(), copied, len(self.deletes))

    def restore(self, name: str) -> None:
        site, data, deletes = self.backups[name]
        self.sites[name], self.data[name] = site.snapshot(), copy.deepcopy(data)
        self.busy[name] = None
        held: set[object] = set()
        dead: set[object] = set()
        for other, current in self.sites.items():
            held |= {value for row in self.data[other].values() for value in row.values()}
            for record in current.records.values():
                if not record.withdrawn:
                    held |= {entry.value for entry in record.entries.values()}
                dead |= {entry.value for entry in record.entries.values() if entry.killed}
        self.lost |= {value for value in self.history if value not in held}
        killed = dead if self.purging == "never" else self.escaped_kills
        for index, (who, values, guid) in enumerate(self.deletes):
            if ((index >= deletes and who == name) or self.restores) and not killed >= values:
                self.undone |= values
                if guid is not None:
                    self._undelete(guid)
        self._undo_unseen(site, data)
        self.restores += 1
        self.rough = True

    def _undo_unseen(self, site: SimulatedSite, data: dict[Key, Row]) -> None:
        if self.purging != "never":
            for record in site.records.values():
                if not any(
                    record.position in link.acked or record.known for link in site.links.values()
                ):
                    self.undone |= {
                        e.value for e in record.entries.values() if isinstance(e.value, int)
                    }
        for key, row in data.items():
            if not any(r.key == key and same_fields(r.shadow, row) for r in site.records.values()):
                self.undone |= set(row.values())

    # --- the end: no more edits, every letter gets through

    def settle(self, limit: int = 40) -> None:
        self.busy = dict.fromkeys(self.sites)
        for name, site in self.sites.items():
            for peer in site.links:
                self.notice(name, peer)
        for turn in range(limit):
            active = False
            for name in sorted(self.sites):
                self.scan(name)
                self.write_all(name)
                self.collect(name)
            for name, site in sorted(self.sites.items()):
                for peer in sorted(site.links):
                    if turn == 0 or self.wants_to_send(name, peer):
                        active = True
                        self.deliver(self.send(name, peer))
            if not active and not any(self.to_write(name) for name in self.sites):
                return
        raise BrokenPromise(f"not quiet after {limit} turns")

    def rows(self, name: str) -> dict[Guid, Row]:
        data = self.data[name]
        return {
            record.guid: data[record.key]
            for record in self.sites[name].records.values()
            if record.key is not None and record.key in data
        }

    def check(self) -> None:
        everything = self._check_convergence()
        notes = {
            note
            for site in self.sites.values()
            for record in site.records.values()
            if record.dataset == CONFLICTS and (note := decisions.note_of(record)) is not None
        }
        self._check_losses(everything, {note.value for note in notes})
        self._check_deletes(everything, notes)
        self._check_policies(everything, notes)
        if not any(link.stale for site in self.sites.values() for link in site.links.values()):
            self._check_bounds()

    def _check_convergence(self) -> dict[Guid, Row]:
        everything: dict[Guid, Row] = {}
        for name in sorted(self.sites):
            rows = self.rows(name)
            if len(rows) != len(self.data[name]):
                raise BrokenPromise(f"{name} has rows without a record")
            for guid, row in rows.items():
                if everything.setdefault(guid, row) != row:
                    raise BrokenPromise(f"diverged: {row} at {name}, {everything[guid]} elsewhere")
        for name in sorted(self.sites):
            rows = self.rows(name)
            scope = self.scope.get(name)
            for guid, row in everything.items():
                if (scope is None or scope(TABLE, row)) != (guid in rows):
                    raise BrokenPromise(f"diverged: {row} at {name}: {guid in rows}")
        if len(everything) > self.created and not self.restores:
            raise BrokenPromise("more records than were ever created")
        return everything

    def _check_losses(self, everything: dict[Guid, Row], noted: set[object]) -> None:
        shown = {value for row in everything.values() for value in row.values()}
        accounted = shown | self.overwritten | self.replaced | self.gone | noted | self.lost
        for value in self.history:
            if value not in accounted:
                raise BrokenPromise(f"value {value} vanished without a conflict")

    def _check_deletes(self, everything: dict[Guid, Row], notes: set[Note]) -> None:
        noted = {note.record.guid for note in notes}
        overruled = {note.record.guid for note in notes if note.field is None}
        deleted = {guid for guid, _ in self.deleted}
        for guid, row in everything.items():
            values = set(row.values())
            if values & self.undone:
                continue
            forced = guid in overruled and (self.forced or bool(self.policies))
            if values <= self.gone and not forced:
                raise BrokenPromise(f"resurrected: {row}")
            if guid in deleted and guid not in noted:
                raise BrokenPromise(f"a delete of {row} was overruled in silence")

    def _check_policies(self, everything: dict[Guid, Row], notes: set[Note]) -> None:
        shown = {value for row in everything.values() for value in row.values()}
        known = self.overwritten | self.replaced | self.gone | self.doubted | self.undone
        for name, policies in self.policies.items():
            policy = policies[TABLE]
            if policy.of("f0") is Way.OURS:
                mine = {value for value, author in self.authors.items() if author == name}
                for note in notes:
                    if note.record.guid in self.revived:
                        continue  # a person said what it shall be
                    row = everything.get(note.record.guid)
                    if row is None or note.value in shown:
                        continue
                    if row.get(str(note.field)) in mine - (self.replaced - self.undone):
                        continue  # its own as well: restored, it had forgotten the other
                    if note.value in mine - known:
                        raise BrokenPromise(f"{name} had the say, but its {note.value} lost")
        if any(one[TABLE].deletes is Deletes.DELETE_WINS for one in self.policies.values()):
            for guid in everything.keys() & {guid for guid, _ in self.deleted}:
                raise BrokenPromise(f"a delete of {everything[guid]} did not win")

    def _check_bounds(self) -> None:
        for name, site in self.sites.items():
            for record in site.records.values():
                if not is_alive(record.entries) and self.purging == "always":
                    raise BrokenPromise(f"{name} still has a tombstone")
                dots = {entry.dot for entry in record.entries.values()}
                if not is_alive(record.entries):
                    dots |= dots_of_deletes(record)
                if not self.scope and record.context.keys() != dots:
                    raise BrokenPromise(f"{name} keeps ancestors of {record.id}")

    def check_quiet(self) -> None:
        """Settle and check; then replay every letter ever sent, settle, and check again."""
        self.settle()
        self.check()
        rows, before = {name: self.rows(name) for name in self.sites}, self.data_letters
        rows = copy.deepcopy(rows)
        old = list(self.letters)
        for letter in [*old, *reversed(old)]:
            self.deliver(letter)
        self.settle()
        self.check()
        if {name: self.rows(name) for name in self.sites} != rows and not self.restores:
            raise BrokenPromise("a replay changed the outcome")
        if self.data_letters != before and not self.rough:
            raise BrokenPromise("a replay caused letters with data")
