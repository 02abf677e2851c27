"""Two CSV files compared by DuckDB, which keeps on disk what does not fit into memory.

Rules
-----
* It takes part where both files have the same key columns and nothing else pairs their rows.
* It reads as ``datasets.csvfile`` does, every cell a text. A file it stumbles over is not for it,
  nor are two where several rows of one share a key that the other has as well.
* A quotation mark within a bare cell is part of the text here. Such a row is shown as it stands,
  and is refused when it is to be written.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import duckdb

from mailsync.core.model import Key
from mailsync.datasets.base import Change, Unreadable
from mailsync.datasets.csvfile.dataset import CsvFile
from mailsync.datasets.rowkeys import key_text, key_values
from mailsync.errors import DatasetError
from mailsync.reconcile.pairing import Pair, Side
from mailsync.reconcile.reading import Line

MEMORY: Final = "512MB"
THREADS: Final = "2"
"""Each needs memory of its own."""

ROWS: Final = 10_000
"""Differences that leave DuckDB at a time."""

_log = logging.getLogger(__name__)

_VIEW: Final = """
CREATE VIEW {side} AS SELECT {cells} FROM read_csv({path}, columns = {columns}, delim = {delimiter},
    auto_detect = false, header = true, quote = '"', escape = '"', strict_mode = true,
    nullstr = [chr(1)], allow_quoted_nulls = false, compression = 'none', hive_partitioning = false,
    buffer_size = 8000000)
WHERE {filled}
"""
_SIDE: Final = "SELECT {keys}, md5_number(concat({content})) AS digest FROM {side}"
_COMPARISON: Final = """
CREATE TABLE difference AS
SELECT {keys}, s.digest IS NOT NULL AS in_source, t.digest IS NOT NULL AS in_target
FROM ({source}) AS s FULL JOIN ({target}) AS t ON {alike}
WHERE s.digest IS DISTINCT FROM t.digest
"""
"""A join, for that is what DuckDB does with little memory; a GROUP BY of millions is not."""

_PAIRS: Final = "SELECT count(*) FROM ({source}) AS s JOIN ({target}) AS t ON {alike}"
_ALONE: Final = "SELECT count(*) FROM difference WHERE in_source <> in_target"
_COUNTS: Final = "SELECT 0, count(*) FROM source UNION ALL SELECT 1, count(*) FROM target"
_READ: Final = "SELECT * FROM {side} WHERE ({keys}) IN (SELECT {wanted})"

_GLOBBING: Final = frozenset("*?[")


@contextmanager
def csv_reading(pair: Pair) -> Iterator[CsvReading | None]:
    """The pair compared by DuckDB; None where that is not for it."""
    with TemporaryDirectory(prefix="mailsync-") as folder, ExitStack() as stack:
        reading = _compared(pair, Path(folder))
        if reading is not None:
            stack.callback(reading.close)
        yield reading


def _compared(pair: Pair, folder: Path) -> CsvReading | None:
    files = {side: one for side, one in pair.datasets.items() if isinstance(one, CsvFile)}
    if len(files) < len(Side) or not all(_is_plain(one, pair.match) for one in files.values()):
        return None
    try:
        reading = CsvReading(pair, files, folder)
    except duckdb.Error as error:
        _log.info("DuckDB does not read this: %s", error)
        return None
    return None if reading.has_doubles else reading


def _is_plain(file: CsvFile, match: Sequence[str]) -> bool:
    return {*file.key} == {*match} and not _GLOBBING & {*str(file.path)}


class CsvReading:
    """Both sides as DuckDB reads them; only what differs leaves it."""

    def __init__(self, pair: Pair, files: Mapping[Side, CsvFile], folder: Path) -> None:
        """Compare. ``folder``: for what does not fit into memory. Raises ``duckdb.Error``."""
        self._pair = pair
        self._files = files
        self._connection = duckdb.connect(
            ":memory:",
            config={
                "memory_limit": MEMORY,
                "temp_directory": str(folder),
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
                "preserve_insertion_order": "false",
                "threads": THREADS,
            },
        )
        for side, file in files.items():
            self._connection.execute(_VIEW.format(side=side, **_parts(file)))
        names = [f"k{place}" for place, _ in enumerate(pair.match)]
        parts = {
            "source": self._side(Side.SOURCE),
            "target": self._side(Side.TARGET),
            "keys": ", ".join(f"coalesce(s.{name}, t.{name})" for name in names),
            "alike": " AND ".join(f"s.{name} = t.{name}" for name in names),
        }
        self._connection.execute(_COMPARISON.format(**parts))
        counts = self._connection.execute(_COUNTS).fetchall()
        self.records = Counter({Side(side): count for side, count in counts})
        [(pairs,)] = self._connection.execute(_PAIRS.format(**parts)).fetchall()
        [(alone,)] = self._connection.execute(_ALONE).fetchall()
        self.has_doubles = 2 * pairs + alone > self.records.total()
        """Has a key that both sides have several rows at one?"""

    def close(self) -> None:
        """Forget everything."""
        self._connection.close()

    def lines(self, side: Side) -> Iterator[Line]:
        """The records of one side that differ from the other's."""
        found = self._connection.execute("SELECT * FROM difference")
        while rows := found.fetchmany(ROWS):
            for *values, in_source, in_target in rows:
                named = dict(zip(self._pair.match, values, strict=True))
                key = key_text([named[name] for name in self._files[side].key])
                if (in_source, in_target)[side]:
                    yield Line(self._pair.name(key, named), key, bytes([side]))

    def read(self, side: Side, keys: Sequence[Key]) -> Mapping[Key, Change | Unreadable]:
        """What one side holds now for exactly these keys."""
        file = self._files[side]
        columns = tuple(file.fields or ())
        places = [f"c{columns.index(name)}" for name in file.key]
        wanted = [list(values) for values in zip(*map(key_values, keys), strict=True)]
        query = _READ.format(
            side=side, keys=", ".join(places), wanted=", ".join(["unnest(?)"] * len(places))
        )
        held: dict[Key, Change | Unreadable] = {key: Change(key, None, None) for key in keys}
        try:
            rows = self._connection.execute(query, wanted).fetchall()
        except duckdb.Error as error:
            raise DatasetError(f"{file.path}: {error}") from error
        for row in rows:
            fields = dict(zip(columns, row, strict=True))
            key = key_text([fields[name] for name in file.key])
            held[key] = Change(key, fields, None)
        return held

    def _side(self, side: Side) -> str:
        """One side's keys, and the digests of what is compared."""
        columns = list(self._files[side].fields or ())
        keys = (
            f"c{columns.index(name)} AS k{place}" for place, name in enumerate(self._pair.match)
        )
        compared = sorted({*columns} - {*self._pair.left_out[side]})
        # with their lengths, so that no two rows make one text
        content = (
            f"strlen(c{columns.index(name)}), ':', c{columns.index(name)}" for name in compared
        )
        return _SIDE.format(keys=", ".join(keys), content=", ".join(content), side=side)


def _parts(file: CsvFile) -> dict[str, str]:
    """What the view of a file is made of; a cell is never NULL, not even one that says so."""
    names = [f"c{place}" for place, _ in enumerate(file.fields or ())]
    return {
        "cells": ", ".join(f"coalesce({name}, chr(1)) AS {name}" for name in names),
        "columns": "{" + ", ".join(f"'{name}': 'VARCHAR'" for name in names) + "}",
        "filled": " OR ".join(f"{name} IS NULL OR {name} <> ''" for name in names),
        "path": _quoted(str(file.path)),
        "delimiter": _quoted(file.delimiter),
    }


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
