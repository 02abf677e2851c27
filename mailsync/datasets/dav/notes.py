"""What is noted of a collection for the next time: as of when it is known, what a server rewrote.

Rules
-----
* Servers rewrite what they are given: they sort, escape, add, and some drop what they do not
  know. That is nobody's edit. Of each field that came back otherwise it is noted what was meant
  and what was made of it; as long as the server shows just that, it means what was meant.
* Where it could not be read back, what was sent is noted with the etag the server gave for it: by
  that it is known again when the server can be reached.
* What a server says has changed since a token is all that has only for somebody who knows what
  there was then. So the token is kept with a sum over all keys and etags of that moment, and is
  used by nobody who knows anything else: after a crash, a restore, another source, all is listed.
* Every note may be lost: that costs a listing, or makes the server's form an edit.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from functools import reduce
from hashlib import blake2b
from operator import xor
from typing import Any, Final, NamedTuple, cast

from mailsync.core.model import Etag, Fields, Key
from mailsync.datasets.base import Notes

MARK: Final = ""
"""The name of the note that is about the collection; the others have the keys of records."""

_SIZE: Final = 16

Rewritten = dict[str, tuple[str, str | None]]
"""By field: the digest of what the server holds, and what that means; None: no such field."""


def sum_of(place: str, known: Iterable[tuple[Key, Etag | None]]) -> int:
    """The same for the same keys and etags of one place, in whatever order."""
    return reduce(xor, (_term(f"{key}", etag or b"") for key, etag in known), _term(place, b""))


def moved(total: int, key: Key, before: Etag | None, after: Etag | None) -> int:
    """The sum once a record has another etag; None: it is not there."""
    terms = (_term(key, one) for one in (before, after) if one is not None)
    return reduce(xor, terms, total)


def _term(name: str, etag: bytes) -> int:
    content = name.encode("utf-8", "surrogateescape") + b"\0" + etag
    return int.from_bytes(blake2b(content, digest_size=_SIZE).digest(), "big")


class Mark(NamedTuple):
    """What a collection held when the server gave a token."""

    total: int
    token: str

    @classmethod
    def of(cls, notes: Notes) -> Mark | None:
        """The one that was noted."""
        note = notes.get(MARK, b"")
        if len(note) <= _SIZE:
            return None
        return cls(int.from_bytes(note[:_SIZE], "big"), note[_SIZE:].decode())

    def note(self, notes: Notes) -> None:
        """Keep it for the next time; without a token there is nothing to keep."""
        notes.pop(MARK, None)
        if self.token:
            notes[MARK] = self.total.to_bytes(_SIZE, "big") + self.token.encode()


def note_rewriting(notes: Notes, key: Key, meant: Fields, made: Fields) -> None:
    """Note what the server made of what was written."""
    found: Rewritten = {
        name: (_digest(made, name), cast("str | None", meant.get(name)))
        for name in sorted(meant.keys() | made.keys())
        if meant.get(name) != made.get(name)
    }
    _keep(notes, key, found)


def note_sent(notes: Notes, key: Key, meant: Fields, etag: str) -> None:
    """Note what was written and could not be read back."""
    _keep(notes, key, [etag, dict(meant)])


def as_meant(notes: Notes, key: Key, made: Fields, etag: str) -> Fields:
    """What the fields that a server shows mean. What it shows otherwise by now is forgotten."""
    sent = _read(notes, key)
    if isinstance(sent, list):
        notes.pop(key)
        if sent[0] == etag:
            note_rewriting(notes, key, sent[1], made)
    noted = _noted(notes, key)
    if not noted:
        return made
    still = {name: one for name, one in noted.items() if _digest(made, name) == one[0]}
    if len(still) < len(noted):
        _keep(notes, key, still)
    others = {name: value for name, value in made.items() if name not in still}
    return others | {name: value for name, (_, value) in still.items() if value is not None}


def as_made(notes: Notes, key: Key, wanted: Mapping[str, str], made: Fields) -> dict[str, str]:
    """The wanted fields, in the server's form where they mean what it shows already."""
    kept = dict(wanted)
    for name, (digest, value) in _noted(notes, key).items():
        if value == wanted.get(name) and digest == _digest(made, name):
            kept.pop(name, None)
            if name in made:
                kept[name] = str(made[name])
    return kept


def _noted(notes: Notes, key: Key) -> Rewritten:
    found = _read(notes, key)
    return found if isinstance(found, dict) else {}


def _read(notes: Notes, key: Key) -> Rewritten | list[Any] | None:
    """What was rewritten of a record, or what was sent of it and not read back."""
    note = notes.get(key)
    return None if note is None else cast("Rewritten", json.loads(zlib.decompress(note)))


def _keep(notes: Notes, key: Key, noted: Rewritten | list[Any]) -> None:
    notes.pop(key, None)
    if noted:
        notes[key] = zlib.compress(json.dumps(noted, ensure_ascii=False).encode())


def _digest(fields: Fields, name: str) -> str:
    """Of a field's value; empty: there is no such field."""
    if name not in fields:
        return ""
    return blake2b(str(fields[name]).encode(), digest_size=_SIZE).hexdigest()
