"""Checks of the mail servers: names, certificates, logins, limits, rights.

Each server is asked step by step; after a step that failed there is nothing to learn from the
next one.
"""

from __future__ import annotations

import asyncio
import imaplib
import re
import smtplib
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Final

from mailsync.carriers.base import Arrival, Place
from mailsync.carriers.endpoint import Endpoint, Security, connection_error, tls_context
from mailsync.carriers.imap import ImapMailbox
from mailsync.carriers.smtp import SmtpSender
from mailsync.config import MailSettings, Settings, format_size, read_secret
from mailsync.doctor.finding import Finding, bad, doubtful, failed, good
from mailsync.errors import Exit, MailsyncError

PATIENCE_SECONDS: Final = 30.0
DAY_SECONDS: Final = 86_400
EXPIRY_DAYS: Final = 14
FULL_PART: Final = 0.8


class Inbox(ImapMailbox):
    """The site's mailbox, with the questions only the doctor has."""

    async def bearing(self, label: str) -> Arrival | None:
        """The mail with this word in its subject, without a look at any other mail."""
        await self._enter("EXAMINE")
        found = await self._search(f'SUBJECT "{label}"')
        if not found:
            return None
        others = {self._place(number) for number in await self._search("ALL")}
        others -= {self._place(number) for number in found}
        async with aclosing(self.arrivals(others)) as arrivals:  # type: ignore[type-var]
            async for arrival in arrivals:
                if arrival.place.number in found:
                    return arrival
        return None

    async def received_at(self, place: Place) -> float | None:
        """When the server received a mail, seconds since 1970; None if it does not say."""
        lines = await self._session.command(
            "FETCH", str(place.number), "(UID INTERNALDATE)", prefix="UID"
        )
        for line in lines:
            if re.search(rb"(?i)INTERNALDATE", line) and (
                date := imaplib.Internaldate2tuple(bytes(line))
            ):
                return time.mktime(date)
        return None


def password(settings: Settings, mail: MailSettings) -> str:
    """The mail password; empty where none is configured. Raises LoginRefused, BadKeys."""
    return read_secret(mail.secret, settings.path.parent) if mail.secret is not None else ""


def inbox(mail: MailSettings, word: str) -> Inbox:
    """The mailbox as cycles use it. Raises BadConfiguration."""
    endpoint = Endpoint.from_url(mail.imap, mail.tls_ca)
    return Inbox(endpoint, word, folder=mail.folder, timeout=PATIENCE_SECONDS)


def submission(settings: Settings, mail: MailSettings, word: str) -> SmtpSender:
    """The way out as cycles use it. Raises BadConfiguration."""
    endpoint = Endpoint.from_url(mail.smtp, mail.tls_ca)
    return SmtpSender(
        endpoint, word, address=mail.address, site=settings.site.name, timeout=PATIENCE_SECONDS
    )


async def incoming(mail: MailSettings, word: str) -> AsyncIterator[Finding]:
    """Everything about the IMAP server."""
    name = "IMAP"
    try:
        endpoint = Endpoint.from_url(mail.imap, mail.tls_ca)
        yield await _address(name, endpoint)
        yield await _certificate(name, endpoint)
        async with inbox(mail, word) as mailbox:
            yield good(f"{name} login", f"{endpoint.user} at {endpoint}, folder {mail.folder}")
            yield await _rights(mail, mailbox)
            yield await _quota(mailbox)
    except MailsyncError as error:
        yield failed(name, error)


async def outgoing(
    settings: Settings, mail: MailSettings, word: str, chosen: frozenset[str]
) -> AsyncIterator[Finding]:
    """Everything about the submission server."""
    name = "SMTP"
    try:
        endpoint = Endpoint.from_url(mail.smtp, mail.tls_ca)
        yield await _address(name, endpoint)
        yield await _certificate(name, endpoint)
        async with submission(settings, mail, word) as sender:
            yield good(f"{name} login", f"{endpoint.user or 'nobody'} at {endpoint}")
            for peer in sorted(chosen):
                yield _size(peer, settings.peers[peer].max_message, sender.size_limit)
    except MailsyncError as error:
        yield failed(name, error)


