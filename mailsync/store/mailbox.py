"""What became of each mail of the mailbox."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import and_, bindparam, delete, func, select
from sqlalchemy.dialects import postgresql

from mailsync.core.letters import Place
from mailsync.store import schema
from mailsync.store.statements import Session, Statement, parameters

_place = schema.place.c
_key = [_place.account, _place.folder, _place.validity, _place.number]
_is_waiting = _place.state == "waiting"
_put = postgresql.insert(schema.place).values(parameters(schema.place))
_SETTLE = Statement(
    _put.on_conflict_do_update(
        index_elements=_key,
        set_={name: _put.excluded[name] for name in ("state", "note", "seen_at", "look_at")},
    )
)
_WAIT = Statement(
    _put.on_conflict_do_update(
        index_elements=_key, set_={column.name: column for column in _put.excluded}
    )
)
_looks = select(
    *_key, _place.seen_at, _place.looks, _place.look_at, _place.size, _place.note
).where(_is_waiting)
_WAITING = Statement(_looks)
_LOOK = Statement(_looks.where(and_(*(column == bindparam(column.name) for column in _key))))
_SETTLED = Statement(select(*_key))
_TAKEN = Statement(select(*_key).where(_place.state == "ours"))
_DISPOSABLE = Statement(
    select(*_key).where(_place.state == "ours", _place.seen_at <= bindparam("before"))
)
_SETTLED_BEFORE = Statement(
    select(*_key).where(_place.state != "waiting", _place.seen_at <= bindparam("before"))
)
_FORGET = Statement(
    delete(schema.place).where(*(column == bindparam(column.name) for column in _key))
)
_COUNTS = Statement(select(_place.state, func.count()).group_by(_place.state))


class Look(NamedTuple):
    """A mail that seems to be ours and is not complete yet."""

    place: Place
    since: int
    """When it was first seen (milliseconds since 1970)."""
    looks: int
    """How often it was looked at since then."""
    look_at: int
    """When to look again."""
    size: int
    """In bytes, at the last look."""
    note: str
    """What is wrong with it."""


class MailboxState:
    """Mails by account, folder, UIDVALIDITY and UID."""

    def __init__(self, session: Session) -> None:
        """Within the session's open transaction."""
        self._session = session

    def settled(self) -> set[Place]:
        """Mails that need no look for now: those with an end, and those that wait for theirs."""
        return {Place(*row) for row in self._session.rows(_SETTLED)}

    def taken(self) -> set[Place]:
        """Those whose content is durably here; in all others something may be found some day."""
        return {Place(*row) for row in self._session.rows(_TAKEN)}

    def settle(self, place: Place, state: str, note: str, now: int) -> None:
        """What became of a mail: ``ours``, ``foreign``, ``rejected`` or ``gone``."""
        values = {"state": state, "note": note, "seen_at": now}
        self._session.run(_SETTLE, **place._asdict(), **values, look_at=None, looks=0, size=0)

    def wait(self, look: Look) -> None:
        """Look again at a mail at its time."""
        self._session.run(
            _WAIT,
            **look.place._asdict(),
            state="waiting",
            seen_at=look.since,
            note=look.note,
            look_at=look.look_at,
            looks=look.looks,
            size=look.size,
        )

    def waiting(self) -> list[Look]:
        """The mails that are not complete yet."""
        return [Look(Place(*row[:4]), *row[4:]) for row in self._session.rows(_WAITING)]

    def look(self, place: Place) -> Look | None:
        """What is known of a mail that is not complete yet."""
        rows = self._session.rows(_LOOK, **place._asdict())
        return Look(place, *rows[0][4:]) if rows else None

    def disposable(self, before: int) -> list[Place]:
        """Mails verified as ours, durably taken, whose grace time is over."""
        return [Place(*row) for row in self._session.rows(_DISPOSABLE, before=before)]

    def settled_before(self, before: int) -> list[Place]:
        """Mails that have had their end since then."""
        return [Place(*row) for row in self._session.rows(_SETTLED_BEFORE, before=before)]

    def forget(self, places: Iterable[Place]) -> None:
        """These places hold no mail any more."""
        for place in places:
            self._session.run(_FORGET, **place._asdict())

    def counts(self) -> dict[str, int]:
        """How many mails of each kind were seen."""
        return dict(self._session.rows(_COUNTS))
