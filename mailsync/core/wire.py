"""The wire format: a bundle as bytes, and back.

Rules
-----
* ``decode(encode(bundle)) == bundle``; equal bundles give equal bytes, whatever the order of
  their mappings. Deletes and extractions are sets: they travel, and come back, by position.
* Bytes from elsewhere raise BadFormat or give a valid bundle, within ``Limits`` of memory.
* The first byte is the format version. A version this mailsync does not know is refused.

::

    content  = version(1 byte) codec(1 byte) body        codec 0: plain, 1: zstd (RFC 8878)
    body     = stream mark history confirmed holes acknowledgement manifest full-seen ask
               sections                                  a sequence of CBOR scalars
    stream   = generation nonce
    history  = count mark*
    confirmed, last = false / true mark
    full-seen = false / true tag
    holes, cover = count (gap length)*                   each interval: gap and length, less one
    acknowledgement = (false / true stream) cover last lacking refused stripped
    refused  = count name*
    manifest = false / true listing
    lacking  = listing
    listing  = count (name count guid*)*
    ask      = false / true
    sections = count section*
    section  = name form rows                            form 1: rows; others are free
    rows     = count delete* count extraction*           see ``rows``
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeVar

from mailsync.core.compression import compress, decompress
from mailsync.core.model import (
    Acknowledgement,
    Bundle,
    DeleteOrder,
    Extraction,
    Guid,
    Mark,
    RecordId,
    Stream,
)
from mailsync.core.rows import RANDOM, TAGS, RowReader, RowWriter
from mailsync.errors import BadFormat, OurError

VERSION: Final = 1
ROW_FORM: Final = 1
STRIPPED_BELOW: Final = 24
"""What fits into one byte; more steps than the ladder has today."""

_Row = TypeVar("_Row", DeleteOrder, Extraction)
_Thing = TypeVar("_Thing")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a bundle may be."""

    raw_size: int = 8 * 2**20
    """Bytes after decompression."""
    objects: int = 1_000_000
    """Fields, ancestors, listed GUIDs, intervals, and each record as four of them. An object
    takes up to some 150 bytes of memory, however few bytes it came in."""


DEFAULT_LIMITS: Final = Limits()


