"""Parts: one message cut in slices, each in a mail of its own, each signed.

Rules
-----
* A part is signed under a profile of its own: a forged slice cannot poison reassembly, and a
  part can never be taken for a message.
* Parts may come in any order and repeatedly; the same number always holds the same slice.
* What is reassembled is still a message to be opened; nothing is trusted because it fitted.
* A receipt tells which parts of a message are here, so that only the others are sent again.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from mailsync.core.sealing import PART, RECEIPT, PrivateKeys, PublicKeys, open_as, sign_as
from mailsync.core.strict_cbor import decode, encode
from mailsync.errors import BadFormat, OurError

BUNDLE_SIZE: Final = 8
MAX_COUNT: Final = 10_000


@dataclass(frozen=True, slots=True)
class Part:
    """Slice ``number`` (from 1) of ``count`` of the message called ``bundle`` (8 bytes)."""

    bundle: bytes
    number: int
    count: int
    slice: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """Of the message called ``bundle`` (8 bytes), in ``count`` parts, these are here."""

    bundle: bytes
    count: int
    held: frozenset[int]


def split(message: bytes, bundle: bytes, slice_size: int) -> list[Part]:
    """The message in slices of at most ``slice_size`` bytes. Raises OurError beyond MAX_COUNT."""
    if len(bundle) != BUNDLE_SIZE or slice_size < 1:
        raise OurError("parts need a name of 8 bytes and slices of at least one byte")
    starts = range(0, len(message), slice_size) or range(1)
    if len(starts) > MAX_COUNT:
        raise OurError(f"a message cannot travel in {len(starts)} parts; {MAX_COUNT} is the most")
    return [
        Part(bundle, number, len(starts), message[start : start + slice_size])
        for number, start in enumerate(starts, start=1)
    ]


def assemble(parts: Collection[Part]) -> bytes | None:
    """The message these parts make, None while some are missing.

    Raises BadFormat if they contradict each other: two bundles, two counts, or two slices of
    one number.
    """
    if len({(part.bundle, part.count) for part in parts}) > 1:
        raise BadFormat("these parts do not belong to one message")
    slices: dict[int, bytes] = {}
    for part in parts:
        if slices.setdefault(part.number, part.slice) != part.slice:
            raise BadFormat(f"two different slices claim to be part {part.number}")
    if not parts or len(slices) < next(iter(parts)).count:
        return None
    return b"".join(slices[number] for number in sorted(slices))


def sign_part(part: Part, *, sender: PrivateKeys, recipient: PublicKeys, epoch: int = 0) -> bytes:
    """Profile P: a part that the sender cut for this recipient."""
    return sign_as(PART, _written(part), sender=sender, recipient=recipient, epoch=epoch)


def open_part(
    message: bytes, *, receiver: PrivateKeys, peers: Collection[PublicKeys], epoch: int = 0
) -> tuple[PublicKeys, Part]:
    """The part and who sent it. Raises BadSignature or BadFormat as ``open_message`` does."""
    opened = open_as(PART, message, receiver=receiver, peers=peers, epoch=epoch)
    match decode(opened.content):
        case [bytes(bundle), int(number), int(count), bytes(piece)] if (
            len(bundle) == BUNDLE_SIZE and 1 <= number <= count <= MAX_COUNT
        ):
            part = Part(bundle, int(number), int(count), piece)
            if _written(part) == opened.content:
                return opened.sender, part
    raise BadFormat("not a part as this version of mailsync writes it")


def sign_receipt(receipt: Receipt, *, sender: PrivateKeys, recipient: PublicKeys) -> bytes:
    """Profile R: what the sender of this tells the recipient of its parts."""
    payload = _written_receipt(receipt)
    return sign_as(RECEIPT, payload, sender=sender, recipient=recipient, epoch=0)


def open_receipt(
    message: bytes, *, receiver: PrivateKeys, peers: Collection[PublicKeys]
) -> tuple[PublicKeys, Receipt]:
    """The receipt and whose it is. Raises BadSignature or BadFormat as ``open_message`` does."""
    opened = open_as(RECEIPT, message, receiver=receiver, peers=peers, epoch=0)
    match decode(opened.content):
        case [bytes(bundle), int(count), bytes(bits)] if (
            len(bundle) == BUNDLE_SIZE and 1 <= count <= MAX_COUNT and len(bits) <= MAX_COUNT
        ):
            number = int.from_bytes(bits, "little")
            held = frozenset(part for part in range(1, count + 1) if number >> part - 1 & 1)
            receipt = Receipt(bundle, int(count), held)
            if _written_receipt(receipt) == opened.content:
                return opened.sender, receipt
    raise BadFormat("not a receipt as this version of mailsync writes it")


def _written_receipt(receipt: Receipt) -> bytes:
    number = sum(1 << part - 1 for part in receipt.held)
    bits = number.to_bytes((receipt.count + 7) // 8, "little")
    return encode([receipt.bundle, receipt.count, bits])


def _written(part: Part) -> bytes:
    return encode([part.bundle, part.number, part.count, part.slice])
