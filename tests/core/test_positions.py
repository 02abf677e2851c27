"""Positions are what a plain set of integers is."""

from hypothesis import given
from hypothesis import strategies as st

from mailsync.core.positions import NOWHERE, Positions

numbers = st.sets(st.integers(1, 60))


def is_normal(positions: Positions) -> bool:
    """Sorted, disjoint and not adjacent, so that equal sets are equal values."""
    ends = [end for interval in positions.intervals for end in interval]
    gaps = zip(positions.intervals, positions.intervals[1:], strict=False)
    return ends == sorted(ends) and all(one[1] + 1 < other[0] for one, other in gaps)


@given(numbers, numbers)
def test_operations_are_those_of_sets(one: set[int], other: set[int]) -> None:
    left, right = Positions.of(one), Positions.of(other)
    for result, expected in (
        (left, one),
        (left | right, one | other),
        (left - right, one - other),
        (left & right, one & other),
    ):
        assert is_normal(result)
        assert list(result) == sorted(expected)
        assert result == Positions.of(expected)
        assert len(result) == len(expected)
        assert [number for number in range(62) if number in result] == sorted(expected)
    assert (left <= right) == (one <= other)
    assert (left == right) == (one == other)


@given(numbers)
def test_contiguous(one: set[int]) -> None:
    expected = next(number for number in range(62) if number + 1 not in one)
    assert Positions.of(one).contiguous == expected


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 9))))
def test_covering_is_the_union(pairs: list[tuple[int, int]]) -> None:
    intervals = [(low, low + more) for low, more in pairs]
    covered = Positions.covering(intervals)
    assert is_normal(covered)
    assert set(covered) == {n for low, high in intervals for n in range(low, high + 1)}


def test_up_to() -> None:
    assert Positions.up_to(0) == NOWHERE
    assert list(Positions.up_to(3)) == [1, 2, 3]
    assert len(Positions.up_to(10**15)) == 10**15
    assert 10**15 in Positions.up_to(10**15)
    assert 10**15 + 1 not in Positions.up_to(10**15)
