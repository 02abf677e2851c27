"""Columns say what rows say; what does not fit together is refused, early and cheaply."""

import tracemalloc
from dataclasses import replace

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailsync.core import wire
from mailsync.core.model import (
    Bundle,
    DeleteOrder,
    Dot,
    Entry,
    Extraction,
    Guid,
    Mark,
    Reason,
    Stream,
)
from mailsync.core.positions import NOWHERE
from mailsync.core.strict_cbor import Scalars
from mailsync.core.varints import folded, varint
from mailsync.core.wire import COLUMNS, Limits
from mailsync.errors import BadFormat, OurError
from tests.core.strategies import bundles

DOT, OTHER = Dot(1_795_400_000_000, 7, 1), Dot(1_795_400_000_001, 8, 2)
EMPTY = Bundle(Stream(1, 2), Mark(5, 6), (), None, NOWHERE)
STEM = bytes(13)


def guid(counter: int) -> Guid:
    return Guid(STEM + counter.to_bytes(3, "big"))


def content_of(tokens: bytes) -> bytes:
    return b"\x01\x00\x01\x00" + tokens


def tokens_of(bundle: Bundle) -> list[object]:
    raw = wire.body_of(bundle, COLUMNS).tokens
    scalars, tokens, size = Scalars(raw), list[object](), 0
    while size < len(raw):
        tokens.append(scalars.next())
        size += len(cbor2.dumps(tokens[-1]))
    return tokens


def decoded(tokens: list[object]) -> Bundle:
    return wire.decode(content_of(b"".join(map(cbor2.dumps, tokens)))).bundle


TWO = replace(
    EMPTY,
    deletes=(DeleteOrder(7, "d", guid(9), Reason.WITHDRAWN, OTHER, {}, frozenset({DOT})),),
    extractions=(
        Extraction(6, "d", guid(3), {"f": Entry(DOT, 1), "g": Entry(OTHER, 1.5, killed=True)}),
    ),
)
SHAPES, POSITIONS, STEMS, COUNTERS, KINDS, DOTS, ANCESTORS, DEFINITIONS, F, G = range(-10, 0)


def test_layout_is_the_published_one() -> None:
    """Position steps less one: 6 is 5 more than the 1 that follows 0; 7 follows 6."""
    columns = tokens_of(TWO)[-10:]
    assert columns == [
        bytes.fromhex("1303024500"),
        varint(folded(5)) + varint(folded(0)),
        b"\x00\x00",
        b"\x03\x05",
        b"\x00\x01",
        b"\x00\x01\x01",
        b"\x01\x00",
        b"".join(map(cbor2.dumps, [STEM, DOT.stamp, 0, 7, 1, 1, 1, 8, 2])),
        b"\x01" + varint(folded(1) + 2),
        b"\x031.5\n",
    ]
    assert decoded(tokens_of(TWO)) == TWO


@pytest.mark.parametrize("column", range(-10, 0))
def test_every_column_has_just_the_right_length(column: int) -> None:
    tokens = tokens_of(TWO)
    octets = tokens[column]
    assert isinstance(octets, bytes)
    others = [octets[:-1], octets + b"\x00", b""]
    if column != SHAPES:  # a shape may be there that no record has
        others.append(octets + octets)
    for other in others:
        with pytest.raises(BadFormat):
            decoded([*tokens[:column], other, *tokens[column:][1:]])


@pytest.mark.parametrize("odd", [None, 0, "", "text", 1.5, True])
@pytest.mark.parametrize("column", range(-10, 0))
def test_a_column_is_bytes(column: int, odd: object) -> None:
    tokens = tokens_of(TWO)
    tokens[column] = odd
    with pytest.raises(BadFormat):
        decoded(tokens)


@pytest.mark.parametrize(
    ("column", "octets"),
    [
        (SHAPES, b"\x80\x01\x03\x45\x00"),  # flags there are none of
        (SHAPES, b"\x13\x04\x02\x45\x00"),  # a name there is none of
        (SHAPES, b"\x13\x03\x04\x45\x00"),  # a killed one there is none of
        (POSITIONS, varint(folded(-2)) + varint(folded(0))),
        (POSITIONS, varint(folded(2**53 - 2)) + varint(folded(0))),
        (POSITIONS, varint(2**54) + b"\x00"),
        (STEMS, b"\x01\x00"),
        (STEMS, b"\x00\x02"),
        (COUNTERS, varint(2**24) + b"\x00"),
        (COUNTERS, varint(2**24 - 1) + b"\x00"),
        (KINDS, b"\x00\x02"),
        (DOTS, b"\x01\x00\x00"),
        (ANCESTORS, b"\x01\x02"),
        (ANCESTORS, varint(10**7) + b"\x00" * 100),
        (DEFINITIONS, b"\x40"),
        (F, b"\x01\x80\x00"),
    ],
)
def test_nasty_numbers_are_refused(column: int, octets: bytes) -> None:
    tokens = tokens_of(TWO)
    tokens[column] = octets
    with pytest.raises(BadFormat) as caught:
        decoded(tokens)
    assert len(str(caught.value).splitlines()) == 1


