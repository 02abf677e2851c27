"""Bundles survive the wire exactly; nothing else gets through, and nothing costs much."""

import math
import random
import re
import struct
import sys
import tracemalloc
from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailsync.core import wire
from mailsync.core.compression import MIN_WINDOW_LOG
from mailsync.core.model import (
    ABSENT,
    Acknowledgement,
    Bundle,
    DeleteOrder,
    Dot,
    Entry,
    Extraction,
    Guid,
    Mark,
    Reason,
    RecordId,
    Stream,
    Value,
)
from mailsync.core.positions import NOWHERE, Positions
from mailsync.core.preface import Preface
from mailsync.core.strict_cbor import Scalars
from mailsync.core.varints import varint
from mailsync.core.wire import COLUMNS, DEFAULT_LIMITS, ROWS, Limits
from mailsync.errors import BadBundle, BadFormat, OurError
from tests.core.strategies import bundles

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

DOT = Dot(1_795_400_000_000, 2**63 + 5, 2**32 - 1)
OTHER = Dot(1_795_400_000_001, 7, 1)
GUID = Guid(bytes(range(16)))
EMPTY = Bundle(Stream(1, 2), Mark(5, 6), (), None, NOWHERE)


PLAIN = b"\x01\x00\x01\x00"
"""The preface of a first body that is not compressed."""

PACKED = b"\x01\x01\x01\x00"
"""The same of one that is."""


def encode(bundle: Bundle, limits: Limits = DEFAULT_LIMITS) -> bytes:
    return wire.encode(bundle, limits=limits).content


def decode(content: bytes, limits: Limits = DEFAULT_LIMITS) -> Bundle:
    return wire.decode(content, limits=limits).bundle


def holding(value: Value, field: str = "field") -> Bundle:
    row = Extraction(5, "customers", GUID, {field: Entry(DOT, value)})
    return replace(EMPTY, extractions=(row,))


def value_after(value: Value) -> object:
    return decode(encode(holding(value))).extractions[0].entries["field"].value


def content_of(bundle: Bundle, form: int, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """A bundle in one form, not compressed."""
    tokens, noise = wire.body_of(bundle, form, limits)
    return b"\x01\x08\x01\x00" + varint(len(noise)) + noise + tokens if noise else plain(tokens)


def plain(raw: bytes) -> bytes:
    """A content whose body is not compressed."""
    return PLAIN + raw


def tokens_of(bundle: Bundle) -> list[object]:
    raw = wire.body_of(bundle, ROWS).tokens
    scalars, tokens, size = Scalars(raw), list[object](), 0
    while size < len(raw):
        tokens.append(scalars.next())
        size += len(cbor2.dumps(tokens[-1]))
    return tokens


def written(tokens: list[object]) -> bytes:
    return plain(b"".join(map(cbor2.dumps, tokens)))


def exact(bundle: Bundle) -> list[object]:
    """The bundle and its values by type, since `==` takes 1, 1.0 and True for one."""
    rows: list[DeleteOrder | Extraction] = [*bundle.deletes, *bundle.extractions]
    values = [repr(row.entries[name].value) for row in rows for name in sorted(row.entries)]
    return [bundle, *values]


# --- there and back --------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(bundles)
def test_there_and_back(bundle: Bundle) -> None:
    assert exact(decode(encode(bundle))) == exact(bundle)
    for form in (ROWS, COLUMNS):
        assert exact(decode(content_of(bundle, form))) == exact(bundle)


@settings(deadline=None)
@given(bundles, st.randoms(use_true_random=False))
def test_equal_bundles_give_equal_bytes(bundle: Bundle, chance: random.Random) -> None:
    def shuffled(row: Extraction) -> Extraction:
        items = list(row.entries.items())
        chance.shuffle(items)
        return replace(row, entries=dict(items))

    rows = [shuffled(row) for row in bundle.extractions]
    chance.shuffle(rows)
    manifest = bundle.manifest and frozenset(sorted(bundle.manifest, reverse=True))
    other = replace(bundle, extractions=tuple(rows), manifest=manifest)
    assert encode(other) == encode(bundle)


@pytest.mark.parametrize(
    "value",
    [
        1,
        1.0,
        True,
        0,
        -0.0,
        0.0,
        False,
        None,
        math.inf,
        -math.inf,
        5e-324,
        0.1,
        2**63 - 1,
        -(2**63),
        23,
        24,
        -24,
        -25,
        2**32,
        "",
        b"",
        "\x00\uffff\U0001f600",
        "e\u0301",
    ],
)
def test_values_are_exact(value: Value) -> None:
    found = value_after(value)
    assert type(found) is type(value)
    assert repr(found) == repr(value)


@pytest.mark.parametrize("bits", ["7ff8000000000000", "fff8000000000000", "7ff800000000abcd"])
def test_nan_keeps_its_bits(bits: str) -> None:
    value = struct.unpack(">d", bytes.fromhex(bits))[0]
    found = value_after(value)
    assert isinstance(found, float)
    assert struct.pack(">d", found).hex() == bits


def test_absent_is_not_null() -> None:
    entries = {
        "a": Entry(DOT, ABSENT),
        "b": Entry(DOT, None),
        "c": Entry(OTHER, ABSENT, killed=True),
    }
    bundle = replace(EMPTY, extractions=(Extraction(1, "d", GUID, entries),))
    found = decode(encode(bundle)).extractions[0].entries
    assert found["a"].value is ABSENT
    assert found["b"].value is None
    assert found["c"] == entries["c"]


# --- what is not encoded ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        2**63,
        -(2**63) - 1,
        10**30,
        "\ud800",
        bytearray(b"x"),
        pytest.param(memoryview(b"x"), id="memoryview"),  # cbor2 makes an array of numbers of it
        (1,),
        [1],
        {},
        1j,
        Decimal("-0.00"),  # loses its sign
        UUID(int=1),
        date(2026, 11, 22),
        datetime(2026, 11, 22, tzinfo=UTC),
        time(1),
        re.compile("x"),
    ],
    ids=repr,
)
def test_values_beyond_the_model_are_our_error(value: object) -> None:
    with pytest.raises(OurError):
        encode(holding(value))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "a\nb", "a\x7f", "x" * 256, "ä" * 128, "\ud800"])
