"""What gateways do to mails on the way: bytes and a seeded chance in, bytes out."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

_ARMOUR_LINE = re.compile(rb"(?m)^(?!--)[!-~]{40,998}(?=\r?$)")
"""Base64, or the armour of thin mails."""
_MESSAGE_ID = re.compile(rb"(?im)^Message-ID:[ \t]*(\S+)")
_FOOTER = b"\r\n-- \r\nThis mail was scanned. Think before you print.\r\n"

_BOUNCE = b"""\
From: MAILER-DAEMON@mail.example\r
To: %(sender)s\r
Subject: Undelivered Mail Returned to Sender\r
Auto-Submitted: auto-replied\r
MIME-Version: 1.0\r
Content-Type: multipart/report; report-type=delivery-status; boundary="bounced"\r
\r
--bounced\r
Content-Type: text/plain\r
\r
The mail %(message_id)s could not be delivered.\r
\r
--bounced\r
Content-Type: message/delivery-status\r
\r
Reporting-MTA: dns; mail.example\r
\r
Final-Recipient: rfc822; %(recipient)s\r
Action: failed\r
Status: %(status)s\r
Diagnostic-Code: smtp; 550 %(status)s not today\r
\r
--bounced\r
Content-Type: message/rfc822\r
\r
%(raw)s\r
--bounced--\r
"""

_REPLY = b"""\
From: %(recipient)s\r
To: %(sender)s\r
Subject: Out of office\r
Auto-Submitted: auto-replied\r
In-Reply-To: %(message_id)s\r
\r
Nobody is here. You wrote:\r
\r
%(quoted)s\r
"""


def truncated(raw: bytes, chance: random.Random) -> bytes:
    return raw[: int(len(raw) * chance.uniform(0.3, 0.95))]


def corrupted(raw: bytes, chance: random.Random) -> bytes:
    """One character of the attachment is another one."""
    line = chance.choice(list(_ARMOUR_LINE.finditer(raw)))
    place = line.start() + chance.randrange(40)
    other = b"A" if raw[place : place + 1] != b"A" else b"B"
    return raw[:place] + other + raw[place + 1 :]


def wrapped_again(raw: bytes, chance: random.Random) -> bytes:
    """The attachment in shorter lines, as other programs break them."""
    width = chance.choice([40, 60, 64])
    lines = list(_ARMOUR_LINE.finditer(raw))
    start, end = lines[0].start(), lines[-1].end()
    text = b"".join(line[0] for line in lines)
    again = [text[place : place + width] for place in range(0, len(text), width)]
    return raw[:start] + b"\r\n".join(again) + raw[end:]


def with_footer(raw: bytes, _chance: random.Random) -> bytes:
    return raw + _FOOTER


def stripped(raw: bytes, _chance: random.Random) -> bytes:
    """The attachment is gone."""
    return _ARMOUR_LINE.sub(b"", raw)


MUTATIONS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "truncate": truncated,
    "corrupt": corrupted,
    "wrap again": wrapped_again,
    "footer": with_footer,
    "strip": stripped,
}


def bounce(sender: str, recipient: str, raw: bytes, chance: random.Random) -> bytes:
    """The report that this mail was not delivered (RFC 3464), with the mail in it."""
    status = chance.choice([b"4.4.1", b"5.1.1", b"5.2.2", b"5.3.4"])
    return _BOUNCE % {**_answered(sender, recipient, raw), b"status": status}


def reply(sender: str, recipient: str, raw: bytes, _chance: random.Random) -> bytes:
    """An absent person's automatic answer, which quotes the mail."""
    return _REPLY % _answered(sender, recipient, raw)


ANSWERS: dict[str, Callable[[str, str, bytes, random.Random], bytes]] = {
    "bounce": bounce,
    "reply": reply,
}


def _answered(sender: str, recipient: str, raw: bytes) -> dict[bytes, bytes]:
    found = _MESSAGE_ID.search(raw)
    return {
        b"sender": sender.encode(),
        b"recipient": recipient.encode(),
        b"message_id": b"" if found is None else found[1],
        b"raw": raw,
        b"quoted": b"\r\n".join(b"> " + line for line in raw.split(b"\r\n")),
    }
