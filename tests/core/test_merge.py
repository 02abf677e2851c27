"""The join of two states of a record."""

from hypothesis import given
from hypothesis import strategies as st

from mailsync.core.merge import join
from mailsync.core.model import Dot, Entry

STAMPS = st.integers(1, 6)


@st.composite
def states(draw: st.DrawFn) -> dict[str, Entry]:
    """States as they can occur: a dot always stands for the same value."""
    state = {}
    for name in ("a", "b", "c"):
        if draw(st.booleans()):
            dot = Dot(draw(STAMPS), draw(st.integers(1, 2)), 7)
            state[name] = Entry(dot, dot.stamp * 10 + dot.site, draw(st.booleans()))
    return state


def dots(state: dict[str, Entry]) -> frozenset[Dot]:
    return frozenset(entry.dot for entry in state.values())


def joined(one: dict[str, Entry], other: dict[str, Entry]) -> dict[str, Entry]:
    return join(one, dots(one), other, dots(other))[0]


@given(states(), states(), states())
def test_join_is_associative(
    one: dict[str, Entry], two: dict[str, Entry], three: dict[str, Entry]
) -> None:
    assert joined(joined(one, two), three) == joined(one, joined(two, three))


@given(states(), states())
def test_join_is_commutative(one: dict[str, Entry], other: dict[str, Entry]) -> None:
    assert joined(one, other) == joined(other, one)


@given(states())
def test_join_is_idempotent(state: dict[str, Entry]) -> None:
    assert join(state, dots(state), state, dots(state)) == (state, [])


@given(states(), states())
def test_both_ends_find_the_same_losses(one: dict[str, Entry], other: dict[str, Entry]) -> None:
    here = join(one, dots(one), other, dots(other))[1]
    there = join(other, dots(other), one, dots(one))[1]
    assert here == there


@given(states(), states())
def test_a_write_that_was_seen_is_no_conflict(
    one: dict[str, Entry], other: dict[str, Entry]
) -> None:
    assert join(one, dots(one) | dots(other), other, dots(other))[1] == []


def test_values_of_different_types_are_different() -> None:
    one, other = {"a": Entry(Dot(1, 1, 1), 1)}, {"a": Entry(Dot(2, 2, 2), 1.0)}
    losses = join(one, dots(one), other, dots(other))[1]
    assert [loss.entry.value for loss in losses] == [1]
