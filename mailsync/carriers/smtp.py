"""Sending over SMTP submission (RFC 5321, 6409, 8314), on aiosmtplib.

Rules
-----
* One connection serves a batch; a connection that breaks is not renewed, the rest of its batch
  is ``Retry``.
* The envelope and the data are sent step by step, so that it is known whether the server may
  have the mail: past DATA and without an answer it is uncertain (RFC 1047), and only the same
  Message-ID may be tried again.
* A permanent code never means that a letter may be dropped: providers use them for what passes.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Self

import aiosmtplib

from mailsync.carriers.base import Letter, Refused, Retry, SendResult, Sent, Throttled
from mailsync.carriers.endpoint import (
    Endpoint,
    Security,
    connection_error,
    one_line,
    tls_context,
)
from mailsync.carriers.message import compose_message, mail_address
from mailsync.errors import BadCertificate, BadConfiguration, LoginRefused, OperatorError

_log = logging.getLogger(__name__)

_OWN_NAME: Final = "[127.0.0.1]"
"""What we call ourselves in EHLO: an address literal tells nobody the name of this machine."""

_TOO_LARGE: Final = frozenset({"5.3.4", "5.2.3"})
_SPENT: Final = frozenset({"4.3.2", "5.4.5", "5.7.236"})
"""The account sent too much in a minute or a day."""
_PASSING: Final = frozenset({"5.2.2", "5.5.0"}) | _SPENT
"""Permanent by their first digit, yet seen to pass: full mailbox, daily limits, "try later"."""


def _now() -> datetime:
    return datetime.now(UTC)


class SmtpSender:
    """The sender for one account at one submission server."""

    def __init__(
        self,
        endpoint: Endpoint,
        password: str,
        *,
        address: str,
        site: str,
        clock: Callable[[], datetime] = _now,
        timeout: float = 60.0,
        final_timeout: float = 600.0,
        minimum_rate: float = 200.0,
    ) -> None:
        """Prepare; nothing is connected yet.

        ``address`` is the account's own, in the envelope and in From. ``clock`` dates each
        attempt: servers refuse mails dated days ago. ``timeout`` (seconds) bounds the connection
        and each command; the answer to a mail may take ``final_timeout`` more than its bytes
        need at ``minimum_rate`` bytes/s (RFC 5321, 4.5.3.2.6 asks for ten minutes).

        Raises ``BadConfiguration`` if ``address`` cannot stand in a header.
        """
        self._endpoint = endpoint
        self._password = password
        self._address = mail_address(address)
        self._site = site
        self._clock = clock
        self._timeout = timeout
        self._final_timeout = final_timeout
        self._minimum_rate = minimum_rate
        self._client: aiosmtplib.SMTP | None = None
        self._lost = Retry(f"{endpoint}: the connection is lost")

    async def __aenter__(self) -> Self:
        """Connect, secure, log in. Raises ``Unreachable``, ``LoginRefused``, ``BadCertificate``."""
        client = aiosmtplib.SMTP(
            hostname=self._endpoint.host,
            port=self._endpoint.port,
            local_hostname=_OWN_NAME,
            timeout=self._timeout,
            use_tls=self._endpoint.security is Security.TLS,
            start_tls=False,  # asked for below, where its absence is an error of its own
            tls_context=tls_context(self._endpoint),
        )
        try:
            await client.connect()
            await self._secure(client)
            await self._log_in(client)
        except BaseException as error:
            client.close()
            if isinstance(error, OSError | aiosmtplib.SMTPException):
                raise _refusal(self._endpoint, error) from error
            raise
        self._client = client
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Take leave if the connection is in order, then close it."""
        client, self._client = self._client, None
        if client is None:
            return
        try:
            if client.is_connected and not any(exc):
                await client.quit()
        except (OSError, aiosmtplib.SMTPException) as error:
            _log.debug("%s: no answer to QUIT: %s", self._endpoint, type(error).__name__)
        finally:
            client.close()

    @property
    def size_limit(self) -> int | None:
        """The largest mail in bytes the server announced to take (RFC 1870); None if unknown."""
        announced = self._client.esmtp_extensions.get("size", "") if self._client else ""
        return int(announced) or None if re.fullmatch("[0-9]{1,18}", announced) else None

    async def send(self, letter: Letter) -> SendResult:
        """Hand over one letter, dated now. Never raises for a letter or the connection."""
        try:
            raw = self._compose(letter)
        except BadConfiguration as error:
            return Refused(str(error))
        limit = self.size_limit
        if limit is not None and len(raw) > limit:
            words = f"{len(raw)} bytes, but the server takes {limit}"
            return Refused(words, too_large=True, limit=limit)
        if self._client is None or not self._client.is_connected:
            return self._lost
        result = await self._attempt(self._client, letter, raw)
        _log.debug("%s: letter %s: %s", self._endpoint, letter.label, result)
        return result

    async def _secure(self, client: aiosmtplib.SMTP) -> None:
        if self._endpoint.security is not Security.STARTTLS:
            return
        await client.ehlo()
        if not client.supports_extension("starttls"):
            raise BadCertificate(
                f"{self._endpoint}: the server does not offer STARTTLS; nothing was sent in clear"
            )
        await client.starttls()

    async def _log_in(self, client: aiosmtplib.SMTP) -> None:
        await client.ehlo()
        if not self._endpoint.user:
            return
        if not client.supports_extension("auth"):
            raise LoginRefused(f"{self._endpoint}: the server offers no login on this port")
        # one attempt: every further method would count as another wrong password
        by_plain = "plain" in client.supported_auth_methods
        log_in = client.auth_plain if by_plain else client.login
        await log_in(self._endpoint.user, self._password)

    def _compose(self, letter: Letter) -> bytes:
        return compose_message(
            letter,
            sender=self._address,
            date=self._clock(),
            boundary="=_" + hashlib.sha256(letter.message_id.encode()).hexdigest()[:30],
            site=self._site,
        )

    async def _attempt(self, client: aiosmtplib.SMTP, letter: Letter, raw: bytes) -> SendResult:
        """One mail transaction; knows at each step what its failure would mean."""
        data_begun = False
        try:
            await client.mail(self._address, options=_mail_options(client, len(raw)))
            await client.rcpt(letter.recipient)
            data_begun = True
            patience = self._final_timeout + len(raw) / self._minimum_rate
            await client.data(raw, timeout=patience)
        except aiosmtplib.SMTPResponseException as error:
            if not 400 <= error.code < 600:
                client.close()  # an answer that is none: nothing later could be trusted either
                return Retry(_words(error), uncertain=data_begun)
            verdict = _verdict(error)
            if error.code == 421:  # RFC 5321, 3.8: the server ends
                client.close()
                self._lost = Retry(verdict.reason, throttled=True)
            await self._reset(client)
            return verdict
        except (OSError, aiosmtplib.SMTPException) as error:
            client.close()
            return Retry(f"{self._endpoint}: {_cause(error)}", uncertain=data_begun)
        except BaseException:
            client.close()
            raise
        return Sent(len(raw))

    async def _reset(self, client: aiosmtplib.SMTP) -> None:
        """Clear the envelope of a failed transaction for the next letter."""
        try:
            if client.is_connected:
                await client.rset()
        except (OSError, aiosmtplib.SMTPException):
            client.close()


