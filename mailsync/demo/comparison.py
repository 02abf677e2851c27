"""Are the datasets of two sites equal? Read by nothing of mailsync's own.

Rows are compared without the primary keys that each site gives out for itself; cards and
calendar entries by their properties in any order, without those that say which program wrote
them and when. The name of a group of properties (``item1.TEL``) says nothing, only that they
belong together.
"""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

from mailsync.demo.sites import Place

VOLATILE: Final = frozenset({"PRODID", "REV", "DTSTAMP", "LAST-MODIFIED"})

Contents = Counter[str]
"""A dataset's records, each as one text, and how often it is there."""


def contents(place: Place) -> dict[str, Contents]:
    """What a site's datasets hold now."""
    return {
        "defects": _rows(place.database, "defects", "id"),
        "spare_parts": _rows(place.database, "spare_parts", ""),
        "crew": _cards(place.crew),
        "schedule": _entries(place.schedule),
    }


def differing(one: Mapping[str, Contents], other: Mapping[str, Contents]) -> dict[str, int]:
    """For each dataset, how many records are at one site only."""
    return {name: ((one[name] - other[name]) + (other[name] - one[name])).total() for name in one}


def size(place: Place) -> int:
    """Bytes of a site's datasets as one would mail them without mailsync: a dump and the files."""
    with closing(sqlite3.connect(place.database)) as connection:
        dump = sum(len(line.encode()) + 1 for line in connection.iterdump())
    texts = [*_files(place.crew, "*.vcf"), *_files(place.schedule, "*.ics")]
    return dump + sum(path.stat().st_size for path in texts)


def _rows(database: Path, table: str, local_key: str) -> Contents:
    with closing(sqlite3.connect(database)) as connection:
        cursor = connection.execute(f"SELECT * FROM {table}")  # noqa: S608  our own constants
        names = [column[0] for column in cursor.description]
        return Counter(
            repr({name: value for name, value in zip(names, row, strict=True) if name != local_key})
            for row in cursor
        )


def _cards(path: Path) -> Contents:
    return Counter(repr(card) for file in _files(path, "*.vcf") for card in _parse(file).blocks)


def _entries(path: Path) -> Contents:
    """Events and tasks as often as they are there; a time zone counts once.

    A file may tell it once for all its entries.
    """
    found = Counter[str]()
    zones = set[str]()
    for file in _files(path, "*.ics"):
        for block in (inner for calendar in _parse(file).blocks for inner in calendar.blocks):
            if block.name == "VTIMEZONE":
                zones.add(repr(block))
            else:
                found[repr(block)] += 1
    return found + Counter(zones)


def _files(path: Path, pattern: str) -> list[Path]:
    return sorted(path.glob(pattern)) if path.is_dir() else [path]


class _Block(NamedTuple):
    """What stands between BEGIN and END, in an order that does not depend on the file's."""

    name: str
    lines: tuple[str, ...]
    blocks: tuple[_Block, ...]


def _parse(path: Path) -> _Block:
    """A whole file as one block."""
    text = path.read_bytes().decode().replace("\r\n ", "").replace("\r\n\t", "")
    return _block("", iter(text.split("\r\n")))


def _block(name: str, lines: Iterator[str]) -> _Block:
    groups: dict[str, list[str]] = {"": []}
    inner: list[_Block] = []
    for line in lines:
        word, _, value = line.partition(":")
        if word == "BEGIN":
            inner.append(_block(value, lines))
        elif word == "END":
            break
        else:
            group, text = _property(line)
            groups.setdefault(group, []).extend(text)
    own = groups.pop("")
    inner += [_Block("group", tuple(sorted(texts)), ()) for texts in groups.values()]
    return _Block(name, tuple(sorted(own)), tuple(sorted(inner)))


def _property(line: str) -> tuple[str, list[str]]:
    """A property's group, and its text unless it is volatile (RFC 6350, 3.3: case is nothing)."""
    found = re.match(r"(?:([\w-]+)\.)?([\w-]+)", line)
    if found is None:
        return "", [line] if line else []
    group, name = found[1] or "", found[2].upper()
    return group, [] if name in VOLATILE else [name + line[found.end() :]]
