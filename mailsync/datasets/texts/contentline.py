"""Content lines, the form vCard (RFC 6350, RFC 2426) and iCalendar (RFC 5545) share.

Rules
-----
* The raw bytes are the truth: what nobody changes is written back byte for byte.
* Lines are unfolded as bytes, before they are decoded: older programs fold within a character.
* Values are never interpreted. A line that cannot be taken apart carries its ``fault``; only
  BEGIN and END that do not match make the whole text ``Malformed``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

FOLD_AT: Final = 75
"""Octets of a line without its line end (RFC 6350, 3.2; RFC 5545, 3.1)."""

_LOGICAL_LINE: Final = re.compile(rb"[^\n]*+(?:\n[ \t][^\n]*+)*+\n?")
_FOLD: Final = re.compile(rb"\r?\n[ \t]")
_LINE_END: Final = re.compile(rb"\r?\n\Z")
_PARTS: Final = re.compile(
    r"(?:([A-Za-z0-9_-]+)\.)?([A-Za-z0-9_-]+)((?:;(?:\"[^\"]*\"|[^\":;])*+)*+):(.*)", re.DOTALL
)
_PARAMETER: Final = re.compile(r";((?:\"[^\"]*\"|[^\";])*+)")
_BYTE_ORDER_MARK: Final = "\ufeff"


class Malformed(Exception):
    """The text as a whole cannot be understood; the message names the line."""


@dataclass(frozen=True, slots=True)
class Line:
    """One logical line. Blank lines and faulty ones have no name."""

    raw: bytes
    number: int
    """Of its first physical line, from 1."""
    group: str = ""
    name: str = ""
    """In capitals: names are without case."""
    parameters: str = ""
    """As they stand, from the first semicolon on."""
    value: str = ""
    fault: str = ""

    @property
    def text(self) -> str:
        """The logical line without its group."""
        return f"{self.name}{self.parameters}:{self.value}"

    def split_parameters(self) -> Iterator[tuple[str, list[str]]]:
        """Each parameter's name in capitals with its values, unquoted; a bare one has no values."""
        for part in _PARAMETER.findall(self.parameters):
            name, equals, values = part.partition("=")
            unquoted = [one.strip('" ') for one in values.split(",")] if equals else []
            yield name.strip().upper(), unquoted


@dataclass(frozen=True, slots=True)
class Block:
    """What stands between BEGIN and END, both included."""

    name: str
    """In capitals."""
    begin: Line
    items: list[Line | Block] = field(default_factory=list)
    tail: list[Line] = field(default_factory=list)
    """The END line, once it is there."""

    @property
    def raw(self) -> bytes:
        """The block as it stands."""
        return b"".join(one.raw for one in (self.begin, *self.items, *self.tail))

    @property
    def line_end(self) -> bytes:
        """The line end the block begins with."""
        return line_end(self.begin.raw)

    @property
    def fault(self) -> str:
        """Why the block cannot be understood; empty: it can."""
        return next((one.fault for one in self.items if one.fault), "")


def line_end(raw: bytes) -> bytes:
    """The line end of a line, CRLF if it has none."""
    found = _LINE_END.search(raw)
    return found.group() if found else b"\r\n"


def read_lines(data: bytes) -> Iterator[Line]:
    """The logical lines; joined, their ``raw`` is ``data`` again."""
    number = 1
    for match in _LOGICAL_LINE.finditer(data):
        raw = match.group()
        if raw:
            yield _line(raw, number)
            number += raw.count(b"\n")


def read_blocks(data: bytes) -> list[Line | Block]:
    """Lines and blocks of the outermost level. Raises :class:`Malformed`."""
    outermost: list[Line | Block] = []
    open_blocks: list[Block] = []
    for line in read_lines(data):
        items = open_blocks[-1].items if open_blocks else outermost
        if line.name == "BEGIN":
            block = Block(line.value.strip().upper(), line)
            items.append(block)
            open_blocks.append(block)
        elif line.name == "END":
            name = line.value.strip().upper()
            if not open_blocks or open_blocks[-1].name != name:
                raise Malformed(f"line {line.number}: END:{name} without its BEGIN")
            open_blocks.pop().tail.append(line)
        else:
            items.append(line)
    if open_blocks:
        last = open_blocks[-1]
        raise Malformed(f"line {last.begin.number}: BEGIN:{last.name} without its END")
    return outermost


def fold(text: str, end: bytes = b"\r\n") -> bytes:
    """A logical line in physical lines of at most 75 octets, never cut within a character."""
    rest = text.encode()
    lines = []
    room = FOLD_AT
    while len(rest) > room:
        cut = room
        while rest[cut] & 0xC0 == 0x80:
            cut -= 1
        lines.append(rest[:cut])
        rest = rest[cut:]
        room = FOLD_AT - 1
    return (end + b" ").join([*lines, rest]) + end


def split_property(text: str) -> tuple[str, str, str]:
    """A logical line's name and parameters with the colon, its value, and the lines behind it.

    What is no property is all value.
    """
    first, line_feed, others = text.partition("\n")
    parts = _PARTS.fullmatch(first)
    value = parts.start(4) if parts else 0
    return first[:value], first[value:], line_feed + others


def _line(raw: bytes, number: int) -> Line:
    body = _FOLD.sub(b"", _LINE_END.sub(b"", raw))
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return Line(raw, number, fault=f"line {number} is not UTF-8")
    if number == 1:
        text = text.removeprefix(_BYTE_ORDER_MARK)
    if not text.strip():
        return Line(raw, number)
    parts = _PARTS.fullmatch(text)
    if parts is None:
        return Line(raw, number, fault=f"line {number} is no property with a name and a value")
    if "\r" in text or "\0" in text:
        return Line(raw, number, fault=f"line {number} holds a control character")
    group, name, parameters, value = parts.groups()
    return Line(raw, number, group or "", name.upper(), parameters, value)
