"""The outbox: parts composed, and not yet taken by a carrier."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, delete, insert, select, update

from mailsync.core.positions import Positions
from mailsync.store import schema
from mailsync.store.codec import positions_bytes, positions_of


@dataclass(frozen=True, slots=True)
class Queued:
    """One part in the outbox."""

    peer: str
    label: str
    """Names the bundle; the same for all its parts."""
    part: int
    parts: int
    container: bytes
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


class Outbox:
    """What waits to be handed to a carrier, in the order it was composed."""

    def __init__(self, connection: Connection) -> None:
        """Within the connection's open transaction."""
        self._connection = connection

    def add(self, item: Queued) -> None:
        """Put one part into the outbox."""
        values = {**asdict(item), "positions": positions_bytes(item.positions)}
        del values["number"]
        self._connection.execute(insert(schema.outbox).values(**values))

    def items(self, peer: str | None = None) -> list[Queued]:
        """The outbox in the order it was filled."""
        query = select(schema.outbox).order_by(schema.outbox.c.number)
        if peer is not None:
            query = query.where(schema.outbox.c.peer == peer)
        return [_queued(dict(row)) for row in self._connection.execute(query).mappings()]

    def begin_attempt(self, number: int) -> None:
        """Count an attempt before it is made: from now on it is not certain that it failed."""
        attempts = schema.outbox.c.attempts + 1
        self._update(number, attempts=attempts, perhaps_taken=1)

    def fail_attempt(
        self, number: int, next_attempt_at: int, reason: str, *, perhaps_taken: bool
    ) -> None:
        """The attempt failed, or may have; when to try again."""
        self._update(
            number,
            next_attempt_at=next_attempt_at,
            reason=reason,
            perhaps_taken=int(perhaps_taken),
        )

    def _update(self, number: int, **values: object) -> None:
        same = schema.outbox.c.number == number
        self._connection.execute(update(schema.outbox).where(same).values(**values))

    def remove(self, numbers: Iterable[int]) -> None:
        """The parts were taken by the carrier, or are not needed any more."""
        same = schema.outbox.c.number.in_(list(numbers))
        self._connection.execute(delete(schema.outbox).where(same))


def _queued(columns: dict[str, object]) -> Queued:
    raw = columns.pop("positions")
    assert isinstance(raw, bytes)  # noqa: S101 - the column is not nullable
    perhaps_taken = bool(columns.pop("perhaps_taken"))
    return Queued(**columns, positions=positions_of(raw), perhaps_taken=perhaps_taken)  # type: ignore[arg-type]
