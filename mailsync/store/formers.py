"""What bundles, and our own users, overwrote: kept for a while, to be looked up and undone.

Rules
-----
* One row for each transaction that changed something. Of our users' own edits only the old values
  of fields are kept: they are what conflicts have in common.
* It goes by age, and the oldest first where it takes too much room.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import NamedTuple

import cbor2
from sqlalchemy import bindparam, delete, func, insert, select

from mailsync.core.ancestry import Before, Replaced
from mailsync.core.model import ABSENT, Absent, Dot, Guid, RecordId
from mailsync.core.undoing import Change, Former
from mailsync.store import schema
from mailsync.store.statements import Session, Statement, parameters

SIZE_MAX = 64 * 2**20
"""Bytes kept in all."""

_former = schema.former.c
_KEEP = Statement(insert(schema.former).values(parameters(schema.former, "number")))
_OF = Statement(
    select(_former.octets).where(_former.bundle == bindparam("bundle")).order_by(_former.number)
)
_WHEN = Statement(select(_former.at, _former.octets).order_by(_former.number))
_ALL = Statement(select(_former.octets).order_by(_former.number.desc()))
_SIZES = Statement(
    select(_former.number, func.length(_former.octets)).order_by(_former.number.desc())
)
_DROP = Statement(delete(schema.former).where(_former.number <= bindparam("last")))


class _Writes(NamedTuple):
    """The writes of some formers, each once."""

    dots: dict[Dot, int]

    def number(self, dot: Dot) -> int:
        return self.dots.setdefault(dot, len(self.dots))


class Formers:
    """What was overwritten lately."""

    def __init__(self, session: Session) -> None:
        """Within the session's open transaction."""
        self._session = session

    def keep(self, formers: Iterable[Former], bundle: int | None, now: int) -> None:
        """Remember what a bundle overwrote; None: our own users."""
        writes = _Writes({})
        items = [
            (
                former.record.dataset,
                former.record.guid,
                former.change.value,
                {
                    name: (
                        writes.number(before.dot),
                        None if before.was is None else writes.number(before.was),
                        *(() if isinstance(before.value, Absent) else (before.value,)),
                    )
                    for name, before in former.fields.items()
                },
            )
            for former in formers
        ]
        if items:
            octets = cbor2.dumps((list(writes.dots), items))
            self._session.run(_KEEP, bundle=bundle, at=now, octets=octets)

    def of(self, bundle: int) -> list[Former]:
        """What a bundle overwrote, as far as it is still known."""
        rows = self._session.rows(_OF, bundle=bundle)
        return list(chain.from_iterable(_read(octets) for (octets,) in rows))

    def replaced(self, wanted: Iterable[tuple[RecordId, str]]) -> Replaced:
        """What these fields held before each of their writes, where it is still known."""
        fields = set(wanted)
        found = {}
        for (octets,) in self._session.rows(_ALL) if fields else ():
            for former in _read(octets):
                for name, before in former.fields.items():
                    if (former.record, name) in fields and former.change is Change.EDITED:
                        found[former.record, name, before.dot] = before
        return found

    def about(self, record: RecordId) -> list[tuple[int, Former]]:
        """When something of a record was overwritten, and what, as far as it is still known."""
        found = self._session.rows(_WHEN)
        return [(at, one) for at, octets in found for one in _read(octets) if one.record == record]

    def shrink(self) -> None:
        """Forget the oldest where there is too much."""
        size = 0
        for number, length in self._session.rows(_SIZES):
            size += length
            if size > SIZE_MAX:
                self._session.run(_DROP, last=number)
                return


def _read(octets: bytes) -> list[Former]:
    dots, items = cbor2.loads(octets)
    writes = [Dot(*dot) for dot in dots]
    return [
        Former(
            RecordId(dataset, Guid(guid)),
            Change(change),
            {
                name: Before(
                    value[0] if value else ABSENT,
                    writes[write],
                    None if was is None else writes[was],
                )
                for name, (write, was, *value) in fields.items()
            },
        )
        for dataset, guid, change, fields in items
    ]
