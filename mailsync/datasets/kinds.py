"""From the ``source`` of a dataset's section to its adapter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, cast

from mailsync.core.mapping import Source
from mailsync.core.model import Fields
from mailsync.datasets.base import Access, Dataset, Notes
from mailsync.datasets.csvfile import CsvFile
from mailsync.datasets.files import utc_now
from mailsync.datasets.ical import CalendarFormat, IcalFile, IcalFolder
from mailsync.datasets.mapping import mapped
from mailsync.datasets.sql import SqlTable
from mailsync.datasets.sqldatabase import ENGINES, SqlDatabase
from mailsync.datasets.sqlkeyless import KeylessTable
from mailsync.datasets.sqlreflection import EVERY_COLUMN
from mailsync.datasets.vcard import CardFormat, VcardFile, VcardFolder
from mailsync.errors import BadConfiguration

if TYPE_CHECKING:
    from mailsync.datasets.dav import DavDataset

KNOWN: Final = (
    *(*ENGINES, "csv:FILE", "vcard:FOLDER_OR_FILE", "ical:FOLDER_OR_FILE"),
    *("carddav:URL", "caldav:URL"),
)

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
    access: Access = Access(),  # noqa: B008  it is frozen
    notes: Notes | None = None,
) -> Dataset:
    """Open what ``source`` names; relative paths are relative to ``base``.

    ``databases``: those that are open, by their URLs; tables of one are written together.
    ``sources``: the mapping, by shared name; None: fields are shared under their own names.
    ``defaults``: what own fields hold in new records that come from peers. ``access``: how to get
    in where it is on a server that wants to know. ``notes``: what was noted of it; kept by others.

    Raises :class:`mailsync.errors.BadConfiguration` for what is not understood, and whatever
    the adapter raises.
    """
    opened: Dataset
    if is_remote(source):
        opened = open_remote(source, access, {} if notes is None else notes)
    else:
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


def open_remote(source: str, access: Access, notes: Notes) -> DavDataset:
    """The collection of a DAV server that ``source`` names.

    Raises :class:`mailsync.errors.BadConfiguration`.
    """
    scheme, _, url = source.partition(":")
    try:
        from mailsync.datasets.dav import DavDataset  # noqa: PLC0415  an extra
        from mailsync.datasets.davhttp import Server  # noqa: PLC0415
        from mailsync.datasets.davverbs import DAV_KINDS  # noqa: PLC0415
    except ImportError as error:
        missing = "needs httpx2: pip install 'mailsync-sets[dav]'"
        raise BadConfiguration(f"{source}: {missing}") from error
    form = CardFormat() if scheme == "carddav" else CalendarFormat(utc_now)
    return DavDataset(Server(url, access), DAV_KINDS[scheme], form, notes)


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


def is_remote(source: str) -> bool:
    """Does ``source`` name what is on a CardDAV or CalDAV server?"""
    return source.partition(":")[0] in {"carddav", "caldav"}


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
