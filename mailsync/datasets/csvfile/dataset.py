"""A CSV file with a header: a row is a record, a column a field, all of them texts.

Rules
-----
* The declared key columns tell rows apart; they are fields like the others, and travel. Rows
  that share a key are unreadable, all of them.
* The etag is the digest of the raw row: a row that has a known one is not even parsed. One that
  is only quoted another way, or has another header above it, gets a new etag.
* Changes are read piece by piece. Of rows that are not known only the places are kept, for it must
  be seen whether they share keys before the first one is reported; then they are read again.
* Every record has exactly the header's columns. Columns that incoming fields do not name are
  empty in a new row and stay as they are in an old one; compare-and-set looks at columns that
  neither ``expected`` nor ``wanted`` names as little.
* Where it cannot be told which record a faulty row is, nothing counts as vanished.
* All writes of a batch are one replacement of the file. Rows keep their places; new ones go to
  the end.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Final

from mailsync.core.model import Etag, Fields, Key, Value
from mailsync.datasets.base import (
    Change,
    Field,
    Newcomer,
    Outcome,
    Reference,
    Result,
    Unreadable,
    Write,
)
from mailsync.datasets.csvfile.rows import Sheet, Strangers, of_keys
from mailsync.datasets.csvfile.text import Read, Table, is_text
from mailsync.datasets.files import Clock, demand_file, opened, rewrite, utc_now
from mailsync.datasets.gates import Watched, still
from mailsync.datasets.rowkeys import key_text
from mailsync.datasets.spelling import Unfit, decimal
from mailsync.datasets.texts.contentline import Malformed
from mailsync.errors import BadConfiguration, DatasetBusy, DatasetError

_BEGINNING: Final = 1 << 20
"""Bytes in which a header ends."""

_number: Final = decimal(None, None)


class CsvFile:
    """The rows of one CSV file."""

    database = None
    is_written_at_once = True
    references: Sequence[Reference] = ()
    has_local_keys = False

    def __init__(self, path: Path, key: Sequence[str], clock: Clock = utc_now) -> None:
        """``key``: the columns that tell rows apart, at least one.

        Raises :class:`mailsync.errors.DatasetMissing` if there is no such file,
        :class:`mailsync.errors.DatasetError` if its header does not name these columns.
        """
        if not key:
            raise BadConfiguration('csv: name the columns that tell rows apart: key = ["..."]')
        demand_file(path)
        self.path = path
        self.key = tuple(key)
        self.fields: Mapping[str, Field] | None = None
        self.gate: bytes | None = None
        self._clock = clock
        self._last: Sheet | None = None
        """What the last batch of writes left, for the next one."""
        self.look()

    def look(self) -> None:
        """Read the header, and no more than its beginning of a large file."""
        with opened(self.path) as (file, _):
            table = self._table(file.read)
        self.delimiter = table.delimiter
        self.fields = dict.fromkeys(table.columns, Field(empty=""))

    def still(self, gate: bytes) -> bytes | None:
        """What to keep instead of the gate if nothing has changed since; None: it may have."""
        return still(self.path, self.key, gate, self._clock)

    def changes(self, known: Mapping[Key, Etag | None]) -> Iterator[Change | Unreadable]:
        """Everything that differs from ``known``."""
        self._last = self.gate = None
        seen_at = self._clock()
        unmet = {etag for _, etag in known.items() if etag is not None}
        has_unset = len(unmet) < len(known)
        with opened(self.path) as (file, status):
            watched = Watched(file, status, self.key)
            table = self._same_table(watched.read)
            strangers = Strangers(table)
            with self._explaining():
                for line in table.strangers(unmet, watched.read):
                    strangers.meet(line)
            yield from strangers.nameless
            if has_unset or unmet or strangers:
                for key, etag in known.items():
                    if etag is not None and etag not in unmet:
                        strangers.double(key)
                    elif key not in strangers:
                        yield strangers.missing(key)
            for found in strangers.found(file):
                if found is None:
                    raise DatasetBusy(f"another program is writing {self.path}")
                yield found
        self.gate = watched.gate(seen_at)

    def propose_keys(self, records: Sequence[Newcomer], taken: Collection[Key]) -> list[Key]:  # noqa: ARG002  the fields say the keys
        """The keys that are among the fields, also when they are taken."""
        spelled = [self.spelled(fields) for _, fields in records]
        return [key_text([one.get(name) for name in self.key]) for one in spelled]

    def read(self, keys: Sequence[Key]) -> Mapping[Key, Change | Unreadable]:
        """What the file holds now for exactly these keys."""
        wanted = set(keys)
        with opened(self.path) as (file, _), self._explaining():
            table = self._same_table(file.read)
            sheet = Sheet(table, of_keys(table, table.strangers(set(), file.read), wanted))
        return {key: sheet.find(key) for key in keys}

    def spelled(self, fields: Fields) -> Fields:
        """The fields as texts: numbers in digits, true and false as 1 and 0, NULL empty."""
        return {name: _spelled(value) for name, value in fields.items()}

    def apply(self, writes: Sequence[Write]) -> list[Outcome]:
        """Carry out the writes in one replacement of the file."""

        def edit(content: bytes) -> tuple[bytes, list[Outcome]]:
            sheet, self._last = self._last, None  # what is left half way is of no use
            if sheet is None or sheet.content != content:
                sheet = self._sheet(content)
            outcomes = [self._write(sheet, write) for write in writes]
            after, self._last = sheet.settled(), sheet
            return after, outcomes

        return rewrite(self.path, edit, self._clock())

    def close(self) -> None:
        """Nothing to release."""

    def _sheet(self, content: bytes) -> Sheet:
        table = self._same_table(BytesIO(content).read)
        with self._explaining():
            return Sheet(table, table.strangers(set()))

    def _table(self, read: Read) -> Table:
        """The header, read with no more of a large file than its beginning."""
        with self._explaining():
            beginning = read(_BEGINNING)
            table = Table(beginning, self.key)
            if table.start == len(beginning):
                table = Table(beginning + read(-1), self.key)
        return table

    def _same_table(self, read: Read) -> Table:
        """The header, which must be as it was when we looked."""
        table = self._table(read)
        if table.columns != tuple(self.fields or ()):
            raise DatasetBusy(f"another program changes the header of {self.path}")
        return table

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except Malformed as error:
            raise DatasetError(f"{self.path}: {error}") from error

    def _write(self, sheet: Sheet, write: Write) -> Outcome:
        present = sheet.find(write.key)
        if isinstance(present, Unreadable):
            if write.expected is not None or write.key in sheet.places or sheet.is_cut:
                return Outcome(Result.REFUSED, reason=present.reason)
            present = Change(write.key, None, None)
        expected = None if write.expected is None else self.spelled(write.expected)
        wanted = None if write.wanted is None else self.spelled(write.wanted)
        if expected is not None and wanted is not None:  # what is no longer wanted is emptied
            wanted = {**dict.fromkeys(expected, ""), **wanted}
        if not _is_expected(present.fields, expected, wanted or {}):
            return Outcome(Result.CHANGED)
        if wanted is None:
            sheet.remove(write.key)
            return Outcome(Result.WRITTEN)
        if reason := self._misfit(sheet, write.key, wanted):
            return Outcome(Result.REFUSED, reason=reason)
        texts = {name: value for name, value in wanted.items() if isinstance(value, str)}
        return Outcome(Result.WRITTEN, sheet.put(write.key, texts))

    def _misfit(self, sheet: Sheet, key: Key, wanted: Fields) -> str:
        """Why no row can hold these fields; empty: one can."""
        if unknown := sorted(wanted.keys() - set(sheet.table.columns)):
            return f"the file has no column {', '.join(unknown)}"
        for name, value in wanted.items():
            if not isinstance(value, str) or "\0" in value or not is_text(value):
                return f"column {name} holds texts in UTF-8 without NUL, not {value!r:.80}"
        if key_text([wanted.get(name) for name in self.key]) != key:
            return f"its key columns say another key than {key}"
        return "" if any(wanted.values()) else "a row without any value is no record"


def _spelled(value: Value) -> Value:
    if value is None:
        return ""
    try:
        return value if isinstance(value, str) else _number(value)
    except Unfit:
        return value


def _is_expected(present: Fields | None, expected: Fields | None, wanted: Fields) -> bool:
    """Is the row what is expected? Where it is written for the first time, nobody else did."""
    if present is None or expected is None:
        return present is expected
    return all(present.get(name) == value for name, value in expected.items()) and all(
        present[name] in {"", value}
        for name, value in wanted.items()
        if name in present and name not in expected
    )
