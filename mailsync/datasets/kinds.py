"""From the ``source`` of a dataset's section to its adapter, which is loaded when it is used:

a handheld with an address book need not load what reads databases.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from mailsync.core.mapping import Source
from mailsync.core.model import Fields
from mailsync.datasets.base import Access, Dataset, Notes
from mailsync.datasets.files import explaining, utc_now
from mailsync.datasets.sql.notation import ENGINES, EVERY_COLUMN
from mailsync.datasets.texts.formats import Format
from mailsync.errors import BadConfiguration

if TYPE_CHECKING:
    from mailsync.datasets.dav.dataset import DavDataset
    from mailsync.datasets.sql.database import SqlDatabase

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
    from mailsync.datasets.mapping import mapped  # noqa: PLC0415  only for who has one

    if tuple(key or ()) == EVERY_COLUMN:
        raise BadConfiguration(f'{_plain(source)}: a mapping needs a key, and key = ["*"] is none')
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
        from mailsync.datasets.sql.opening import open_table  # noqa: PLC0415  see above

        database = open_database(source, base, {} if databases is None else databases)
        return open_table(database, table, keys, key)
    scheme, _, path = source.partition(":")
    if scheme == "csv" and path:
        if table is not None or keys is not None:
            raise BadConfiguration(f"{source}: only databases have table and keys")
        from mailsync.datasets.csvfile.dataset import CsvFile  # noqa: PLC0415  see above

        return CsvFile(base / path, key or ())
    if scheme in {"vcard", "ical"} and path:
        if any(given is not None for given in (table, keys, key)):
            raise BadConfiguration(f"{source}: only databases have table and keys")
        kind, full = _text_kind(scheme), base / path
        with explaining(full):
            is_file = full.suffix.lower() == kind.form.suffix and not full.is_dir()
        return kind.file(full) if is_file else kind.folder(full)
    raise BadConfiguration(f"source {_plain(source)!r} is of no kind known: {', '.join(KNOWN)}")


def _plain(source: str) -> str:
    """A source without login."""
    before, at, place = source.rpartition("@")
    return f"{before.partition('//')[0]}//{place}" if at else source


class _TextKind(NamedTuple):
    """A kind of text, and its files."""

    folder: Callable[[Path], Dataset]
    file: Callable[[Path], Dataset]
    form: Format


def _text_kind(scheme: str) -> _TextKind:
    if scheme in {"vcard", "carddav"}:
        from mailsync.datasets.texts.vcard import CardFormat, VcardFile, VcardFolder  # noqa: PLC0415

        return _TextKind(VcardFolder, VcardFile, CardFormat())
    from mailsync.datasets.texts.ical import CalendarFormat, IcalFile, IcalFolder  # noqa: PLC0415

    return _TextKind(IcalFolder, IcalFile, CalendarFormat(utc_now))


def open_remote(source: str, access: Access, notes: Notes) -> DavDataset:
    """The collection of a DAV server that ``source`` names.

    Raises :class:`mailsync.errors.BadConfiguration`.
    """
    scheme, _, url = source.partition(":")
    try:
        from mailsync.datasets.dav.dataset import DavDataset  # noqa: PLC0415  an extra
        from mailsync.datasets.dav.http import Server  # noqa: PLC0415
        from mailsync.datasets.dav.verbs import DAV_KINDS  # noqa: PLC0415
    except ImportError as error:
        missing = "needs httpx2: pip install 'mailsync-sets[dav]'"
        raise BadConfiguration(f"{source}: {missing}") from error
    return DavDataset(Server(url, access), DAV_KINDS[scheme], _text_kind(scheme).form, notes)


def open_database(source: str, base: Path, databases: dict[str, SqlDatabase]) -> SqlDatabase:
    """The database that ``source`` names: of those that are open, or a new one among them.

    Raises :class:`mailsync.errors.BadConfiguration`.
    """
    if source.startswith(_SQLITE):
        source = f"{_SQLITE}{base / source.removeprefix(_SQLITE)}"
    if source not in databases:
        from mailsync.datasets.sql.database import SqlDatabase  # noqa: PLC0415  see above

        databases[source] = SqlDatabase(source)
    return databases[source]


def is_database(source: str) -> bool:
    """Does ``source`` name a database?"""
    scheme, _, rest = source.partition(":")
    return source.startswith(_SQLITE) or (scheme in _SERVERS and rest.startswith("//"))


def is_remote(source: str) -> bool:
    """Does ``source`` name what is on a CardDAV or CalDAV server?"""
    return source.partition(":")[0] in {"carddav", "caldav"}
