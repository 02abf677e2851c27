"""All that one transaction of the state store can read and write, by what it is about."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from itertools import chain

from sqlalchemy import and_, bindparam, delete, insert, select, update

from mailsync.core.ledger import Ledger, SiteState
from mailsync.core.model import NO_MARKER, Link, Stream
from mailsync.store import schema
from mailsync.store.aliases import Aliases
from mailsync.store.bodies import Bodies
from mailsync.store.codec import link_of, link_state
from mailsync.store.formers import Formers
from mailsync.store.givens import Givens
from mailsync.store.history import History
from mailsync.store.inbox import Inbox
from mailsync.store.journal import Journal
from mailsync.store.layouts import StoredLayouts
from mailsync.store.mailbox import MailboxState
from mailsync.store.matches import Matches
from mailsync.store.notes import GATE, StoredNotes
from mailsync.store.outbox import Outbox
from mailsync.store.pauses import Pauses
from mailsync.store.peers import Peers
from mailsync.store.proofs import Proofs
from mailsync.store.records import StoredRecords
from mailsync.store.reservations import Reservations
from mailsync.store.routes import Routes
from mailsync.store.standing import Standing, StoredLink
from mailsync.store.statements import Session, Statement, parameters
from mailsync.store.stops import Stops
from mailsync.store.warnings import Warnings

_site, _link = schema.site.c, schema.link.c
_SITE = Statement(select(_site.number, _site.position, _site.stamp, _site.horizon))
_FOUND_SITE = Statement(insert(schema.site).values(parameters(schema.site)))
_SAVE_SITE = Statement(update(schema.site).values(parameters(schema.site, "number")))
_LINKS = Statement(select(_link.peer, _link.number, _link.state))
_ADD_LINK = Statement(insert(schema.link).values(parameters(schema.link, "number")))
_SAVE_LINK = Statement(
    update(schema.link).where(_link.peer == bindparam("same")).values(state=bindparam("state"))
)
_STALE = {
    schema.inbox: and_(
        schema.inbox.c.state != "waiting",
        schema.inbox.c.state != "quarantined",
        schema.inbox.c.received_at <= bindparam("before"),
    ),
    schema.part: schema.part.c.received_at <= bindparam("before"),
    schema.event: schema.event.c.at <= bindparam("before"),
    schema.dispatch: schema.dispatch.c.sent_at <= bindparam("before"),
    schema.outbox: schema.outbox.c.sent_at <= bindparam("before"),
    schema.former: schema.former.c.at <= bindparam("before"),
}
_RETIRE = [
    Statement(delete(table).where(table.c.peer.not_in(bindparam("peers", expanding=True))))
    for table in (
        schema.outbox,
        schema.body,
        schema.match,
        schema.likeness,
        schema.proof,
        schema.held,
    )
]
_FORGET = [Statement(delete(table).where(stale)) for table, stale in _STALE.items()]


class Transaction:
    """Reads and writes of one transaction. What it read or wrote itself is not read again."""

    def __init__(self, session: Session, standing: Standing | None = None) -> None:
        """Within the session's open transaction. ``standing``: what is known of before it."""
        self._session = session
        self._standing = Standing() if standing is None else standing

    def site(self) -> SiteState:
        """The site's counters."""
        if self._standing.site is None:
            ((number, position, stamp, horizon),) = self._session.rows(_SITE)
            self._standing.site = SiteState(_unsigned(number), position, stamp, horizon)
        return self._standing.site

    def found_site(self, number: int) -> None:
        """Write a new site's counters, once."""
        if not self._session.rows(_SITE):
            self._session.run(_FOUND_SITE, number=_signed(number), position=0, stamp=0, horizon=0)

    @property
    def _links(self) -> dict[str, StoredLink]:
        if self._standing.links is None:
            rows = self._session.rows(_LINKS)
            self._standing.links = {peer: StoredLink(number, state) for peer, number, state in rows}
        return self._standing.links

    def links(self) -> dict[str, Link]:
        """Every link, by peer."""
        if self._standing.decoded is None:
            links = self._links.items()
            self._standing.decoded = {peer: link_of(peer, one.state) for peer, one in links}
        return self._standing.decoded.copy()

    def add_link(self, peer: str, stream: Stream) -> None:
        """A link to a new peer."""
        state = link_state(Link(peer, frozenset(), stream))
        self._session.run(_ADD_LINK, peer=peer, state=state)
        self._standing.links = self._standing.decoded = self._standing.peers = None
        self.__dict__.pop("records", None)

    @cached_property
    def records(self) -> StoredRecords:
        """The record map."""
        if self._standing.peers is None:
            numbers = {peer: link.number for peer, link in self._links.items()}
            self._standing.peers = Peers(numbers)
        return StoredRecords(self._session, self._standing.peers, self.layouts)

    @cached_property
    def layouts(self) -> StoredLayouts:
        """What is kept of the datasets besides their records."""
        return StoredLayouts(self._session, self._standing)

    def ledger(self) -> Ledger:
        """A working copy of counters and record map."""
        return Ledger(self.site(), self.records)

    def save(self, ledger: Ledger, now: int) -> None:
        """Write what the ledger gathered: counters, records, journal."""
        site = ledger.site
        if site != self.site():
            self._session.run(
                _SAVE_SITE, position=site.position, stamp=site.stamp, horizon=site.horizon
            )
            self._standing.site = site
        for enrolment in ledger.enrolments:
            self.records.enter(enrolment, now)
        self.records.save(ledger.changed, ledger.dropped, now)
        for name in _unsettled(ledger):
            self.notes.keep(name, {GATE: None})
        for note_id, note in ledger.notes.items():
            self.journal.enter(note_id.guid, note.winner, now)
        self.journal.changed(chain(ledger.changed, ledger.dropped))

    def save_links(self, links: Mapping[str, Link]) -> None:
        """Write the links, as far as they are others than those in the store."""
        for peer, link in links.items():
            stored, state = self._links[peer], link_state(link)
            if state != stored.state:
                self._session.run(_SAVE_LINK, same=peer, state=state)
                self._links[peer] = StoredLink(stored.number, state)
                self._standing.decoded = None

    @cached_property
    def outbox(self) -> Outbox:
        """Parts on their way to a carrier."""
        return Outbox(self._session)

    @cached_property
    def routes(self) -> Routes:
        """What was learnt about the ways to the peers."""
        return Routes(self._session)

    @cached_property
    def reservations(self) -> Reservations:
        """GUIDs that wait for their rows."""
        return Reservations(self._session)

    @cached_property
    def notes(self) -> StoredNotes:
        """What adapters of datasets noted."""
        return StoredNotes(self._session)

    @cached_property
    def aliases(self) -> Aliases:
        """GUIDs that gave way to others."""
        return Aliases(self._session)

    @cached_property
    def matches(self) -> Matches:
        """First synchronizations."""
        return Matches(self._session)

    @cached_property
    def proofs(self) -> Proofs:
        """Proofs of equality."""
        return Proofs(self._session)

    @cached_property
    def pauses(self) -> Pauses:
        """What servers asked to leave alone for a while."""
        return Pauses(self._session)

    @cached_property
    def warnings(self) -> Warnings:
        """What a person should know."""
        return Warnings(self._session)

    @cached_property
    def formers(self) -> Formers:
        """What was overwritten lately."""
        return Formers(self._session)

    @cached_property
    def givens(self) -> Givens:
        """The 32-bit identifiers this site gave."""
        return Givens(self._session)

    @cached_property
    def stops(self) -> Stops:
        """What the guards stopped."""
        return Stops(self._session)

    @cached_property
    def bodies(self) -> Bodies:
        """The bodies of earlier bundles."""
        return Bodies(self._session)

    @cached_property
    def inbox(self) -> Inbox:
        """Verified bundles on their way to the record map."""
        return Inbox(self._session)

    @cached_property
    def mailbox(self) -> MailboxState:
        """What became of each mail."""
        return MailboxState(self._session)

    @cached_property
    def journal(self) -> Journal:
        """The conflicts."""
        return Journal(self._session, self.records)

    @cached_property
    def history(self) -> History:
        """Log, held records, meter."""
        return History(self._session)

    def retire(self, peers: frozenset[str]) -> None:
        """Drop mails and bodies of all but these peers, and what is held from others."""
        for statement in _RETIRE:
            self._session.run(statement, peers=["", *sorted(peers)])

    def forget(self, before: int) -> None:
        """Drop what was only kept for a while: done bundles, orphaned parts, old log lines."""
        for statement in _FORGET:
            self._session.run(statement, before=before)
        self.formers.shrink()


def _unsettled(ledger: Ledger) -> set[str]:
    """Datasets that are about to be written to, or of which something must be looked at anew."""
    unsure = {
        record.dataset
        for record in ledger.changed.values()
        if record.marker is not NO_MARKER or (record.key is not None and record.etag is None)
    }
    new = {one.dataset for one in ledger.enrolments if any(row.etag is None for row in one.rows)}
    return unsure | new | {record.dataset for record in ledger.dropped}


def _signed(number: int) -> int:
    """A 64-bit number as the engines keep it."""
    return number - (1 << 64) if number >= 1 << 63 else number


def _unsigned(number: int) -> int:
    return number + (1 << 64) if number < 0 else number
