"""The syntax of IMAP (RFC 3501, sections 5.1.3 and 9) as far as a reader of mail needs it.

Pure: arguments to bytes, and answer lines to values. An answer that is not understood yields
nothing; no answer whatever raises.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final

Line = bytes | bytearray
"""A line of an answer; a ``bytearray`` is the content of the literal announced before it."""

# --- arguments -----------------------------------------------------------------------------


class Literal(bytes):
    """An argument that must travel as a counted literal."""


Argument = str | Literal


def astring(text: str) -> Argument:
    """Any text as an argument: quoted where the syntax has it, a literal elsewhere."""
    if text.isascii() and text.isprintable():
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return Literal(text.encode())


def folder_name(name: str) -> str:
    """A folder's name, quoted, in modified UTF-7 (RFC 3501, 5.1.3).

    Raises ValueError for a name with control characters.
    """
    if not name or any(ord(letter) < 0x20 or letter == "\x7f" for letter in name):
        raise ValueError("a folder's name cannot be empty or hold control characters")
    encoded = re.sub(r"&|[^ -~]+", _shifted, name)
    return '"' + encoded.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _shifted(match: re.Match[str]) -> str:
    if match[0] == "&":
        return "&-"
    digits = b64encode(match[0].encode("utf-16-be", "surrogatepass")).rstrip(b"=")
    return "&" + digits.decode("ascii").replace("/", ",") + "-"


def uid_set(numbers: Iterable[int]) -> str:
    """Exactly these UIDs as a sequence set, runs folded: ``1:3,7``."""
    ordered = sorted(set(numbers))
    breaks = [0, *(i for i, (a, b) in enumerate(pairwise(ordered), 1) if b != a + 1), len(ordered)]
    runs = [ordered[start:end] for start, end in pairwise(breaks)]
    spans = ((run[0], run[-1]) for run in runs if run)
    return ",".join(str(low) if low == high else f"{low}:{high}" for low, high in spans)


def render(arguments: Sequence[Argument]) -> list[bytes]:
    """A command's arguments as what may be sent at once: all but the first wait for a ``+``."""
    pieces = [b""]
    for argument in arguments:
        if pieces[-1]:
            pieces[-1] += b" "
        if isinstance(argument, Literal):
            pieces[-1] += b"{%d}" % len(argument)
            pieces.append(bytes(argument))
        else:
            pieces[-1] += argument.encode("ascii")
    return pieces


# --- answers -------------------------------------------------------------------------------


def numbers(lines: Iterable[Line]) -> list[int]:
    """The numbers of SEARCH answers, ascending; words among them are not ours to read."""
    words = (word for line in lines for word in bytes(line).split())
    return sorted({int(word) for word in words if word.isdigit() and len(word) <= 10})


def response_code(lines: Iterable[Line], name: bytes) -> int | None:
    """The number in a ``[NAME number]`` code somewhere in an answer, e.g. ``UIDVALIDITY``."""
    pattern = re.compile(rb"(?i)\[" + re.escape(name) + rb" (\d{1,10})\]")
    found = (pattern.search(line) for line in lines if isinstance(line, bytes))
    return next((int(match[1]) for match in found if match), None)


_LISTED: Final = re.compile(
    rb'(?i)^(?:LIST )?\((?P<marks>[^)]*)\) (?:"(?:[^"\\]|\\.)"|NIL) '
    rb'(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<atom>[^\s{"]+)|\{\d+\})'
)


def marked_folder(lines: Sequence[Line], mark: bytes) -> str | None:
    """The first folder of a LIST answer with this mark (RFC 6154), as servers spell it."""
    for line, after in pairwise([*lines, b""]):
        match = _LISTED.match(line) if isinstance(line, bytes) else None
        if match is None or mark.lower() not in match["marks"].lower().split():
            continue
        name = match["atom"] or match["quoted"]
        if name is None:
            name = bytes(after) if isinstance(after, bytearray) else b""
        elif match["quoted"] is not None:
            name = re.sub(rb"\\(.)", rb"\1", name)
        if name.isascii() and name.decode("ascii").isprintable():
            return name.decode("ascii") or None
    return None


def quota_of(lines: Iterable[Line]) -> tuple[int, int] | None:
    """Bytes used and granted, of a GETQUOTAROOT answer (RFC 2087, 3: in units of 1024 bytes)."""
    storage = (re.search(rb"(?i)\(?STORAGE (\d{1,18}) (\d{1,18})", line) for line in lines)
    return next(((int(one[1]) * 1024, int(one[2]) * 1024) for one in storage if one), None)


_FETCH: Final = re.compile(rb"\d+ FETCH \(")
_LEXEME: Final = re.compile(
    rb'(?P<section>(?i:BODY)\[[^\]]*\](?:<\d+>)?)|"(?P<quoted>(?:[^"\\]|\\.)*)"'
    rb"|\{\d+\}|(?P<bracket>[()])|(?P<atom>[^ ()\"{]+)"
)


def fetched(lines: Iterable[Line]) -> Iterator[dict[str, bytes]]:
    """Each FETCH answer as item name to value: ``{"UID": b"7", "BODY[]<0>": b"..."}``.

    Values of lists, such as FLAGS, are left out.
    """
    answer: list[Line] = []
    for line in lines:
        if isinstance(line, bytes) and (match := _FETCH.match(line)):
            yield from _items(answer)
            answer = [line[match.end() :]]
        elif answer:
            answer.append(line)
    yield from _items(answer)


def _items(answer: Sequence[Line]) -> Iterator[dict[str, bytes]]:
    items: dict[str, bytes] = {}
    name = ""
    depth = 0
    for kind, value in _lexemes(answer):
        if kind == "bracket":
            depth += 1 if value == b"(" else -1
            name = ""
            if depth < 0:
                break
        elif depth == 0 and not name:
            name = value.decode("ascii", "replace").upper()
        elif depth == 0:
            items[name] = _value(kind, value)
            name = ""
    if items:
        yield items


def _value(kind: str, value: bytes) -> bytes:
    if kind == "quoted":
        return re.sub(rb"\\(.)", rb"\1", value)
    return b"" if kind == "atom" and value.upper() == b"NIL" else value


def _lexemes(answer: Sequence[Line]) -> Iterator[tuple[str, bytes]]:
    for line in answer:
        if isinstance(line, bytearray):
            yield "literal", bytes(line)
            continue
        for match in _LEXEME.finditer(line):
            kind = match.lastgroup
            if kind is not None:  # an announcement: the literal itself follows
                yield kind, match[kind]
