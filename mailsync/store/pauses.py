"""What is left alone for a while because a server asked for it, whatever process asks next."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import bindparam, delete, select
from sqlalchemy.dialects import postgresql

from mailsync.store import schema
from mailsync.store.statements import Session, Statement, parameters


class Pause(NamedTuple):
    """Something is not tried before a time."""

    until: int
    """Milliseconds since 1970."""
    times: int
    """How many pauses in a row, this one included."""
    reason: str
    """The server's words."""


_pause = schema.pause.c
_same = _pause.name == bindparam("name")
_GET = Statement(select(*(_pause[name] for name in Pause._fields)).where(_same))
_begun = postgresql.insert(schema.pause).values(parameters(schema.pause))
_BEGIN = Statement(
    _begun.on_conflict_do_update(
        index_elements=["name"], set_={name: _begun.excluded[name] for name in Pause._fields}
    )
)
_END = Statement(delete(schema.pause).where(_same))


class Pauses:
    """Every pause, each under the name of what it holds up."""

    def __init__(self, session: Session) -> None:
        """Within the session's open transaction."""
        self._session = session

    def get(self, name: str) -> Pause | None:
        """The last pause, also if it is over, until :meth:`end`."""
        rows = self._session.rows(_GET, name=name)
        return Pause(*rows[0]) if rows else None

    def begin(self, name: str, pause: Pause) -> None:
        """Hold this up from now on."""
        self._session.run(_BEGIN, name=name, **pause._asdict())

    def end(self, name: str) -> None:
        """It went well: the next pause is a first one."""
        self._session.run(_END, name=name)
