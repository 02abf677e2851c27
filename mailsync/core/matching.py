"""First synchronization of two sites that both hold data: which of their records are the same.

Rules
-----
* Records with equal content are one; of several copies, the first with the first. The GUIDs of
  the *keeper* stay: of the site that shares the dataset with others already, else of the one
  with the smaller number. So both come to the same answer, whoever hears of the other first.
* Content is compared by 64-bit digests. A reference to another record counts as the digest of
  that record, for its GUID is another one at each site.
* Sketches of the digests travel (see ``reconciliation``), a small one first, larger ones as long
  as that is cheaper than the records.
* Records that differ travel, and are paired by the fields that are declared to tell them apart.
  What is not just one record on each side is nobody's to decide but a person's.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Final, NamedTuple

from mailsync.core.digests import Likeness
from mailsync.core.model import ABSENT, Absent, Entry, Extraction, Fields, Guid, Value
from mailsync.core.reconciliation import SYMBOL_SIZE
from mailsync.core.strict_cbor import encode

FIRST: Final = 128
"""Symbols sent at first: 2 kB tell some 70 differences. Fewer for a few records."""

GROWTH: Final = 4
"""So many times more each time they were not enough."""

DEAR: Final = 8
"""Bytes of sketch for each record: more are not worth it, the records themselves travel."""


class Standing(NamedTuple):
    """What decides whose GUIDs stay."""

    shared: bool
    """Do others have any of the dataset from it, or it from others?"""
    site: int
    """The site's 64-bit number."""


def keeps(ours: Standing, theirs: Standing) -> bool:
    """Do our GUIDs stay?"""
    return (not ours.shared, ours.site) < (not theirs.shared, theirs.site)


def content_digest(fields: Fields, referred: Mapping[str, int]) -> int:
    """64 bits of a record's content. ``referred``: by field, the digest of the record it names."""
    digest = blake2b(digest_size=8)
    for name in sorted(fields):
        value = referred.get(name, fields[name])
        digest.update(encode(name) + encode(name in referred) + _octets(value))
    return int.from_bytes(digest.digest())


def _octets(value: Value) -> bytes:
    return encode(repr(value) if isinstance(value, float) else value)


def ranked(digests: Mapping[Guid, int]) -> list[tuple[int, Guid]]:
    """Records by digest; the second copy of a content, and every further one, has its own."""
    copies: Counter[int] = Counter()
    elements: list[tuple[int, Guid]] = []
    for guid in sorted(digests):
        digest = digests[guid]
        copies[digest] += 1
        elements.append((_numbered(digest, copies[digest]), guid))
    return sorted(elements)


def _numbered(digest: int, copy: int) -> int:
    if copy == 1:
        return digest
    octets = digest.to_bytes(8) + copy.to_bytes(4)
    return int.from_bytes(blake2b(octets, digest_size=8).digest())


def next_size(count: int, have: int) -> int | None:
    """How many symbols, of so many records, there should be after ``have``; None: enough is
    enough.
    """
    if not have:
        return min(FIRST, 3 * count + 8)
    more = have * GROWTH
    return more if more * SYMBOL_SIZE <= count * DEAR else None


def abridged(item: Extraction, like: Likeness, told: Iterable[str]) -> Extraction:
    """The item without values, which are those of the reader's record that it is; but for the
    fields ``told``.
    """
    kept = frozenset(told)
    entries = {
        name: entry if name in kept else entry._replace(value=ABSENT)
        for name, entry in item.entries.items()
    }
    return replace(item, entries=entries, like=like)


def is_alike(item: Extraction) -> bool:
    """Does the reader have its values already?"""
    return item.like is not None and item.like.is_equal


def filled(item: Extraction, fields: Fields) -> Extraction:
    """The item with its values, from the reader's own record."""
    entries: dict[str, Entry] = {
        name: entry._replace(value=fields.get(name, ABSENT))
        if isinstance(entry.value, Absent)
        else entry
        for name, entry in item.entries.items()
    }
    return replace(item, entries=entries, like=None)


def likeness_of(fields: Fields, names: Sequence[str]) -> bytes | None:
    """What tells a record apart by its declared fields; None if one of them says nothing."""
    values = [fields.get(name) for name in names]
    if any(value is None for value in values):
        return None
    return b"".join(map(_octets, values))


class Paired(NamedTuple):
    """Who is who among records with the same declared fields."""

    pairs: dict[Guid, Guid]
    """Ours by theirs."""
    open: set[Guid]
    """Of theirs: it may be one of ours, but nobody can tell which."""


def paired(theirs: Mapping[Guid, int], ours: Mapping[Guid, int]) -> Paired:
    """Which of ours each of theirs is, by the digests of their contents."""
    by_content: dict[int, list[Guid]] = defaultdict(list)
    for guid in sorted(ours, reverse=True):
        by_content[ours[guid]].append(guid)
    pairs = {
        guid: by_content[theirs[guid]].pop() for guid in sorted(theirs) if by_content[theirs[guid]]
    }
    left = [guid for guid in theirs if guid not in pairs]
    free = ours.keys() - set(pairs.values())
    if len(left) == len(free) == 1:
        return Paired({**pairs, left[0]: free.pop()}, set())
    return Paired(pairs, set(left) if free else set())
