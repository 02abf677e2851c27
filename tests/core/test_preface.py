"""The preface: what is read of a bundle before anything is known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsync.core.positions import NOWHERE, Positions
from mailsync.core.preface import INTERVALS_MAX, VERSION, Preface, check_of, read, written
from mailsync.core.varints import varint
from mailsync.errors import BadFormat

serials = st.integers(1, 2**40) | st.integers(1, 60)
intervals = st.lists(st.tuples(serials, st.integers(0, 20)), max_size=6).map(
    lambda pairs: Positions.covering((low, low + more) for low, more in pairs)
)
prefaces = st.builds(
    Preface, serials, intervals, st.booleans(), st.just(NOWHERE), st.just(b""), st.booleans()
) | st.builds(
    Preface,
    serials,
    intervals,
    st.booleans(),
    intervals,
    st.binary(min_size=4, max_size=4),
    st.booleans(),
    st.booleans(),
)


@given(prefaces, st.binary(max_size=10))
def test_there_and_back(preface: Preface, rest: bytes) -> None:
    assert read(written(preface) + rest) == (preface, rest)


def test_layout_is_the_published_one() -> None:
    assert written(Preface()).hex() == "01000100"
    held = Positions(((1, 3), (5, 5), (200, 201)))
    full = Preface(300, held, True, Positions(((2, 2),)), b"abcd", True, True)
    assert (
        written(full).hex()
        == "010fac02" + "03" + "0002" + "0000" + "c10101" + "010100" + "61626364"
    )


def test_the_check_tells_bodies_apart() -> None:
    assert check_of(b"") == b""
    assert check_of(b"abc").hex() == "ba7816bf"  # FIPS 180-4, example 1


@given(prefaces)
def test_every_cut_is_refused(preface: Preface) -> None:
    whole = written(preface)
    for size in range(len(whole)):
        with pytest.raises(BadFormat):
            read(whole[:size])


def test_a_newer_format_is_named() -> None:
    for version in range(256):
        if version == VERSION:
            continue
        with pytest.raises(BadFormat) as caught:
            read(bytes([version]) + written(Preface())[1:])
        assert (f"format {version}" in str(caught.value)) == (version > VERSION)
    for flags in (16, 32, 64, 127, 128, 255):
        with pytest.raises(BadFormat):
            read(bytes([VERSION, flags]) + written(Preface())[2:])


@pytest.mark.parametrize("count", [INTERVALS_MAX + 1, 2**20, 2**53, 2**64])
def test_a_count_of_intervals_alone_costs_nothing(count: int) -> None:
    with pytest.raises(BadFormat, match=r"expected|longer"):
        read(bytes([VERSION, 0, 1]) + varint(count) + b"\x00" * 2**20)


def test_numbers_that_a_store_could_not_hold_do_not_come_in() -> None:
    furthest = varint(2**53 - 1) * 2 * INTERVALS_MAX
    preface, _ = read(bytes([VERSION, 0, 1]) + varint(INTERVALS_MAX) + furthest)
    assert preface.held.intervals[-1][1] < 2**63
    for number in (2**53, 2**63, 2**64):
        with pytest.raises(BadFormat):
            read(bytes([VERSION, 0]) + varint(number) + b"\x00")
        with pytest.raises(BadFormat):
            read(bytes([VERSION, 0, 1, 1]) + varint(number) + b"\x00")


@given(st.binary(max_size=40))
def test_random_bytes_raise_bad_format_alone(data: bytes) -> None:
    for head in (b"", b"\x01", b"\x01\x02\x01"):
        try:
            preface, rest = read(head + data)
        except BadFormat:
            continue
        assert len(rest) <= len(data)
        assert preface.serial >= 0
