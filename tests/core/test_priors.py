"""Which earlier bodies are counted on, and which are kept: bounded, and alike at both ends."""

from hypothesis import given
from hypothesis import strategies as st

from mailsync.core import priors
from mailsync.core.positions import Positions
from mailsync.core.preface import INTERVALS_MAX

MIB = 2**20


@given(st.dictionaries(st.integers(1, 2_000), st.integers(0, 3 * MIB // 2), max_size=50))
def test_what_is_kept_is_bounded_and_both_ends_drop_alike(sizes: dict[int, int]) -> None:
    gone = set(priors.surplus(sizes))
    kept = {serial: size for serial, size in sizes.items() if serial not in gone}
    assert sum(kept.values()) + priors.BODY_COST * len(kept) <= priors.KEPT
    assert not gone or max(gone) < min(kept, default=2**53)
    assert priors.surplus(kept) == []
    # who got some of them only, keeps every one that the other end still keeps
    some = {serial: size for serial, size in sizes.items() if serial % 3}
    assert set(priors.surplus(some)) <= gone


def test_small_bodies_are_not_kept_without_end() -> None:
    sizes = dict.fromkeys(range(1, 10_000), 30)
    assert len(sizes) - len(priors.surplus(sizes)) <= priors.KEPT // priors.BODY_COST


@given(st.sets(st.integers(1, 3_000), max_size=800))
def test_a_prior_can_always_be_named(serials: set[int]) -> None:
    """Where every other mail is lost, there are many gaps; more than a reader takes."""
    prior = priors.chosen(dict.fromkeys(serials, 10))
    assert len(prior.intervals) <= priors.NAMED <= INTERVALS_MAX
    assert set(prior) <= serials
    assert not serials or max(serials) in prior
    told = priors.announced(serials)
    assert len(told.intervals) <= priors.ANNOUNCED <= INTERVALS_MAX
    assert set(told) <= serials


def test_the_prior_is_the_newest_megabyte() -> None:
    assert priors.chosen({1: MIB, 2: MIB // 2, 3: MIB // 2}) == Positions.of([2, 3])
    assert priors.chosen({1: MIB, 2: MIB // 2, 3: 1}) == Positions.of([1, 2, 3])
    assert priors.joined([b"a" * MIB, b"b" * 3]) == b"a" * (MIB - 3) + b"bbb"
    assert priors.kept(b"a" + b"b" * MIB) == b"b" * MIB
