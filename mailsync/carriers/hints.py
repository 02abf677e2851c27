"""What a mail says of itself before anything in it is proven. Hints only, never a proof.

They decide whether a mail is looked into, and whether one without a container was ours once.
"""

from __future__ import annotations

import re
from email.errors import HeaderParseError
from email.header import decode_header
from typing import Final, NamedTuple

SUBJECT_TAG: Final = "[mailsync]"
LINE_START: Final = "MAILSYNC1"
"""The word that begins the line by which a mail of ours is known when its headers are lost."""

_SUBJECT_LIMIT: Final = 1_000
_LINE_LIMIT: Final = 65_536
"""Bytes of a mail in which that line is looked for."""

_STEP: Final = re.compile(r"(?:^|;)\s*c=(\d)\b")
_LINE: Final = re.compile(rb"(?m)^MAILSYNC1 [A-Za-z0-9._-]{1,24} \d{1,6}/\d{1,6} (\d)[ \t]*\r?$")
_BARE_ID: Final = re.compile(r"<[A-Za-z0-9_-]{8}(@[^<>@\s]+)>")
"""How ``base.name_of_mail`` names our mails."""
_ADDRESS: Final = re.compile(r"[^\s<>()\[\],;:\"]+@[^\s<>()\[\],;:\"]+")


class Hint(NamedTuple):
    """A mail of ours says so."""

    step: int
    """Of the carrier ladder by which it was sent."""


def header_field(header: bytes, name: str) -> str:
    """The first field of this name, unfolded, foreign bytes as ``?``; ``""`` if there is none."""
    pattern = rb"(?im)^" + re.escape(name.encode("ascii")) + rb"[ \t]*:(.*(?:\n[ \t].*)*)"
    match = re.search(pattern, header)
    if match is None:
        return ""
    return " ".join(match[1].decode("ascii", "replace").replace("\ufffd", "?").split())


def is_hinted(header: bytes) -> bool:
    """Does this header say of itself that the mail is ours?"""
    if header_field(header, "x-mailsync"):
        return True
    return SUBJECT_TAG in _plain(header_field(header, "subject"))


def hint_in(header: bytes, raw: bytes) -> Hint | None:
    """What an original mail of ours says of itself, wherever that survived. Replies say nothing."""
    if is_reply(header):
        return None
    field = header_field(header, "x-mailsync")
    if field:
        step = _STEP.search(field)
        return Hint(0 if step is None else int(step[1]))
    line = _LINE.search(raw[:_LINE_LIMIT])
    return None if line is None else Hint(int(line[1]))


def is_bare(header: bytes) -> bool:
    """Might this be a thin mail of ours, of which no more is known by its outside than its name?

    Anybody's mail may have such a name: it tells something only of mails from a peer's address.
    """
    name = _BARE_ID.fullmatch(header_field(header, "message-id"))
    if name is None or is_reply(header):
        return False
    domain = name[1].lower()
    return any(one.endswith(domain) for one in addresses_in(header_field(header, "from")))


def is_reply(header: bytes) -> bool:
    """Did a person or a robot write this because of another mail (RFC 3834)? We never do."""
    submitted = header_field(header, "auto-submitted").lower()
    return submitted.startswith("auto-replied") or any(
        header_field(header, name)
        for name in ("in-reply-to", "references", "x-autoreply", "x-autorespond")
    )


def addresses_in(field: str) -> list[str]:
    """The mail addresses in a header's field, in small letters."""
    return _ADDRESS.findall(field.lower())


def _plain(subject: str) -> str:
    """A subject without its encoding (RFC 2047); gateways encode what needs none."""
    if "=?" not in subject:
        return subject
    try:
        pieces = decode_header(subject[:_SUBJECT_LIMIT])
    except (HeaderParseError, ValueError):
        return subject
    return "".join(
        piece.decode("latin-1") if isinstance(piece, bytes) else piece for piece, _ in pieces
    )
