"""Vectors keep every value exact, and take nothing else."""

import math
import struct
import tracemalloc
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailsync.core import vectors
from mailsync.core.model import ABSENT, Absent, Value
from mailsync.core.varints import SIZES, Octets, varint
from mailsync.errors import BadFormat, OurError
from tests.core.test_noise import texts

EMPTY: Sequence[Value | Absent] = (None, ABSENT)

nothing = st.sampled_from(EMPTY)
integers = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3)
doubles = st.binary(min_size=8, max_size=8).map(lambda octets: struct.unpack(">d", octets)[0])
floats = doubles | st.floats() | st.sampled_from([0.0, -0.0, math.inf, -math.inf, math.nan, 5e-324])
words = st.sampled_from(["", "\x02", "\x03", "\\", "a\nb", "\\\x02", "Dr.", "5550123", "\x1a"])
anything = nothing | st.booleans() | integers | floats | texts | words | st.binary(max_size=20)

columns = st.one_of(
    [
        st.lists(one | nothing, max_size=60)
        for one in (integers, floats, texts | words, words, anything, st.booleans(), st.binary())
    ]
)


def exact(values: Sequence[Value | Absent]) -> list[tuple[type, object]]:
    """Values by type and bits."""
    return [
        (type(value), struct.pack(">d", value) if isinstance(value, float) else value)
        for value in values
    ]


def read(vector: bytes, noise: bytes, count: int) -> list[Value | Absent]:
    octets = Octets(noise)
    found = vectors.read(vector, octets)
    values = [next(found.values) for _ in range(count)]
    found.finish()
    octets.finish()
    return values


@settings(max_examples=500, deadline=None)
@given(columns)
def test_there_and_back(values: list[Value | Absent]) -> None:
    vector, noise = vectors.written(values)
    assert exact(read(vector, noise, len(values))) == exact(values)
    assert vectors.written(list(values)) == (vector, noise)


@given(columns)
def test_one_value_more_or_less_is_refused(values: list[Value | Absent]) -> None:
    vector, noise = vectors.written(values)
    with pytest.raises(BadFormat):
        read(vector, noise, len(values) + 1)
    if values:
        with pytest.raises(BadFormat):
            read(vector, noise, len(values) - 1)


@given(columns)
def test_every_cut_and_extension_is_refused(values: list[Value | Absent]) -> None:
    vector, noise = vectors.written(values)
    for size in range(max(0, len(vector) - 40), len(vector)):
        with pytest.raises(BadFormat):
            read(vector[:size], noise, len(values))
    for tail in (b"\x00", b"\n", b"a\n"):
        with pytest.raises(BadFormat):
            read(vector + tail, noise, len(values))
        with pytest.raises(BadFormat):
            read(vector, noise + tail, len(values))
    if noise:
        with pytest.raises(BadFormat):
            read(vector, noise[:-1], len(values))


@settings(max_examples=300, deadline=None)
@given(columns, st.integers(0), st.integers(0, 7))
def test_flipped_bits_raise_bad_format_alone(
    values: list[Value | Absent], byte: int, bit: int
) -> None:
    vector, noise = vectors.written(values)
    both = bytearray(vector + noise)
    both[byte % len(both)] ^= 1 << bit
    try:
        read(bytes(both[: len(vector)]), bytes(both[len(vector) :]), len(values))
    except BadFormat:
        return


@given(st.sampled_from(range(8)), st.binary(max_size=60), st.binary(max_size=20))
def test_random_bytes_raise_bad_format_alone(kind: int, data: bytes, noise: bytes) -> None:
    for count in (0, 1, 5):
        try:
            found = read(bytes([kind]) + data, noise, count)
        except BadFormat:
            continue
        vectors.written(found)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, None, -1], vectors.NUMBERS),
        (["a", None, ABSENT], vectors.TEXTS),
        ([1.5, None], vectors.FLOATS),
        ([1.5, math.nan], vectors.TOKENS),
        ([1, True], vectors.TOKENS),
        ([1, 1.0], vectors.TOKENS),
        ([True], vectors.TOKENS),
        (["a", 1], vectors.TOKENS),
        ([None], vectors.TOKENS),
        ([], vectors.TOKENS),
        (["a", "b", None] * 8, vectors.WORDS),
        (["a", "b", None] * 7, vectors.TEXTS),
        ([*map(str, range(10)), "a", "b"] * 2, vectors.TEXTS),
    ],
)
def test_the_form_follows_from_the_values(values: list[Value | Absent], kind: bytes) -> None:
    assert vectors.written(values)[0][:1] == kind


def test_layout_is_the_published_one() -> None:
    assert vectors.written([0, -1, 1, None, ABSENT, 63]) == (bytes.fromhex("0102030400018001"), b"")
    expected = "0204" + b"caf\xc3\xa9\n\x02\n\x03\n\\\x02\n\x10\n".hex()
    values = ["café", None, ABSENT, "\x02", "5550123"]
    assert vectors.written(values) == (bytes.fromhex(expected), varint(7) + b"\x54\xb0\x2b")
    assert vectors.written([1.5, None, -0.0]) == (b"\x031.5\n\x02\n-0.0\n", b"")
    few = [None, "b", "a"] * 8
    assert vectors.written(few) == (b"\x04\x00\x03\x02\na\nb\n" + b"\x00\x02\x01" * 8, b"")


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, "\ud800", "\udfff5550123"])
def test_what_no_field_can_hold_is_our_error(value: Value) -> None:
    for values in ([value], [value, None], [value] * 30):
        with pytest.raises(OurError):
            vectors.written(values)


@pytest.mark.parametrize(
    "vector",
    [
        b"",
        b"\x05",
        b"\xff1",
        b"\x01" + varint(2**64 + 2),
        b"\x01\x80\x00",
        b"\x02\x00\xff\n",
        b"\x02\x00\xed\xa0\x80\n",
        b"\x02\x01a\n",
        b"\x03nan\n",
        b"\x031\n",
        b"\x031.50\n",
        b"\x03 1.5\n",
        b"\x031_0.0\n",
        b"\x03\xd9\xa1.0\n",
        b"\x03infinity\n",
        b"\x03\n",
        b"\x04\x00" + varint(vectors.WORDS_MAX + 1) + b"a\n" * (vectors.WORDS_MAX + 1) + b"\x00",
        b"\x04\x00\x00\x00",
        b"\x04\x00\x02a\n\x00",
        b"\x04\x00\x01a\n\x01",
        b"\x04\x00\xff\xff\xff\xff\x0fa\n\x00",
        b"\x00\x00\x80",
        b"\x00\x00\xc2\x41\x01",
        b"\x02" + varint(SIZES) + b"a\n",
    ],
)
def test_nasty_vectors_are_refused(vector: bytes) -> None:
    with pytest.raises(BadFormat) as caught:
        read(vector, b"", 1)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("kind", range(5))
@pytest.mark.parametrize("octet", [b"\n", b"1", b"\x80", b"a\n", b"\x10", b"\\", b"\xff"])
def test_large_vectors_take_what_is_read_of_them(kind: int, octet: bytes) -> None:
    """Values that nobody asked for take no memory beyond the bytes."""
    vector = bytes([kind, 0]) + octet * (2**22 // len(octet))
    tracemalloc.start()
    try:
        with pytest.raises(BadFormat):
            read(vector, b"", 3)
        assert tracemalloc.get_traced_memory()[1] < 6 * len(vector)
    finally:
        tracemalloc.stop()
