"""Containers survive gateways that add bytes, and say so when they did not survive."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsync.core.container import (
    MAGIC,
    STEM,
    Container,
    Kind,
    find,
    frame,
    problem_in,
    unframe,
)
from mailsync.errors import BadContainer

bodies = st.binary(max_size=300)
kinds = st.sampled_from(Kind)
foreign = st.binary(max_size=40).filter(lambda data: STEM not in data and STEM[:1] not in data)


def test_layout_is_the_published_one() -> None:
    # SHA-256("abc") starts with ba7816bf (FIPS 180-4, example 1).
    assert frame(Kind.BUNDLE, b"abc").hex() == "896d53796e630d0a" + "01" + "03" + "616263ba7816bf"
    # SHA-256("") starts with e3b0c442.
    assert frame(Kind.PART, b"").hex() == "896d53796e630d0a" + "02" + "00" + "e3b0c442"
    assert frame(Kind.PART, bytes(300))[9:11].hex() == "ac02"


@given(kinds, bodies)
def test_unframe_undoes_frame(kind: Kind, body: bytes) -> None:
    assert unframe(frame(kind, body)) == Container(kind, body)


@given(st.lists(st.tuples(kinds, bodies), max_size=4), st.lists(foreign, min_size=5, max_size=5))
def test_found_among_foreign_bytes(framed: list[tuple[Kind, bytes]], gaps: list[bytes]) -> None:
    containers = [frame(kind, body) for kind, body in framed]
    data = gaps[0] + b"".join(c + gap for c, gap in zip(containers, gaps[1:], strict=False))
    assert find(data) == containers
    assert problem_in(data) is None


def test_every_cut_is_called_a_cut() -> None:
    container = frame(Kind.BUNDLE, bytes(200))
    for size in range(len(STEM), len(container)):
        assert find(container[:size]) == []
        assert problem_in(container[:size]) == "cut", size
        with pytest.raises(BadContainer, match="cut"):
            unframe(container[:size])


def test_every_bit_flip_is_noticed() -> None:
    container = frame(Kind.BUNDLE, b"a body of some length")
    for bit in range(len(container) * 8):
        flipped = bytearray(container)
        flipped[bit // 8] ^= 1 << bit % 8
        data = bytes(flipped)
        if bit // 8 == len(MAGIC) and data[len(MAGIC)] in set(Kind):
            continue  # the kind is not under the check; the signature's profile tells
        assert find(data) == [], bit
        with pytest.raises(BadContainer):
            unframe(data)


def test_converted_line_ends_are_an_alteration() -> None:
    container = frame(Kind.BUNDLE, b"one\r\ntwo")
    assert problem_in(container.replace(b"\r\n", b"\n")) == "altered"
    assert problem_in(container.replace(b"\r\n", b"\r\r\n")) == "altered"


def test_a_cut_container_does_not_hide_the_next() -> None:
    whole = frame(Kind.BUNDLE, b"whole")
    cut = frame(Kind.BUNDLE, bytes(100))[:50]
    assert find(cut + whole) == [whole]
    assert find(cut + whole + bytes(200)) == [whole]


def test_a_container_inside_a_container_is_body() -> None:
    outer = frame(Kind.BUNDLE, frame(Kind.BUNDLE, b"inner"))
    assert find(outer) == [outer]


def test_size_cap() -> None:
    container = frame(Kind.BUNDLE, bytes(100))
    assert find(container, max_body=100) == [container]
    assert find(container, max_body=99) == []
    assert problem_in(container, max_body=99) == "too large"
    with pytest.raises(BadContainer, match="too large"):
        unframe(container, max_body=99)


def test_only_one_spelling_of_a_length() -> None:
    container = frame(Kind.BUNDLE, b"abc")
    assert find(container.replace(b"\x03abc", b"\x83\x00abc")) == []
    assert find(container.replace(b"\x03abc", b"\x83\x80\x80\x80\x80\x00abc")) == []


def test_nothing_there_is_no_problem() -> None:
    assert problem_in(b"") is None
    assert problem_in(b"Hello, see the attached picture.") is None
    assert find(b"") == []


@pytest.mark.parametrize("tail", [b"", b"\x01", b"\x01\xff\xff\xff\x1f", b"\x01\xff\xff\x03"])
def test_hostile_repetition_hashes_a_bounded_amount(
    tail: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts hashed bytes: a quadratic search would hash 10,000 times the data."""
    hashed = 0

    def counting(body: memoryview) -> bytes:
        nonlocal hashed
        hashed += len(body)
        return b"nope"

    monkeypatch.setattr("mailsync.core.container._check", counting)
    data = (MAGIC + tail) * 20_000
    assert find(data) == []
    assert problem_in(data) is not None
    assert hashed <= 2 * 8 * len(data)


def test_magic_a_million_times() -> None:
    assert find(MAGIC * 1_000_000) == []
    assert problem_in(MAGIC * 1_000_000) == "altered"


@given(st.binary(max_size=200))
def test_random_bytes_only_ever_raise_bad_container(data: bytes) -> None:
    find(data + MAGIC + data)
    for candidate in (data, MAGIC + data, MAGIC + b"\x01" + data):
        try:
            unframe(candidate)
        except BadContainer:
            continue
        assert frame(*unframe(candidate)) == candidate


def test_foreign_bytes_after_a_container_are_refused() -> None:
    with pytest.raises(BadContainer, match="foreign"):
        unframe(frame(Kind.BUNDLE, b"abc") + b"\n")
