"""What makes records of two sites the same."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mailsync.core.matching import (
    Standing,
    content_digest,
    keeps,
    likeness_of,
    next_size,
    paired,
    ranked,
)
from mailsync.core.model import Guid, Value

standings = st.builds(Standing, st.booleans(), st.integers(0, 2**64 - 1))
digests = st.dictionaries(st.binary(min_size=4, max_size=4).map(Guid), st.integers(0, 3))


@given(standings, standings)
def test_one_of_two_sites_keeps_its_guids(one: Standing, other: Standing) -> None:
    if one.site != other.site:
        assert keeps(one, other) is not keeps(other, one)


def test_who_shares_with_others_keeps_its_guids() -> None:
    assert keeps(Standing(shared=True, site=9), Standing(shared=False, site=1))


def test_content_is_told_by_type_and_value() -> None:
    values: list[Value] = [1, 1.0, True, "1", b"1", None, "", 0, float("inf")]
    assert len({content_digest({"a": value}, {}) for value in values}) == len(values)
    assert content_digest({"a": 1, "b": 2}, {}) == content_digest({"b": 2, "a": 1}, {})
    assert content_digest({"a": "bc"}, {}) != content_digest({"ab": "c"}, {})


def test_a_reference_counts_as_what_it_refers_to() -> None:
    here = content_digest({"boss": b"guid here"}, {"boss": 7})
    assert here == content_digest({"boss": b"guid there"}, {"boss": 7})
    assert here != content_digest({"boss": 7}, {})


@given(digests)
def test_copies_have_ranks_of_their_own(one: dict[Guid, int]) -> None:
    elements = ranked(one)
    assert len({element for element, _ in elements}) == len(one)
    assert sorted(guid for _, guid in elements) == sorted(one)
    assert elements == sorted(elements)


def test_the_same_copies_at_two_sites_have_the_same_elements() -> None:
    here = ranked({Guid(b"aaaa"): 5, Guid(b"bbbb"): 5, Guid(b"cccc"): 6})
    there = ranked({Guid(b"zzzz"): 5, Guid(b"yyyy"): 6, Guid(b"xxxx"): 5})
    assert [element for element, _ in here] == [element for element, _ in there]


def test_sketches_grow_while_they_are_cheaper_than_records() -> None:
    sizes, have = [], 0
    while (more := next_size(50_000, have)) is not None:
        sizes.append(more)
        have = more
    assert sizes == [128, 512, 2048, 8192]
    assert next_size(0, 0) == 8
    assert next_size(10, 38) is None


@given(digests, digests)
def test_nobody_is_paired_twice_and_only_doubt_stays_open(
    theirs: dict[Guid, int], ours: dict[Guid, int]
) -> None:
    found = paired(theirs, ours)
    assert len(set(found.pairs.values())) == len(found.pairs)
    assert found.pairs.keys() <= theirs.keys()
    assert set(found.pairs.values()) <= ours.keys()
    assert not found.open & found.pairs.keys()
    if found.open:
        assert len(found.pairs) < len(ours)


def test_declared_fields_that_say_nothing_pair_nobody() -> None:
    assert likeness_of({"name": None}, ["name"]) is None
    assert likeness_of({}, ["name"]) is None
    assert likeness_of({"name": ""}, ["name"]) is not None
    assert likeness_of({"a": "x", "b": "y"}, ["a", "b"]) != likeness_of(
        {"a": "xy", "b": ""}, ["a", "b"]
    )