def test_bad_names_are_our_error(name: str) -> None:
    with pytest.raises(OurError):
        encode(holding(1, field=name))
    with pytest.raises(OurError):
        encode(replace(EMPTY, manifest=frozenset({RecordId(name, GUID)})))


@pytest.mark.parametrize(
    "bundle",
    [
        replace(EMPTY, mark=Mark(2**53, 1)),
        replace(EMPTY, mark=Mark(-1, 1)),
        replace(EMPTY, mark=Mark(1, 2**32)),
        replace(EMPTY, stream=Stream(1, 2**64)),
        replace(EMPTY, full_seen=-1),
        replace(EMPTY, holes=Positions(((0, 3),))),
        replace(EMPTY, holes=Positions(((3, 2),))),
        replace(EMPTY, holes=Positions(((1, 2), (3, 4)))),
        replace(EMPTY, holes=Positions(((1, 2**53),))),
        replace(EMPTY, extractions=(Extraction(1, "d", Guid(b"abc"), {}),)),
        replace(EMPTY, extractions=(Extraction(1, "d", Guid(bytes(17)), {}),)),
        replace(EMPTY, extractions=(Extraction(1, "d", GUID, {}),) * 2),
        replace(EMPTY, deletes=(DeleteOrder(1, "d", GUID, Reason.DELETED, Dot(2**53, 1, 1)),)),
    ],
)
def test_invalid_bundles_are_our_error(bundle: Bundle) -> None:
    with pytest.raises(OurError):
        encode(bundle)


def test_no_bundle_larger_than_peers_accept() -> None:
    with pytest.raises(OurError, match="larger"):
        encode(holding(bytes(2**20)), Limits(raw_size=2**20))
    listed = frozenset(RecordId("d", Guid(n.to_bytes(4, "big"))) for n in range(100))
    with pytest.raises(OurError, match="more than"):
        encode(replace(EMPTY, manifest=listed), Limits(objects=100))


@given(bundles)
@settings(deadline=None)
def test_both_ends_count_alike(bundle: Bundle) -> None:
    """The smallest budget that lets a bundle out is the smallest that lets it in."""
    for form in (ROWS, COLUMNS):
        low, high = 0, 1000
        while low < high:
            middle = (low + high) // 2
            try:
                wire.body_of(bundle, form, Limits(objects=middle))
            except OurError:
                low = middle + 1
            else:
                high = middle
        content = content_of(bundle, form)
        assert decode(content, Limits(objects=low)) == bundle
        if low:
            with pytest.raises(BadFormat):
                decode(content, Limits(objects=low - 1))


# --- sizes -----------------------------------------------------------------------------------


