"""Reports of mails that were not delivered (RFC 3464, and what robots write instead).

Anybody can send one, so it is read as a hint about mails we know we sent, and never answered.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from mailsync.carriers.base import Bounce
from mailsync.carriers.endpoint import one_line
from mailsync.carriers.hints import addresses_in, header_field

READ_MAX: Final = 65_536
"""Bytes of a report that are looked at; some return the whole mail."""

_IDS_MAX: Final = 20
_ROBOTS: Final = ("mailer-daemon@", "postmaster@", "mail-daemon@")
_STATUS: Final = re.compile(rb"(?im)^Status:[ \t]*([245]\.\d{1,3}\.\d{1,3})\b")
_ACTION: Final = re.compile(rb"(?im)^Action:[ \t]*([a-z]+)")
_DIAGNOSTIC: Final = re.compile(rb"(?im)^Diagnostic-Code:[ \t]*(.{1,400})")
_CODE_IN_TEXT: Final = re.compile(rb"\b(?:[45]\d\d[ -])?#?([45]\.\d{1,3}\.\d{1,3})\b")
_MESSAGE_ID: Final = re.compile(rb"<[!-;=?-~]{1,240}@[!-;=?-~]{1,240}>")
_HEADER_END: Final = re.compile(rb"\n\r?\n")


def is_report(header: bytes, peers: Collection[str] = ()) -> bool:
    """Does this header say that the mail reports on another one? ``peers``: addresses of whom a
    robot's name alone says nothing, for a peer may be called so.
    """
    content_type = header_field(header, "content-type").lower()
    if content_type.startswith("multipart/report"):
        return True
    senders = addresses_in(header_field(header, "from"))
    return any(one.startswith(_ROBOTS) and one not in peers for one in senders)


def bounce_in(raw: bytes) -> Bounce | None:
    """What a report says; None if the mail is none, or reports success. Never raises."""
    start = raw[:READ_MAX]
    end = _HEADER_END.search(start)
    if end is None or not is_report(start[: end.end()]):
        return None
    body = start[end.end() :]
    status = _first(_STATUS, body) or _first(_CODE_IN_TEXT, body)
    action = _first(_ACTION, body).lower()
    if status.startswith("2") or action in {"delivered", "relayed", "expanded"}:
        return None
    found = dict.fromkeys(match.decode("ascii") for match in _MESSAGE_ID.findall(body))
    return Bounce(
        tuple(found)[:_IDS_MAX],
        status,
        is_final=action != "delayed" and not status.startswith("4"),
        reason=one_line(_first(_DIAGNOSTIC, body) or status or "no reason given"),
    )


def _first(pattern: re.Pattern[bytes], text: bytes) -> str:
    match = pattern.search(text)
    return "" if match is None else match[1].decode("ascii", "replace")
