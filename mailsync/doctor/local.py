"""Checks of what is on this machine: keys, state store, disk, datasets, peers' cards.

They change nothing; they do not even bring an old state store up to date.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Final

from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import NullPool

from mailsync.config import DatasetSettings, Settings, format_size
from mailsync.core.drift import Layout, drift
from mailsync.core.model import Link
from mailsync.cycle.drifting import is_of_column, layout_of, require_key, told
from mailsync.cycle.groups import Expansion, Memory, Opened, expand
from mailsync.cycle.policies import stances
from mailsync.cycle.site import accepted_peers
from mailsync.cycle.strangers import unknown_sites
from mailsync.datasets.base import Dataset, Unreadable
from mailsync.datasets.losses import mistakes
from mailsync.doctor.finding import Finding, bad, doubtful, failed, good
from mailsync.errors import (
    BadConfiguration,
    DatasetError,
    DatasetReadOnly,
    DiskFull,
    Exit,
    MailsyncError,
    NotInitialised,
)
from mailsync.files import require_private
from mailsync.keys import card_fingerprint, load_keys
from mailsync.store import migration
from mailsync.store.statements import Session
from mailsync.store.transaction import Transaction

SAMPLE: Final = 1_000
"""Records read of each dataset."""
SPACE_BYTES_MIN: Final = 20_000_000
SPACE_BYTES_LOW: Final = 200_000_000
DAY_SECONDS: Final = 86_400
SILENT_DAYS: Final = 7


def keys(settings: Settings) -> Iterator[Finding]:
    """Are there keys that only their owner can read?"""
    try:
        found = load_keys(settings.site.keys)
    except MailsyncError as error:
        yield failed("keys", error)
    else:
        fingerprint = card_fingerprint(found.public)
        yield good("keys", f"{settings.site.keys}, private; card fingerprint {fingerprint}")


def state(settings: Settings) -> Iterator[Finding]:
    """Is the state store there, private, sound, and of a version this program knows?"""
    path = settings.site.state
    try:
        if not path.exists():
            raise NotInitialised(f"there is no state store at {path}")
        require_private(path)
        yield _state(path)
    except MailsyncError as error:
        yield failed("state store", error)
    except (DatabaseError, OSError) as error:
        reason = getattr(error, "orig", None) or error
        yield bad("state store", f"{path}: {reason}", _RESTORE)


_RESTORE: Final = "Restore the state store from a backup; what changed since comes from the peers."


def _engine(path: Path) -> Engine:
    uri = f"{path.as_uri()}?mode=ro"
    return create_engine(
        "sqlite://", creator=lambda: sqlite3.connect(uri, uri=True, timeout=30), poolclass=NullPool
    )


@contextmanager
def _reading(settings: Settings) -> Iterator[Transaction]:
    """The state store, to be looked at only."""
    engine = _engine(settings.site.state)
    with engine.connect() as connection:
        yield Transaction(Session(connection.connection, engine.dialect))


def _state(path: Path) -> Finding:
    with _engine(path).connect() as connection:
        sound = migration.is_sound(connection)
        version = migration.current_version(connection)
    newest = len(migration.STEPS)
    if not sound:
        return bad("state store", f"{path} is damaged", _RESTORE)
    if version > newest:
        raise migration.NewerState(f"{path} has version {version}, this mailsync knows {newest}")
    if version < newest:
        what = f"{path} has version {version}, this mailsync writes {newest}"
        return doubtful("state store", what, "Run: mailsync sync, which brings it up to date.")
    return good("state store", f"{path}, private, sound, version {version}")


def disk(settings: Settings) -> Iterator[Finding]:
    """Is there room for what comes in?"""
    place = settings.site.state.parent
    try:
        free = shutil.disk_usage(place).free
    except OSError as error:
        yield bad("disk space", f"{place}: {error.strerror}", "Make this directory accessible.")
        return
    what = f"{free // 1_000_000} MB free at {place}"
    if free < SPACE_BYTES_MIN:
        yield failed("disk space", DiskFull(what))
    elif free < SPACE_BYTES_LOW:
        fix = f"Free some space: mailsync wants {format_size(SPACE_BYTES_LOW)}."
        yield doubtful("disk space", what, fix)
    else:
        yield good("disk space", what)


def datasets(settings: Settings) -> Iterator[Finding]:
    """Can each dataset be opened, read and written?"""
    if not settings.datasets:
        fix = f"Add a section [datasets.NAME] to {settings.path}."
        yield doubtful("datasets", "there are none to synchronize", fix)
    with _expanded(settings) as (expansion, opened):
        yield from _each(expansion, opened)


@contextmanager
def _expanded(settings: Settings) -> Iterator[tuple[Expansion, Opened]]:
    """What the sections stand for, opened as far as it was used."""
    with closing(Opened(settings.path.parent)) as opened:
        expansion = expand(settings, Memory(), opened)
        with opened.looking(expansion.sections.values()):
            yield expansion, opened


def _each(expansion: Expansion, opened: Opened) -> Iterator[Finding]:
    for group, problem in expansion.unavailable.items():
        yield failed(f"dataset {group}", problem)
    for name, section in expansion.sections.items():
        try:
            yield _dataset(f"dataset {name}", section, opened.open(name, section))
        except MailsyncError as error:
            yield failed(f"dataset {name}", error)
    for group, tables in expansion.left_out.items():
        for table, reason in tables.items():
            yield doubtful(f"dataset {group}", f"leaves out {table}: {reason}", _TABLES)


_TABLES: Final = "Correct that, or list the tables you want: tables = [...]."


def _dataset(name: str, section: DatasetSettings, dataset: Dataset) -> Finding:
    if wrong := "; ".join(mistakes(dataset)):
        return bad(name, wrong, BadConfiguration().advice, Exit.BAD_CONFIGURATION)
    sample = list(islice(dataset.changes({}), SAMPLE))
    unreadable = [item for item in sample if isinstance(item, Unreadable)]
    many = f"{SAMPLE} or more" if len(sample) == SAMPLE else str(len(sample))
    if unreadable:
        first = f"{unreadable[0].key}: {unreadable[0].reason}"
        what = f"{len(unreadable)} of {many} records cannot be understood; {first}"
        return doubtful(name, what, "Correct or remove these records; until then they are held.")
    path = _file_of(section.source)
    if path is not None and not _is_writable(path):
        return doubtful(name, f"{many} records, but {path} is read-only", DatasetReadOnly().advice)
    able = "readable" if path is None else "readable and writable"  # a server says it on writing
    return good(name, f"{many} records, {able}")


def _file_of(source: str) -> Path | None:
    """The file or folder of a source; None for one on a server."""
    scheme, _, rest = source.partition(":")
    if scheme == "sqlite":
        return Path(rest.removeprefix("///"))
    return None if rest.startswith("//") else Path(rest)


def _is_writable(path: Path) -> bool:
    """Files are replaced, and databases write a journal: the directory matters as well."""
    directory = path if path.is_dir() else path.parent
    return os.access(path, os.R_OK | os.W_OK) and os.access(directory, os.W_OK | os.X_OK)


def columns(settings: Settings) -> Iterator[Finding]:
    """What became of the datasets' columns since they were last seen?"""
    with _expanded(settings) as (expansion, opened):
        try:
            with _reading(settings) as transaction:
                seen = {name: transaction.layouts.layout(name) for name in expansion.sections}
                kept = {name: transaction.layouts.unheld(name) for name in expansion.sections}
                news = [one.text for one in transaction.warnings.all() if is_of_column(one.name)]
        except (DatabaseError, sqlite3.DatabaseError):
            return  # found, and told, by the check of the state store
        for words in news:
            yield doubtful("columns", words, _IF_MEANT)
        for name, before in seen.items():
            if before is not None:
                with suppress(MailsyncError):  # found, and told, by the check of the datasets
                    section = expansion.sections[name]
                    dataset = opened.open(name, section)
                    yield from _columns(name, section, dataset, before, kept[name])


