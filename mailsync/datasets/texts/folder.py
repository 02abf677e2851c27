"""A folder with one record per file; the key is the file's name.

Rules
-----
* A file whose status is what it was when we last looked has not changed, unless it had been
  changed within two seconds before that look; then it is read again.
* Files are named by us from the GUID alone. Names from the record map must be plain names of
  visible files with the right suffix; symbolic links are neither followed nor replaced.
* Every file is replaced on its own: there is no transaction over a folder.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from mailsync.core.model import Etag, Key, same_fields
from mailsync.datasets.base import (
    Change,
    Newcomer,
    Outcome,
    Result,
    Unreadable,
    Write,
)
from mailsync.datasets.files import (
    Clock,
    Overtaken,
    demand,
    demand_folder,
    explaining,
    flush_folder,
    gated,
    is_open,
    nanoseconds,
    read_regular,
    replace,
    split_etag,
    status_gate,
    sweep,
)
from mailsync.datasets.memory import fields_digest
from mailsync.datasets.schemaless import Schemaless, keys_by_guid
from mailsync.datasets.texts.contentline import Malformed
from mailsync.datasets.texts.formats import Format, Unfit, fitting, only_record
from mailsync.errors import DatasetError, DatasetMissing


class RecordFolder(Schemaless):
    """The files of one format in a folder."""

    def __init__(self, path: Path, form: Format, clock: Clock) -> None:
        """Raises :class:`mailsync.errors.DatasetMissing` if there is no such folder."""
        demand_folder(path)
        self._path = path
        self._form = form
        self._clock = clock

    def changes(self, known: Mapping[Key, Etag | None]) -> Iterator[Change | Unreadable]:
        """Everything that differs from ``known``.

        A file that was touched is reported with the fields it had, once its etag can be
        trusted again.
        """
        known = dict(known.items())
        seen_at = nanoseconds(self._clock())
        present: set[Key] = set()
        for key, status in self._entries():
            if not _is_text(key):
                yield Unreadable(Key(ascii(key)), "the file's name is not UTF-8")
                continue
            present.add(key)
            old = known.get(key)
            gate = status_gate(status, seen_at)
            if old is not None and not is_open(gate) and split_etag(old)[0] == gate:
                continue
            found = self._read(key, seen_at)
            if not _is_silent(found, old):
                yield found
        for key in known:
            if key not in present:
                yield self._read(key, seen_at)

    def propose_keys(self, records: Sequence[Newcomer], taken: Collection[Key]) -> list[Key]:
        """The GUIDs in hexadecimal with the suffix, and a number where that is taken."""
        used = set(taken)
        return keys_by_guid(
            records,
            self._form.suffix,
            lambda key: key in used or os.path.lexists(self._path / key),
        )

    def read(self, keys: Sequence[Key]) -> Mapping[Key, Change | Unreadable]:
        """What the folder holds now for exactly these keys."""
        seen_at = nanoseconds(self._clock())
        return {key: self._read(key, seen_at) for key in keys}

    def apply(self, writes: Sequence[Write]) -> list[Outcome]:
        """Carry out the writes, each on its own; all are durable when this returns."""
        with explaining(self._path):
            sweep(self._path, self._clock())
            outcomes = [self._write(write) for write in writes]
            flush_folder(self._path)
        return outcomes

    def _entries(self) -> Iterator[tuple[Key, os.stat_result]]:
        with explaining(self._path), os.scandir(self._path) as entries:
            for entry in entries:
                if self._is_ours(entry.name) and (entry.is_symlink() or entry.is_file()):
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:  # it goes while we look
                        continue
                    yield Key(entry.name), status

    def _is_ours(self, name: str) -> bool:
        return (
            name.lower().endswith(self._form.suffix)
            and not name.startswith(".")
            and not {"/", "\0", os.sep} & set(name)
        )

    def _read(self, key: Key, seen_at: int) -> Change | Unreadable:
        if not self._is_ours(key):
            return Change(key, None, None)
        try:
            with explaining(self._path / key):
                found = read_regular(self._path / key)
            fields = None if found is None else only_record(self._form.parse(found[0]))[0]
        except (DatasetError, Malformed) as error:
            return Unreadable(key, str(error))
        if found is None or fields is None:
            demand_folder(self._path)  # where that has gone too, nothing was deleted
            return Change(key, None, None)
        gate = status_gate(found[1], seen_at)
        return Change(key, fields, gated(gate, fields_digest(fields)))

    def _write(self, write: Write) -> Outcome:
        if not self._is_ours(write.key):
            return Outcome(Result.REFUSED, reason=f"{write.key!r} is no name for a file here")
        try:
            return self._compare_and_set(self._path / write.key, write)
        except Overtaken:
            return Outcome(Result.CHANGED)
        except (DatasetMissing, Malformed, Unfit) as error:
            return Outcome(Result.REFUSED, reason=str(error))

    def _compare_and_set(self, path: Path, write: Write) -> Outcome:
        try:
            with explaining(path):
                found = read_regular(path)
        except DatasetError as error:
            return Outcome(Result.REFUSED, reason=str(error))
        before = found[0] if found else None
        document = self._form.parse(before or b"")
        present, inner = only_record(document) if found else (None, None)
        if not same_fields(present, write.expected):
            return Outcome(Result.CHANGED)
        if write.wanted is None:
            demand(path, before)
            path.unlink(missing_ok=True)
            return Outcome(Result.WRITTEN)
        wanted = fitting(self._form, write.wanted)
        inner = inner or self._form.key_for(wanted, ())
        after = document.edited({inner: wanted})
        fields, _ = only_record(self._form.parse(after))
        if not self._form.settled(wanted, fields):
            raise Unfit("would not be read back as it is")
        gate = status_gate(replace(path, before, after), nanoseconds(self._clock()))
        etag = gated(gate, fields_digest(fields)) if same_fields(fields, write.wanted) else None
        return Outcome(Result.WRITTEN, etag)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_silent(found: Change | Unreadable, old: Etag | None) -> bool:
    """Nothing new about the record, and no better etag to offer than the one that is known."""
    if old is None or isinstance(found, Unreadable) or found.etag is None:
        return False
    gate, digest = split_etag(found.etag)
    return is_open(gate) and digest == split_etag(old)[1]
