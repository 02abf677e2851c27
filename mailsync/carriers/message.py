"""One container <-> one mail: RFC 5322 and MIME, without reading a clock or drawing a number.

Writing
-------
* Only generated ASCII and validated addresses enter a header, so nothing can be injected.
* Lines end in CRLF and are 7-bit, at most 76 bytes in bodies: no relay has a reason to re-encode.
  The shortest form of a thin mail has longer ones, within what RFC 5322 allows.
* Thin mails have no MIME headers: without them a body is just such text (RFC 2045, 5.2). To is
  not required, but some gateways go by it.
* Nothing but the container means anything; every header may be altered or lost on the way.

Reading
-------
* A container is recognised by itself, wherever it lies: every leaf part at any depth, decoded,
  is searched for it, whatever its type and name (disclaimers, forwards, winmail.dat), and so is
  text that holds one as base64.
* Everything is bounded, and no input whatever raises.
"""

from __future__ import annotations

import binascii
import re
from base64 import encodebytes
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from itertools import islice
from typing import Final, NamedTuple

from mailsync.carriers.armour import DENSE_START, armoured_in, dense, from_base64
from mailsync.carriers.base import STEP_MAX, Letter
from mailsync.carriers.hints import (
    LINE_START,
    SUBJECT_TAG,
    header_field,
    hint_in,
    is_bare,
    is_hinted,
    is_reply,
)
from mailsync.core import container
from mailsync.errors import BadConfiguration, OurError

_ADDRESS: Final = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@(?:[A-Za-z0-9.-]{1,189}|\[[A-Za-z0-9.:]{1,60}\])"
)
_MESSAGE_ID: Final = re.compile(r"<[!-;=?-~]{1,240}>")
_BOUNDARY: Final = re.compile(r"[A-Za-z0-9=_.+-]{1,60}")
_LABEL: Final = re.compile(r"[A-Za-z0-9._-]{1,24}")
_SITE: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")

_EXPLANATION: Final = """\
This mail carries data from the site named below. It was made by a
program: please do not reply, and leave it where it is. mailsync at
the receiving site reads it by itself.

    Site: {site}

To load it by hand, save {what} and run:

    mailsync bundle import {file_name}

{word} {label} {part}/{parts} {step}
"""

_FORMS: Final = (
    (
        "Content-Type: application/octet-stream",
        "Content-Transfer-Encoding: base64",
    ),
    (
        # what is text already travels as it is, and filters against binaries let it pass
        "Content-Type: text/plain; charset=us-ascii",
        "Content-Transfer-Encoding: 7bit",
    ),
)
_TEXT: Final = _FORMS[1]


def mail_address(text: str) -> str:
    """``text`` itself if it can stand in a header and an envelope as it is (RFC 5321, 4.1.2).

    Raises ``BadConfiguration`` for anything else: spaces, controls, non-ASCII, quoting, names.
    """
    if not _ADDRESS.fullmatch(text):
        raise BadConfiguration(f"{text[:100]!a} is not a plain mail address")
    return text


def compose_message(
    letter: Letter, *, sender: str, date: datetime, boundary: str, site: str
) -> bytes:
    """The whole mail for a letter, exactly as it is handed to SMTP.

    ``boundary`` is any unique word, ``site`` the name people know the sending site by. Raises
    ``BadConfiguration`` for an address or site name that cannot enter a header, ``OurError`` for
    a malformed identifier.
    """
    if not _SITE.fullmatch(site):
        raise BadConfiguration(f"{site[:100]!a} is not a site name")
    for pattern, text in (
        (_MESSAGE_ID, letter.message_id),
        (_BOUNDARY, boundary),
        (_LABEL, letter.label),
    ):
        if not pattern.fullmatch(text):
            raise OurError(f"{text[:100]!a} cannot stand in a mail")
    ends = [f"From: {mail_address(sender)}", f"To: {mail_address(letter.recipient)}"]
    name = f"Message-ID: {letter.message_id}"
    written = format_datetime(date)
    if letter.profile == "thin" and letter.step < STEP_MAX:
        return _thin([*ends, f"Date: {_shortest(written)}", name], letter)
    headers = [*ends, f"Date: {written}", name, "MIME-Version: 1.0"]
    return _robust(headers, letter, boundary, site)


