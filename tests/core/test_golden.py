"""Whole containers as published: signed, sealed, in parts. To change them is a new version."""

from pathlib import Path

import pytest

from mailsync.core import container, parts, sealing, wire
from mailsync.core.sealing import PrivateKeys

GOLDEN = Path(__file__).parents[2] / "samples" / "bundles"

ANNA, BERT = (PrivateKeys(bytes([n]) * 32, bytes([n + 9]) * 32) for n in (1, 2))
"""The keys that docs/format.md prints."""

CONTENT = (GOLDEN / "rows.content").read_bytes()
NAME = bytes(range(8))


def signed() -> bytes:
    message = sealing.sign(CONTENT, sender=ANNA, recipient=BERT.public)
    return container.frame(container.Kind.BUNDLE, message)


def sealed() -> bytes:
    message = sealing.seal(
        CONTENT,
        sender=ANNA,
        recipient=BERT.public,
        ephemeral=bytes(range(32)),
        nonce=bytes(range(12)),
    )
    return container.frame(container.Kind.BUNDLE, message)


def in_parts() -> bytes:
    """The parts of the signed one, one container behind the other."""
    pieces = parts.split(container.unframe(signed()).body, NAME, 500)
    return b"".join(
        container.frame(
            container.Kind.PART, parts.sign_part(piece, sender=ANNA, recipient=BERT.public)
        )
        for piece in pieces
    )


WRITTEN = {"signed": signed, "sealed": sealed, "parts": in_parts}


@pytest.mark.parametrize("name", WRITTEN)
def test_containers_stay_as_published(name: str) -> None:
    assert WRITTEN[name]() == (GOLDEN / f"{name}.msync").read_bytes()


@pytest.mark.parametrize("name", ["signed", "sealed"])
def test_published_containers_are_read(name: str) -> None:
    published = container.unframe((GOLDEN / f"{name}.msync").read_bytes())
    opened = sealing.open_message(published.body, receiver=BERT, peers=[ANNA.public])
    assert wire.decode(opened.content).bundle.ask


def test_published_parts_are_put_together() -> None:
    found = container.find((GOLDEN / "parts.msync").read_bytes())
    pieces = [
        parts.open_part(container.unframe(one).body, receiver=BERT, peers=[ANNA.public])[1]
        for one in reversed(found)
    ]
    assert len(pieces) == 2
    assert parts.assemble(pieces) == container.unframe(signed()).body
