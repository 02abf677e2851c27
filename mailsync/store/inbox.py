"""The inbox: what was verified as a peer's, durable before the mailbox may forget it."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.dialects import postgresql

from mailsync.store import schema
from mailsync.store.statements import Session, Statement, parameters

_inbox, _part = schema.inbox.c, schema.part.c
_same = _inbox.number == bindparam("same")
_KNOWN = Statement(select(_inbox.number).where(_inbox.digest == bindparam("digest")))
_admitted = postgresql.insert(schema.inbox).values(parameters(schema.inbox, "number"))
_ADMIT = Statement(
    _admitted.on_conflict_do_update(
        index_elements=["digest"],
        set_={
            name: _admitted.excluded[name]
            for name in ("content", "state", "attempts", "received_at")
        },
        where=_inbox.state.in_(("applied", "ignored", "unreadable")),
    )
)
_WAITING = Statement(select(_inbox.number).where(_inbox.state == "waiting").order_by(_inbox.number))
_COUNT_ATTEMPT = Statement(update(schema.inbox).where(_same).values(attempts=_inbox.attempts + 1))
_taken = select(_inbox.number, _inbox.peer, _inbox.content, _inbox.attempts, _inbox.reason)
_TAKE = Statement(_taken.where(_same))
_decided = update(schema.inbox).where(_same)
_decided = _decided.values(state=bindparam("state"), reason=bindparam("reason"))
_KEEP = Statement(_decided)
_FINISH = Statement(_decided.values(content=b""))
_REOPEN = Statement(_decided.values(attempts=0))
_QUARANTINED = Statement(
    select(_inbox.number, _inbox.peer, _inbox.reason, _inbox.received_at).where(
        _inbox.state == "quarantined"
    )
)
_old = (_inbox.state == "quarantined") & (_inbox.received_at <= bindparam("before"))
_QUARANTINED_LONG = Statement(select(_inbox.number, _inbox.peer, _inbox.reason).where(_old))
_DROP_QUARANTINED = Statement(delete(schema.inbox).where(_old))
_whole = (_part.peer == bindparam("peer")) & (_part.bundle == bindparam("bundle"))
_NEWEST = Statement(select(_inbox.number).order_by(_inbox.number.desc()).limit(1))
_REMOVE = Statement(delete(schema.inbox).where(_same))
_ADD_PART = Statement(
    postgresql.insert(schema.part).values(parameters(schema.part)).on_conflict_do_nothing()
)
_PARTS = Statement(select(_part.part, _part.parts, _part.slice).where(_whole))
_of_bundle = (_part.bundle, _part.parts, _part.part, _part.received_at)
_ALL_PARTS = Statement(
    select(*_of_bundle).where(_part.peer == bindparam("peer")).order_by(_part.received_at)
)
_DROP_PARTS = Statement(delete(schema.part).where(_whole))


class Waiting(NamedTuple):
    """One verified bundle in the inbox."""

    number: int
    peer: str
    content: bytes
    attempts: int
    before: str
    """What became of it when it was here before; empty if it was not."""


class Inbox:
    """Verified bundles and parts of bundles, in the order they came."""

    def __init__(self, session: Session) -> None:
        """Within the session's open transaction."""
        self._session = session

    def admit(self, peer: str, digest: bytes, content: bytes, now: int) -> bool:
        """Put a verified bundle into the inbox; False if it has been here before.

        Then it is processed once more: it changes nothing, but its sender, who seems not to have
        heard of it, is owed an acknowledgement.
        """
        repeated = bool(self._session.rows(_KNOWN, digest=digest))
        self._session.run(
            _ADMIT,
            peer=peer,
            digest=digest,
            content=content,
            state="waiting",
            attempts=0,
            received_at=now,
            reason="",
        )
        return not repeated

    def reserve_number(self) -> int:
        """A number that no bundle ever had or will have: people call all that waits by one."""
        self.admit("", b"", b"", 0)
        ((number,),) = self._session.rows(_NEWEST)
        self._session.run(_REMOVE, same=number)
        return int(number)

    def waiting(self) -> list[int]:
        """Numbers of the bundles to process, in the order they came."""
        return [number for (number,) in self._session.rows(_WAITING)]

    def take(self, number: int) -> Waiting:
        """One bundle of the inbox, its attempt counted."""
        self._session.run(_COUNT_ATTEMPT, same=number)
        (row,) = self._session.rows(_TAKE, same=number)
        return Waiting(*row)

    def finish(self, number: int, state: str, reason: str = "") -> None:
        """It was ``applied``, ``ignored``, ``unreadable`` or ``quarantined``; only that is kept."""
        statement = _KEEP if state == "quarantined" else _FINISH
        self._session.run(statement, same=number, state=state, reason=reason)

    def reopen(self, number: int, state: str) -> None:
        """A person decided on a quarantined bundle: ``waiting`` again, or ``ignored``."""
        if state == "ignored":
            self.finish(number, state)
        else:
            self._session.run(_REOPEN, same=number, state=state, reason="")

    def quarantined(self) -> list[tuple[int, str, str, int]]:
        """Bundles set aside: number, peer, reason, time."""
        return self._session.rows(_QUARANTINED)

    def drop_quarantined(self, before: int) -> list[tuple[int, str, str]]:
        """Drop what was set aside until then, and tell number, peer and reason."""
        dropped = self._session.rows(_QUARANTINED_LONG, before=before)
        self._session.run(_DROP_QUARANTINED, before=before)
        return dropped

    def add_part(
        self, peer: str, bundle: bytes, number: int, count: int, piece: bytes, now: int
    ) -> None:
        """Keep one part of a bundle until the others are here."""
        values = {"part": number, "parts": count, "slice": piece, "received_at": now}
        self._session.run(_ADD_PART, peer=peer, bundle=bundle, **values)

    def parts(self, peer: str, bundle: bytes) -> list[tuple[int, int, bytes]]:
        """The parts of a bundle that are here: number, count, slice."""
        return self._session.rows(_PARTS, peer=peer, bundle=bundle)

    def incomplete(self, peer: str, since: int) -> list[tuple[bytes, int, frozenset[int]]]:
        """Bundles of which some parts are here, one at least since then: name, count, numbers.

        In the order of their newest parts.
        """
        found: dict[bytes, tuple[bytes, int, frozenset[int]]] = {}
        news: set[bytes] = set()
        for bundle, count, number, received_at in self._session.rows(_ALL_PARTS, peer=peer):
            before = found.pop(bundle, (bundle, count, frozenset[int]()))
            found[bundle] = (bundle, count, before[2] | {number})
            if received_at >= since:
                news.add(bundle)
        return [each for each in found.values() if each[0] in news]

    def drop_parts(self, peer: str, bundle: bytes) -> None:
        """The bundle is whole: its parts are not needed any more."""
        self._session.run(_DROP_PARTS, peer=peer, bundle=bundle)