def edits(count: int) -> Bundle:
    """One scan's edits of one field each, of records that were first seen together."""
    chance = random.Random(1)
    prefix = chance.randbytes(13)
    rows = [
        Extraction(
            1000 + number,
            "customers",
            Guid(prefix + (97 * number + chance.randrange(97)).to_bytes(3, "big")),
            {f"column {chance.randrange(15)}": Entry(DOT, chance.randrange(1000))},
            whole=False,
        )
        for number in range(count)
    ]
    return replace(EMPTY, extractions=tuple(rows))


@pytest.mark.parametrize(("count", "size"), [(1, 100), (20, 300), (500, 2700)])
def test_the_common_record_stays_cheap(count: int, size: int) -> None:
    assert len(encode(edits(count))) < size


def test_a_manifest_of_one_scan_costs_next_to_nothing() -> None:
    listed = frozenset(RecordId("d", Guid(bytes(13) + n.to_bytes(3, "big"))) for n in range(50_000))
    assert len(encode(replace(EMPTY, manifest=listed))) < 200


# --- hostile input ---------------------------------------------------------------------------


def refused(content: bytes) -> str:
    """The one line with which a content is refused."""
    with pytest.raises(BadFormat) as caught:
        decode(content)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_newer_format_is_named() -> None:
    assert "format 2" in refused(b"\x02" + encode(EMPTY)[1:])
    refused(b"\x01\x08" + encode(EMPTY)[2:])
    refused(b"\x00" + encode(EMPTY)[1:])
    refused(b"")
    refused(b"\x01")


FULL = Bundle(
    Stream(1, 2),
    Mark(9, 6),
    (Mark(3, 1), Mark(9, 6)),
    Mark(3, 1),
    Positions(((4, 5), (7, 7))),
    (DeleteOrder(6, "d", GUID, Reason.WITHDRAWN, DOT, {"f": Entry(DOT, ABSENT, killed=True)}),),
    (
        Extraction(
            8, "d", Guid(b"four"), {"f": Entry(DOT, 1), "g": Entry(OTHER, "x", killed=True)}
        ),
        Extraction(9, "e", GUID, {"f": Entry(DOT, 1.5)}, frozenset({OTHER}), whole=False),
    ),
    Acknowledgement(
        Stream(0, 1),
        Positions.up_to(3),
        Mark(2, 2),
        frozenset({RecordId("d", GUID)}),
        frozenset("x"),
        2,
    ),
    frozenset({RecordId("d", GUID), RecordId("e", GUID)}),
    77,
    ask=True,
)

GOLDEN = Path(__file__).parents[2] / "samples" / "bundles"
"""Contents as published, byte for byte; to change them is to raise the version."""

BUNDLE = replace(
    FULL,
    extractions=FULL.extractions
    + tuple(
        Extraction(10 + n, "t", Guid(bytes((n, 2, 3, 4))), {"f": Entry(DOT, f"{n}5550123")})
        for n in range(30)
    ),
)

PRIOR = wire.body_of(BUNDLE, COLUMNS).tokens
SECOND = Preface(2, Positions.up_to(1), prior=Positions.up_to(1))


@pytest.mark.parametrize(("name", "form"), [("rows", ROWS), ("columns", COLUMNS)])
def test_the_format_stays_as_published(name: str, form: int) -> None:
    published = (GOLDEN / f"{name}.content").read_bytes()
    assert content_of(BUNDLE, form) == published
    assert decode(published) == BUNDLE


def test_compressed_contents_stay_readable() -> None:
    """Another zstd may pack otherwise, but must read what this one packed."""
    assert decode((GOLDEN / "packed.content").read_bytes()) == BUNDLE
    against = (GOLDEN / "against.content").read_bytes()
    assert wire.decode(against, PRIOR).bundle == BUNDLE
    with pytest.raises(wire.OtherPrior):
        wire.decode(against, PRIOR + b"x")
    assert len(wire.encode(BUNDLE, SECOND, PRIOR).content) < len(encode(BUNDLE)) / 2


