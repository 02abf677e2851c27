"""From the ``source`` of a dataset's section to its adapter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, cast

from mailsync.core.mapping import Source
from mailsync.core.model import Fields
from mailsync.datasets.base import Dataset
from mailsync.datasets.csvfile import CsvFile
from mailsync.datasets.ical import IcalFile, IcalFolder
from mailsync.datasets.mapping import mapped
from mailsync.datasets.sql import SqlTable
from mailsync.datasets.sqldatabase import ENGINES, SqlDatabase
from mailsync.datasets.sqlkeyless import KeylessTable
from mailsync.datasets.sqlreflection import EVERY_COLUMN
from mailsync.datasets.vcard import VcardFile, VcardFolder
from mailsync.errors import BadConfiguration

KNOWN: Final = (*ENGINES, "csv:FILE", "vcard:FOLDER_OR_FILE", "ical:FOLDER_OR_FILE")

_SQLITE: Final = "sqlite:///"
_SERVERS: Final = frozenset(one.partition(":")[0] for one in ENGINES) - {"sqlite"}


def open_dataset(
    source: str,
    *,
    table: str | None,
    keys: str | None,
    key: Sequence[str] | None = None,
    base: Path,
    databases: dict[str, SqlDatabase] | None = None,
    sources: Mapping[str, Source] | None = None,
    defaults: Fields | None = None,
) -> Dataset:
    """Open what ``source`` names; relative paths are relative to ``base``.

    ``databases``: those that are open, by their URLs; tables of one are written together.
    ``sources``: the mapping, by shared name; None: fields are shared under their own names.
    ``defaults``: what own fields hold in new records that come from peers.

    Raises :class:`mailsync.errors.BadConfiguration` for what is not understood, and whatever
    the adapter raises.
    """
    opened = _open(source, table, keys, key, base, databases)
    if sources is None:
        return opened
    if isinstance(opened, KeylessTable):
        raise BadConfiguration(f'{source}: a mapping needs a key, and key = ["*"] is none')
    return mapped(opened, source.partition(":")[0], sources, defaults or {})


def _open(
    source: str,
    table: str | None,
    keys: str | None,
    key: Sequence[str] | None,
    base: Path,
    databases: dict[str, SqlDatabase] | None,
) -> Dataset:
    if is_database(source):
        database = open_database(source, base, {} if databases is None else databases)
        return _table(database, table, keys, key)
    scheme, _, path = source.partition(":")
    if scheme == "csv" and path:
        if table is not None or keys is not None:
            raise BadConfiguration(f"{source}: only databases have table and keys")
        return CsvFile(base / path, key or ())
    if scheme in {"vcard", "ical"} and path:
        if any(given is not None for given in (table, keys, key)):
            raise BadConfiguration(f"{source}: only databases have table and keys")
        folder, file, suffix = _TEXTS[scheme]
        full = base / path
        return file(full) if full.suffix.lower() == suffix and not full.is_dir() else folder(full)
    raise BadConfiguration(f"source {source!r} is of no kind known: {', '.join(KNOWN)}")


def open_database(source: str, base: Path, databases: dict[str, SqlDatabase]) -> SqlDatabase:
    """The database that ``source`` names: of those that are open, or a new one among them.

    Raises :class:`mailsync.errors.BadConfiguration`.
    """
    if source.startswith(_SQLITE):
        source = f"{_SQLITE}{base / source.removeprefix(_SQLITE)}"
    if source not in databases:
        databases[source] = SqlDatabase(source)
    return databases[source]


def is_database(source: str) -> bool:
    """Does ``source`` name a database?"""
    scheme, _, rest = source.partition(":")
    return source.startswith(_SQLITE) or (scheme in _SERVERS and rest.startswith("//"))


_TEXTS: Final[dict[str, tuple[Callable[[Path], Dataset], Callable[[Path], Dataset], str]]] = {
    "vcard": (VcardFolder, VcardFile, ".vcf"),
    "ical": (IcalFolder, IcalFile, ".ics"),
}


def _table(
    database: SqlDatabase, table: str | None, keys: str | None, key: Sequence[str] | None
) -> Dataset:
    if not table:
        raise BadConfiguration(f'{database.place}: name its table, e.g. table = "defects"')
    if keys not in {None, "local", "shared"}:
        raise BadConfiguration(f'keys = "{keys}": write "local" or "shared"')
    if tuple(key or ()) == EVERY_COLUMN:
        if keys is not None:
            raise BadConfiguration(
                f'keys = "{keys}": leave it out, with key = ["*"] there are none'
            )
        return KeylessTable(database, table)
    chosen = cast("Literal['local', 'shared'] | None", keys)
    return SqlTable(database, table, keys=chosen, key=key)