_IF_MEANT: Final = "If that was meant, do nothing: no other site loses anything by it."


def _columns(
    name: str,
    section: DatasetSettings,
    dataset: Dataset,
    before: Layout,
    kept: frozenset[str],
) -> Iterator[Finding]:
    now = layout_of(dataset)
    title = f"columns of {name}"
    if now is None or (now.key == before.key and not drift(before, now)):
        if kept:
            words = f"kept for other sites, for want of columns: {', '.join(sorted(kept))}"
            yield good(title, words)
        return
    try:
        require_key(name, before, now, section.key)
    except DatasetError as error:
        yield failed(title, error)
    for words in told(name, now, drift(before, now), kept).values():
        yield doubtful(title, words, _IF_MEANT)


def cards(settings: Settings, chosen: frozenset[str]) -> Iterator[Finding]:
    """Is each peer's card readable, its keys usable, and no key there twice?"""
    seen = {}
    with suppress(MailsyncError):  # found, and told, by the check of the keys
        seen[load_keys(settings.site.keys).public] = "this site itself"
    if not settings.peers:
        fix = "Exchange cards with a peer: mailsync pair card -o FILE, mailsync pair add FILE."
        yield doubtful("peers", "there are none", fix)
    for name, section in settings.peers.items():
        try:
            (peer,) = accepted_peers(
                settings.model_copy(update={"peers": {name: section}})
            ).values()
        except MailsyncError as error:
            if name in chosen:
                yield failed(f"card of {name}", error)
            continue
        other = seen.setdefault(peer.public, name)
        if name not in chosen:
            continue
        if other != name:
            what = f"its card holds the key of {other}"
            fix = f"Remove [peers.{name}] and its card, then add the card it really has."
            yield bad(f"card of {name}", what, fix, Exit.LOGIN_REFUSED)
        else:
            yield good(f"card of {name}", f"card in order, mail goes to {peer.address}")


