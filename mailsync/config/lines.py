"""On which line of a TOML text each key stands; the standard parser does not tell.

Only texts that ``tomllib`` accepted are scanned, so the scan need not detect mistakes. Keys
inside an inline table are reported on the line of the key that holds the table.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator

Path = tuple[str, ...]
"""Names from the top of the file down to a table or key."""

_PIECE = re.compile(
    r'"""(?:\\.|(?!""").)*"""+'  # strings first: what they hold is not structure
    r"|'''(?:(?!''').)*'''+"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|\#[^\n]*"
    r"|[\[\]{}=\n]"
    r"|[^\"'\#\[\]{}=\n]+",
    re.DOTALL,
)


def key_lines(text: str) -> dict[Path, int]:
    """The first line (from 1) of every table and key, by its path from the top."""
    lines: dict[Path, int] = {}
    table: Path = ()
    for number, statement in _statements(text.replace("\r\n", "\n")):
        if statement.startswith("["):
            table = path = _path_in(statement)
        else:
            path = table + _path_in(statement + "= 0")
        for length in range(1, len(path) + 1):
            lines.setdefault(path[:length], number)
    return lines


def line_of(lines: dict[Path, int], path: Path) -> int | None:
    """The line of the path, or else of the nearest thing above it; None at the very top."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return None


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Line and text of each table header, and of each key up to its equals sign."""
    line, depth, in_value, collected = 1, 0, False, ""
    for piece in _PIECE.findall(text):
        if piece == "\n" and depth == 0:
            if collected.strip() and not in_value:
                yield line, collected.strip()
            in_value, collected = False, ""
        elif not piece.startswith("#"):
            if piece == "=" and depth == 0 and not in_value:
                yield line, collected.strip()
                in_value = True
            depth += (piece in ("[", "{")) - (piece in ("]", "}"))
            collected += piece
        line += piece.count("\n")
    if collected.strip() and not in_value:
        yield line, collected.strip()


def _path_in(statement: str) -> Path:
    path: list[str] = []
    found: object = tomllib.loads(statement)
    while found:
        if isinstance(found, list):  # [[array of tables]]
            found = found[0]
        elif isinstance(found, dict):
            name, found = next(iter(found.items()))
            path.append(name)
    return tuple(path)
