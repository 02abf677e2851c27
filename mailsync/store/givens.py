"""The 32-bit identifiers this site gave: of each of its classes the last one."""

from __future__ import annotations

from sqlalchemy import bindparam, select
from sqlalchemy.dialects import postgresql

from mailsync.core.identifiers import Given
from mailsync.store import schema
from mailsync.store.statements import Session, Statement, parameters

_given = schema.given.c
_FIND = Statement(select(_given.value, _given.at).where(_given["class"] == bindparam("class")))
_new = postgresql.insert(schema.given).values(parameters(schema.given))
_SAVE = Statement(
    _new.on_conflict_do_update(
        index_elements=["class"], set_={"value": _new.excluded.value, "at": _new.excluded.at}
    )
)


class Givens:
    """By class: what was given last."""

    def __init__(self, session: Session) -> None:
        """Within the session's open transaction."""
        self._session = session

    def last(self, guid_class: int) -> Given:
        """The last value of this class."""
        rows = self._session.rows(_FIND, **{"class": guid_class})
        return Given(*rows[0]) if rows else Given()

    def save(self, guid_class: int, given: Given) -> None:
        """This was the last one."""
        self._session.run(_SAVE, **{"class": guid_class}, **given._asdict())