def encode(bundle: Bundle, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """A bundle as bytes. Raises OurError for one that ``decode`` would refuse."""
    writer = _BundleWriter(limits.objects)
    writer.bundle(bundle)
    raw = writer.written()
    if len(raw) > limits.raw_size:
        raise OurError(f"a bundle of {len(raw)} bytes is larger than peers accept")
    return bytes((VERSION,)) + compress(raw)


def decode(content: bytes, limits: Limits = DEFAULT_LIMITS) -> Bundle:
    """The bundle. Raises BadFormat, also for a format newer than this mailsync knows."""
    version = content[0] if content else 0
    if version > VERSION:
        raise BadFormat(
            f"the bundle is in format {version}; this mailsync reads up to {VERSION}: update it"
        )
    if version != VERSION:
        raise BadFormat("this is not a bundle of mailsync")
    raw = decompress(content[1:], limits.raw_size)
    reader = _BundleReader(raw, limits.objects)
    bundle = reader.bundle()
    reader.finish()
    return bundle


class _BundleWriter(RowWriter):
    def bundle(self, bundle: Bundle) -> None:
        self._stream(bundle.stream)
        self.mark(bundle.mark)
        self.count(len(bundle.history))
        for mark in bundle.history:
            self.mark(mark)
        self._optional(bundle.confirmed, self.mark)
        self.positions(bundle.holes)
        self._acknowledgement(bundle.acknowledgement)
        self._optional(bundle.manifest, self._listing)
        self._optional(bundle.full_seen, self._tag)
        self.token(bool(bundle.ask))
        self._sections(bundle)

    def _optional(self, thing: _Thing | None, write: Callable[[_Thing], None]) -> None:
        self.token(thing is not None)
        if thing is not None:
            write(thing)

    def _tag(self, tag: int) -> None:
        self.number(tag, TAGS)

    def _stream(self, stream: Stream) -> None:
        self.number(stream.generation)
        self.number(stream.nonce, RANDOM)

    def _acknowledgement(self, acknowledgement: Acknowledgement) -> None:
        self._optional(acknowledgement.stream, self._stream)
        self.positions(acknowledgement.cover)
        self._optional(acknowledgement.last, self.mark)
        self._listing(acknowledgement.lacking)
        self.count(len(acknowledgement.refused))
        for name in sorted(acknowledgement.refused):
            self.name(name)
        self.number(acknowledgement.stripped, STRIPPED_BELOW)

    def _listing(self, records: Collection[RecordId]) -> None:
        grouped: dict[str, list[Guid]] = {}
        for dataset, guid in sorted(records):
            grouped.setdefault(dataset, []).append(guid)
        self.count(len(grouped))
        for dataset, guids in grouped.items():
            self.name(dataset)
            self.count(len(guids))
            for guid in guids:
                self.guid(guid)

    def _sections(self, bundle: Bundle) -> None:
        deletes, extractions = _grouped(bundle.deletes), _grouped(bundle.extractions)
        datasets = sorted(deletes.keys() | extractions.keys())
        self.count(len(datasets))
        for dataset in datasets:
            self.name(dataset)
            self.number(ROW_FORM)
            self._rows(deletes.get(dataset, []), self.delete)
            self._rows(extractions.get(dataset, []), self.extraction)

    def _rows(self, rows: list[_Row], write: Callable[[_Row], None]) -> None:
        self.start_rows()
        self.count(len(rows))
        for row in rows:
            write(row)


class _BundleReader(RowReader):
    def bundle(self) -> Bundle:
        stream = self._stream()
        mark = self.mark()
        history = tuple(self.mark() for _ in range(self.count()))
        confirmed = self._optional(self.mark)
        holes = self.positions()
        acknowledgement = self._acknowledgement()
        manifest = self._optional(self._listing)
        full_seen = self._optional(self._tag)
        ask = self.flag()
        deletes, extractions = self._sections()
        return Bundle(
            stream,
            mark,
            history,
            confirmed,
            holes,
            deletes,
            extractions,
            acknowledgement,
            manifest,
            full_seen,
            ask,
        )

    def _optional(self, read: Callable[[], _Thing]) -> _Thing | None:
        return read() if self.flag() else None

    def _tag(self) -> int:
        return self.number(TAGS)

    def _stream(self) -> Stream:
        return Stream(self.number(), self.number(RANDOM))

    def _acknowledgement(self) -> Acknowledgement:
        stream = self._optional(self._stream)
        cover = self.positions()
        last: Mark | None = self._optional(self.mark)
        lacking = self._listing()
        refused = frozenset(self.name() for _ in range(self.count()))
        stripped = self.number(STRIPPED_BELOW)
        return Acknowledgement(stream, cover, last, lacking, refused, stripped)

    def _listing(self) -> frozenset[RecordId]:
        records: set[RecordId] = set()
        for _ in range(self.count()):
            dataset = self.name()
            records.update(RecordId(dataset, self.guid()) for _ in range(self.count()))
        return frozenset(records)

    def _sections(self) -> tuple[tuple[DeleteOrder, ...], tuple[Extraction, ...]]:
        deletes: list[DeleteOrder] = []
        extractions: list[Extraction] = []
        datasets: set[str] = set()
        for _ in range(self.count()):
            dataset = self.name()
            if dataset in datasets:
                raise BadFormat("a bundle has two sections for one dataset")
            datasets.add(dataset)
            if self.number() != ROW_FORM:
                raise BadFormat("a dataset is in a form this mailsync does not know: update it")
            deletes += self._rows(dataset, self.delete)
            extractions += self._rows(dataset, self.extraction)
        return tuple(sorted(deletes, key=_place)), tuple(sorted(extractions, key=_place))

    def _rows(self, dataset: str, read: Callable[[str], _Row]) -> list[_Row]:
        self.start_rows()
        rows = [read(dataset) for _ in range(self.count())]
        if not _ascending(rows):
            raise BadFormat("the records of a dataset are not in order")
        return rows


def _grouped(rows: Iterable[_Row]) -> dict[str, list[_Row]]:
    """By dataset, and in each by position. Raises OurError if a record is there twice."""
    groups: dict[str, list[_Row]] = {}
    for row in sorted(rows, key=_place):
        groups.setdefault(row.dataset, []).append(row)
    if not all(map(_ascending, groups.values())):
        raise OurError("a bundle holds one record twice")
    return groups


def _place(row: DeleteOrder | Extraction) -> tuple[int, str, bytes]:
    return row.position, row.dataset, row.guid


def _ascending(rows: list[_Row]) -> bool:
    return all(_place(one) < _place(other) for one, other in pairwise(rows))