def _shortest(date: str) -> str:
    """``Mon, 02 Nov 2026 12:00:00 +0000`` without what RFC 5322, 3.3 leaves open."""
    _, day, month, year, time, zone = date.split(" ")
    return f"{int(day)} {month} {year} {time[:5]} {zone}"


def _thin(headers: list[str], letter: Letter) -> bytes:
    if letter.step == 0:
        return _entity(headers, dense(letter.container))
    return _entity([*headers, f"X-Mailsync: c={letter.step}"], _base64(letter.container))


def _base64(content: bytes) -> bytes:
    return encodebytes(content).replace(b"\n", b"\r\n")


def _entity(headers: list[str], body: bytes) -> bytes:
    return "\r\n".join([*headers, "", ""]).encode("ascii") + body


def _robust(headers: list[str], letter: Letter, boundary: str, site: str) -> bytes:
    encoded = _base64(letter.container)
    place = f" part {letter.part}/{letter.parts}" if letter.parts > 1 else ""
    number = f"{letter.part}/{letter.parts}"
    outer = [
        *headers,
        f"Subject: {SUBJECT_TAG} {letter.label}{place}",
        "Auto-Submitted: auto-generated",
        # not "All": that would suppress the bounces we want to see
        "X-Auto-Response-Suppress: RN, NRN, OOF, AutoReply",
        f"X-Mailsync: v=1; s={letter.label}; p={number}; c={letter.step}",
    ]
    explanation = _explanation(letter, site)
    if letter.step >= STEP_MAX:
        return _entity([*outer, *_TEXT], explanation + b"\r\n" + encoded)
    attachment = _entity(
        [
            *_FORMS[letter.step],
            f'Content-Disposition: attachment; filename="{_file_name(letter)}"',
        ],
        encoded,
    )
    line = f"--{boundary}\r\n".encode("ascii")
    last = f"--{boundary}--\r\n".encode("ascii")
    return _entity(
        [*outer, f'Content-Type: multipart/mixed; boundary="{boundary}"'],
        line + _entity([*_TEXT], explanation) + b"\r\n" + line + attachment + last,
    )


def _file_name(letter: Letter) -> str:
    part = f"-{letter.part}of{letter.parts}" if letter.parts > 1 else ""
    return f"{letter.label}{part}{('.msync', '.txt', '.eml')[min(letter.step, STEP_MAX)]}"


def _explanation(letter: Letter, site: str) -> bytes:
    text = _EXPLANATION.format(
        site=site,
        what="this mail as a file" if letter.step >= STEP_MAX else "the attached file",
        file_name=_file_name(letter),
        word=LINE_START,
        label=letter.label,
        part=letter.part,
        parts=letter.parts,
        step=letter.step,
    )
    return text.replace("\n", "\r\n").encode("ascii")


# --- reading -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a mail is looked at; sizes in bytes. What lies beyond is not ours."""

    size: int = 60_000_000
    header: int = 262_144
    """Of each part. Postfix drops headers beyond 102,400 bytes."""
    depth: int = 12
    parts: int = 500
    containers: int = 64


LIMITS: Final = Limits()


REMOVED: Final = "no container in it: its attachment was removed on the way"


class Contents(NamedTuple):
    """The containers of a mail in their order; ``problem`` if it looks like ours but has none."""

    containers: tuple[bytes, ...] = ()
    problem: str | None = None
    unfinished: bool = False
    """What is missing may still come: scanners put a placeholder first."""
    stripped: int = 0
    """One more than the step of the carrier ladder at which its container was lost or damaged.
    Without a ``problem`` nothing but the name of the mail says so."""


def containers_in(raw: bytes, limits: Limits = LIMITS) -> tuple[bytes, ...]:
    """Every whole container anywhere in a mail, each once, in their order. Never raises."""
    return contents_of(raw, limits).containers


