"""What a site shares with a peer, and digests of it that are the same at both ends.

Rules
-----
* Shared is what a link carries, exists, and is within the peer's filter: whoever is right about
  that, a record that only one end takes for shared is a difference.
* A record's digest is about its GUID and its entries, dots and killed ones included: what the
  ends merge from. Ancestors, positions and keys are each site's own.
* An element is what a sketch holds of a record: 32 bits of a digest of its GUID, its *name*, and
  32 bits of its digest. So of a record that differs each end can tell which one it is.
* All digests are keyed with a question's tag: who makes a record cannot know what it will be.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Final, NamedTuple

from mailsync.core.merge import subject_of
from mailsync.core.model import Absent, Entry, Link, Record, RecordId, is_alive
from mailsync.core.proofs import Digest
from mailsync.core.scope import carries, is_wanted
from mailsync.core.strict_cbor import encode
from mailsync.core.terms import EVERY_ACT, Terms

_TAG_SIZE: Final = 4
_DIGEST_SIZE: Final = 16
_TOTALS: Final = 2 ** (8 * _DIGEST_SIZE)
_HALF: Final = 32
"""Bits of an element that are the name, and bits that are the content."""


class Summary(NamedTuple):
    """All that is shared, in a digest and as elements of a sketch."""

    digest: Digest
    elements: array[int]


def left_out(link: Link) -> frozenset[str]:
    """Datasets that need not be the same at both ends, by what our configuration lets pass."""
    return frozenset(
        name
        for name, terms in link.terms.items()
        if not (terms.sends and terms.takes)
        or terms.keeps
        or terms.shown is not None
        or _is_restricted(terms)
    )


def _is_restricted(terms: Terms) -> bool:
    """May the peer not write everything?"""
    return terms.granted is not None or terms.allowed != EVERY_ACT


def shared(link: Link, record: Record) -> Mapping[str, Entry] | None:
    """What both ends should hold of the record; None: nothing."""
    if not is_alive(record.entries) or not carries(link, record) or not is_wanted(link, record):
        return None
    return record.entries


def summary_of(
    link: Link, records: Iterable[Record], tag: int, without: Iterable[str] = ()
) -> Summary:
    """Of these records, all of the record map, but for those of datasets left out."""
    names = frozenset(without)
    key = tag.to_bytes(_TAG_SIZE)
    total = 0
    elements = array("Q")
    for record in records:
        entries = shared(link, record)
        if entries is not None and subject_of(record.dataset, record.entries) not in names:
            digest = blake2b(_said(record.id, entries), digest_size=_DIGEST_SIZE, key=key).digest()
            total += int.from_bytes(digest)
            elements.append(_name(key, record.id) << _HALF | int.from_bytes(digest[: _HALF // 8]))
    digest_of_all = Digest(len(elements), total % _TOTALS, tuple(sorted(names)))
    return Summary(digest_of_all, elements)


def name_of(record_id: RecordId, tag: int) -> int:
    """What the record is called by those who may not know it."""
    return _name(tag.to_bytes(_TAG_SIZE), record_id)


def named(element: int) -> int:
    """The name of the record that the element is about."""
    return element >> _HALF


def _name(key: bytes, record_id: RecordId) -> int:
    told = encode([record_id.dataset, record_id.guid])
    return int.from_bytes(blake2b(told, digest_size=_HALF // 8, key=key).digest())


def _said(record_id: RecordId, entries: Mapping[str, Entry]) -> bytes:
    """All that both ends should hold, in the same bytes at both."""
    told: list[object] = [record_id.dataset, record_id.guid]
    for name in sorted(entries):
        dot, value, killed = entries[name]
        told += (name, *dot, killed)
        if isinstance(value, float):
            told.append([None, repr(value)])
        elif not isinstance(value, Absent):
            told.append([value])
    return encode(told)
