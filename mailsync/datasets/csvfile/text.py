"""CSV (RFC 4180) as text: its rows and cells as they stand, and new ones in the file's style.

Rules
-----
* The raw bytes are the truth: what nobody changes is written back byte for byte.
* A row ends at CRLF, LF or CR outside quotes. A quotation mark opens a cell or is doubled in a
  quoted one; anywhere else it makes its row faulty. One that is never closed spoils the text.
* A cell is a text and is never interpreted: nothing is a formula, a number or NULL.
* The delimiter is the one by which the header names the key columns, and the most columns.
* A new value is quoted where it must be, or where the value it replaces was though it need not
  be; else, and in a new row, as the last such value of its column.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from functools import cache
from hashlib import blake2b
from io import BytesIO
from typing import Final, NamedTuple

from mailsync.core.model import Etag
from mailsync.datasets.texts.contentline import Malformed

DELIMITERS: Final = ",;\t|"
"""In the order of preference."""

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_LINE: Final = 65_536
"""Bytes of a line that are looked at to see whether it is a row that is known."""
_LINES: Final = 1_000
"""The same of lines that a cell may be made of."""
_LINE_ENDS: Final = frozenset({b"\r\n", b"\n", b"\r", b""})
_PIECE: Final = 1 << 20
"""Bytes of the text that are in memory at once, unless a row is longer."""

Read = Callable[[int], bytes]
"""Gives up to so many bytes of what follows; none at the end."""


class Line(NamedTuple):
    """A row in its text."""

    number: int
    """From 1 for the header."""
    text: bytes
    """With its line end; empty once it is removed."""
    begin: int = 0
    """Where it is in the file, in bytes."""


class Row(NamedTuple):
    """A row taken apart."""

    written: Sequence[str]
    """Its cells as they stand, quotation marks included."""
    values: Sequence[str | None]
    """One for each column, empty where there is no cell; None: it cannot be told."""
    key: tuple[str, ...] | None
    """The values of the key columns; None: it cannot be told which they are."""
    fault: str
    """Why the row cannot be read; empty: it can."""

    @property
    def is_blank(self) -> bool:
        """Does it hold no value at all? Then it is no record."""
        return all(value == "" for value in self.values)


def nothing_more(_size: int) -> bytes:
    """The text is in memory, all of it."""
    return b""


class Table:
    """The text of a CSV file: a header, and rows that are told apart by key columns."""

    def __init__(self, data: bytes, key: Sequence[str]) -> None:
        """Look at the header. ``data``: the text, or its beginning.

        Raises :class:`mailsync.datasets.texts.contentline.Malformed`.
        """
        found = [_header(data, delimiter) for delimiter in DELIMITERS]
        self.delimiter, self.columns, self.start = max(
            found, key=lambda one: (set(key) <= set(one[1]), len(one[1]))
        )
        _demand_columns(self.columns, key)
        self.data = data
        self._row, self._cell = _grammar(self.delimiter)
        self._key_places = [self.columns.index(name) for name in key]
        meaning = repr((self.delimiter, self.columns, tuple(key))).encode()
        self._meaning = blake2b(meaning, digest_size=16)

    def etag(self, text: bytes) -> Etag:
        """16 bytes that tell apart rows, whatever their line ends, and what the header means."""
        digest = self._meaning.copy()
        digest.update(text.rstrip(b"\r\n"))
        return Etag(digest.digest())

    def strangers(self, expected: set[Etag], read: Read = nothing_more) -> Iterator[Line]:
        """The rows that have none of these etags; those that are met are removed from them.

        ``read`` gives what follows the text that is in memory. Raises :class:`Malformed`.
        """
        piece, start, number, base = self.data, self.start, 1, 0
        more = read(_PIECE)
        while True:
            cut = _whole_lines(piece) if more else len(piece)
            end, number = yield from self._strangers(
                piece[:cut], start, number, base, expected, is_last=not more
            )
            if not more:
                return
            piece, start, base = piece[end:] + more, 0, base + end
            more = read(max(_PIECE, len(piece)))  # a row that is not whole yet may be long

    def _strangers(
        self,
        piece: bytes,
        start: int,
        number: int,
        base: int,
        expected: set[Etag],
        *,
        is_last: bool,
    ) -> Generator[Line, None, tuple[int, int]]:
        """Those of a piece of the text that begins at ``base`` and ends behind a line, from
        ``start`` on, the row behind the one of this number. Returns where a row begins that is
        not whole, and the number of the one before.

        What at first sight looks like a row and has the etag of one is that row: where it ends
        does not depend on what follows. Only the others need a closer look.
        """
        lines, begun = BytesIO(piece), self._meaning.copy
        lines.seek(start)
        while text := lines.readline(_LINE):
            begin = lines.tell() - len(text)
            if expected:  # as ``etag`` does, without its calls: most rows end here
                if b'"' in text and text.count(b'"') % 2:
                    text = _closed(text, lines)
                digest, raw = begun(), text.rstrip(b"\r\n")
                digest.update(raw)
                etag = Etag(digest.digest())
                if etag in expected and text[len(raw) :] in _LINE_ENDS:  # not several of them
                    expected.remove(etag)
                    number += 1
                    continue
            match = self._row.match(piece, begin)
            if match is None:
                if not is_last:
                    return begin, number
                raise Malformed(f"row {number + 1}: a quotation mark is never closed")
            number += 1
            lines.seek(match.end())
            etag = self.etag(match[0])
            if etag in expected:
                expected.remove(etag)
            else:
                yield Line(number, match[0], base + begin)
        return len(piece), number

    def read(self, number: int, text: bytes) -> Row:
        """Take a row with its line end apart."""
        raw = text.rstrip(b"\r\n")
        try:
            words, fault = raw.decode(), ""
        except UnicodeDecodeError:
            words, fault = raw.decode(errors="surrogateescape"), "is not UTF-8"
        written, values = self._taken_apart(words)
        ragged = self._raggedness(written, is_open=raw == text)
        if None in values:
            fault = fault or "has a quotation mark within a cell"
        if "\0" in words:
            fault = fault or "holds a NUL"
        values += [""] * (len(self.columns) - len(values))
        key = None if ragged else self._key(values)
        fault = ragged or fault
        return Row(written, values, key, fault and f"row {number} {fault}")

    def _taken_apart(self, words: str) -> tuple[list[str], list[str | None]]:
        if '"' not in words:
            written = words.split(self.delimiter)
            return written, [*written]
        written = self._cell.findall(self.delimiter + words)
        bare = [cell[1:-1] if cell[:1] == '"' else cell for cell in written]
        is_plain = '"' not in "".join(bare)  # as in most rows
        return written, [*bare] if is_plain else [_value(cell) for cell in written]

    def _raggedness(self, written: Sequence[str], *, is_open: bool) -> str:
        """Spreadsheets leave empty cells at a row's end away; but a file may also be cut there."""
        if len(written) > len(self.columns):
            return f"has {len(written)} cells, the header {len(self.columns)}"
        if is_open and len(written) < len(self.columns):
            return "ends before its last cell and without a line end; is the file whole?"
        if len(written) <= max(self._key_places, default=-1):
            return "ends before its key"
        return ""

    def _key(self, values: Sequence[str | None]) -> tuple[str, ...] | None:
        """A cell that is not clear may have swallowed those behind it."""
        if None in values[: max(self._key_places, default=-1) + 1]:
            return None
        key = [values[place] or "" for place in self._key_places]
        return tuple(key) if all(map(is_text, key)) else None

    def fields(self, row: Row) -> dict[str, str]:
        """The record of a row without fault."""
        return {name: value or "" for name, value in zip(self.columns, row.values, strict=True)}

    def style(self, rows: Iterable[Row]) -> list[bool]:
        """Are new values of each column quoted? As in the first of these rows that tells."""
        told: dict[int, bool] = {}
        for row in rows:
            for place, (cell, value) in enumerate(zip(row.written, row.values, strict=False)):
                if place not in told and value and self._is_free(value):
                    told[place] = cell.startswith('"')
            if len(told) == len(self.columns):
                break
        return [told.get(place, False) for place in range(len(self.columns))]

    def altered(self, row: Row, values: Mapping[str, str], style: Sequence[bool]) -> bytes:
        """The row with these values, without a line end; its other cells stay as they stand."""
        written = [*row.written]
        for place, name in enumerate(self.columns):
            old = row.values[place]
            if name not in values or values[name] == old:
                continue
            written += [""] * (place + 1 - len(written))
            is_told = bool(old) and self._is_free(old or "")
            quoted = written[place].startswith('"') if is_told else style[place]
            written[place] = self._spelled(values[name], quoted=quoted)
        return self._joined(written)

    def added(self, values: Mapping[str, str], style: Sequence[bool]) -> bytes:
        """A new row with these values, without a line end."""
        return self._joined(
            [
                self._spelled(values.get(name, ""), quoted=quoted)
                for name, quoted in zip(self.columns, style, strict=True)
            ]
        )

    def _joined(self, written: Sequence[str]) -> bytes:
        return self.delimiter.join(written).encode(errors="surrogateescape")

    def _spelled(self, value: str, *, quoted: bool) -> str:
        if quoted or not self._is_free(value):
            return '"' + value.replace('"', '""') + '"'
        return value

    def _is_free(self, value: str) -> bool:
        """May the value stand without quotation marks?"""
        return not any(one in value for one in (self.delimiter, '"', "\r", "\n"))


