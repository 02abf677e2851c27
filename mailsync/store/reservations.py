"""GUIDs given to rows that others refer to, before the rows themselves were read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import bindparam, delete, insert, select

from mailsync.core.model import Guid, Key
from mailsync.store import schema
from mailsync.store.statements import Session, Statement, parameters

CHUNK = 500

_reservation = schema.reservation.c
_among = _reservation.key.in_(bindparam("keys", expanding=True))
_of_these = (_reservation.dataset == bindparam("dataset"), _among)
_FIND = Statement(select(_reservation.key, _reservation.guid).where(*_of_these))
_DROP = Statement(delete(schema.reservation).where(*_of_these))
_ADD = Statement(insert(schema.reservation).values(parameters(schema.reservation)))


class Reservations:
    """Every GUID that waits for its row, by dataset and local key."""

    def __init__(self, session: Session) -> None:
        """Within the session's open transaction."""
        self._session = session

    def find(self, dataset: str, keys: Sequence[Key]) -> dict[Key, Guid]:
        """The GUIDs reserved for these keys."""
        found: dict[Key, Guid] = {}
        for start in range(0, len(keys), CHUNK):
            chunk = keys[start : start + CHUNK]
            rows = self._session.rows(_FIND, dataset=dataset, keys=chunk)
            found |= {Key(key): Guid(guid) for key, guid in rows}
        return found

    def add(self, dataset: str, guids: Mapping[Key, Guid]) -> None:
        """Reserve these; none of the keys has a GUID yet."""
        rows = [
            {"dataset": dataset, "key": key, "guid": bytes(guid)} for key, guid in guids.items()
        ]
        if rows:
            self._session.run_each(_ADD, rows)

    def take(self, dataset: str, keys: Sequence[Key]) -> dict[Key, Guid]:
        """The GUIDs reserved for these keys, which now get their rows."""
        found = self.find(dataset, keys)
        for start in range(0, len(keys) if found else 0, CHUNK):
            self._session.run(_DROP, dataset=dataset, keys=list(keys[start : start + CHUNK]))
        return found
