"""Numbers have one spelling each, and a bound."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsync.core.varints import Octets, folded, unfolded, varint
from mailsync.errors import BadFormat

numbers = st.integers(0, 2**70) | st.integers(0, 300)


def test_layout_is_the_published_one() -> None:
    """The examples of DWARF 4, section 7.6, and of protocol buffers' zigzag."""
    assert [varint(n).hex() for n in (2, 127, 128, 129, 130, 12857)] == [
        "02",
        "7f",
        "8001",
        "8101",
        "8201",
        "b964",
    ]
    assert [folded(n) for n in (0, -1, 1, -2, 2147483647)] == [0, 1, 2, 3, 4294967294]


@given(st.lists(numbers))
def test_there_and_back(some: list[int]) -> None:
    octets = Octets(b"".join(map(varint, some)))
    assert [octets.number(number + 1) for number in some] == some
    octets.finish()


@given(st.integers())
def test_what_may_be_negative(number: int) -> None:
    assert folded(number) >= 0
    assert unfolded(folded(number)) == number


@given(numbers)
def test_the_bound_is_exclusive(number: int) -> None:
    with pytest.raises(BadFormat, match="expected"):
        Octets(varint(number)).number(number)


@given(numbers, st.integers(1, 9))
def test_every_other_spelling_is_refused(number: int, more: int) -> None:
    shortest = varint(number)
    longer = shortest[:-1] + bytes([shortest[-1] | 0x80]) + b"\x80" * (more - 1) + b"\x00"
    with pytest.raises(BadFormat):
        Octets(longer).number(2**80)
    for size in range(len(shortest)):
        with pytest.raises(BadFormat, match="cut"):
            Octets(shortest[:size]).number(2**80)


@given(st.binary(max_size=20), st.integers(1, 2**64))
def test_what_is_read_is_what_would_be_written(data: bytes, below: int) -> None:
    octets = Octets(data)
    try:
        number = octets.number(below)
    except BadFormat:
        return
    assert 0 <= number < below
    assert varint(number) + octets.rest() == data


def test_a_number_without_end_is_given_up_early() -> None:
    with pytest.raises(BadFormat, match="longer"):
        Octets(b"\x80" * 2**23).number(2**53)


def test_nothing_is_read_beyond_the_end() -> None:
    octets = Octets(b"ab\ncd")
    assert octets.line() == b"ab\n"
    with pytest.raises(BadFormat, match="cut"):
        octets.line()
    with pytest.raises(BadFormat, match="missing"):
        octets.take(3)
    assert not octets.at_end
    with pytest.raises(BadFormat, match="left over"):
        octets.finish()
    assert octets.rest() == b"cd"
    octets.finish()