def _whole_lines(piece: bytes) -> int:
    """How much of a text certainly ends behind a line, whatever follows."""
    return max(piece.rfind(b"\n"), piece.rfind(b"\r", 0, -1)) + 1


def _closed(text: bytes, lines: BytesIO) -> bytes:
    """With the lines behind it up to one that closes its quotation marks."""
    pieces = [text]
    while line := lines.readline(_LINE):
        pieces.append(line)
        if line.count(b'"') % 2 or len(pieces) == _LINES:
            break
    return b"".join(pieces)


def is_text(value: str) -> bool:
    """Does it have a form in UTF-8?"""
    return value.isascii() or not any("\ud800" <= one <= "\udfff" for one in value)


def _header(data: bytes, delimiter: str) -> tuple[str, tuple[str, ...], int]:
    """The delimiter, the columns it makes and where the first row begins."""
    begin = len(_BYTE_ORDER_MARK) if data.startswith(_BYTE_ORDER_MARK) else 0
    row, cell = _grammar(delimiter)
    match = row.match(data, begin)
    if match is None:
        raise Malformed("row 1: a quotation mark is never closed")
    try:
        words = match[1].decode()
    except UnicodeDecodeError as error:
        raise Malformed("the header is not UTF-8; save the file as CSV in UTF-8") from error
    values = map(_value, cell.findall(delimiter + words))
    return delimiter, tuple(value or "" for value in values), match.end()


