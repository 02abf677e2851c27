from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsync.datasets.texts.contentline import (
    Block,
    Line,
    Malformed,
    fold,
    read_blocks,
    read_lines,
)

names = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,12}", fullmatch=True)
values = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=300)
quoted = st.text(st.characters(codec="utf-8", exclude_characters='"\r\n\0'), max_size=40)


@given(st.binary())
def test_joined_lines_are_the_data_again(data: bytes) -> None:
    assert b"".join(line.raw for line in read_lines(data)) == data


@given(st.lists(st.sampled_from([b"BEGIN:A\n", b"END:A\r\n", b" x", b"N:v\n", b"\n", b"\xff"])))
def test_a_text_is_malformed_or_is_the_data_again(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    try:
        items = read_blocks(data)
    except Malformed:
        with pytest.raises(Malformed, match=r"line \d+: "):
            read_blocks(data)
    else:
        assert b"".join(item.raw for item in items) == data


@given(names, quoted, values)
def test_a_line_is_taken_apart_and_folded_without_loss(name: str, inner: str, value: str) -> None:
    text = f'{name.upper()};X="{inner}":{value}'
    folded = fold(text)
    assert all(len(line) <= 75 for line in folded.split(b"\r\n"))
    for part in folded.split(b"\r\n "):
        part.decode()  # no fold within a character
    [line] = read_lines(folded)
    assert (line.fault, line.text, line.value) == ("", text, value)
    assert next(line.split_parameters())[0] == "X"


def test_folds_within_a_character_are_understood() -> None:
    [line] = read_lines("NOTE:å".encode()[:-1] + b"\r\n " + "å".encode()[-1:] + b"\r\n")
    assert line.text == "NOTE:å"


def test_case_group_and_parameters() -> None:
    [line] = read_lines(b'item1.tel;TYPE="cell,Voice";type=x;HOME:+47:1\n')
    assert (line.group, line.name, line.value) == ("item1", "TEL", "+47:1")
    assert list(line.split_parameters()) == [
        ("TYPE", ["cell", "Voice"]),
        ("TYPE", ["x"]),
        ("HOME", []),
    ]


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"A:1\nno property\n", "line 2 is no property"),
        (b"A:1\n 2\nB:\xff\n", "line 3 is not UTF-8"),
        (b"A:x\0y\n", "control character"),
        (b"A:x\ry\n", "control character"),
        (b'A;X="y:z\n', "line 1 is no property"),
    ],
)
def test_faults_name_their_line(data: bytes, fault: str) -> None:
    assert fault in next(line.fault for line in read_lines(data) if line.fault)


def test_the_byte_order_mark_and_blank_lines_belong_to_no_property() -> None:
    lines = list(read_lines("\ufeffBEGIN:X\r\n\r\n  \r\nEND:X".encode()))
    assert [line.name for line in lines] == ["BEGIN", "", "END"]
    assert not any(line.fault for line in lines)


def test_blocks_nest() -> None:
    [outer] = read_blocks(b"BEGIN:a\nBEGIN:B\nX:1\nEND:b\nEND:A\n")
    assert isinstance(outer, Block)
    [inner] = outer.items
    assert isinstance(inner, Block)
    [line] = inner.items
    assert isinstance(line, Line)
    assert (outer.name, inner.name, line.text) == ("A", "B", "X:1")


def test_a_hostile_line_takes_no_more_than_linear_time() -> None:
    data = b"A" + b';X="' * 200_000 + b"\n"
    [line] = read_lines(data)
    assert line.fault
