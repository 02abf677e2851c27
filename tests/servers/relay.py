"""A submission server between a site and the real ones, that does to mails what gateways do.

What happens to which mail is drawn from a seed. After :meth:`Relay.calm` everything that was
delayed is delivered, and nothing happens to mails any more.
"""

from __future__ import annotations

import random
import re
import smtplib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope

from tests.servers.mail import MailServer

_BASE64_LINE = re.compile(rb"[A-Za-z0-9+/]{40,76}={0,2}")
_FOOTER = b"\r\n-- \r\nThis mail was scanned. Think before you print.\r\n"


def truncated(raw: bytes, chance: random.Random) -> bytes:
    return raw[: int(len(raw) * chance.uniform(0.3, 0.95))]


def corrupted(raw: bytes, chance: random.Random) -> bytes:
    """One character of the attachment is another one."""
    places = [found.start() for found in _BASE64_LINE.finditer(raw)]
    place = chance.choice(places) + chance.randrange(40) if places else len(raw) // 2
    other = b"A" if raw[place : place + 1] != b"A" else b"B"
    return raw[:place] + other + raw[place + 1 :]


def wrapped_again(raw: bytes, chance: random.Random) -> bytes:
    """The attachment in shorter lines, as other programs break them."""
    width = chance.choice([40, 60, 64])
    head, separator, body = raw.rpartition(b"\r\n\r\n")
    lines = body.split(b"\r\n")
    encoded = [line for line in lines if _BASE64_LINE.fullmatch(line)]
    if not encoded:
        return raw
    text = b"".join(encoded)
    rest = lines[lines.index(encoded[-1]) + 1 :]
    again = [text[start : start + width] for start in range(0, len(text), width)]
    return head + separator + b"\r\n".join([*again, *rest])


def with_footer(raw: bytes, _chance: random.Random) -> bytes:
    return raw + _FOOTER


def stripped(raw: bytes, _chance: random.Random) -> bytes:
    """The attachment is replaced by a notice."""
    lines = raw.split(b"\r\n")
    kept = [line for line in lines if not _BASE64_LINE.fullmatch(line)]
    return b"\r\n".join(kept)


MUTATIONS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "truncate": truncated,
    "corrupt": corrupted,
    "wrap again": wrapped_again,
    "footer": with_footer,
    "strip": stripped,
}
FATES = ["deliver"] * 6 + ["drop"] * 3 + ["double", "delay", "delay", "bounce", "reply", *MUTATIONS]


@dataclass
class Relay:
    """Takes mails from sites; ``counts`` says what became of them."""

    server: MailServer
    chance: random.Random
    calmed: bool = False
    counts: dict[str, int] = field(default_factory=dict)
    _delayed: list[tuple[str, bytes]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self._controller = _Controller(self)

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._controller.stop()

    def calm(self) -> None:
        """Let everything through from now on, what was delayed first."""
        with self._lock:
            self.calmed = True
            self._deliver_delayed()

    def take(self, sender: str, recipient: str, raw: bytes) -> None:
        """Decide what becomes of one mail."""
        with self._lock:
            fate = "deliver" if self.calmed else self.chance.choice(FATES)
            self.counts[fate] = self.counts.get(fate, 0) + 1
            if fate == "delay":
                self._delayed.append((recipient, raw))
                return
            if fate in MUTATIONS:
                self._deliver(recipient, MUTATIONS[fate](raw, self.chance))
            elif fate in ("bounce", "reply"):
                self._deliver(sender, _answer(fate, sender, recipient))
            elif fate != "drop":
                for _ in range(2 if fate == "double" else 1):
                    self._deliver(recipient, raw)
            if self.chance.random() < 0.4:
                self._deliver_delayed()

    def _deliver_delayed(self) -> None:
        waiting, self._delayed = self._delayed, []
        self.chance.shuffle(waiting)
        for recipient, raw in waiting:
            self._deliver(recipient, raw)

    def _deliver(self, recipient: str, raw: bytes) -> None:
        """Hand on, or keep for later while the servers are down, as every relay does."""
        try:
            self.server.deliver(recipient, [raw])
        except (OSError, smtplib.SMTPException):
            self._delayed.append((recipient, raw))


def _answer(kind: str, sender: str, recipient: str) -> bytes:
    """A bounce, or an absent person's automatic reply."""
    subject = "Undelivered Mail Returned to Sender" if kind == "bounce" else "Out of office"
    author = "MAILER-DAEMON@mail.example" if kind == "bounce" else recipient
    return (
        f"From: {author}\r\nTo: {sender}\r\nSubject: {subject}\r\n"
        "Auto-Submitted: auto-replied\r\n\r\nNobody is here.\r\n"
    ).encode()


class _Controller(Controller):
    def __init__(self, relay: Relay) -> None:
        super().__init__(_Handler(relay), hostname="127.0.0.1", port=relay.port)

    def factory(self) -> SMTP:
        return SMTP(
            self.handler,
            authenticator=lambda *_: AuthResult(success=True),
            auth_require_tls=False,
            data_size_limit=50_000_000,
        )


class _Handler:
    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    async def handle_DATA(  # noqa: N802  the interface's name
        self, _server: SMTP, _session: Any, envelope: Envelope
    ) -> str:
        raw = envelope.content
        assert isinstance(raw, bytes)
        for recipient in envelope.rcpt_tos:
            self._relay.take(envelope.mail_from or "", recipient, raw)
        return "250 taken"
