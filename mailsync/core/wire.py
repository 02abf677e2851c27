"""The wire format: a bundle as bytes, and back.

Rules
-----
* ``decode(encode(bundle)) == bundle``; equal bundles give equal bytes, whatever the order of
  their mappings. Deletes and extractions are sets: they travel, and come back, by position.
* Bytes from elsewhere raise BadFormat or give a valid bundle, within ``Limits`` of memory.
* The body is written in rows and in columns, and travels in the form that comes out smaller.
* Earlier bodies that both ends hold (*prior*) make the next one smaller; see ``preface``.

::

    content  = preface [size noise] packed            packed: body, or a zstd frame of it
    noise    = size noise vector-noise*               see ``noise`` and ``vectors``
    body     = flags stream [stream] mark history [confirmed] [holes] cover [last] [lacking]
               [refused] [stripped] [held] [manifest] [full-seen] [words] [requests] [proofs]
               [policies] [denied] [glimpses] form sections      a sequence of CBOR scalars
    stream   = generation nonce                       the sender's; the one acknowledged
    history  = count mark*
    confirmed, last = mark
    holes, cover = count (gap length)*                each interval: gap and length, less one
    refused  = count name*
    lacking, held, manifest, denied = count (name count guid*)*
    words, requests, policies, glimpses               see ``words``
    proofs                                            see ``testimony``
    sections = count section*                         form 1: rows, 2: columns; others are free
    section  = name count rows / columns              see ``rows`` and ``columns``

    flags    1 stream acknowledged  2 confirmed  4 holes     8 last         16 lacking
             32 refused             64 stripped  128 manifest 256 full-seen 512 an answer is needed
             1024 words             2048 held    4096 requests 8192 proofs  16384 policies
             32768 denied           65536 glimpses

What is optional is there if its flag is set. What stays the same from bundle to bundle stands at
the beginning, and is found whole in the prior.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import IntFlag
from typing import Final, NamedTuple

from mailsync.core.compression import compressor, decompress
from mailsync.core.model import (
    Acknowledgement,
    Bundle,
    DeleteOrder,
    Extraction,
    Stream,
)
from mailsync.core.positions import NOWHERE
from mailsync.core.preface import Preface, check_of, written
from mailsync.core.preface import read as preface_of
from mailsync.core.rows import RANDOM, TAGS, Row
from mailsync.core.testimony import ProofReader, ProofWriter
from mailsync.core.tokens import TooMuch
from mailsync.core.varints import Octets, sized
from mailsync.core.words import with_glimpses
from mailsync.errors import BadBundle, BadFormat, OurError

ROWS: Final = 1
COLUMNS: Final = 2

TRY_ALL_BELOW: Final = 2**20
"""Bytes of body. In larger ones columns have always been smaller, and a prior has helped."""

STRIPPED_BELOW: Final = 24
"""What fits into one byte; more steps than the ladder has today."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a bundle may be."""

    raw_size: int = 8 * 2**20
    """Bytes after decompression."""
    objects: int = 1_000_000
    """Fields, ancestors, listed GUIDs, intervals, and each record as four of them. An object
    takes up to some 150 bytes of memory, however few bytes it came in."""


DEFAULT_LIMITS: Final = Limits()
FIRST: Final = Preface()


class Body(NamedTuple):
    """A bundle's tokens, and the noise that was kept out of them."""

    tokens: bytes
    noise: bytes


class Written(NamedTuple):
    """A bundle as it travels, and its tokens, which may serve as prior of later ones."""

    content: bytes
    body: bytes


class Read(NamedTuple):
    """A bundle that was received, and its tokens."""

    bundle: Bundle
    body: bytes


class OtherPrior(BadBundle):
    """The two ends do not remember the same earlier bundles."""


def encode(
    bundle: Bundle,
    preface: Preface = FIRST,
    prior: bytes = b"",
    limits: Limits = DEFAULT_LIMITS,
) -> Written:
    """A bundle as bytes. ``prior``: the bodies that the preface names.

    Raises OurError for a bundle that ``decode`` would refuse; TooMuch if it only is too large.
    """
    bodies = _bodies(bundle, limits)
    if len(bodies[0].tokens) >= TRY_ALL_BELOW:
        return _packed(bodies[:1], preface, prior)[0]
    tried = [_plain(body, preface) for body in bodies] + _packed(bodies, preface, b"")
    if prior:
        tried += _packed(bodies, preface, prior)
    return min(tried, key=lambda one: (len(one.content), one.content))


def decode(content: bytes, prior: bytes = b"", limits: Limits = DEFAULT_LIMITS) -> Read:
    """The bundle. ``prior``: the bodies that its preface names.

    Raises BadFormat, also for a format newer than this mailsync knows; OtherPrior.
    """
    preface, rest = preface_of(content)
    if preface.check and check_of(prior) != preface.check:
        raise OtherPrior("made smaller by earlier bundles that this site does not remember")
    octets = Octets(rest)
    noise = octets.sized() if preface.has_noise else b""
    tokens = octets.rest()
    if preface.is_compressed:
        tokens = decompress(tokens, limits.raw_size, prior if preface.check else b"")
    if len(tokens) + len(noise) > limits.raw_size:
        raise BadFormat("a bundle is larger than accepted")
    reader = _BundleReader(tokens, noise, limits.objects)
    bundle = reader.bundle()
    reader.finish()
    return Read(bundle, tokens)