def test_names_are_in_order_and_there_once() -> None:
    tokens = tokens_of(TWO)
    at = tokens.index("g")
    for other in ("a", "f"):
        with pytest.raises(BadFormat, match="order"):
            decoded([*tokens[:at], other, *tokens[at + 1 :]])


def test_one_record_twice_cannot_be_said() -> None:
    """Counters of a stem only rise, also where the stem is defined twice."""
    tokens = tokens_of(replace(TWO, deletes=(replace(TWO.deletes[0], guid=Guid(b"\x01" * 16)),)))
    tokens[COUNTERS] = b"\x03\x00"
    definitions = tokens[DEFINITIONS]
    assert isinstance(definitions, bytes)
    tokens[DEFINITIONS] = definitions.replace(b"\x01" * 13, STEM)
    assert {item.guid for item in decoded(tokens).items} == {guid(3), guid(4)}


@settings(max_examples=300, deadline=None)
@given(bundles, st.integers(0), st.integers(0, 7))
def test_flipped_bits_raise_bad_format_alone(bundle: Bundle, byte: int, bit: int) -> None:
    tokens, noise = wire.body_of(bundle, COLUMNS)
    start = b"\x01\x08\x01\x00" + varint(len(noise)) + noise if noise else content_of(b"")
    content = bytearray(start + tokens)
    content[byte % len(content)] ^= 1 << bit
    try:
        wire.decode(bytes(content))
    except (BadFormat, wire.OtherPrior):
        return


@given(bundles)
@settings(max_examples=30, deadline=None)
def test_every_cut_is_refused(bundle: Bundle) -> None:
    tokens, noise = wire.body_of(bundle, COLUMNS)
    start = b"\x01\x08\x01\x00" + varint(len(noise)) + noise if noise else content_of(b"")
    for size in range(0, len(start + tokens), 7):
        with pytest.raises(BadFormat):
            wire.decode((start + tokens)[:size])


def with_names(count: int, shapes: bytes) -> bytes:
    """A section of no records, many names, and these shapes."""
    head: list[object] = [0, 1, 2, 0, 5, 6, 0, 0, COLUMNS, 1, 0, "d", 0, count]
    names = sorted(f"{number:06}" for number in range(count))
    octets = b"".join(map(cbor2.dumps, head))
    octets += b"".join(cbor2.dumps(n) + cbor2.dumps(x) for n, x in enumerate(names, start=1))
    return content_of(octets + cbor2.dumps(shapes))


@pytest.mark.parametrize("names", [1_000, 20_000, 200_000])
def test_many_wide_shapes_are_paid_for(names: int) -> None:
    """A mask with one bit is long to read where there are many names."""
    shape = b"\x00" + varint(1 << names - 1)
    content = with_names(names, shape * (4_000_000 // len(shape)))
    with pytest.raises(BadFormat, match="more than"):
        wire.decode(content)


@pytest.mark.parametrize("count", [10**6, 2**53 - 1])
def test_a_count_alone_costs_nothing(count: int) -> None:
    tokens = tokens_of(EMPTY)[:-1]
    for more in ([1, 0, "d", count], [1, 0, "d", 1, count]):
        tokens[-1] = COLUMNS
        content = content_of(b"".join(map(cbor2.dumps, [*tokens, *more])))
        tracemalloc.start()
        try:
            with pytest.raises(BadFormat):
                wire.decode(content)
            assert tracemalloc.get_traced_memory()[1] < 2**20
        finally:
            tracemalloc.stop()


def test_few_bytes_do_not_become_many_fields() -> None:
    shared = {f"f{number:04}": Entry(DOT, None) for number in range(1_000)}
    rows = tuple(Extraction(n, "d", guid(n), shared) for n in range(1, 1_100))
    content = wire.encode(replace(EMPTY, extractions=rows), limits=Limits(objects=10**9)).content
    assert len(content) < 40_000
    with pytest.raises(BadFormat, match="more than"):
        wire.decode(content)


def test_what_columns_cannot_hold_goes_in_rows() -> None:
    """Thousands of fields, each in one record: every shape's mask would name them all."""
    rows = tuple(
        Extraction(n, "d", guid(n), {f"field {n}": Entry(DOT, n)}) for n in range(1, 4_000)
    )
    bundle = replace(EMPTY, extractions=rows)
    with pytest.raises(OurError):
        wire.body_of(bundle, COLUMNS)
    assert wire.decode(wire.encode(bundle).content).bundle == bundle
