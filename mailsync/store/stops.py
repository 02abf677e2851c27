"""What the guards stopped, each under a number that a person calls it by."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import bindparam, delete, insert, select, update

from mailsync.core.guards import Kind
from mailsync.store import schema
from mailsync.store.statements import Session, Statement, parameters

_stop = schema.stop.c
_same = _stop.number == bindparam("same")
_ALL = Statement(select(schema.stop).order_by(_stop.number))
_ADD = Statement(insert(schema.stop).values(parameters(schema.stop)))
_AGAIN = Statement(
    update(schema.stop)
    .where(_same)
    .values(kind=bindparam("kind"), records=bindparam("records"), text=bindparam("text"))
)
_MEANT = Statement(update(schema.stop).where(_same).values(meant=bindparam("meant")))
_DROP = Statement(delete(schema.stop).where(_same))


class Stop(NamedTuple):
    """Something a guard stopped."""

    number: int
    dataset: str
    kind: str
    """See :class:`mailsync.core.guards.Kind`."""
    records: int
    text: str
    meant: int
    """A person said that so many records are meant to go."""
    since: int


class Stops:
    """Everything that is stopped now."""

    def __init__(self, session: Session) -> None:
        """Within the session's open transaction."""
        self._session = session

    def all(self) -> list[Stop]:
        """In the order of their numbers."""
        return [Stop(*row) for row in self._session.rows(_ALL)]

    def of(self, dataset: str, *, received: bool) -> Stop | None:
        """What of a dataset is stopped: what its users did, or what was received."""
        for stop in self.all():
            if stop.dataset == dataset and (stop.kind == Kind.RECEIVED.value) is received:
                return stop
        return None

    def add(self, stop: Stop) -> None:
        """It is stopped from now on."""
        self._session.run(_ADD, **stop._asdict())

    def again(self, number: int, kind: str, records: int, text: str) -> None:
        """It is stopped still, in these words."""
        self._session.run(_AGAIN, same=number, kind=kind, records=records, text=text)

    def release(self, number: int, meant: int) -> None:
        """A person said that so many records are meant to go."""
        self._session.run(_MEANT, same=number, meant=meant)

    def drop(self, number: int) -> None:
        """It is not stopped any more."""
        self._session.run(_DROP, same=number)