def body_of(bundle: Bundle, form: int, limits: Limits = DEFAULT_LIMITS) -> Body:
    """The body of a bundle in ROWS or COLUMNS. Raises OurError as :func:`encode`."""
    writer = _BundleWriter(limits.objects)
    writer.bundle(bundle, form)
    body = Body(writer.written(), writer.noise())
    size = len(body.tokens) + len(body.noise)
    if size > limits.raw_size:
        raise TooMuch(f"a bundle of {size} bytes is larger than peers accept")
    return body


def _bodies(bundle: Bundle, limits: Limits) -> list[Body]:
    """In every form that peers accept, the one that suits large bundles first."""
    try:
        columns = body_of(bundle, COLUMNS, limits)
    except TooMuch:  # thousands of fields, each in a record or two, fit in rows alone
        return [body_of(bundle, ROWS, limits)]
    if len(columns.tokens) >= TRY_ALL_BELOW:
        return [columns]
    return [columns, body_of(bundle, ROWS, limits)]


def _plain(body: Body, preface: Preface) -> Written:
    plain = preface._replace(is_compressed=False, prior=NOWHERE, check=b"")
    return _joined(plain, body, body.tokens)


def _packed(bodies: Iterable[Body], preface: Preface, prior: bytes) -> list[Written]:
    preface = preface._replace(is_compressed=True, check=check_of(prior))
    compress = compressor(prior)
    return [_joined(preface, body, compress(body.tokens)) for body in bodies]


def _joined(preface: Preface, body: Body, packed: bytes) -> Written:
    noise = sized(body.noise) if body.noise else b""
    start = written(preface._replace(has_noise=bool(noise)))
    return Written(start + noise + packed, body.tokens)


class _Flag(IntFlag):
    """What a body says of the things that may be left out."""

    ACKNOWLEDGED = 1
    CONFIRMED = 2
    HOLES = 4
    LAST = 8
    LACKING = 16
    REFUSED = 32
    STRIPPED = 64
    MANIFEST = 128
    FULL_SEEN = 256
    ASK = 512
    WORDS = 1024
    HELD = 2048
    REQUESTS = 4096
    PROOFS = 8192
    POLICIES = 16384
    DENIED = 32768
    GLIMPSES = 65536


_EVERY_FLAG: Final = _Flag(sum(_Flag))


def _flags_of(bundle: Bundle) -> _Flag:
    told = bundle.acknowledgement
    there = {
        _Flag.ACKNOWLEDGED: told.stream is not None,
        _Flag.CONFIRMED: bundle.confirmed is not None,
        _Flag.HOLES: bundle.holes != NOWHERE,
        _Flag.LAST: told.last is not None,
        _Flag.LACKING: bool(told.lacking),
        _Flag.REFUSED: bool(told.refused),
        _Flag.STRIPPED: bool(told.stripped),
        _Flag.MANIFEST: bundle.manifest is not None,
        _Flag.FULL_SEEN: bundle.full_seen is not None,
        _Flag.ASK: bundle.ask,
        _Flag.WORDS: bool(bundle.words),
        _Flag.HELD: bool(told.held),
        _Flag.REQUESTS: bundle.request is not None or bundle.answered is not None,
        _Flag.PROOFS: bool(bundle.proofs),
        _Flag.POLICIES: bundle.policies is not None,
        _Flag.DENIED: bool(told.denied),
        _Flag.GLIMPSES: any(row.glimpses for row in bundle.items),
    }
    return _Flag(sum(flag for flag, is_there in there.items() if is_there))


