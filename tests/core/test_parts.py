"""Parts come in any order, from anybody, repeatedly; only the sender's make a message."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsync.core.parts import (
    MAX_COUNT,
    Part,
    Receipt,
    assemble,
    open_part,
    open_receipt,
    sign_part,
    sign_receipt,
    split,
)
from mailsync.core.sealing import PrivateKeys, open_message, sign, sign_as
from mailsync.core.strict_cbor import encode
from mailsync.errors import BadBundle, BadFormat, BadSignature, OurError

ANNA, BERT, CARL = (PrivateKeys(bytes([n]) * 32, bytes([n + 9]) * 32) for n in (1, 2, 3))
PEERS = [ANNA.public, BERT.public, CARL.public]
NAME = b"bundle 1"


@given(st.binary(max_size=200), st.integers(1, 50), st.randoms(use_true_random=False))
def test_any_order_any_repetition(message: bytes, slice_size: int, random: object) -> None:
    parts = split(message, NAME, slice_size)
    shuffled = (parts + parts)[::-1]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert assemble(shuffled) == message
    assert all(len(part.slice) <= slice_size for part in parts)
    assert assemble(parts[1:]) is None
    assert assemble([]) is None


def test_contradictions_are_bad_format() -> None:
    parts = split(b"one two three", NAME, 4)
    with pytest.raises(BadFormat, match="part 2"):
        assemble([*parts, Part(NAME, 2, len(parts), b"evil")])
    with pytest.raises(BadFormat, match="one message"):
        assemble([*parts, Part(NAME, 2, 9, parts[1].slice)])
    with pytest.raises(BadFormat, match="one message"):
        assemble([*parts, Part(b"bundle 2", 2, len(parts), parts[1].slice)])


def test_count_is_bounded() -> None:
    assert len(split(bytes(MAX_COUNT), NAME, 1)) == MAX_COUNT
    with pytest.raises(OurError):
        split(bytes(MAX_COUNT + 1), NAME, 1)
    with pytest.raises(OurError):
        split(b"abc", b"short", 1)


def opened(message: bytes, receiver: PrivateKeys = BERT) -> Part:
    sender, part = open_part(message, receiver=receiver, peers=PEERS)
    assert sender == ANNA.public
    return part


def test_parts_are_bound_like_messages() -> None:
    part = Part(NAME, 2, 3, b"slice")
    message = sign_part(part, sender=ANNA, recipient=BERT.public)
    assert opened(message) == part
    for receiver in (ANNA, CARL):
        with pytest.raises(BadSignature):
            opened(message, receiver)
    with pytest.raises(BadSignature):
        open_part(message, receiver=BERT, peers=PEERS, epoch=1)
    for bit in range(len(message) * 8):
        flipped = bytearray(message)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BadBundle):
            opened(bytes(flipped))


def test_a_part_is_no_message_and_a_message_no_part() -> None:
    part = sign_part(Part(NAME, 1, 1, b""), sender=ANNA, recipient=BERT.public)
    with pytest.raises(BadSignature):
        open_message(part, receiver=BERT, peers=PEERS)
    with pytest.raises(BadSignature):
        opened(sign(encode([NAME, 1, 1, b""]), sender=ANNA, recipient=BERT.public))


@pytest.mark.parametrize(
    "item",
    [
        [NAME, 0, 1, b""],
        [NAME, 2, 1, b""],
        [NAME, 1, MAX_COUNT + 1, b""],
        [NAME, True, True, b""],
        [NAME, 1.0, 1, b""],
        [NAME[1:], 1, 1, b""],
        [NAME, 1, 1, "text"],
        [NAME, 1, 1, b"", 0],
        [NAME, 1, 1],
        {},
    ],
)
def test_other_payloads_are_bad_format(item: object) -> None:
    payload = encode(item)
    message = sign_as("P", payload, sender=ANNA, recipient=BERT.public, epoch=0)
    with pytest.raises(BadFormat):
        opened(message)


@given(st.integers(1, 40), st.data())
def test_a_receipt_names_exactly_what_is_held(count: int, data: st.DataObject) -> None:
    held = data.draw(st.frozensets(st.integers(1, count)))
    receipt = Receipt(NAME, count, held)
    message = sign_receipt(receipt, sender=ANNA, recipient=BERT.public)
    assert open_receipt(message, receiver=BERT, peers=PEERS) == (ANNA.public, receipt)
    with pytest.raises(BadSignature):
        opened(message)
    with pytest.raises(BadSignature):
        open_receipt(message, receiver=CARL, peers=PEERS)


@pytest.mark.parametrize(
    "item",
    [
        [NAME, 0, b""],
        [NAME, 9, b"\1"],
        [NAME, 9, b"\1\2"],
        [NAME, 8, b"\1\0"],
        [NAME, MAX_COUNT + 1, bytes(MAX_COUNT // 8 + 1)],
        [NAME[1:], 8, b"\1"],
        [NAME, 8, "a"],
        [NAME, 8, b"\1", 0],
    ],
)
def test_other_receipts_are_bad_format(item: object) -> None:
    message = sign_as("R", encode(item), sender=ANNA, recipient=BERT.public, epoch=0)
    with pytest.raises(BadFormat):
        open_receipt(message, receiver=BERT, peers=PEERS)
