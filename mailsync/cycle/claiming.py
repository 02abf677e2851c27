"""Under which keys records are about to be written, and which of them turn out to be one.

Rules
-----
* A new record gets a key that is free, proposed by the dataset. Where the fields themselves say
  the key, as shared ones do, and another record has it, the two are made one; so they are where
  declared fields say that they are the same (see ``pairing``).
* Two that only this dataset spells alike stay two: the one that came later waits.
"""

from __future__ import annotations

from collections.abc import Sequence

from mailsync.core import record_map
from mailsync.core.desired import desired_fields
from mailsync.core.ledger import Ledger
from mailsync.core.model import (
    Key,
    Record,
    RecordId,
)
from mailsync.core.unifying import are_two
from mailsync.cycle.pairing import Pairs
from mailsync.cycle.references import References
from mailsync.cycle.site import Site
from mailsync.cycle.unions import Unions
from mailsync.datasets.base import Change, Newcomer, held_by
from mailsync.store.transaction import Transaction


class Claim:
    """Keys for the records of one dataset that are about to be written."""

    def __init__(
        self,
        site: Site,
        name: str,
        transaction: Transaction,
        ledger: Ledger,
        references: References,
        pairs: Pairs,
    ) -> None:
        """``ledger`` and ``references`` are of the transaction."""
        self._dataset = site.dataset(name)
        self._held = held_by(self._dataset)
        referring = site.references(name)  # what travels as a GUID has no spelling
        self._key = [one for one in self._dataset.key if one not in referring]
        self._name = name
        self._records = transaction.records
        self._ledger = ledger
        self._references = references
        self._transaction = transaction
        self._pairs = pairs
        self._unions = Unions(site, name, transaction, ledger, pairs.names)
        self.again = False
        """Some were made one with others."""
        self.open: list[tuple[Record, str]] = []
        """Those that may be one of several, and why."""
        self.doubtful: set[RecordId] = set()
        """Records with rows that they may be."""

    def stake(self, batch: Sequence[Record]) -> list[Record]:
        """The records with marker and key set."""
        pairs = self._pairs.among(self._transaction, self._ledger, batch)
        self.doubtful = pairs.doubtful
        if pairs.same:
            self.again = True
            self._unions.unite_all(pairs.same)
        clear: list[Record] = []
        for record in batch:
            reason = pairs.open.get(record.id)
            if reason is None:
                clear.append(record)
            else:
                self.open.append((record, reason))
        claimed = self._claimed(clear)
        self._unions.finish()
        return claimed

    def _claimed(self, batch: Sequence[Record]) -> list[Record]:
        batch = [record for record in batch if record.id not in self._ledger.changed]
        vanished = self._vanished(batch)
        keys = self._keys(batch)
        fresh = [key for one, key in zip(batch, keys, strict=True) if one.key is None]
        holders = self._holders([key for key in fresh if key is not None])
        begun: dict[Key | None, Record] = {}
        for record, key in zip(batch, keys, strict=True):
            if record.id in self._ledger.changed:
                continue  # it was made one with another just now
            holder = None if key is None else begun.get(key) or holders.get(key)
            if holder is not None and holder.id != record.id:
                if desired_fields(holder) is not None and are_two(holder, record, self._key):
                    words = f"its key is spelled here as that of another record is: {key}"
                    self.open.append((record, words))
                    continue
                self.again = True
                # a row that is to go makes room first
                if key is not None and key not in begun and desired_fields(holder) is not None:
                    holders[key] = self._unions.unite(holder, record)
            elif key not in vanished:
                begun[key] = record_map.begin(self._ledger, record, key, self._held)
        return list(begun.values())

    def _holders(self, keys: Sequence[Key]) -> dict[Key, Record]:
        """By key: the record that sits there, also if it was made one with another just now."""
        stored = self._records.by_key(self._name, keys)
        latest = (self._ledger.latest(one) for one in stored.values())
        changed = (one for one in self._ledger.changed.values() if one.dataset == self._name)
        wanted = set(keys)
        return {
            one.key: one
            for one in (*latest, *changed)
            if one is not None and one.key is not None and one.key in wanted
        }

    def _vanished(self, batch: Sequence[Record]) -> set[Key]:
        """Keys of withdrawn or hidden records whose rows users deleted since the last detection.

        With a marker set first, a crash now would make that delete look like our own.
        """
        leaving = (record for record in batch if record.withdrawn or record.hidden)
        keys = [record.key for record in leaving if record.key is not None]
        found = self._dataset.read(keys) if keys else {}
        return {key for key, now in found.items() if isinstance(now, Change) and now.fields is None}

    def _keys(self, batch: Sequence[Record]) -> list[Key | None]:
        """The key each record goes under: its own, or one the dataset proposes; a free one,
        unless the fields themselves say a key that another record has.
        """
        new = {
            record.id: Newcomer(record.guid, self._references.landing(self._name, fields)[0])
            for record in batch
            if record.key is None and (fields := desired_fields(record, self._held)) is not None
        }
        taken = {record.key for record in batch if record.key is not None}
        proposed = self._dataset.propose_keys(list(new.values()), taken)
        while held := self._records.by_key(self._name, proposed).keys() - taken:
            taken |= held
            proposed = self._dataset.propose_keys(list(new.values()), taken)
        keys = dict(zip(new, proposed, strict=True))
        return [record.key or keys.get(record.id) for record in batch]
