"""GUIDs that gave way to others, for those who still refer to them."""

from __future__ import annotations

from sqlalchemy import bindparam, select, update
from sqlalchemy.dialects import postgresql

from mailsync.core.model import Guid
from mailsync.store import schema
from mailsync.store.statements import Session, Statement, parameters

_alias = schema.alias.c
_of = _alias.dataset == bindparam("dataset")
_ALL = Statement(select(_alias.old, _alias.new).where(_of))
_FIND = Statement(select(_alias.new).where(_of, _alias.old == bindparam("old")))
_new = postgresql.insert(schema.alias).values(parameters(schema.alias))
_ADD = Statement(
    _new.on_conflict_do_update(index_elements=["dataset", "old"], set_={"new": _new.excluded.new})
)
_REDIRECT = Statement(
    update(schema.alias)
    .where(_of, _alias.new == bindparam("before"))
    .values(new=bindparam("after"))
)


class Aliases:
    """Every GUID that gave way."""

    def __init__(self, session: Session) -> None:
        """Within the session's open transaction."""
        self._session = session

    def find(self, dataset: str, old: Guid) -> Guid | None:
        """What the GUID gave way to."""
        rows = self._session.rows(_FIND, dataset=dataset, old=bytes(old))
        return Guid(rows[0][0]) if rows else None

    def of(self, dataset: str) -> dict[Guid, Guid]:
        """What each GUID of the dataset gave way to that did so."""
        return {Guid(old): Guid(new) for old, new in self._session.rows(_ALL, dataset=dataset)}

    def add(self, dataset: str, old: Guid, new: Guid) -> None:
        """``old`` gave way to ``new``, and so did what gave way to ``old``."""
        self._session.run(_ADD, dataset=dataset, old=bytes(old), new=bytes(new))
        self._session.run(_REDIRECT, dataset=dataset, before=bytes(old), after=bytes(new))
