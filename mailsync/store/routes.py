"""What was learnt about the way to each peer, and which mails went it."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.dialects import postgresql

from mailsync.store import schema
from mailsync.store.statements import Session, Statement, parameters


class Route(NamedTuple):
    """What the way to a peer takes, and what became of mails on the way from it."""

    max_message: int | None = None
    """Bytes of the largest whole mail that some server on the way takes; None: no refusal yet."""
    step: int = 0
    """Step of the carrier ladder: 0 attachment, 1 text attachment, 2 text in the body."""
    stripped: int = 0
    """One more than the highest step at which the peer's mails came without their containers."""
    learnt_at: int = 0
    """When ``max_message`` was learnt (milliseconds since 1970)."""
    announced: int | None = None
    """Bytes of the largest whole mail that our own server said it takes when last asked."""


_route, _dispatch = schema.route.c, schema.dispatch.c
_GET = Statement(
    select(*(_route[name] for name in Route._fields)).where(_route.peer == bindparam("peer"))
)
_learnt = postgresql.insert(schema.route).values(parameters(schema.route))
_LEARN = Statement(
    _learnt.on_conflict_do_update(
        index_elements=["peer"],
        set_={name: _learnt.excluded[name] for name in Route._fields},
    )
)
_sent = postgresql.insert(schema.dispatch).values(parameters(schema.dispatch))
_DISPATCH = Statement(
    _sent.on_conflict_do_update(
        index_elements=["message_id"], set_={"sent_at": _sent.excluded.sent_at}
    )
)
_DISPATCHED = Statement(
    select(_dispatch.message_id, _dispatch.peer, _dispatch.size).where(
        _dispatch.message_id.in_(bindparam("message_ids", expanding=True))
    )
)
_same = _dispatch.message_id == bindparam("message_id")
_BOUNCED = Statement(update(schema.dispatch).where(_same).values(peer=""))
_RETRACT = Statement(delete(schema.dispatch).where(_same))
_SENT_LATEST = Statement(
    select(_dispatch.sent_at)
    .where(_dispatch.sent_at <= bindparam("now"))
    .order_by(_dispatch.sent_at.desc())
    .limit(bindparam("number"))
)


class Dispatched(NamedTuple):
    """A mail that was handed over."""

    peer: str
    size: int
    """Bytes of the whole mail, about."""


class Routes:
    """Every peer's route."""

    def __init__(self, session: Session) -> None:
        """Within the session's open transaction."""
        self._session = session

    def get(self, peer: str) -> Route:
        """What is known of the way to the peer."""
        rows = self._session.rows(_GET, peer=peer)
        return Route(*rows[0]) if rows else Route()

    def learn(self, peer: str, route: Route) -> None:
        """Remember this of the way to the peer."""
        self._session.run(_LEARN, peer=peer, **route._asdict())

    def dispatch(self, message_id: str, peer: str, size: int, now: int) -> None:
        """A mail is about to be handed over: a bounce may come of it."""
        self._session.run(_DISPATCH, message_id=message_id, peer=peer, size=size, sent_at=now)

    def dispatched(self, message_ids: tuple[str, ...]) -> tuple[str, Dispatched] | None:
        """The first of these mails that is one of ours, with its identifier."""
        rows = self._session.rows(_DISPATCHED, message_ids=message_ids)
        if not rows:
            return None
        message_id, peer, size = rows[0]
        return message_id, Dispatched(peer, size)

    def bounced(self, message_id: str) -> None:
        """One report of a mail is enough: further ones are about no peer's. It counts as sent."""
        self._session.run(_BOUNCED, message_id=message_id)

    def retract(self, message_id: str) -> None:
        """The mail was certainly not taken: it counts for nothing, and no bounce comes of it."""
        self._session.run(_RETRACT, message_id=message_id)

    def sent_latest(self, number: int, now: int) -> list[int]:
        """When the last mails up to ``now`` were handed over, to whomever; the newest first."""
        return [at for (at,) in self._session.rows(_SENT_LATEST, number=number, now=now)]
