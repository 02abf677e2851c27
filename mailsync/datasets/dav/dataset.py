"""Address books and schedules on a CardDAV or CalDAV server (RFC 6352, RFC 4791).

Rules
-----
* A record is one resource of the collection; its fields are those of a file in a folder. The key
  is the last part of its address, the etag the server's own.
* What the server rewrites of what it was given is read back, noted and nobody's edit; see
  :mod:`mailsync.datasets.dav.notes`. That also holds where a server gives a strong etag for it,
  against RFC 4791, 5.3.4. Where it gives none, an edit in the moment between is taken for its own.
* Every record is written on its own, by the server's compare-and-set.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

from mailsync.core.model import Etag, Fields, Key, same_fields
from mailsync.datasets.base import (
    Change,
    Newcomer,
    Notes,
    Outcome,
    Result,
    Unreadable,
    Write,
)
from mailsync.datasets.dav.http import Answer, Server
from mailsync.datasets.dav.notes import (
    Mark,
    as_made,
    as_meant,
    moved,
    note_rewriting,
    note_sent,
    sum_of,
)
from mailsync.datasets.dav.places import collection_at, places_at
from mailsync.datasets.dav.verbs import (
    TOGETHER_MAX,
    Found,
    Kind,
    Listing,
    StaleToken,
    is_strong,
)
from mailsync.datasets.dav.verbs import Collection as DavCollection
from mailsync.datasets.dav.xml import precondition
from mailsync.datasets.schemaless import Schemaless, keys_by_guid
from mailsync.datasets.texts.contentline import Malformed
from mailsync.datasets.texts.formats import Format, Unfit, fitting, only_record
from mailsync.errors import DatasetReadOnly, MailsyncError

_OVERTAKEN = frozenset({412})
_ONE_RECORD = frozenset({400, 403, 405, 409, 413, 415, 422, 423, 500})
"""Statuses by which a server says that it does not take one record."""
_WORDS_MAX = 200


class _Present(NamedTuple):
    """A record as it is there, before it is written."""

    data: bytes
    etag: str
    made: Fields
    """As the server shows it."""
    inner: Key


class _Sent(NamedTuple):
    """A write the server took."""

    write: Write
    meant: Fields
    """What it should hold now."""
    before: str | None
    """The etag that was replaced; None: there was none."""
    etag: str
    """The one it gave; empty: none, or a weak one."""


class DavDataset(Schemaless):
    """The records of one collection."""

    def __init__(self, server: Server, kind: Kind, form: Format, notes: Notes) -> None:
        """Nothing is connected yet: what is wrong shows at the first use."""
        self._server = server
        self._kind = kind
        self._form = form
        self._notes = notes

    @cached_property
    def _collection(self) -> DavCollection:
        return collection_at(self._server, self._kind)

    def offered(self) -> Iterator[tuple[str, str, int]]:
        """The collections its place stands for: path, title and number of records of each.

        Raises :class:`mailsync.errors.DatasetError`.
        """
        for path, title in places_at(self._server, self._kind):
            listing = DavCollection(self._server, path, self._kind).listing()
            yield path, title, len(listing.etags)

    def changes(self, known: Mapping[Key, Etag | None]) -> Iterator[Change | Unreadable]:
        """Everything that differs from ``known``; all is listed unless a token tells it."""
        known = dict(known.items())
        place = self._collection.place
        listing = self._since(sum_of(place, known.items()))
        if listing is None:
            listing = self._collection.listing()
            listing.gone.update(known.keys() - listing.etags.keys())
            after = {key: known.get(key) for key in listing.etags}
        else:
            after = {key: etag for key, etag in known.items() if key not in listing.gone}
        suspect = [key for key, etag in listing.etags.items() if _is_new(known.get(key), etag)]
        suspect += [key for key in known if key in listing.gone]
        for one in self._read(suspect):
            if isinstance(one, Change) and one.fields is None:
                after.pop(one.key, None)
                if one.key not in known:
                    continue
            else:
                after[one.key] = one.etag if isinstance(one, Change) else None
            yield one
        is_whole = all(etag is not None for etag in after.values())
        Mark(sum_of(place, after.items()), listing.token if is_whole else "").note(self._notes)

    def _since(self, total: int) -> Listing | None:
        """What changed since the token that was noted; None: it cannot be told."""
        mark = Mark.of(self._notes)
        if mark is None or mark.total != total:
            return None
        try:
            return self._collection.since(mark.token)
        except StaleToken:
            return None

    def propose_keys(self, records: Sequence[Newcomer], taken: Collection[Key]) -> list[Key]:
        """The GUIDs in hexadecimal with the suffix, and a number where that is taken."""
        return keys_by_guid(records, self._form.suffix, set(taken).__contains__)

    def read(self, keys: Sequence[Key]) -> Mapping[Key, Change | Unreadable]:
        """What the collection holds now for exactly these keys."""
        strange = {key: Change(key, None, None) for key in keys if not _is_name(key)}
        plain = [key for key in keys if key not in strange]
        return strange | {one.key: one for one in self._read(plain)}

    def apply(self, writes: Sequence[Write]) -> list[Outcome]:
        """Carry out the writes, each on its own; what the server made of them is read back."""
        outcomes: dict[int, Outcome] = {}
        sent: dict[int, _Sent] = {}
        try:
            for number, write in enumerate(writes):
                done = self._write(write)
                if isinstance(done, Outcome):
                    outcomes[number] = done
                    continue
                sent[number] = done
                if len(sent) == TOGETHER_MAX or not done.etag:
                    outcomes |= self._settled(sent)
                    sent.clear()
            outcomes |= self._settled(sent)
        except MailsyncError:
            for one in sent.values():
                note_sent(self._notes, one.write.key, one.meant, one.etag)
            raise
        return [outcomes[number] for number in range(len(writes))]

    def close(self) -> None:
        """Close the connection; the next use opens it anew."""
        self._server.close()

    def _read(self, keys: Sequence[Key]) -> Iterator[Change | Unreadable]:
        readable = [key for key in keys if _is_text(key)]
        for key in keys:
            if not _is_text(key):
                yield Unreadable(Key(ascii(key)), "its address is not UTF-8")
        for key, found in self._collection.fetch(readable):
            yield self._change(key, found)

    def _change(self, key: Key, found: Found) -> Change | Unreadable:
        if found.data is None:
            return Change(key, None, None)
        if found.fault:
            return Unreadable(key, found.fault)
        try:
            made, _ = only_record(self._form.parse(found.data))
        except Malformed as error:
            return Unreadable(key, str(error))
        etag = Etag(found.etag.encode()) if found.etag else None
        return Change(key, as_meant(self._notes, key, made, found.etag), etag)

    def _write(self, write: Write) -> Outcome | _Sent:
        """What becomes of a write, or that the server took it."""
        if not _is_name(write.key):
            return Outcome(Result.REFUSED, reason=f"{write.key!r} is no name for a record here")
        try:
            if write.expected is None and write.wanted is not None:
                return self._insert(write, write.wanted)
            return self._compare_and_set(write)
        except (Malformed, Unfit) as error:
            return Outcome(Result.REFUSED, reason=str(error))

    def _insert(self, write: Write, fields: Fields) -> Outcome | _Sent:
        wanted = fitting(self._form, fields)
        named = {"uid": f"UID:{write.guid.hex()}", **wanted}  # the protocols demand one
        key = self._form.key_for(named, ())
        data = self._form.parse(b"").edited({key: named})
        return self._put(write, data, wanted, None)

    def _compare_and_set(self, write: Write) -> Outcome | _Sent:
        present = self._present(write.key)
        shown = None if present is None else self._shown(write.key, present)
        if not same_fields(shown, write.expected):
            return Outcome(Result.CHANGED)
        if present is None:
            return Outcome(Result.WRITTEN)
        if not is_strong(present.etag):
            reason = "the server has no strong etag for it, so nobody could be told to be quicker"
            return Outcome(Result.REFUSED, reason=reason)
        if write.wanted is None:
            return self._delete(write.key, present.etag)
        wanted = fitting(self._form, write.wanted)
        made = as_made(self._notes, write.key, wanted, present.made)
        data = self._form.parse(present.data).edited({present.inner: made})
        fields, _ = only_record(self._form.parse(data))
        if not self._form.settled(made, fields):
            raise Unfit("would not be read back as it is")
        return self._put(write, data, wanted, present.etag)

    def _shown(self, key: Key, present: _Present) -> Fields:
        return as_meant(self._notes, key, present.made, present.etag)

    def _present(self, key: Key) -> _Present | None:
        """What is there. Raises :class:`Malformed`."""
        found = self._collection.get(key)
        if found.data is None:
            return None
        if found.fault:
            raise Malformed(found.fault)
        made, inner = only_record(self._form.parse(found.data))
        return _Present(found.data, found.etag, made, inner)

    def _put(self, write: Write, data: bytes, meant: Fields, etag: str | None) -> Outcome | _Sent:
        answer = self._collection.put(write.key, data, etag)
        if answer.status in {200, 201, 204}:
            return _Sent(write, meant, etag, answer.etag if is_strong(answer.etag) else "")
        return self._refused(answer)

    def _delete(self, key: Key, etag: str) -> Outcome:
        answer = self._collection.delete(key, etag)
        if answer.status in {200, 202, 204, 404, 410}:
            self._notes.pop(key, None)
            self._move(key, etag, None)
            return Outcome(Result.WRITTEN)
        return self._refused(answer)

    def _refused(self, answer: Answer) -> Outcome:
        """Why the server did not take a write. Raises DatasetError if it takes none."""
        if answer.status in _OVERTAKEN:
            return Outcome(Result.CHANGED)
        condition = precondition(answer.body)
        if answer.status == 403 and not condition and not self._collection.is_writable():
            raise DatasetReadOnly(f"{self._collection.place}: this user may only read it")
        if answer.status not in _ONE_RECORD:
            raise self._collection.refusal(answer, "a record was answered")
        words = condition or " ".join(answer.body.decode("utf-8", "replace").split())[:_WORDS_MAX]
        return Outcome(Result.REFUSED, reason=f"the server says {answer.status}: {words}")

    def _settled(self, sent: Mapping[int, _Sent]) -> dict[int, Outcome]:
        """The outcomes of writes the server took, by what it holds now."""
        found = dict(self._collection.fetch([one.write.key for one in sent.values()]))
        return {number: self._outcome(one, found[one.write.key]) for number, one in sent.items()}

    def _outcome(self, sent: _Sent, found: Found) -> Outcome:
        """Without an etag where users were quicker, or it would show something else to them."""
        key = sent.write.key
        self._notes.pop(key, None)
        try:
            made, _ = only_record(self._form.parse(found.data or b""))
        except Malformed:
            return Outcome(Result.WRITTEN)
        if sent.etag and sent.etag != found.etag:
            return Outcome(Result.WRITTEN)
        note_rewriting(self._notes, key, sent.meant, made)
        if not found.etag or not same_fields(sent.meant, sent.write.wanted):
            return Outcome(Result.WRITTEN)
        self._move(key, sent.before, found.etag)
        return Outcome(Result.WRITTEN, Etag(found.etag.encode()))

    def _move(self, key: Key, before: str | None, after: str | None) -> None:
        """Bring the mark to what the collection holds since our own write."""
        mark = Mark.of(self._notes)
        if mark is not None:
            etags = (None if one is None else Etag(one.encode()) for one in (before, after))
            mark._replace(total=moved(mark.total, key, *etags)).note(self._notes)


def _is_new(known: Etag | None, etag: str) -> bool:
    return known is None or not etag or known != etag.encode()


def _is_name(key: Key) -> bool:
    """Can a record have this key?"""
    return key not in {"", ".", ".."} and "/" not in key and _is_text(key)


def _is_text(key: Key) -> bool:
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True
