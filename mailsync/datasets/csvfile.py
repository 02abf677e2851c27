"""A CSV file with a header: a row is a record, a column a field, all of them texts.

Rules
-----
* The declared key columns tell rows apart; they are fields like the others, and travel. Rows
  that share a key are unreadable, all of them.
* The etag is the digest of the raw row: a row that has a known one is not even parsed. One that
  is only quoted another way, or has another header above it, gets a new etag.
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
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple

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
from mailsync.datasets.contentline import Malformed
from mailsync.datasets.csvtext import Table, is_text
from mailsync.datasets.files import read_content, rewrite
from mailsync.datasets.sqlkeys import key_text
from mailsync.datasets.sqlspelling import Unfit, decimal
from mailsync.errors import BadConfiguration, DatasetBusy, DatasetError, DatasetMissing

_EXEMPLARS: Final = 100
"""Rows from the end on whose style new values follow."""

_BEGINNING: Final = 1 << 20
"""Bytes in which a header ends."""

_number: Final = decimal(None, None)


class CsvFile:
    """The rows of one CSV file."""

    database = None
    references: Sequence[Reference] = ()
    has_local_keys = False

    def __init__(self, path: Path, key: Sequence[str]) -> None:
        """``key``: the columns that tell rows apart, at least one.

        Raises :class:`mailsync.errors.DatasetMissing` if there is no such file,
        :class:`mailsync.errors.DatasetError` if its header does not name these columns.
        """
        if not key:
            raise BadConfiguration('csv: name the columns that tell rows apart: key = ["..."]')
        if not path.is_file():
            raise DatasetMissing(f"there is no file {path}")
        self.path = path
        self.key = tuple(key)
        self.fields: Mapping[str, Field] | None = None
        self._last: Sheet | None = None
        """What the last batch of writes left, for the next one."""
        self.look()

    def look(self) -> None:
        """Read the header, and no more than its beginning of a large file."""
        with self._explaining():
            beginning = read_content(self.path, _BEGINNING)
            table = Table(beginning, self.key)
            if table.start == len(beginning):
                table = Table(read_content(self.path), self.key)
        self.delimiter = table.delimiter
        self.fields = dict.fromkeys(table.columns, Field(empty=""))

    def changes(self, known: Mapping[Key, Etag | None]) -> Iterator[Change | Unreadable]:
        """Everything that differs from ``known``."""
        known = dict(known.items())
        self._last = None
        unmet = {etag: key for key, etag in known.items() if etag is not None}
        sheet = self._sheet(read_content(self.path), unmet)
        unset = (key for key, etag in known.items() if etag is None)
        gone = dict.fromkeys([*unmet.values(), *unset])
        sheet.doubled |= {key for key in sheet.places if key in known and key not in gone}
        yield from sheet.nameless
        for key in {**sheet.places, **gone}:
            yield sheet.find(key)

    def propose_keys(self, records: Sequence[Newcomer], taken: Collection[Key]) -> list[Key]:  # noqa: ARG002  the fields say the keys
        """The keys that are among the fields, also when they are taken."""
        spelled = [self.spelled(fields) for _, fields in records]
        return [key_text([one.get(name) for name in self.key]) for one in spelled]

    def read(self, keys: Sequence[Key]) -> Mapping[Key, Change | Unreadable]:
        """What the file holds now for exactly these keys."""
        sheet = self._sheet(read_content(self.path), {})
        return {key: sheet.find(key) for key in keys}

    def spelled(self, fields: Fields) -> Fields:
        """The fields as texts: numbers in digits, true and false as 1 and 0, NULL empty."""
        return {name: _spelled(value) for name, value in fields.items()}

    def apply(self, writes: Sequence[Write]) -> list[Outcome]:
        """Carry out the writes in one replacement of the file."""

        def edit(content: bytes) -> tuple[bytes, list[Outcome]]:
            sheet, self._last = self._last, None  # what is left half way is of no use
            if sheet is None or sheet.content != content:
                sheet = self._sheet(content, {})
            outcomes = [self._write(sheet, write) for write in writes]
            after, self._last = sheet.settled(), sheet
            return after, outcomes

        return rewrite(self.path, edit)

    def close(self) -> None:
        """Nothing to release."""

    def _sheet(self, content: bytes, expected: dict[Etag, Key]) -> Sheet:
        with self._explaining():
            table = Table(content, self.key)
            if table.columns != tuple(self.fields or ()):
                raise DatasetBusy(f"another program changes the header of {self.path}")
            return Sheet(table, expected)

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


class Line(NamedTuple):
    """A row in its text."""

    number: int
    """From 1 for the header."""
    text: bytes
    """With its line end; empty once it is removed."""


class Sheet:
    """The rows of a table by their keys: to be looked up, and to be written."""

    def __init__(self, table: Table, expected: dict[Etag, Key]) -> None:
        """Take the rows apart that have none of these etags; those met are removed from them.

        Raises :class:`mailsync.datasets.contentline.Malformed`.
        """
        self.table = table
        self.content = table.data
        self.places: dict[Key, int] = {}
        """Of the rows in ``_lines``."""
        self.doubled: set[Key] = set()
        """Keys that several rows have."""
        self.nameless: list[Unreadable] = []
        """Rows of which it cannot be told which record they are."""
        self.is_cut = False
        """Is the last row one of them, and without a line end? Nothing must follow it."""
        self._lines = [Line(1, table.data[: table.start])]
        for number, text in table.strangers(expected):
            self._take(number, text)
            self._lines.append(Line(number, text))

    def _take(self, number: int, text: bytes) -> None:
        row = self.table.read(number, text)
        if row.is_blank:
            return
        if row.key is None:
            self.nameless.append(Unreadable(Key(f"row {number}"), row.fault))
            self.is_cut = not _line_end(text)
            return
        key = key_text(row.key)
        if key in self.places:
            self.doubled.add(key)
        self.places[key] = len(self._lines)

    def find(self, key: Key) -> Change | Unreadable:
        """The record of a key."""
        if key not in self.places:
            if self.nameless:
                reason = f"perhaps it is the one that cannot be read: {self.nameless[0].reason}"
                return Unreadable(key, reason)
            return Change(key, None, None)
        number, text = self._lines[self.places[key]]
        row = self.table.read(number, text)
        if row.fault or key in self.doubled:
            return Unreadable(key, row.fault or f"row {number} has the key of another row")
        return Change(key, self.table.fields(row), self.table.etag(text))

    def remove(self, key: Key) -> None:
        """Take a record away, if it is there."""
        if (place := self.places.pop(key, None)) is not None:
            self._lines[place] = self._lines[place]._replace(text=b"")

    def put(self, key: Key, values: Mapping[str, str]) -> Etag:
        """Make a record hold these values, in a new row if there is none."""
        place = self.places.get(key)
        if place is None:
            raw, end = self.table.added(values, self._style), self._line_end
            self._close_last_line()
            self.places[key] = len(self._lines)
            self._lines.append(Line(len(self._lines) + 1, raw + end))
        else:
            number, old = self._lines[place]
            raw = self.table.altered(self.table.read(number, old), values, self._style)
            self._lines[place] = Line(number, raw + _line_end(old))
        return self.table.etag(raw)

    def _close_last_line(self) -> None:
        last = self._lines[-1]
        if last.text and not _line_end(last.text):
            self._lines[-1] = last._replace(text=last.text + self._line_end)

    def settled(self) -> bytes:
        """The text as it is now."""
        self.content = b"".join(line.text for line in self._lines)
        return self.content

    @cached_property
    def _line_end(self) -> bytes:
        ends = (_line_end(line.text) for line in reversed(self._lines))
        return next((end for end in ends if end), b"\r\n")

    @cached_property
    def _style(self) -> Sequence[bool]:
        exemplars = reversed(self._lines[-_EXEMPLARS:])
        return self.table.style(self.table.read(*line) for line in exemplars)


def _line_end(text: bytes) -> bytes:
    return text[len(text.rstrip(b"\r\n")) :]


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
