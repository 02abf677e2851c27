"""32-bit identifiers: nobody gives one twice, whatever clocks and backups do."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from mailsync.core.identifiers import (
    AHEAD_MAX,
    CLASSES,
    RESTORED_AHEAD,
    VALUES_32,
    Given,
    class_of,
    first_sight,
    given_since,
    guid_32,
    next_given,
)

NOW = 1_790_000_000
HOUR = 3600
YEAR = 365 * 24 * HOUR


def mint(before: Given, guid_class: int, now: int) -> Given:
    after = next_given(before, guid_class, now)
    assert after is not None
    return after


def test_all_classes_minting_as_fast_as_they_can_for_an_hour_never_collide() -> None:
    """64 sites, each with a clock that drifts, jumps and is set back, many values a second."""
    given_by_all: set[int] = set()
    count = 0
    for guid_class in range(CLASSES):
        chance = random.Random(guid_class)
        last, skew = Given(), chance.choice([0, 0, -YEAR, 3 * YEAR])
        for second in range(0, HOUR, 5):
            if chance.random() < 0.01:
                skew = chance.choice([0, -YEAR, YEAR, -5, 5])
            for _ in range(chance.choice([1, 3, 5])):
                last = mint(last, guid_class, NOW + second + skew)
                given_by_all.add(last.value)
                count += 1
    assert len(given_by_all) == count > 100_000


@settings(max_examples=300)
@given(
    st.integers(0, CLASSES - 1),
    st.lists(
        st.tuples(st.integers(0, 40), st.integers(-3 * YEAR, 3 * YEAR) | st.integers(-5, 300)),
        max_size=30,
    ),
)
def test_values_of_a_class_rise_whatever_the_clock_does(
    guid_class: int, steps: list[tuple[int, int]]
) -> None:
    last, now = Given(), NOW
    for count, jump in steps:
        now = max(now + jump, 0)
        for _ in range(count):
            after = mint(last, guid_class, now)
            assert after.value > last.value
            assert after.value >= now
            assert class_of(guid_32(after)) == guid_class
            last = after


def test_a_value_begins_as_the_second_of_first_sight() -> None:
    value = mint(Given(), 7, NOW)
    assert 0 <= value.value - NOW < CLASSES
    assert first_sight(guid_32(value)) // 1000 == value.value


@settings(max_examples=200)
@given(
    st.integers(0, 5000),
    st.lists(st.tuples(st.integers(CLASSES, 500), st.integers(0, 3)), max_size=20),
    st.integers(1, 100),
)
def test_a_backup_gives_nothing_again_that_was_given_since_at_a_value_in_64_seconds(
    loaded: int, days: list[tuple[int, int]], afterwards: int
) -> None:
    """However far a first load had put it ahead of its clock when the backup was made."""
    last = Given()
    for _ in range(loaded):
        last = mint(last, 5, NOW)
    backup, now, lost = last, NOW, set()
    for pause, records in days:
        for _ in range(min(records, pause // CLASSES)):
            now += CLASSES
            last = mint(last, 5, now)
            lost.add(last.value)
        now += pause
    now += CLASSES
    for _ in range(afterwards):
        backup = mint(backup, 5, now)
        assert backup.value not in lost


@given(st.integers(0, 3000), st.integers(1, 3000))
def test_a_proven_restore_leaves_behind_what_was_given_faster(loaded: int, lost: int) -> None:
    last = Given()
    for _ in range(loaded):
        last = mint(last, 5, NOW)
    backup, given_since_then = last, set()
    for _ in range(lost):
        last = mint(last, 5, NOW + 1)
        given_since_then.add(last.value)
    after = mint(given_since(backup, NOW + 2), 5, NOW + 2)
    assert after.value > max(given_since_then)
    assert RESTORED_AHEAD // CLASSES > 490_000
    assert after.value - NOW > AHEAD_MAX


def test_values_end_and_none_is_given_twice() -> None:
    last = Given(VALUES_32 - 3 * CLASSES, NOW)
    values = []
    while (after := next_given(last, 63, NOW)) is not None:
        last = after
        values.append(after.value)
    assert values == [VALUES_32 - 2 * CLASSES - 1, VALUES_32 - CLASSES - 1, VALUES_32 - 1]