def _mail_options(client: aiosmtplib.SMTP, size: int) -> list[str]:
    """Announce the size, and ask for bounces without the body, where the server knows them."""
    options = [f"SIZE={size}"] if client.supports_extension("size") else []
    if client.supports_extension("dsn"):  # RFC 3461, 4.3
        options.append("RET=HDRS")
    return options


def _verdict(error: aiosmtplib.SMTPResponseException) -> Retry | Refused:
    """What a server's refusal means for the letter (RFC 3463 where it gives such a code)."""
    code = _enhanced(error)
    if error.code < 500 or code in _PASSING:
        return Retry(_words(error), throttled=_is_throttling(error))
    if code in _TOO_LARGE or (error.code == 552 and not code):
        return Refused(_words(error), too_large=True)
    return Refused(_words(error))


def _enhanced(error: aiosmtplib.SMTPResponseException) -> str:
    """The enhanced code (RFC 3463); empty if there is none."""
    code = re.match(r"([245]\.\d{1,3}\.\d{1,3})\b", error.message)
    return code[1] if code else ""


def _is_throttling(error: aiosmtplib.SMTPResponseException) -> bool:
    """Does the answer mean the account rather than the letter?"""
    code = _enhanced(error)
    if code:
        return error.code == 421 or code in _SPENT or code.startswith("4.7.")
    return error.code in {421, 450}


def _refusal(endpoint: Endpoint, error: BaseException) -> OperatorError:
    """The operator's error for what ended the way to a usable connection."""
    if isinstance(error, aiosmtplib.SMTPAuthenticationError) and error.code >= 500:
        return LoginRefused(f"{endpoint}: login as {endpoint.user} refused: {_words(error)}")
    if isinstance(error, aiosmtplib.SMTPResponseException) and _is_throttling(error):
        return Throttled(f"{endpoint}: {_words(error)}")
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return connection_error(endpoint, RuntimeError(_words(error)))
    if isinstance(error, aiosmtplib.SMTPConnectError) and error.__cause__ is not None:
        return connection_error(endpoint, error.__cause__)
    return connection_error(endpoint, error)


def _words(error: aiosmtplib.SMTPResponseException) -> str:
    return one_line(f"{error.code} {error.message}")


def _cause(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return one_line(str(error)) or type(error).__name__