def _demand_columns(columns: Sequence[str], key: Sequence[str]) -> None:
    names = ", ".join(columns)
    if "\0" in names:
        raise Malformed("the header is not UTF-8; save the file as CSV in UTF-8")
    if "" in columns:
        raise Malformed(f"row 1 must name every column; it has: {names or 'nothing'}")
    if doubled := [name for name in columns if columns.count(name) > 1]:
        raise Malformed(f"the header names the column {doubled[0]} twice")
    if missing := [name for name in key if name not in columns]:
        raise Malformed(f"there is no column {', '.join(missing)}; there are: {names}")


@cache
def _grammar(delimiter: str) -> tuple[re.Pattern[bytes], re.Pattern[str]]:
    """A row with its line end, the first group without it; a delimiter with the cell behind it."""
    mark = re.escape(delimiter)
    quoted = rf'"(?:[^"]++|"")*+"[^{mark}\r\n]*+'
    cell = rf'(?:{quoted}|[^{mark}"\r\n][^{mark}\r\n]*+|)'
    row = rf"({cell}(?:{mark}{cell})*+)(?:\r\n|\n|\r|\Z)"
    return re.compile(row.encode()), re.compile(f"{mark}({cell})")


def _value(cell: str) -> str | None:
    """What the cell says; None where a quotation mark is out of place."""
    if not cell.startswith('"'):
        return None if '"' in cell else cell
    bare = cell[1:-1].replace('""', "")
    return None if '"' in bare or not cell.endswith('"') else cell[1:-1].replace('""', '"')
