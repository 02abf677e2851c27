"""What a database, a folder, a file or a DAV server offers to synchronize."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mailsync.datasets.base import Access, Unreadable
from mailsync.datasets.csvfile.text import Row, Table
from mailsync.datasets.files import explaining, read_content
from mailsync.datasets.kinds import (
    is_database,
    is_remote,
    open_database,
    open_dataset,
    open_remote,
)
from mailsync.datasets.offers import LeftOut, Offer
from mailsync.datasets.sql.discovery import tables_of
from mailsync.datasets.texts.contentline import Malformed
from mailsync.errors import DatasetMissing

if TYPE_CHECKING:
    from mailsync.datasets.dav.dataset import DavDataset

_TOGETHER_MAX: Final = 8
"""Columns at the beginning of a CSV file of which two may tell its rows apart."""

_SQLITE: Final = b"SQLite format 3\0"
_TEXTS: Final = {".vcf": "vcard", ".ics": "ical"}
_TABLES: Final = frozenset({".csv", ".tsv"})


def discover(source: str, access: Access) -> Iterator[Offer | LeftOut]:
    """What is at ``source``, written as in a configuration with an absolute path.

    ``access``: how to get in where it is on a DAV server. Raises
    :class:`mailsync.errors.DatasetError`, ``BadConfiguration``.
    """
    if is_database(source):
        with closing(open_database(source, Path(), {})) as database:
            yield from tables_of(database, source)
    elif is_remote(source):
        with closing(open_remote(source, access, {})) as dataset:
            yield from _collections(source, dataset)
    elif source.startswith("csv:"):
        yield _csv(source, Path(source.removeprefix("csv:")))
    else:
        yield _texts(source)


def sources_at(path: Path) -> list[str]:
    """The sources that a path may stand for; in a folder those of its files as well.

    Raises :class:`mailsync.errors.DatasetMissing`.
    """
    with explaining(path):
        if not path.exists():
            raise DatasetMissing(f"there is no {path}")
        if path.is_file():
            return _source_of(path, path.suffix.lower())
        files = sorted(one for one in path.iterdir() if one.is_file() and one.name[0] != ".")
        suffixes = {one.suffix.lower() for one in files}
        folders = [f"{kind}:{path}" for suffix, kind in _TEXTS.items() if suffix in suffixes]
        others = [one for one in files if one.suffix.lower() not in _TEXTS]
        return [*folders, *(url for one in others for url in _source_of(one, one.suffix.lower()))]


def _source_of(path: Path, suffix: str) -> list[str]:
    if suffix in _TEXTS:
        return [f"{_TEXTS[suffix]}:{path}"]
    if suffix in _TABLES:
        return [f"csv:{path}"]
    with path.open("rb") as file:
        return [f"sqlite:///{path}"] if file.read(len(_SQLITE)) == _SQLITE else []


def _collections(source: str, dataset: DavDataset) -> Iterator[Offer]:
    """The address books or the calendars of a user of a DAV server."""
    scheme, _, url = source.partition(":")
    server = url.partition("//")[2].partition("/")[0]
    for path, title, count in dataset.offered():
        told = "1 record" if count == 1 else f"{count} records"
        place = f"{scheme}:{url.partition('//')[0]}//{server}{path}"
        yield Offer(place, title, notes=(told,))


def _texts(source: str) -> Offer:
    """A folder or a file of cards or of schedules."""
    with closing(open_dataset(source, table=None, keys=None, base=Path())) as dataset:
        notes = _counted(
            f"{one.key}: {one.reason}" if isinstance(one, Unreadable) else ""
            for one in dataset.changes({})
        )
    return Offer(source, Path(source.partition(":")[2]).stem, notes=notes)


def _csv(source: str, path: Path) -> Offer | LeftOut:
    """A CSV file; its key is the first column that is one, or two of the first ones together."""
    try:
        table = Table(read_content(path), ())
        notes = _counted(row.fault for row in _rows(table))
        places = range(len(table.columns))
        keys = _distinct(table, [(one,) for one in places])
        keys = keys or _distinct(table, combinations(places[:_TOGETHER_MAX], 2))
    except Malformed as error:
        return LeftOut(path.name, str(error))
    if not keys:
        return LeftOut(path.name, "neither one column nor two of them are different in every row")
    key = tuple(table.columns[place] for place in keys[0])
    because = f"{' and '.join(key)} {'differs' if len(key) == 1 else 'differ'} in every row"
    columns = dict.fromkeys(table.columns, "")
    return Offer(source, path.stem, key=key, because=because, columns=columns, notes=notes)


def _rows(table: Table) -> Iterator[Row]:
    rows = (table.read(line.number, line.text) for line in table.strangers(set()))
    return (row for row in rows if not row.is_blank)


def _distinct(table: Table, candidates: Iterable[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Those of these places whose cells together are not empty and differ in every row."""
    seen: dict[tuple[int, ...], set[tuple[str | None, ...]]] = {one: set() for one in candidates}
    for row in (one for one in _rows(table) if not one.fault):
        for places, values in list(seen.items()):
            value = tuple(row.values[place] for place in places)
            if value in values or not any(value):
                del seen[places]
            values.add(value)
    return list(seen)


def _counted(faults: Iterable[str]) -> tuple[str, ...]:
    """How many records there are; ``faults`` has an empty text for each that can be read."""
    count, found = 0, []
    for fault in faults:
        count += 1
        found += [fault] if fault else []
    told = "1 record" if count == 1 else f"{count} records"
    return (f"{told}, {len(found)} of which cannot be read: {found[0]}" if found else told,)
