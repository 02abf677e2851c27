"""Sketches tell exactly in what two sets differ, or say that they cannot."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from mailsync.core.reconciliation import SYMBOL_SIZE, Difference, difference, symbols

elements = st.integers(0, 2**64 - 1)


@given(st.sets(elements, max_size=8), st.sets(elements, max_size=8), st.sets(elements, max_size=30))
def test_a_difference_is_exact_or_unknown(
    ours: set[int], theirs: set[int], common: set[int]
) -> None:
    found = difference(ours | common, symbols(theirs | common, 0, 40))
    only_theirs, only_ours = theirs - ours - common, ours - theirs - common
    assert found in (None, Difference(frozenset(only_theirs), frozenset(only_ours)))
    if len(only_theirs) + len(only_ours) <= 4:
        assert found is not None


@given(st.binary(max_size=20 * SYMBOL_SIZE), st.sets(elements, max_size=5))
def test_any_bytes_give_some_answer(octets: bytes, ours: set[int]) -> None:
    difference(ours, octets)


def test_later_symbols_continue_earlier_ones() -> None:
    chance = random.Random(1)
    ours = {chance.getrandbits(64) for _ in range(500)}
    theirs = {chance.getrandbits(64) for _ in range(500)}
    whole = symbols(theirs, 0, 3000)
    assert symbols(theirs, 0, 700) + symbols(theirs, 700, 3000) == whole
    assert difference(ours, whole[: 700 * SYMBOL_SIZE]) is None
    assert difference(ours, whole) == Difference(frozenset(theirs), frozenset(ours))


def test_two_symbols_an_element_are_enough() -> None:
    chance = random.Random(2)
    told = 0
    for _ in range(50):
        theirs = {chance.getrandbits(64) for _ in range(100)}
        told += difference(set(), symbols(theirs, 0, 200)) is not None
    assert told >= 48


def test_an_element_that_steps_nowhere_comes_to_an_end() -> None:
    """The one whose every step would be of length 0."""
    stuck = (2**64 - 1) * pow(0xDA942042E4DD58B5, -1, 2**64) % 2**64
    assert difference({stuck}, symbols({stuck}, 0, 10)) == Difference(frozenset(), frozenset())
