"""Where a mail server listens, and the one way this program speaks TLS to it.

There is no opportunistic mode: a connection is verified TLS from its first byte, TLS after a
required STARTTLS, or clear text to this very machine (RFC 8314).
"""

from __future__ import annotations

import enum
import ipaddress
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from urllib.parse import SplitResult, unquote, urlsplit

from mailsync.errors import BadCertificate, BadConfiguration, OperatorError, Unreachable


class Security(enum.Enum):
    """How the bytes on the connection are protected."""

    TLS = "tls"
    STARTTLS = "starttls"
    CLEAR = "clear"


_SCHEMES: Final = {
    "imaps": (Security.TLS, 993),
    "imap": (Security.CLEAR, 143),
    "smtps": (Security.TLS, 465),
    "smtp+starttls": (Security.STARTTLS, 587),
    "smtp": (Security.CLEAR, 25),
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One mail server's address and the user to log in as; ``""`` where no login is wanted.

    Raises ``BadConfiguration`` for clear text to another machine, and for a host, port or user
    that cannot be one.
    """

    host: str
    port: int
    user: str
    security: Security = Security.TLS
    tls_ca: Path | None = None
    """PEM file of authorities accepted besides the system's own."""

    def __post_init__(self) -> None:
        if not _is_host(self.host):
            raise BadConfiguration("a mail server's address names no valid host")
        if not 0 < self.port < 1 << 16:
            raise BadConfiguration(f"{self.host}: {self.port} is not a port number")
        if not self.user.isprintable():
            raise BadConfiguration(f"{self}: the user name holds a control character")
        if self.security is Security.CLEAR and not _is_loopback(self.host):
            raise BadConfiguration(f"{self}: clear text is allowed to this machine only, use TLS")

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def account(self) -> str:
        """``user@host``: what tells this mailbox from every other one."""
        return f"{self.user}@{self.host}"

    @classmethod
    def from_url(cls, url: str, tls_ca: Path | None = None) -> Self:
        """The endpoint that ``imaps://user%40domain@host:993`` and the like name.

        Schemes: ``imaps``, ``smtps``, ``smtp+starttls``, and to this machine only ``imap`` and
        ``smtp``. Raises ``BadConfiguration``; its message never repeats a password.
        """
        parts = _split(url)
        if parts.scheme not in _SCHEMES:
            known = ", ".join(_SCHEMES)
            raise BadConfiguration(f"{parts.scheme or 'no'} scheme in a mail URL; known: {known}")
        security, usual_port = _SCHEMES[parts.scheme]
        if parts.password is not None:
            raise BadConfiguration("a mail URL holds a password: it belongs into secret")
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise BadConfiguration(f"mail URL for {parts.hostname}: nothing may follow the host")
        return cls(
            host=parts.hostname or "",
            port=usual_port if parts.port is None else parts.port,
            user=unquote(parts.username or ""),
            security=security,
            tls_ca=tls_ca,
        )


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port  # parsed, and refused, only when it is looked at
    except ValueError as error:
        raise BadConfiguration(f"a mail URL is not well formed: {error}") from None
    return parts


def _is_host(host: str) -> bool:
    try:
        host.encode("idna")  # what the resolver does, where its failure is no OSError
    except UnicodeError:
        return False
    return bool(host) and host.isprintable() and " " not in host


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def tls_context(endpoint: Endpoint) -> ssl.SSLContext | None:
    """The verifying context for an endpoint; None where it is clear text to this machine.

    Raises ``BadConfiguration`` if the authority file cannot be used.
    """
    if endpoint.security is Security.CLEAR:
        return None
    context = ssl.create_default_context()
    if endpoint.tls_ca is not None:
        try:
            context.load_verify_locations(cafile=endpoint.tls_ca)
        except OSError as error:  # ssl.SSLError is one
            reason = error.strerror or "no certificate in it"
            raise BadConfiguration(f"tls_ca {endpoint.tls_ca}: {reason}") from error
    return context


def connection_error(endpoint: Endpoint, error: BaseException) -> OperatorError:
    """What a failed attempt to connect means to the operator, in one line with host and port."""
    match error:
        case ssl.SSLCertVerificationError():
            reason = one_line(getattr(error, "verify_message", None) or str(error))
            return BadCertificate(f"{endpoint}: certificate not accepted: {reason}")
        case ssl.SSLError():
            reason = one_line(getattr(error, "reason", None) or str(error))
            return BadCertificate(f"{endpoint}: no TLS could be agreed on: {reason}")
        case socket.gaierror():
            return Unreachable(f"{endpoint}: host name not found: {error.strerror}")
        case TimeoutError():
            return Unreachable(f"{endpoint}: no answer in time")
        case OSError():
            reason = error.strerror or one_line(str(error)) or type(error).__name__
            return Unreachable(f"{endpoint}: {reason}")
        case _:
            return Unreachable(f"{endpoint}: {one_line(str(error)) or type(error).__name__}")


def one_line(text: str, limit: int = 200) -> str:
    """A server's words made fit for one line of a log: printable, at most ``limit`` characters."""
    printable = "".join(letter if letter.isprintable() else " " for letter in text[: 4 * limit])
    return " ".join(printable.split())[:limit]