class _BundleWriter(ProofWriter):
    def bundle(self, bundle: Bundle, form: int) -> None:
        told = bundle.acknowledgement
        flags = _flags_of(bundle)
        self.number(int(flags))
        self._stream(bundle.stream)
        if told.stream is not None:
            self._stream(told.stream)
        self._place(bundle)
        self._told(told)
        if bundle.manifest is not None:
            self.listing(bundle.manifest)
        if bundle.full_seen is not None:
            self.number(bundle.full_seen, TAGS)
        self._said(bundle, flags)
        self._sections(bundle, form)

    def _said(self, bundle: Bundle, flags: _Flag) -> None:
        if bundle.words:
            self.words(bundle.words)
        if _Flag.REQUESTS in flags:
            self.requests(bundle.request, bundle.answered)
        if bundle.proofs:
            self.proofs(bundle.proofs)
        if bundle.policies is not None:
            self.stances(bundle.policies)
        if bundle.acknowledgement.denied:
            self.listing(bundle.acknowledgement.denied)
        if _Flag.GLIMPSES in flags:
            self.glimpses([row for row in bundle.items if row.glimpses])

    def _place(self, bundle: Bundle) -> None:
        self.mark(bundle.mark)
        self.count(len(bundle.history))
        for mark in bundle.history:
            self.mark(mark)
        if bundle.confirmed is not None:
            self.mark(bundle.confirmed)
        if bundle.holes != NOWHERE:
            self.positions(bundle.holes)

    def _told(self, told: Acknowledgement) -> None:
        self.positions(told.cover)
        if told.last is not None:
            self.mark(told.last)
        if told.lacking:
            self.listing(told.lacking)
        if told.refused:
            self.count(len(told.refused))
            for name in sorted(told.refused):
                self.name(name)
        if told.stripped:
            self.number(told.stripped, STRIPPED_BELOW)
        if told.held:
            self.listing(told.held)

    def _stream(self, stream: Stream) -> None:
        self.number(stream.generation)
        self.number(stream.nonce, RANDOM)

    def _sections(self, bundle: Bundle, form: int) -> None:
        sections = _sections(bundle)
        self.number(form)
        self.count(len(sections))
        write = self.columns if form == COLUMNS else self.rows
        for dataset, rows in sorted(sections.items()):
            self.name(dataset)
            self.count(len(rows))
            write(rows)


class _BundleReader(ProofReader):
    def bundle(self) -> Bundle:
        flags = _Flag(self.number(_EVERY_FLAG + 1))
        if flags & ~_EVERY_FLAG:
            raise BadFormat("a bundle says what this mailsync does not know: update it")
        stream = self._stream()
        acknowledged = self._stream() if _Flag.ACKNOWLEDGED in flags else None
        mark = self.mark()
        history = tuple(self.mark() for _ in range(self.count()))
        confirmed = self.mark() if _Flag.CONFIRMED in flags else None
        holes = self.positions() if _Flag.HOLES in flags else NOWHERE
        told = self._told(flags, acknowledged)
        manifest = self.listing() if _Flag.MANIFEST in flags else None
        full_seen = self.number(TAGS) if _Flag.FULL_SEEN in flags else None
        words = self.words() if _Flag.WORDS in flags else ()
        request, answered = self.requests() if _Flag.REQUESTS in flags else (None, None)
        proofs = self.proofs() if _Flag.PROOFS in flags else ()
        policies = self.stances() if _Flag.POLICIES in flags else None
        if _Flag.DENIED in flags:
            told = replace(told, denied=self.listing())
        rows = with_glimpses(self.glimpses() if _Flag.GLIMPSES in flags else {}, self._sections())
        return Bundle(
            stream,
            mark,
            history,
            confirmed,
            holes,
            tuple(row for row in rows if isinstance(row, DeleteOrder)),
            tuple(row for row in rows if isinstance(row, Extraction)),
            told,
            manifest,
            full_seen,
            _Flag.ASK in flags,
            words,
            proofs,
            request,
            answered,
            policies,
        )

    def _told(self, flags: _Flag, stream: Stream | None) -> Acknowledgement:
        cover = self.positions()
        last = self.mark() if _Flag.LAST in flags else None
        lacking = self.listing() if _Flag.LACKING in flags else frozenset()
        refused: frozenset[str] = frozenset()
        if _Flag.REFUSED in flags:
            refused = frozenset(self.name() for _ in range(self.count()))
        stripped = self.number(STRIPPED_BELOW) if _Flag.STRIPPED in flags else 0
        held = self.listing() if _Flag.HELD in flags else frozenset()
        return Acknowledgement(stream, cover, last, lacking, refused, stripped, held)

    def _stream(self) -> Stream:
        return Stream(self.number(), self.number(RANDOM))

    def _sections(self) -> list[Row]:
        form = self.number()
        if form not in {ROWS, COLUMNS}:
            raise BadFormat("the records are in a form this mailsync does not know: update it")
        read = self.columns if form == COLUMNS else self.rows
        rows: list[Row] = []
        datasets: set[str] = set()
        for _ in range(self.count()):
            dataset = self.name()
            if dataset in datasets:
                raise BadFormat("a bundle has two sections for one dataset")
            datasets.add(dataset)
            section = list(read(dataset, self.count()))
            if _has_twice(section):
                raise BadFormat("a bundle holds one record twice")
            rows += section
        return sorted(rows, key=_place)


def _sections(bundle: Bundle) -> dict[str, list[Row]]:
    """By dataset, and in each by position. Raises OurError if a record is there twice."""
    sections: dict[str, list[Row]] = {}
    for row in sorted(bundle.items, key=_place):
        sections.setdefault(row.dataset, []).append(row)
    if any(map(_has_twice, sections.values())):
        raise OurError("a bundle holds one record twice")
    return sections


def _place(row: Row) -> tuple[int, str, bytes]:
    return row.position, row.dataset, row.guid


def _has_twice(section: list[Row]) -> bool:
    return len({row.guid for row in section}) < len(section)
