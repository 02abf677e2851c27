"""The rows of a CSV file by their keys: looked at one by one, or all in memory to be written."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import BinaryIO, Final

from mailsync.core.model import Etag, Key
from mailsync.datasets.base import Change, Unreadable
from mailsync.datasets.csvfile.text import Line, Table
from mailsync.datasets.rowkeys import key_text

_EXEMPLARS: Final = 100
"""Rows from the end on whose style new values follow."""


class Strangers:
    """Rows that are not known: where they are, and whether they share a key."""

    def __init__(self, table: Table) -> None:
        """None yet."""
        self._table = table
        self._begins, self._sizes, self._numbers = array("Q"), array("Q"), array("Q")
        self._texts = array("q")
        """By these it is seen that another text stands there by now."""
        self._keys: set[int] = set()
        """Known by 64 bits of theirs."""
        self._doubled: dict[int, int] = {}
        """The same, of those that several rows have: how many rows."""
        self.nameless: list[Unreadable] = []
        """Rows of which it cannot be told which record they are."""

    def __bool__(self) -> bool:
        return bool(self._begins)

    def __contains__(self, key: Key) -> bool:
        return hash(key) in self._keys

    def meet(self, line: Line) -> None:
        """One more."""
        row = self._table.read(line.number, line.text)
        if row.is_blank:
            return
        if row.key is None:
            self.nameless.append(Unreadable(Key(f"row {line.number}"), row.fault))
            return
        key = hash(key_text(row.key))
        if key in self._keys:
            self._doubled[key] = self._doubled.get(key, 1) + 1
        self._keys.add(key)
        self._begins.append(line.begin)
        self._sizes.append(len(line.text))
        self._numbers.append(line.number)
        self._texts.append(hash(line.text))

    def double(self, key: Key) -> None:
        """A row that is known has this key as well."""
        if key in self:
            self._doubled.setdefault(hash(key), 1)

    def missing(self, key: Key) -> Change | Unreadable:
        """What a key is that none of them has."""
        return _missing(key, self.nameless)

    def found(self, file: BinaryIO) -> Iterator[Change | Unreadable | None]:
        """Their records, each key once; None: the file was written to meanwhile."""
        places = zip(self._begins, self._sizes, self._numbers, self._texts, strict=True)
        for begin, size, number, known in places:
            file.seek(begin)
            text = file.read(size)
            if hash(text) != known:
                yield None
                return
            row = self._table.read(number, text)
            key = key_text(row.key or ())
            left = self._doubled.get(hash(key), 0)
            if left > 1:
                self._doubled[hash(key)] = left - 1  # it is told with the last of them
            elif left or row.fault:
                yield Unreadable(key, row.fault or _doubled(number))
            else:
                yield Change(key, self._table.fields(row), self._table.etag(text))


def _missing(key: Key, nameless: Sequence[Unreadable]) -> Change | Unreadable:
    if nameless:
        reason = f"perhaps it is the one that cannot be read: {nameless[0].reason}"
        return Unreadable(key, reason)
    return Change(key, None, None)


def _doubled(number: int) -> str:
    return f"row {number} has the key of another row"


def of_keys(table: Table, lines: Iterable[Line], keys: Collection[Key]) -> Iterator[Line]:
    """Those of the lines that have these keys, or perhaps have."""
    for line in lines:
        row = table.read(line.number, line.text)
        if row.key is None or key_text(row.key) in keys:
            yield line


class Sheet:
    """The rows of a table by their keys: to be looked up, and to be written."""

    def __init__(self, table: Table, lines: Iterable[Line]) -> None:
        """Take these rows apart. Raises :class:`mailsync.datasets.texts.contentline.Malformed`."""
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
        for line in lines:
            self._take(line)
            self._lines.append(line)

    def _take(self, line: Line) -> None:
        row = self.table.read(line.number, line.text)
        if row.is_blank:
            return
        if row.key is None:
            self.nameless.append(Unreadable(Key(f"row {line.number}"), row.fault))
            self.is_cut = not _line_end(line.text)
            return
        key = key_text(row.key)
        if key in self.places:
            self.doubled.add(key)
        self.places[key] = len(self._lines)

    def find(self, key: Key) -> Change | Unreadable:
        """The record of a key."""
        if key not in self.places:
            return _missing(key, self.nameless)
        number, text, _ = self._lines[self.places[key]]
        row = self.table.read(number, text)
        if row.fault or key in self.doubled:
            return Unreadable(key, row.fault or _doubled(number))
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
            number, old, _ = self._lines[place]
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
        return self.table.style(self.table.read(line.number, line.text) for line in exemplars)


def _line_end(text: bytes) -> bytes:
    return text[len(text.rstrip(b"\r\n")) :]