NASTY = {
    "array": b"\x80",
    "deep": b"\x81" * 100_000,
    "map": b"\xa1\x00\x00",
    "duplicate keys": b"\xa2\x00\x00\x00\x00",
    "indefinite": b"\x9f\xff",
    "indefinite text": b"\x7f\xff",
    "huge text": b"\x7b\x00\x00\x00\x40\x00\x00\x00\x00",
    "huge bytes": b"\x5b\x7f" + b"\xff" * 7,
    "huge array": b"\x9b\x00\x00\x00\x40\x00\x00\x00\x00",
    "huge count": b"\x1b\x00\x1f" + b"\xff" * 6,
    "huge integer": b"\x1b" + b"\xff" * 8,
    "huge negative": b"\x3b" + b"\xff" * 8,
    "bignum": b"\xc2\x59\x40\x00" + b"\xff" * 0x4000,
    "decimal": b"\xc4\x82\x1b\x00\x00\x00\xff\xff\xff\xff\xff\x01",
    "date": b"\xc0\x74" + b"2026-11-22T00:00:00Z",
    "regular expression": b"\xd8\x23\x68" + b"(a+)+$xx",
    "mail": b"\xd8\x24\x63a:b",
    "shared": b"\xd8\x1c\x81\xd8\x1d\x00",
    "string reference": b"\xd9\x01\x00\x81\xd8\x19\x00",
    "unknown tag": b"\xda\xff\xff\xff\xff\x00",
    "set": b"\xd9\x01\x02\x80",
    "broken text": b"\x62\xc3\x28",
    "surrogate": b"\x63\xed\xa0\x80",
    "other simple": b"\xf8\xff",
    "reserved": b"\x1c",
    "break": b"\xff",
    "cut": b"\x19",
}


@pytest.mark.parametrize("nasty", NASTY.values(), ids=NASTY)
def test_no_nasty_token_passes_anywhere(nasty: bytes) -> None:
    """In place of every token. A number may be allowed there; a cut head takes what follows."""
    tokens = [cbor2.dumps(token) for token in tokens_of(FULL)]
    assert decode(plain(b"".join(tokens))) == FULL
    for at in range(len(tokens)):
        content = plain(b"".join([*tokens[:at], nasty, *tokens[at + 1 :]]))
        try:
            bundle = decode(content)
        except BadFormat:
            continue
        assert nasty in {NASTY["huge count"], NASTY["huge integer"], NASTY["cut"]}, at
        assert decode(encode(bundle)) == bundle


@pytest.mark.parametrize("bit", range(24))
def test_a_flag_that_nobody_knows_is_refused(bit: int) -> None:
    """What is left out of a body of a later version would be misread."""
    tokens = [cbor2.dumps(token) for token in tokens_of(FULL)]
    if 1 << bit in list(wire._Flag):
        return
    flags = cbor2.dumps(tokens_of(FULL)[0] | 1 << bit)  # type: ignore[operator]
    with pytest.raises(BadFormat):
        decode(plain(b"".join([flags, *tokens[1:]])))


ODD: list[object] = [None, True, False, 0, 1, 2, 3, 30, -1, 1.0, math.inf, "", "f", "\n"]
ODD += [b"", b"four", bytes(13), bytes(8), cbor2.undefined, cbor2.CBORSimpleValue(0)]


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_other_tokens_are_refused_or_make_a_valid_bundle(odd: object) -> None:
    tokens = tokens_of(FULL)
    for at in range(len(tokens)):
        for tail in (tokens[at + 1 :], tokens[at:]):
            try:
                bundle = decode(written([*tokens[:at], odd, *tail]))
            except BadFormat:
                continue
            assert decode(encode(bundle)) == bundle


