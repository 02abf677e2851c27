"""The outbox: parts composed, and not yet taken by a carrier."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from sqlalchemy import bindparam, delete, func, insert, select, update

from mailsync.core.positions import Positions
from mailsync.store import schema
from mailsync.store.codec import positions_bytes, positions_of
from mailsync.store.statements import Session, Statement, parameters


@dataclass(frozen=True, slots=True)
class Queued:
    """One part in the outbox."""

    peer: str
    label: str
    """Names the bundle; the same for all its parts."""
    part: int
    parts: int
    size: int
    """Bytes of its container."""
    positions: Positions
    """What the whole bundle holds."""
    message_id: str
    next_attempt_at: int
    attempts: int = 0
    perhaps_taken: bool = False
    """An attempt has begun of which it is not certain that it failed."""
    reason: str = ""
    """Why the last attempt failed."""
    number: int = 0
    """Given by the store."""


_outbox = schema.outbox.c
_same = _outbox.number == bindparam("same")
_ADD = Statement(insert(schema.outbox).values(parameters(schema.outbox, "number", "sent_at")))
_shown = {**dict(_outbox.items()), "size": func.length(_outbox.container)}
_items = select(*(_shown[each.name] for each in fields(Queued))).order_by(_outbox.number)
_waiting, _of = _outbox.sent_at.is_(None), _outbox.peer == bindparam("peer")
_ITEMS = Statement(_items.where(_waiting))
_ITEMS_OF = Statement(_items.where(_waiting, _of))
_KEPT = Statement(_items.where(_outbox.sent_at.is_not(None), _of))
_KEEP = Statement(update(schema.outbox).where(_same).values(sent_at=bindparam("now")))
_PUT_BACK = Statement(
    update(schema.outbox)
    .where(_same)
    .values(
        message_id=bindparam("name"),
        sent_at=None,
        attempts=0,
        perhaps_taken=0,
        next_attempt_at=0,
        reason="",
    )
)
_EXPLAIN = Statement(update(schema.outbox).where(_same).values(reason=bindparam("why")))
_BEGIN_ATTEMPT = Statement(
    update(schema.outbox).where(_same).values(attempts=_outbox.attempts + 1, perhaps_taken=1)
)
_FAIL_ATTEMPT = Statement(
    update(schema.outbox)
    .where(_same)
    .values({name: bindparam(name) for name in ("next_attempt_at", "reason", "perhaps_taken")})
)
_REMOVE = Statement(delete(schema.outbox).where(_same))
_CONTAINER = Statement(select(_outbox.container).where(_same))


class Outbox:
    """What waits to be handed to a carrier, in the order it was composed."""

    def __init__(self, session: Session) -> None:
        """Within the session's open transaction."""
        self._session = session

    def add(self, item: Queued, container: bytes) -> None:
        """Put one part into the outbox."""
        values = asdict(item) | {
            "container": container,
            "positions": positions_bytes(item.positions),
            "perhaps_taken": int(item.perhaps_taken),
        }
        del values["number"], values["size"]
        self._session.run(_ADD, **values)

    def items(self, peer: str | None = None) -> list[Queued]:
        """The outbox in the order it was filled; of one peer if given."""
        if peer is None:
            return [_queued(row) for row in self._session.rows(_ITEMS)]
        return [_queued(row) for row in self._session.rows(_ITEMS_OF, peer=peer)]

    def container(self, number: int) -> bytes:
        """What one part carries. Raises KeyError if it is not there any more."""
        for (content,) in self._session.rows(_CONTAINER, same=number):
            return bytes(content)
        raise KeyError(number)

    def begin_attempt(self, number: int) -> None:
        """Count an attempt before it is made: from now on it is not certain that it failed."""
        self._session.run(_BEGIN_ATTEMPT, same=number)

    def fail_attempt(
        self, number: int, next_attempt_at: int, reason: str, *, perhaps_taken: bool
    ) -> None:
        """The attempt failed, or may have; when to try again."""
        self._session.run(
            _FAIL_ATTEMPT,
            same=number,
            next_attempt_at=next_attempt_at,
            reason=reason,
            perhaps_taken=int(perhaps_taken),
        )

    def explain(self, numbers: Iterable[int], reason: str) -> None:
        """Why these are not even tried now."""
        rows = [{"same": number, "why": reason} for number in numbers]
        self._session.run_each(_EXPLAIN, rows)

    def kept(self, peer: str) -> list[Queued]:
        """Parts that a carrier took, and that the peer may yet ask for again."""
        return [_queued(row) for row in self._session.rows(_KEPT, peer=peer)]

    def keep(self, number: int, now: int) -> None:
        """The part was taken by the carrier; it may be asked for again."""
        self._session.run(_KEEP, same=number, now=now)

    def put_back(self, number: int, message_id: str) -> None:
        """A part that was kept goes once more, in a mail of its own."""
        self._session.run(_PUT_BACK, same=number, name=message_id)

    def remove(self, numbers: Iterable[int]) -> None:
        """The parts were taken by the carrier, or are not needed any more."""
        self._session.run_each(_REMOVE, [{"same": number} for number in numbers])


def _queued(row: tuple[Any, ...]) -> Queued:
    item = Queued(*row)
    raw: Any = item.positions
    return replace(item, positions=positions_of(raw), perhaps_taken=bool(item.perhaps_taken))
