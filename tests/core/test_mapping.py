"""A mapping is a lens: what is written is read again; what is read and written changes nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsync.core.mapping import Constant, Conversion, FieldMap, Place, Unconvertible
from mailsync.core.model import Fields, Value, same_fields

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(),
    st.text(" a"),
    st.binary(),
)
NAMES = ("name", "phone", "rank")
OWN = st.fixed_dictionaries(dict.fromkeys(("fn", "tel", "title"), VALUES))
SHARED = st.fixed_dictionaries(dict.fromkeys(NAMES, VALUES))
PLAIN = FieldMap({"name": Place("fn"), "phone": Place("tel"), "rank": Place("title")}, {})


def stripped(value: Value) -> Value:
    """A conversion that forgets something: blanks."""
    return value.strip() if isinstance(value, str) else value


def fails(_value: Value) -> Value:
    raise Unconvertible("no number")


FORGETFUL = FieldMap(
    {"name": Place("fn", "strip"), "phone": Place("tel"), "kind": Constant("person")},
    {"strip": Conversion(stripped, lambda value: value)},
)
FAILING = FieldMap({"phone": Place("tel", "bad")}, {"bad": Conversion(fails, fails)})


@given(OWN)
def test_own_to_shared_to_own_is_the_same(own: Fields) -> None:
    assert same_fields(PLAIN.own(PLAIN.shared(own), {}), own)


@given(SHARED, OWN)
def test_what_is_written_is_read_again(shared: Fields, present: Fields) -> None:
    assert same_fields(PLAIN.shared(PLAIN.own(shared, present)), shared)


@given(OWN)
def test_what_is_read_and_written_again_keeps_its_own_form(own: Fields) -> None:
    """Also where the conversion forgets what the own form has: " Ann " is shared as "Ann"."""
    assert same_fields(
        FORGETFUL.own(FORGETFUL.shared(own), own), {"fn": own["fn"], "tel": own["tel"]}
    )


def test_what_the_dataset_has_not_is_empty_and_other_fields_do_not_travel() -> None:
    found = PLAIN.shared({"fn": "Ann", "note": "hers"})
    assert found == {"name": "Ann", "phone": None, "rank": None}


def test_fields_that_are_not_named_stay_as_they_are() -> None:
    assert PLAIN.own({"phone": "2"}, {"fn": "Ann", "tel": "1"}) == {"tel": "2"}


def test_a_constant_is_shared_and_not_kept() -> None:
    assert FORGETFUL.shared({})["kind"] == "person"
    assert FORGETFUL.own({"kind": "person", "phone": "1"}, {}) == {"tel": "1"}
    assert FORGETFUL.own({"kind": None}, {}) == {}
    with pytest.raises(Unconvertible, match="kind is 'ship', here it is always 'person'"):
        FORGETFUL.own({"kind": "ship", "phone": "1"}, {})


def test_empty_is_never_converted() -> None:
    assert FAILING.shared({"tel": None}) == {"phone": None}
    assert FAILING.own({"phone": None}, {}) == {"tel": None}


def test_what_cannot_be_converted_is_named() -> None:
    with pytest.raises(Unconvertible, match="phone: no number"):
        FAILING.shared({"tel": "x"})
    with pytest.raises(Unconvertible, match="phone: no number"):
        FAILING.own({"phone": "x"}, {})
    with pytest.raises(Unconvertible, match="does not name rank"):
        FAILING.own({"rank": "x"}, {})
