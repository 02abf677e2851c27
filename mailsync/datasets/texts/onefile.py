"""One file with many records; the key is the record's name within it.

Rules
-----
* The file is read as a whole; a record's etag is its content's digest.
* All writes of a batch are one replacement of the file. Should another program have changed it
  meanwhile, they are compared anew with what it holds then.
* Where a record can be seen to be there but not which one it is, nothing counts as vanished.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from mailsync.core.model import Etag, Key, same_fields
from mailsync.datasets.base import (
    Change,
    Newcomer,
    Outcome,
    Result,
    Unreadable,
    Write,
)
from mailsync.datasets.files import Clock, demand_file, opened, read_content, rewrite, utc_now
from mailsync.datasets.gates import Watched, still
from mailsync.datasets.memory import fields_digest
from mailsync.datasets.schemaless import Schemaless
from mailsync.datasets.texts.contentline import Malformed
from mailsync.datasets.texts.formats import Document, Format, Parsed, Unfit, edit, fitting
from mailsync.errors import DatasetError


class RecordFile(Schemaless):
    """The records of one file."""

    is_written_at_once = True

    def __init__(self, path: Path, form: Format, clock: Clock = utc_now) -> None:
        """Raises :class:`mailsync.errors.DatasetMissing` if there is no such file."""
        demand_file(path)
        self.gate: bytes | None = None
        self._path = path
        self._form = form
        self._clock = clock

    def changes(self, known: Mapping[Key, Etag | None]) -> Iterator[Change | Unreadable]:
        """Everything that differs from ``known``."""
        self.gate = None
        known = dict(known.items())
        seen_at = self._clock()
        with opened(self._path) as (file, status):
            watched = Watched(file, status, (self._form.suffix,))
            document = self._parsed(watched.read(-1))
        for key, parsed in document.records.items():
            found = _found(key, parsed)
            if isinstance(found, Unreadable) or known.get(key) != found.etag:
                yield found
        for key in known:
            if key not in document.records:
                yield _missing(key, document)
        self.gate = watched.gate(seen_at)

    def still(self, gate: bytes) -> bytes | None:
        """What to keep instead of the gate if nothing has changed since; None: it may have."""
        return still(self._path, (self._form.suffix,), gate, self._clock)

    def propose_keys(self, records: Sequence[Newcomer], taken: Collection[Key]) -> list[Key]:
        """The records' names within the file, with a number where that is taken."""
        document = self._load()
        used = {*taken, *document.records}
        keys = []
        for _, fields in records:
            key = self._form.key_for(fields, used)
            used.add(key)
            keys.append(key)
        return keys

    def read(self, keys: Sequence[Key]) -> Mapping[Key, Change | Unreadable]:
        """What the file holds now for exactly these keys."""
        document = self._load()
        return {
            key: _found(key, document.records[key])
            if key in document.records
            else _missing(key, document)
            for key in keys
        }

    def apply(self, writes: Sequence[Write]) -> list[Outcome]:
        """Carry out the writes in one replacement of the file."""
        return rewrite(
            self._path,
            lambda content: self._edited(self._parsed(content), writes),
            self._clock(),
        )

    def _load(self) -> Document:
        return self._parsed(read_content(self._path))

    def _parsed(self, content: bytes) -> Document:
        try:
            return self._form.parse(content)
        except Malformed as error:
            raise DatasetError(f"{self._path}: {error}") from error

    def _edited(self, document: Document, writes: Sequence[Write]) -> tuple[bytes, list[Outcome]]:
        edits: dict[Key, Mapping[str, str] | None] = {}
        stopped = [self._stopped(document, write, edits) for write in writes]
        after, reread, refused = edit(self._form, document, edits)
        outcomes = [
            one or _outcome(write, reread.records.get(write.key), refused.get(write.key, ""))
            for one, write in zip(stopped, writes, strict=True)
        ]
        return after, outcomes

    def _stopped(
        self, document: Document, write: Write, edits: dict[Key, Mapping[str, str] | None]
    ) -> Outcome | None:
        """Note the write among the edits, or say why it is none."""
        present = document.records.get(write.key)
        if present is not None and present.fault:
            return Outcome(Result.REFUSED, reason=present.fault)
        if write.key in edits:
            return Outcome(Result.REFUSED, reason="another write of this batch has the same key")
        if not same_fields(present.fields if present else None, write.expected):
            return Outcome(Result.CHANGED)
        try:
            wanted = None if write.wanted is None else fitting(self._form, write.wanted)
        except Unfit as error:
            return Outcome(Result.REFUSED, reason=str(error))
        if wanted is not None or present is not None:
            edits[write.key] = wanted
        return None


def _outcome(write: Write, present: Parsed | None, refused: str) -> Outcome:
    if refused:
        return Outcome(Result.REFUSED, reason=refused)
    if write.wanted is None or present is None:
        return Outcome(Result.WRITTEN)
    same = same_fields(present.fields, write.wanted)
    return Outcome(Result.WRITTEN, Etag(fields_digest(present.fields)) if same else None)


def _found(key: Key, parsed: Parsed) -> Change | Unreadable:
    if parsed.fault:
        return Unreadable(key, parsed.fault)
    return Change(key, parsed.fields, Etag(fields_digest(parsed.fields)))


def _missing(key: Key, document: Document) -> Change | Unreadable:
    if document.fault:
        return Unreadable(key, f"perhaps it is the one that cannot be read: {document.fault}")
    return Change(key, None, None)
