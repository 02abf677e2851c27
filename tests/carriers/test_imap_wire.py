from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsync.carriers.imap_wire import (
    Line,
    Literal,
    astring,
    fetched,
    folder_name,
    numbers,
    render,
    response_code,
    uid_set,
)


@given(st.sets(st.integers(1, 300)))
def test_a_sequence_set_names_exactly_its_numbers(wanted: set[int]) -> None:
    named: list[int] = []
    for span in filter(None, uid_set(wanted).split(",")):
        low, _, high = span.partition(":")
        named.extend(range(int(low), int(high or low) + 1))
    assert named == sorted(wanted)


def test_runs_are_folded() -> None:
    assert uid_set([9, 1, 2, 3, 7]) == "1:3,7,9"


@pytest.mark.parametrize(
    ("name", "encoded"),
    [
        ("INBOX", '"INBOX"'),
        ("R&D", '"R&-D"'),
        ("~peter/mail/台北/日本語", '"~peter/mail/&U,BTFw-/&ZeVnLIqe-"'),  # RFC 3501, 5.1.3
        ('a"b\\', '"a\\"b\\\\"'),
    ],
)
def test_folder_names_are_in_modified_utf_7(name: str, encoded: str) -> None:
    assert folder_name(name) == encoded


@given(st.text())
def test_no_folder_name_ends_the_command_line(name: str) -> None:
    try:
        encoded = folder_name(name)
    except ValueError:
        return
    assert encoded.isascii()
    assert encoded.isprintable()


@given(st.text(min_size=1))
def test_no_argument_ends_the_command_line_before_its_time(text: str) -> None:
    first, *rest = render(["X", astring(text), "Y"])
    assert b"\r" not in first
    assert b"\n" not in first
    if rest:
        assert rest == [text.encode() + b" Y"]
        assert first == b"X {%d}" % len(text.encode())


def test_several_literals_wait_for_each_other() -> None:
    assert render([Literal(b"ab"), Literal(b"c")]) == [b"{2}", b"ab {1}", b"c"]


def test_answers_are_read_whatever_their_order() -> None:
    lines: list[Line] = [
        b'1 FETCH (UID 5 FLAGS (\\Seen (x)) RFC822.SIZE 9 body[header.fields (FROM "TO")]<0> {3}',
        bytearray(b')("'),
        b' X "a\\"b" Y NIL)',
        b"3 EXISTS",
        b"2 FETCH (FLAGS (\\Seen) UID 6)",
        b"OK done (0.1 secs)",
    ]
    assert list(fetched(lines)) == [
        {
            "UID": b"5",
            "RFC822.SIZE": b"9",
            'BODY[HEADER.FIELDS (FROM "TO")]<0>': b')("',
            "X": b'a"b',
            "Y": b"",
        },
        {"UID": b"6"},
    ]


@given(st.lists(st.one_of(st.binary(), st.binary().map(bytearray), st.just(b"1 FETCH (UID"))))
def test_no_answer_raises(lines: list[bytes | bytearray]) -> None:
    list(fetched(lines))
    numbers(lines)
    response_code(lines, b"UIDVALIDITY")


def test_codes_and_numbers_are_found() -> None:
    assert response_code([b"OK [UIDVALIDITY 12] ok"], b"UIDVALIDITY") == 12
    assert response_code([b"OK ok"], b"UIDVALIDITY") is None
    assert numbers([b"3 1 x 2", b"SEARCH"]) == [1, 2, 3]
