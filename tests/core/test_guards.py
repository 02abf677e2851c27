"""What looks like an accident, by numbers alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsync.core.guards import Kind, Likeness, Tally, suspicion, suspicion_received

counts = st.integers(0, 1000)


@pytest.mark.parametrize(
    ("known", "gone", "others", "limit", "kind"),
    [
        (4, 4, 0, 50, None),
        (5, 5, 0, 50, Kind.EMPTIED),
        (5, 5, 4, 50, Kind.EMPTIED),
        (5, 5, 5, 50, Kind.REKEYED),
        (500, 499, 0, 500, None),
        (500, 51, 0, 50, Kind.DELETES),
        (3, 2, 0, 1, Kind.DELETES),
        (500, 500, 0, None, None),
        (0, 0, 500, 50, None),
    ],
)
def test_what_is_suspect(
    known: int, gone: int, others: int, limit: int | None, kind: Kind | None
) -> None:
    found = suspicion(Tally(known, gone, gone, others), limit, 0)
    assert (found and found.kind) == kind


@pytest.mark.parametrize(
    ("same", "others", "kind"), [(0, 90, "replaced"), (1, 90, None), (0, 89, None)]
)
def test_another_dataset_is_told_by_nearly_all_of_nearly_all_records(
    same: int, others: int, kind: str | None
) -> None:
    tally = Tally(100, others=others, sampled=20)
    for number in range(20):
        known = {"a": number, "b": 1, "c": 2, "d": 3}
        tally.likeness.compare(known, {"a": -1, "b": 1 if same else 0, "c": 0, "d": 0})
    found = suspicion(tally, 50, 0)
    assert (found and found.kind.value) == kind


def test_rows_of_two_fields_tell_nothing() -> None:
    likeness = Likeness()
    for number in range(20):
        likeness.compare({"a": number, "b": 1}, {"a": -1, "b": 0})
    assert not likeness.is_another


@given(counts, counts, counts, counts, counts)
def test_a_persons_word_holds_for_exactly_that_many(
    known: int, gone: int, others: int, limit: int, meant: int
) -> None:
    tally = Tally(known, min(gone, known), min(gone, known), others)
    found = suspicion(tally, limit, meant)
    assert found is None or found.records > meant
    if found is not None:
        assert suspicion(tally, limit, found.records) is None


@given(counts, counts, counts, counts)
def test_what_was_received_is_suspect_beyond_limit_and_word(
    known: int, deleted: int, limit: int, meant: int
) -> None:
    found = suspicion_received(known, deleted, limit, meant)
    assert (found is not None) == (deleted > limit and deleted > meant)
    assert suspicion_received(known, deleted, None, 0) is None
