"""A dataset whose records are written otherwise than they came: by a routine of the operator's.

Rules
-----
* What came stays what it is, for everybody: a write has one value at all sites. The routine makes
  of it what the dataset holds, and nothing of that travels.
* A value that is what the routine makes of the record is no edit. Any other is somebody's, and
  travels as it stands; so it stays as it stands here, too, until others write the field.
* The routine gives values to the fields that the record has: no others, and all of them. It sees
  no foreign keys, which travel in a form of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Final

from mailsync.core.mapping import Unconvertible
from mailsync.core.model import Etag, Fields, Key, same_value
from mailsync.datasets.base import (
    Change,
    Dataset,
    Newcomer,
    Outcome,
    Result,
    Told,
    Unreadable,
    Write,
)

Rewrite = Callable[[Fields], Fields]
"""From what came to what is written, for the same fields. Raises :class:`Unconvertible`."""


class RewrittenDataset:
    """A dataset behind a routine."""

    def __init__(self, dataset: Dataset, rewrite: Rewrite) -> None:
        """``dataset`` holds what ``rewrite`` makes of the records."""
        self.inner: Final = dataset
        self._rewrite = rewrite
        self._take()

    def look(self) -> None:
        """See anew what the dataset holds."""
        self.inner.look()
        self._take()

    def _take(self) -> None:
        self.database, self.has_local_keys = self.inner.database, self.inner.has_local_keys
        self.is_written_at_once = self.inner.is_written_at_once
        self.fields, self.key = self.inner.fields, self.inner.key
        self.references = self.inner.references
        self._referring = frozenset(name for one in self.references for name in one.fields)

    def changes(self, known: Mapping[Key, Etag | None]) -> Iterator[Change | Unreadable]:
        """Everything that differs from ``known``, as it stands."""
        return self.inner.changes(known)

    def propose_keys(self, records: Sequence[Newcomer], taken: Collection[Key]) -> list[Key]:
        """The keys the dataset proposes for what will be written."""
        written = [one._replace(fields=self._tried(one.fields)) for one in records]
        return self.inner.propose_keys(written, taken)

    def read(self, keys: Sequence[Key]) -> Mapping[Key, Change | Unreadable]:
        """What the dataset holds now for exactly these keys."""
        return self.inner.read(keys)

    def spelled(self, fields: Fields) -> Fields:
        """The fields of a whole record as they would stand here."""
        return self.inner.spelled(self._tried(fields))

    def apply(self, writes: Sequence[Write]) -> list[Outcome]:
        """Write what the routine makes of it."""
        own, told = self.translated(writes)
        return told(self.inner.apply(own))

    def translated(self, writes: Sequence[Write]) -> tuple[list[Write], Told]:
        """What is written of these, and from its outcomes to those of ``writes``."""
        present = self.inner.read([write.key for write in writes])
        decided = [self._decided(write, present[write.key]) for write in writes]

        def told(outcomes: Sequence[Outcome]) -> list[Outcome]:
            done = iter(outcomes)
            return [next(done) if isinstance(one, Write) else one for one in decided]

        return [one for one in decided if isinstance(one, Write)], told

    def close(self) -> None:
        """Release what the dataset holds."""
        self.inner.close()

    def _decided(self, write: Write, found: Change | Unreadable) -> Write | Outcome:
        """The write as it is carried out, or what becomes of it without one."""
        if isinstance(found, Unreadable):
            return Outcome(Result.REFUSED, reason=found.reason)
        expected, present = write.expected, found.fields
        if (expected is None) is not (present is None):
            return Outcome(Result.CHANGED)
        try:
            wanted = None if write.wanted is None else self._made(write.wanted)
        except Unconvertible as problem:
            return Outcome(Result.REFUSED, reason=str(problem))
        if expected is None or present is None:
            return write._replace(wanted=wanted)
        before = self._tried(expected)
        forms = [self.inner.spelled(one) for one in (expected, before)]
        if not all(_shows(present, name, forms) for name in expected):
            return Outcome(Result.CHANGED)
        if wanted is not None and write.wanted is not None:
            unmoved = (
                name
                for name in wanted.keys() & expected.keys()
                if same_value(write.wanted[name], expected[name])
                and same_value(wanted[name], before[name])
            )
            wanted = {**wanted, **{name: present[name] for name in unmoved if name in present}}
        shown = {name: present[name] for name in expected if name in present}
        return write._replace(expected=shown, wanted=wanted)

    def _tried(self, fields: Fields) -> Fields:
        """What the routine makes of it; if it cannot, the same."""
        try:
            return self._made(fields)
        except Unconvertible:
            return fields

    def _made(self, fields: Fields) -> Fields:
        """What the routine makes of it. Raises :class:`Unconvertible`."""
        given = {name: value for name, value in fields.items() if name not in self._referring}
        return {**fields, **self._rewrite(given)}


def _shows(present: Fields, name: str, forms: Sequence[Fields]) -> bool:
    """Does the row hold there what was expected, in one of its forms?"""
    return name in present and any(same_value(present[name], form[name]) for form in forms)
