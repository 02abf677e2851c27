from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsync.core.mapping import Unconvertible
from mailsync.core.model import Fields
from mailsync.datasets.texts.properties import Properties, overlap, parse_path
from mailsync.datasets.texts.vcard import Cards

PATHS = ("fn", "n/family", "n/given", "tel;type=cell", "tel", "url", "adr;type=home/city")
FORM = Properties(PATHS)


def fields_of(*lines: str) -> Fields:
    text = "\r\n".join(["BEGIN:VCARD", "VERSION:3.0", "UID:u", "FN:x", *lines, "END:VCARD", ""])
    [parsed] = Cards(text.encode()).records.values()
    assert not parsed.fault
    return parsed.fields


def lines_of(fields: Fields) -> set[str]:
    return {str(value) for name, value in fields.items() if name not in {"version", "uid", "fn"}}


@pytest.mark.parametrize(
    "line",
    [
        "TEL;TYPE=CELL:1",
        "TEL;type=VOICE,cell:1",
        "tel;TYPE=voice;X-A=b;TYPE=CELL:1",
        'TEL;TYPE="cell,voice":1',
        "TEL;CELL;VOICE:1",
        "item1.TEL;TYPE=cell:1",
    ],
)
def test_a_property_is_found_however_its_types_are_written(line: str) -> None:
    found = FORM.plain(fields_of("TEL;TYPE=home:2", line))
    assert (found["tel;type=cell"], found["tel"]) == ("1", "2")


def test_the_property_with_the_fewest_other_types_is_meant() -> None:
    fields = fields_of("TEL;TYPE=cell,home,voice:3", "TEL;TYPE=cell,work:2")
    assert FORM.plain(fields)["tel;type=cell"] == "2"
    assert FORM.plain(fields)["tel"] == "3", "what is left"


def test_only_the_value_is_replaced() -> None:
    before = fields_of(
        'tel;X-A="b:c";TYPE=CELL,VOICE:1',
        "item1.URL;TYPE=work:http://a",
        "item1.X-ABLABEL:Ship",
        "N:Berg\\;en;Bo,Bu;Maria;;",
        "ADR;TYPE=HOME:;;Kai 3;Oslo",
    )
    after = FORM.overlaid(
        before,
        {"tel;type=cell": "2", "url": "http://b", "n/given": "A;o", "adr;type=home/city": None},
    )
    assert lines_of(after) == {
        'TEL;X-A="b:c";TYPE=CELL,VOICE:2',
        "URL;TYPE=work:http://b\nX-ABLABEL:Ship",
        "N:Berg\\;en;A\\;o;Maria;;",
        "ADR;TYPE=HOME:;;Kai 3;",
    }


def test_a_telephone_number_is_a_text_also_where_it_stands_as_a_uri() -> None:
    before = fields_of("TEL;VALUE=uri;TYPE=cell:tel:+47-1", 'TEL;PREF=1;VALUE="uri":tel:+47-2')
    assert FORM.plain(before) | {"tel;type=cell": "+47-1", "tel": "+47-2"} == FORM.plain(before)
    assert FORM.overlaid(before, {"tel;type=cell": "tel:+47-1", "tel": "+47-2"}) == before
    after = FORM.overlaid(before, {"tel;type=cell": "+47 3", "tel": "tel:+47 4"})
    assert lines_of(after) == {"TEL;TYPE=cell:+47 3", "TEL;PREF=1:+47 4"}
    assert FORM.spelled("tel", "tel:+47 4") == "+47 4"


def test_what_is_not_there_is_added_and_nothing_removes() -> None:
    after = FORM.overlaid(
        fields_of("TEL:0"),
        {"tel": None, "tel;type=cell": 7, "n/given": "Bo", "adr;type=home/city": None},
    )
    assert lines_of(after) == {"TEL;TYPE=cell:7", "N:;Bo;;;"}


def test_what_already_says_so_stays_as_it_is() -> None:
    before = fields_of("TEL;TYPE=cell:1,2", "N:a,b;c;;;", "URL:http://x,y")
    assert FORM.plain(before)["tel;type=cell"] == "1,2"
    assert FORM.overlaid(before, FORM.plain(before)) == before


def test_values_cannot_bring_other_properties() -> None:
    with pytest.raises(Unconvertible, match="url holds no line breaks"):
        FORM.overlaid(fields_of(), {"url": "http://a\nX-EVIL:1"})
    after = FORM.overlaid(fields_of(), {"fn": "Ann\r\nTEL:1"})
    assert after["fn"] == "FN:Ann\\nTEL:1"


def test_bytes_have_no_form() -> None:
    with pytest.raises(Unconvertible, match="holds texts, not bytes"):
        FORM.overlaid(fields_of(), {"fn": b"x"})


TEXTS = st.none() | st.text(st.characters(exclude_categories=["Cs", "Cc"])) | st.just("a\n;,\\n")
LINES = st.lists(
    st.sampled_from(
        ["TEL;TYPE=cell,pref:1", "TEL;TYPE=home:2", "N:a\\,;b;c;d;e", "ADR;TYPE=home:x", "URL:u"]
    ),
    unique=True,
)


@given(LINES, st.fixed_dictionaries({}, optional=dict.fromkeys(PATHS[:-2], TEXTS)))
def test_what_is_written_is_read_again_and_nothing_else_changes(
    lines: list[str], values: Fields
) -> None:
    before = fields_of(*lines, "NOTE:hers", "item9.EMAIL:e", "item9.X-ABLABEL:Ship")
    after = FORM.overlaid(before, values)
    found = FORM.plain(after)
    for path, value in FORM.plain(before).items():
        wanted = FORM.spelled(path, values[path]) if path in values else value
        assert wanted is None or found[path] == wanted, path
    assert lines_of(after) >= {"NOTE:hers", "EMAIL:e\nX-ABLABEL:Ship"}


def test_paths_that_mean_the_same() -> None:
    assert overlap(["tel;type=cell,voice", "fn", "TEL;TYPE=VOICE,CELL"])
    assert overlap(["n/family", "n"]) == ("n/family", "n")
    assert overlap(["n/family", "n/given", "tel", "tel;type=cell"]) is None
    with pytest.raises(ValueError, match="n has the components family, given"):
        parse_path("n/name")
    assert parse_path("20240102T100000Z/summary").name == "20240102T100000Z/summary"
