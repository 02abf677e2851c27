"""The record map: what is done faster for most records is what is done for all."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsync.core import record_map
from mailsync.core.enrolment import Enrolled
from mailsync.core.entries import as_woven, woven
from mailsync.core.ledger import Ledger, SiteState
from mailsync.core.merge import killed
from mailsync.core.model import (
    Absent,
    Dot,
    Entry,
    Etag,
    Fields,
    Guid,
    Key,
    Record,
    Sighting,
    dots_of,
    is_alive,
    merged_fields,
    same_fields,
    values_of,
)
from tests.core.strategies import values

NAMES = ["a", "b", "c", "d"]
FIRST, SECOND, LATER = (Dot(stamp, 1, stamp) for stamp in (1, 2, 3))
dots = st.sampled_from([FIRST, SECOND, LATER])
few = st.sampled_from([None, 0, False, 1, True, 1.0, "", "1", b""])
rows = st.dictionaries(st.sampled_from(NAMES), few)
entries = st.dictionaries(
    st.sampled_from(NAMES),
    st.builds(
        Entry,
        st.sampled_from([FIRST, SECOND, LATER]),
        values | st.just(Absent.ABSENT),
        st.booleans(),
    ),
)


@given(entries)
def test_entries_as_columns_are_the_same_entries(plain: dict[str, Entry]) -> None:
    columns = as_woven(plain)
    assert columns == plain
    assert plain == columns
    assert dict(columns) == plain
    assert list(columns) == list(columns.keys()) == list(plain)
    assert is_alive(columns) == is_alive(plain)
    assert dots_of(columns) == dots_of(plain)
    assert list(values_of(columns).items()) == list(values_of(plain).items())
    assert killed(columns) == killed(plain)


def known(fields: Fields, edits: Fields) -> Record:
    """A record enrolled with these fields, some of which were written once more."""
    ledger = Ledger(SiteState(1), {})
    ledger.enrol("t", FIRST, [Enrolled(Guid(bytes(16)), Key("k"), fields, None)])
    [enrolled] = ledger.all()
    peers = [frozenset({name}) for name in "pqr"]
    record = replace(
        enrolled, had=peers[0], whole_for=peers[1], blind_to=peers[2], outside={"p": 1}
    )
    later = {name: value for name, value in edits.items() if name in fields}
    return record_map.detect(ledger, record, {**fields, **later}, None, SECOND)


@given(
    rows,
    rows,
    rows | st.none(),
    st.none() | st.frozensets(st.sampled_from(NAMES)),
    st.lists(st.lists(st.sampled_from(NAMES), min_size=2, unique=True), max_size=2),
    st.sampled_from([{}, None]),
)
def test_an_edit_of_what_users_saw_whole_is_an_edit_like_others(
    fields: Fields,
    edits: Fields,
    current: Fields | None,
    held: frozenset[str] | None,
    wholes: list[list[str]],
    beneath: Fields | None,
) -> None:
    record = known(fields, edits)
    if current is not None and beneath is not None:
        current = {**(record.shadow or {}), **current}
    site = SiteState(1, position=9)
    quick, slow = Ledger(site, {}), Ledger(site, {})
    etag = Etag(b"e")
    found = record_map.detect(quick, record, current, etag, LATER, held, wholes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record_map, "_shows_all", lambda *_: False)
        plain = replace(record, entries=dict(record.entries))
        expected = record_map.detect(slow, plain, current, etag, LATER, held, wholes)
    assert found == expected
    assert same_fields(merged_fields(found), merged_fields(expected))
    assert quick.changed == slow.changed
    assert quick.site == slow.site
    assert quick.notes == slow.notes


def test_a_write_of_some_fields_leaves_the_others_to_those_who_wrote_them() -> None:
    before = woven({"a": 1, "b": 2}, FIRST)
    after = before.rewritten({"b": 3}, SECOND)
    assert after == {"a": Entry(FIRST, 1), "b": Entry(SECOND, 3)}
    assert before == {"a": Entry(FIRST, 1), "b": Entry(FIRST, 2)}


@pytest.mark.parametrize("value", [None, "-"])
def test_a_row_lives_on_by_what_its_new_column_was_to_hold_if_that_is_anything(
    value: str | None,
) -> None:
    entries = {"a": Entry(FIRST, 1), "b": Entry(FIRST, value)}
    shown = Record(
        "people", Guid(bytes(16)), entries, {FIRST: Sighting(1)}, 1, key=Key("1"), shadow={"a": 1}
    )
    ledger = Ledger(SiteState(1, position=1), {shown.id: shown})
    gone = record_map.detect(ledger, shown, None, None, LATER, frozenset({"a", "b"}))
    assert is_alive(gone.entries) == bool(ledger.notes) == (value is not None)
