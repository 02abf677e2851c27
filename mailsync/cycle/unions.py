"""Records of one dataset become one.

Rules
-----
* Of what was made one it is noted which GUID gave way to which, for it may live on elsewhere.
* Whatever refers to the GUID that goes is made to refer to the one that stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice

from mailsync.core.ledger import Ledger
from mailsync.core.model import Fields, Guid, Record, RecordId, is_alive
from mailsync.core.unifying import renamed, unify
from mailsync.cycle.site import Site
from mailsync.store.transaction import Transaction


class Unions:
    """Records of one dataset that become one, within one transaction of the store."""

    def __init__(
        self,
        site: Site,
        name: str,
        transaction: Transaction,
        ledger: Ledger,
        names: dict[Guid, Guid],
    ) -> None:
        """``ledger`` is the transaction's; ``names``: what gave way before, and to what."""
        self._site = site
        self._name = name
        self._transaction = transaction
        self._ledger = ledger
        self._finished = len(names)
        self._names = names
        self._same: Mapping[Guid, Guid] = {}

    def unite_all(self, pairs: Sequence[tuple[Guid, Guid]]) -> None:
        """Pairs that are one record, first the one that was here before; then what refers to
        them.
        """
        self._same = dict(pairs)
        for here, there in pairs:
            holder = self._ledger.get(RecordId(self._name, self._now(here)))
            newcomer = self._ledger.get(RecordId(self._name, self._now(there)))
            if holder is not None and newcomer is not None and is_alive(holder.entries):
                self.unite(holder, newcomer)
        self.finish()

    def _now(self, guid: Guid) -> Guid:
        """What the GUID gave way to in the meantime."""
        while guid in self._names:
            guid = self._names[guid]
        return guid

    def unite(self, holder: Record, newcomer: Record) -> Record:
        """As :func:`mailsync.core.unifying.unify`."""
        if holder.id == newcomer.id:
            return holder
        one = unify(self._ledger, holder, newcomer, self._spelled)
        goes = holder if one.guid == newcomer.guid else newcomer
        self._names[goes.guid] = one.guid
        if goes.had:
            self._transaction.aliases.add(self._name, goes.guid, one.guid)
        return one

    def _spelled(self, fields: Fields) -> Fields:
        """As the dataset spells them; references to records that become one are one."""
        same = {
            field: bytes(self._same[Guid(value)])
            for field, parent in self._site.references(self._name).items()
            if parent == self._name
            and isinstance(value := fields.get(field), bytes)
            and value in self._same
        }
        return self._site.dataset(self._name).spelled({**fields, **same})

    def finish(self) -> None:
        """Make what refers to the GUIDs that went refer to those that stay."""
        names = {guid: self._now(guid) for guid in islice(self._names, self._finished, None)}
        self._finished = len(self._names)
        if not names:
            return
        self._transaction.matches.rename(self._name, names)
        for child, fields in self._site.children(self._name).items():
            self._rename(child, fields, names)

    def _rename(self, child: str, fields: Sequence[str], names: Mapping[Guid, Guid]) -> None:
        now, number = self._site.surroundings.now(), self._site.surroundings.bits(32)
        stroke = self._ledger.stroke(now, number)
        for stored in self._transaction.records.of(child):
            record = self._ledger.latest(stored)
            if record is not None:
                renamed(self._ledger, record, fields, names, stroke)
