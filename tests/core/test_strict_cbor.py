"""Only what we would have written ourselves is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsync.core.strict_cbor import MAX_DEPTH, Scalars, decode, encode
from mailsync.errors import BadFormat, OurError

scalars = st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.binary() | st.text()


@given(st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_there_and_back(item: object) -> None:
    assert decode(encode(item), max_depth=100) == item


@pytest.mark.parametrize(
    "data",
    [
        "",
        "0000",  # trailing
        "1801",  # longer head than needed
        "190001",
        "580161",
        "9800",
        "b800",
        "fa3f800000",  # single precision
        "f93c00",  # half precision
        "a200000000",  # a key twice
        "a20000f400",  # 0 and false
        "a201000100",
        "a20100f93c0000",  # 1 and 1.0
        "9fff",
        "5fff",
        "bfff",
        "7f6161ff",
        "c24101",
        "c074323032362d31312d32325430303a30303a30305a",
        "d82364282b2b29",
        "d81c80",
        "d9010080",
        "daffffffff00",
        "62c328",
        "1c",
        "ff",
        "9b7fffffffffffffff",
        "bb7fffffffffffffff",
        "5b7fffffffffffffff",
    ],
)
def test_everything_else_is_refused(data: str) -> None:
    with pytest.raises(BadFormat) as caught:
        decode(bytes.fromhex(data))
    assert len(str(caught.value).splitlines()) == 1


def test_every_tag_is_closed() -> None:
    items = ["00", "60", "40", "80", "a0", "820001"]
    for number in [*range(300), 1004, 43000, 55799, 65535]:
        head = encode(number)
        tag = bytes([head[0] | 0xC0]) + head[1:]
        for item in items:
            with pytest.raises(BadFormat):
                decode(tag + bytes.fromhex(item))
            with pytest.raises(BadFormat):
                Scalars(tag + bytes.fromhex(item)).next()


def test_depth_is_bounded() -> None:
    assert decode(b"\x81" * MAX_DEPTH + b"\x00")
    for depth in (MAX_DEPTH + 2, 1_000_000):
        with pytest.raises(BadFormat):
            decode(b"\x81" * depth + b"\x00")


def test_lone_surrogates_are_our_error() -> None:
    with pytest.raises(OurError):
        encode("\ud800")


@given(st.lists(scalars))
def test_sequences(items: list[object]) -> None:
    sequence = Scalars(b"".join(map(encode, items)))
    assert [sequence.next() for _ in items] == items
    sequence.finish()
    with pytest.raises(BadFormat):
        sequence.next()


@pytest.mark.parametrize("tail", [b"\x00", b"\x19", b"\xff"])
def test_sequences_do_not_leave_anything_over(tail: bytes) -> None:
    sequence = Scalars(encode("x" * 100_000) + tail)
    sequence.next()
    with pytest.raises(BadFormat, match="left over"):
        sequence.finish()


@pytest.mark.parametrize("lead", range(4080, 4100))
def test_sequences_longer_than_a_read_buffer(lead: int) -> None:
    """cbor2 reads streams 4,096 bytes at a time, and once lost what lay across the border."""
    items: list[object] = [bytes(lead), 2**40, "grün" * 3_000, 1.5, *range(3_000), bytes(9_000), 7]
    sequence = Scalars(b"".join(map(encode, items)))
    assert [sequence.next() for _ in items] == items
    sequence.finish()


def test_many_big_keys_are_refused_at_the_first() -> None:
    """20,000 of them, made to collide, would take cbor2 seconds."""
    keys = b"".join(
        b"\xc2\x50" + (n * (2**61 - 1)).to_bytes(16, "big") + b"\x00" for n in range(20_000)
    )
    with pytest.raises(BadFormat, match="tag"):
        decode(b"\xb9\x4e\x20" + keys)


@given(st.binary())
def test_random_bytes_raise_bad_format_alone(data: bytes) -> None:
    try:
        item = decode(data)
    except BadFormat:
        return
    assert encode(item) == data