async def _address(name: str, endpoint: Endpoint) -> Finding:
    """Does the server's name lead anywhere? Raises Unreachable."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            found = await loop.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise connection_error(endpoint, error) from error
    addresses = sorted({str(item[4][0]) for item in found})
    return good(f"{name} server", f"{endpoint.host} is {', '.join(addresses)}")


async def _certificate(name: str, endpoint: Endpoint) -> Finding:
    """Is the server who it says it is, and for how long? Raises BadCertificate, Unreachable."""
    if endpoint.security is Security.CLEAR:
        return good(f"{name} TLS", "not used: the server is this very machine")
    try:
        expires = await asyncio.to_thread(_expiry, endpoint)
    except (OSError, smtplib.SMTPException) as error:
        raise connection_error(endpoint, error) from error
    days = int((expires - time.time()) // DAY_SECONDS)
    what = f"certificate of {endpoint.host} accepted, valid for {days} more days"
    if days < EXPIRY_DAYS:
        fix = "Have the server's certificate renewed; mail stops on the day it expires."
        return doubtful(f"{name} TLS", what, fix)
    return good(f"{name} TLS", what)


def _expiry(endpoint: Endpoint) -> float:
    """When the server's certificate expires, seconds since 1970."""
    context = tls_context(endpoint)
    assert context is not None  # noqa: S101  not asked for clear text
    if endpoint.security is Security.STARTTLS:
        with smtplib.SMTP(endpoint.host, endpoint.port, "localhost", PATIENCE_SECONDS) as client:
            client.starttls(context=context)
            assert isinstance(client.sock, ssl.SSLSocket)  # noqa: S101  as STARTTLS makes it
            return _not_after(client.sock)
    address = (endpoint.host, endpoint.port)
    with (
        socket.create_connection(address, PATIENCE_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=endpoint.host) as secured,
    ):
        return _not_after(secured)


def _not_after(secured: ssl.SSLSocket) -> float:
    date = (secured.getpeercert() or {})["notAfter"]
    return float(ssl.cert_time_to_seconds(str(date)))


async def _rights(mail: MailSettings, mailbox: Inbox) -> Finding:
    """Can our own mails be removed without touching others?"""
    name = "IMAP rights"
    await mailbox.dispose((), None)  # opens the folder for writing, and does no more
    offered = mailbox.capabilities & {"MOVE", "UIDPLUS"}
    if mail.dispose == "keep":
        return good(name, "mails are kept as they are")
    if mail.dispose == "move" and not await mailbox.has_folder(mail.dispose_folder or ""):
        what = f"there is no folder {mail.dispose_folder} to move mails to"
        fix = "Create it with any mail program, or set another dispose_folder under [mail]."
        return bad(name, what, fix, Exit.BAD_CONFIGURATION)
    if "UIDPLUS" in offered or (mail.dispose == "move" and offered):
        return good(name, f"used mails can be removed ({', '.join(sorted(offered))})")
    what = "the server offers no way to remove one mail without risk to others (UIDPLUS)"
    return doubtful(name, what, 'Set dispose = "keep" under [mail], and tidy up by hand.')


async def _quota(mailbox: Inbox) -> Finding:
    """Is there room in the mailbox?"""
    found = await mailbox.quota()
    if found is None:
        return good("IMAP quota", "the server does not tell of any")
    what = f"{found.used // 1_000_000} of {found.limit // 1_000_000} MB used"
    if found.used > FULL_PART * found.limit:
        fix = "Remove old mail, or have the quota raised; a full mailbox refuses mail."
        return doubtful("IMAP quota", what, fix)
    return good("IMAP quota", what)


def _size(peer: str, wanted: int, limit: int | None) -> Finding:
    """Does the server take mails as large as we would send?"""
    name = f"mail size for {peer}"
    if limit is None:
        return good(name, f"up to {format_size(wanted)}; the server announces no limit")
    if limit < wanted:
        what = f"max_message is {format_size(wanted)}, the server takes {limit} bytes"
        fix = f'Set max_message = "{limit} B", or less, under [peers.{peer}].'
        return bad(name, what, fix, Exit.BAD_CONFIGURATION)
    return good(name, f"up to {format_size(wanted)}; the server takes {limit} bytes")