def policies(settings: Settings) -> Iterator[Finding]:
    """Do policies name sites that nobody here knows?"""
    with suppress(MailsyncError):  # found, and told, by the check of the cards
        found = unknown_sites(settings, accepted_peers(settings).values())
        for section, words in found.items():
            yield doubtful(f"conflicts of {section}", words, _AS_CALLED)


_AS_CALLED: Final = (
    "Name the site as it does under its own [site]; if it is further away, or not paired yet, let "
    "it be."
)


def silence(settings: Settings, chosen: frozenset[str]) -> Iterator[Finding]:
    """When was each peer last heard of?"""
    try:
        with _reading(settings) as transaction:
            links = transaction.links()
    except (DatabaseError, sqlite3.DatabaseError):
        return  # found, and told, by the check of the state store
    for name in settings.peers:
        if name in chosen:
            yield _silence(f"peer {name}", links.get(name))
            yield from _disagreements(settings, links.get(name))


def _disagreements(settings: Settings, link: Link | None) -> Iterator[Finding]:
    """Are conflicts settled in the same way at both ends?"""
    if link is None or link.agreement.there is None:
        return
    chosen = settings.peers[link.peer].datasets
    told = {name for name, _ in link.agreement.there if settings.section_of(name)}
    whole = {name for name, section in settings.datasets.items() if not section.is_group}
    sections = {
        name: settings.datasets[settings.section_of(name)]
        for name in told | whole
        if chosen is None or {name, settings.section_of(name)} & set(chosen)
    }
    here = stances(sections, sections.keys())
    for name, ours, theirs in link.agreement._replace(here=here).differences(sections.keys()):
        what = f"has the conflict policy {theirs} for {name}, here it is {ours}"
        fix = (
            f"Give conflict and delete_conflict of [datasets.{name}] the same values at all sites."
        )
        yield doubtful(f"peer {link.peer}", what, fix)


def _silence(name: str, link: Link | None) -> Finding:
    if link is None or link.heard_at is None:
        fix = "See that the peer has added this site's card and has run mailsync sync."
        return doubtful(name, "never heard of yet", fix)
    days = (time.time() - link.heard_at / 1000) / DAY_SECONDS
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(link.heard_at / 1000))
    if link.stale or days > SILENT_DAYS:
        fix = "Ask the peer's operator to run mailsync doctor there."
        return doubtful(name, f"silent since {when}", fix)
    return good(name, f"last heard of {when}")