@pytest.mark.parametrize(
    "content", [encode(FULL), written(tokens_of(FULL))], ids=["packed", "plain"]
)
def test_every_cut_and_every_extension_is_refused(content: bytes) -> None:
    for size in range(len(content)):
        refused(content[:size])
    for tail in (b"\x00", b"\xf6", b"\x19", b"\xff", content):
        refused(content + tail)


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_raise_bad_format_alone(data: bytes) -> None:
    whole = written(tokens_of(FULL))
    for head in (b"", b"\x01", PLAIN[:2], PLAIN, PACKED, whole[: len(whole) // 2]):
        try:
            bundle = decode(head + data)
        except BadFormat:
            continue
        assert decode(encode(bundle)) == bundle


@settings(max_examples=300, deadline=None)
@given(bundles, st.integers(0), st.integers(0, 7))
def test_flipped_bits_raise_bad_format_alone(bundle: Bundle, byte: int, bit: int) -> None:
    content = bytearray(content_of(bundle, ROWS))
    content[byte % len(content)] ^= 1 << bit
    try:
        decode(bytes(content))
    except BadBundle:
        return


def test_repeated_things_are_refused() -> None:
    head = tokens_of(EMPTY)[:-1]
    row = [5, 0, bytes(13), 0, 0]
    one = [*head, 1, 0, "d", 1, *row]
    shape = [0, 1, 1, "f"]
    dot = [0, 9, 0, 1, 1]
    assert (
        decode(written([*one, *shape, *dot, "value"])).extractions[0].entries["f"].value == "value"
    )
    assert "twice" in refused(written([*one, 0, 2, 1, "f", 1, *dot, "value", "value"]))
    assert "twice" in refused(
        written([*head, 1, 0, "d", 2, *row, *shape, *dot, "value", 0, 0, 0, 0, 0, "value"])
    )
    assert "two sections" in refused(written([*head, 2, 0, "d", 0, 0, 0]))
    assert "form" in refused(written([*head[:-1], 3, 0]))


def peak(content: bytes) -> int:
    """Bytes of memory it takes to refuse a content."""
    tracemalloc.start()
    try:
        refused(content)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def announcing(frame: bytes, size: int) -> bytes:
    """The frame with another size in its head (RFC 8878 3.1.1.1)."""
    descriptor = frame[4]
    assert descriptor >> 6 == 2  # the size takes 4 bytes, after a window unless single segment
    at = 5 if descriptor & 0x20 else 6
    return frame[:at] + struct.pack("<I", size) + frame[at + 4 :]


def test_decompression_bombs_are_refused_cheaply() -> None:
    gigabyte = zstd.compress(bytes(2**28), level=3)
    assert "larger" in refused(PACKED + gigabyte[4:])
    assert peak(PACKED + gigabyte[4:]) < 2**20
    lying = announcing(gigabyte, 2**20)
    assert peak(PACKED + lying[4:]) < 2**22
    modest = announcing(zstd.compress(bytes(2**20), level=3), 2**23)
    assert "decompress" in refused(PACKED + modest[4:])


def test_frames_without_a_size_or_with_a_tail_are_refused() -> None:
    streaming = zstd.ZstdCompressor()
    silent = streaming.compress(bytes(1000)) + streaming.flush()
    assert "announce" in refused(PACKED + silent[4:])
    whole = zstd.compress(written(tokens_of(FULL))[len(PLAIN) :])
    assert decode(PACKED + whole[4:]) == FULL
    for tail in (b"x", whole, b"\x50\x2a\x4d\x18\x00\x00\x00\x00"):
        refused(PACKED + whole[4:] + tail)


@pytest.mark.parametrize("exponent", range(17, 32))
def test_windows_beyond_our_own_are_refused(exponent: int) -> None:
    """A frame of a few bytes may ask for a window of gigabytes (RFC 8878, 3.1.1.1.2)."""
    window = bytes([exponent - 10 << 3])
    repeated = [(2**17 << 3 | 1 << 1 | last).to_bytes(3, "little") + b"x" for last in (*7 * [0], 1)]
    frame = b"\x80" + window + struct.pack("<I", 2**20) + b"".join(repeated)
    assert ("decompress" in refused(PACKED + frame)) == (exponent > MIN_WINDOW_LOG)


def test_a_body_too_large_is_refused() -> None:
    assert "larger" in refused(plain(bytes(2**23 + 1)))


def test_few_bytes_do_not_become_many_objects() -> None:
    """A shape of 10,000 fields costs one byte a field in each further record."""
    shared = {f"f{number}": Entry(DOT, None) for number in range(10_000)}
    rows = tuple(Extraction(n, "d", Guid(n.to_bytes(4, "big")), shared) for n in range(1, 200))
    content = content_of(replace(EMPTY, extractions=rows), ROWS, Limits(objects=10**9))
    assert "more than" in refused(content)
    with pytest.raises(BadFormat, match="more than"):
        decode(content, Limits(objects=100_000))


def test_few_bytes_do_not_become_many_records() -> None:
    rows = tuple(Extraction(n, "d", Guid(n.to_bytes(4, "big")), {}) for n in range(1, 10_000))
    content = encode(replace(EMPTY, extractions=rows), Limits(objects=10**9))
    assert len(content) < 300
    with pytest.raises(BadFormat, match="more than"):
        decode(content, Limits(objects=30_000))


def test_a_count_alone_costs_nothing() -> None:
    for count in (10**6, 2**53 - 1):
        assert peak(written([0, 1, 2, 5, 6, count])) < 2**20
    assert peak(plain(b"\x00" * 2**20)) < 2**24