def contents_of(raw: bytes, limits: Limits = LIMITS) -> Contents:
    """The containers anywhere in a mail, or why a mail that seems to be ours has none.

    Never raises, whatever the bytes; time and memory stay in proportion to their number.
    """
    if len(raw) > limits.size:
        return Contents(problem=f"larger than the {limits.size} bytes accepted")
    found: dict[bytes, None] = {}
    damage: str | None = None
    leaves = _leaves(raw, 0, len(raw), 0, limits)
    for leaf in islice(leaves, limits.parts):
        for candidate in (leaf, *armoured_in(leaf)):
            found.update(dict.fromkeys(container.find(candidate)))
            damage = damage or (None if found else container.problem_in(candidate))
        if len(found) > limits.containers:
            return Contents(problem=f"more than {limits.containers} containers in one mail")
    if found:
        return Contents(tuple(found))
    if next(leaves, None) is not None:
        return Contents(problem=f"more than the {limits.parts} parts looked at")
    return _without_container(raw[: _body_start(raw, 0, len(raw), limits)], raw, damage)


def _without_container(header: bytes, raw: bytes, damage: str | None) -> Contents:
    """What a mail without an intact container once was."""
    if damage:
        return Contents(
            problem=f"the container in it is {damage}",
            unfinished=True,
            # base64 bears more; what damages that too is no matter of form
            stripped=int(DENSE_START in raw and not is_reply(header)),
        )
    hint = hint_in(header, raw)
    if hint is None and (is_reply(header) or not is_hinted(header)):
        bare = is_bare(header)
        return Contents(unfinished=bare, stripped=int(bare))
    return Contents(
        problem=REMOVED,
        unfinished=True,
        stripped=0 if hint is None else min(hint.step, STEP_MAX) + 1,
    )


_BLANK_LINE: Final = re.compile(rb"\n\r?\n")
_BOUNDARY_PARAMETER: Final = re.compile(r'(?i)\bboundary *= *(?:"([^"]+)"|([^\s;"]+))')


def _body_start(data: bytes, start: int, end: int, limits: Limits) -> int:
    """Where the body of the entity ``data[start:end]`` begins; ``start`` if it has no header."""
    for empty_header in (b"\r\n", b"\n"):
        if data.startswith(empty_header, start, end):
            return start + len(empty_header)
    match = _BLANK_LINE.search(data, start, min(end, start + limits.header))
    return match.end() if match else start


def _leaves(data: bytes, start: int, end: int, depth: int, limits: Limits) -> Iterator[bytes]:
    """Every piece of text or bytes in the MIME entity ``data[start:end]``, decoded and as it is.

    What does not parse as it claims to is one piece. Works on offsets: nesting copies nothing.
    """
    body = _body_start(data, start, end, limits)
    header = data[start:body]
    content_type = header_field(header, "content-type")
    encoding = header_field(header, "content-transfer-encoding").lower()
    boundary = _BOUNDARY_PARAMETER.search(content_type)
    if depth >= limits.depth:
        yield data[body:end]
    elif content_type.lower().startswith("multipart/") and boundary:
        yield from _parts(data, body, end, boundary[1] or boundary[2], depth, limits)
    elif content_type.lower().startswith("message/"):
        inner = _decoded(data[body:end], encoding)
        yield from _leaves(inner, 0, len(inner), depth + 1, limits)
    else:
        as_is = data[body:end]
        yield as_is
        decoded = _decoded(as_is, encoding)
        if decoded is not as_is:
            yield decoded


def _parts(
    data: bytes, start: int, end: int, boundary: str, depth: int, limits: Limits
) -> Iterator[bytes]:
    """The leaves of a multipart body, and what gateways wrote before and after its parts."""
    word = re.escape(boundary.encode("ascii", "replace"))
    delimiter = re.compile(rb"(?m)^--" + word + rb"(--)?[ \t]*\r?(?:\n|\Z)")
    inside = False
    for match in delimiter.finditer(data, start, end):
        if inside:
            yield from _leaves(data, start, match.start(), depth + 1, limits)
        else:
            yield data[start : match.start()]
        inside = match[1] is None
        start = match.end()
    if inside:
        yield from _leaves(data, start, end, depth + 1, limits)
    else:
        yield data[start:end]


def _decoded(body: bytes, encoding: str) -> bytes:
    """A body without its transfer encoding; the very same object where there is none."""
    match encoding:
        case "base64":
            return from_base64(body)
        case "quoted-printable":
            return binascii.a2b_qp(body)
        case "x-uuencode" | "uuencode" | "x-uue":
            return b"".join(map(_from_uuencoded_line, body.splitlines()))
        case _:
            return body


def _from_uuencoded_line(line: bytes) -> bytes:
    try:
        return binascii.a2b_uu(line)
    except binascii.Error:
        return b""
