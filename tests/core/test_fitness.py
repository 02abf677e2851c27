"""What a record is said to take of a bundle is never less than it does take."""

from dataclasses import replace

import pytest
from hypothesis import example, given

from mailsync.core import fitness
from mailsync.core.fitness import size_in_bundle, too_large
from mailsync.core.model import Bundle, DeleteOrder, Dot, Entry, Extraction, Guid, Mark, Stream
from mailsync.core.positions import NOWHERE
from mailsync.core.wire import ROWS, body_of
from tests.core.strategies import delete_orders, extractions

DOT = Dot(1_795_400_000_000, 2**63 + 5, 2**32 - 1)
GUID = Guid(bytes(range(16)))
EMPTY = Bundle(Stream(1, 2), Mark(5, 6), (), None, NOWHERE)
ITSELF = 512
"""Bytes that position, GUID, dataset and newest dot take at most."""


def holding(text: str) -> Extraction:
    return Extraction(5, "people", GUID, {"text": Entry(DOT, text)})


@given(extractions | delete_orders)
@example(holding("\\" * 5_000))
@example(holding("\x10\x1f\n" * 5_000))
@example(holding("\N{HIRAGANA LETTER A}" * 5_000))
@example(holding("1234567 " * 5_000))
def test_a_record_takes_no_more_than_that(item: Extraction | DeleteOrder) -> None:
    whole = replace(
        EMPTY,
        extractions=(item,) if isinstance(item, Extraction) else (),
        deletes=(item,) if isinstance(item, DeleteOrder) else (),
    )
    body = body_of(whole, ROWS)
    assert len(body.tokens) + len(body.noise) <= size_in_bundle(item) + ITSELF


def test_what_is_too_large_is_named_with_its_largest_fields(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fitness, "GOING_MAX", 100)
    sizes = {"a": 10, "b": 300, "c": 20, "d": 200}
    item = replace(
        holding(""), entries={name: Entry(DOT, "x" * size) for name, size in sizes.items()}
    )
    assert too_large(holding("short")) is None
    words = str(too_large(item))
    assert "100 is the most (b 301, d 201, c 21)" in words
