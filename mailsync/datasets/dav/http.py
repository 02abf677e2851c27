"""HTTP to the server of an address book or a schedule: one login, bounded answers, clear errors.

Rules
-----
* This module alone knows httpx2. What the environment says of proxies and logins is not heeded.
* Certificates are always verified; clear text goes to this machine only.
* A redirect is followed within the server that was named, and never from TLS to clear text. A
  login never goes anywhere else.
* What a server sends is bounded; a connection is kept and used again.
* A secret whose login is refused is fetched anew, once: passwords are changed, and tokens end.
"""

from __future__ import annotations

import ssl
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple
from urllib.parse import unquote, urljoin, urlsplit

import httpx2

from mailsync.datasets.base import Access
from mailsync.errors import (
    BadConfiguration,
    DatasetBusy,
    DatasetError,
    DatasetLoginRefused,
    DatasetMissing,
    DatasetUnreachable,
    DatasetUntrusted,
    DiskFull,
    MailsyncError,
)
from mailsync.names import LOOPBACK

CONNECT_SECONDS_MAX: Final = 30.0
SILENT_SECONDS_MAX: Final = 120.0
"""How long a server may say nothing: some look through a large collection first."""
BODY_BYTES_MAX: Final = 256 * 1024 * 1024
"""Of one answer: a listing of a million members. It is not kept in memory."""
KEPT_BYTES_MAX: Final = 32 * 1024 * 1024
"""Of one record."""
REDIRECTS_MAX: Final = 5

_REDIRECTS: Final = frozenset({301, 302, 307, 308})
_TEMPORARY: Final = frozenset({423, 429, 500, 502, 503, 504})

Take = Callable[[bytes], None]
"""What takes the body of an answer, piece by piece."""


class Answer(NamedTuple):
    """What a server answered."""

    status: int
    path: str
    """Where the answer came from: elsewhere than asked for after a redirect."""
    etag: str
    allows: frozenset[str]
    """The methods it says it has."""
    body: bytes
    """Whole, unless somebody else took it."""


class TooLarge(Exception):
    """An answer is larger than what is taken."""


class Server:
    """A server, by one user's eyes."""

    def __init__(self, url: str, access: Access) -> None:
        """``url``: of anything on it, maybe with a user name. Nothing is connected yet.

        Raises :class:`BadConfiguration`.
        """
        try:
            parts = urlsplit(url)
            port = f":{parts.port}" if parts.port else ""
            httpx2.URL(url)
        except (ValueError, httpx2.InvalidURL) as error:
            raise BadConfiguration(f"{url.rpartition('@')[2]:.80}: {error}") from error
        if not parts.hostname or parts.scheme not in {"https", "http"} or parts.password:
            raise BadConfiguration(
                f"{parts.hostname or url!r}: must be of the form https://USER@HOST"
            )
        if parts.scheme == "http" and parts.hostname not in LOOPBACK:
            raise BadConfiguration(f"{parts.hostname}: clear text goes to this machine only")
        self._user = unquote(parts.username or "")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        self.base: Final = f"{parts.scheme}://{host}{port}"
        self.path: Final = parts.path or "/"
        self._access = access
        self._client: httpx2.Client | None = None
        self._login: Mapping[str, str] = {}
        """As the client says it."""

    def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        take: Take | None = None,
    ) -> Answer:
        """One request and its answer, whatever its status; redirects are followed.

        ``take`` gets the body of an answer that is none of an error. Raises
        :class:`mailsync.errors.DatasetError`, :class:`TooLarge`, and what ``take`` raises.
        """
        for _ in range(REDIRECTS_MAX):
            answer, target = self._once(method, path, headers or {}, body, take)
            if answer.status == 401 and self._has_other_login():
                answer, target = self._once(method, path, headers or {}, body, take)
            if answer.status not in _REDIRECTS or not target:
                return answer
            path = self._within(self.base + path, target)
        raise DatasetError(f"{self.base}{path}: too many redirects")

    def at(self, href: str) -> str:
        """The path of an address the server gave. Raises DatasetError if it is another's."""
        return self._within(self.base + "/", href)

    def _within(self, here: str, target: str) -> str:
        try:
            url = urljoin(here, target)
            parts, own = urlsplit(url), urlsplit(self.base)
            httpx2.URL(url)
            port = parts.port
        except (ValueError, httpx2.InvalidURL) as error:
            raise DatasetError(f"{self.base} sends us on to what is no address: {error}") from error
        if (parts.scheme, parts.hostname, port) != (own.scheme, own.hostname, own.port):
            elsewhere = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
            raise DatasetError(
                f"{self.base} sends us on to {elsewhere}, and the login goes to no other server: "
                "if that is yours, name it as the source"
            )
        return parts.path or "/"

    def _once(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, take: Take | None
    ) -> tuple[Answer, str]:
        """The answer, and where else it says to look."""
        try:
            with self._opened().stream(
                method, self.base + path, headers=dict(headers), content=body
            ) as response:
                kept = _read(response, take if response.status_code < 300 else None)
                answer = Answer(
                    response.status_code,
                    path,
                    response.headers.get("ETag", ""),
                    frozenset(response.headers.get("Allow", "").replace(" ", "").split(",")),
                    kept,
                )
                return answer, response.headers.get("Location", "")
        except httpx2.HTTPError as error:
            self.close()  # an authority that is put right is heard of the next time
            raise self._explained(error) from error

    def _has_other_login(self) -> bool:
        """Is the secret another one by now than that which was just refused?"""
        refused = self._login
        self.close()
        self._opened()
        return self._login != refused

    def _opened(self) -> httpx2.Client:
        if self._client is None:
            self._login = self._authorization()
            self._client = httpx2.Client(
                verify=self._trust(),
                trust_env=False,
                follow_redirects=False,
                timeout=httpx2.Timeout(SILENT_SECONDS_MAX, connect=CONNECT_SECONDS_MAX),
                headers={"User-Agent": "mailsync", **self._login},
            )
        return self._client

    def _trust(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self._access.authority)
        except OSError as error:  # an SSLError is one
            file = self._access.authority
            raise BadConfiguration(f"tls_ca {file}: {error.strerror or error}") from error

    def _authorization(self) -> dict[str, str]:
        """Who we are: by name and password, or by a token where no user is named (RFC 6750)."""
        if self._access.secret is None:
            return {}
        secret = self._access.secret()
        if not self._user:
            if not secret.isascii():
                told = "the URL names no user, and the secret is no token: a token is in ASCII"
                raise DatasetLoginRefused(f"{self.base}: {told}")
            return {"Authorization": f"Bearer {secret}"}
        words = b64encode(f"{self._user}:{secret}".encode()).decode()
        return {"Authorization": f"Basic {words}"}

    def _explained(self, error: httpx2.HTTPError) -> MailsyncError:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ssl.SSLCertVerificationError):
                return DatasetUntrusted(f"{self.base}: {cause.verify_message}")
            cause = cause.__cause__ or cause.__context__
        words = " ".join(str(error).split()) or type(error).__name__
        return DatasetUnreachable(f"{self.base}: {words}")

    def refusal(self, answer: Answer, what: str = "") -> MailsyncError:
        """The error that an answer stands for which is of no use."""
        place = f"{self.base}{answer.path}"
        told = f"{place}: {what or 'answered'} with status {answer.status}"
        match answer.status:
            case 401 if self._access.secret is None:
                return DatasetLoginRefused(f"{place}: wants a login, and the section has no secret")
            case 401:
                who = f"user {self._user}" if self._user else "a token (its URL names no user)"
                return DatasetLoginRefused(f"{place}: does not take the login of {who}")
            case 403:
                return DatasetLoginRefused(f"{place}: this user may not read it")
            case 404 | 410:
                return DatasetMissing(f"there is no {place}")
            case 507:
                return DiskFull(f"no space left at {place}")
            case status if status in _TEMPORARY:
                return DatasetBusy(told)
        return DatasetError(told)

    def close(self) -> None:
        """Close what is open; the next request opens it anew."""
        if self._client is not None:
            self._client.close()
            self._client = None


def _read(response: httpx2.Response, take: Take | None) -> bytes:
    """The body as far as nobody takes it."""
    kept = bytearray()
    size = 0
    for piece in response.iter_bytes():
        size += len(piece)
        if size > (KEPT_BYTES_MAX if take is None else BODY_BYTES_MAX):
            raise TooLarge
        if take is None:
            kept += piece
        else:
            take(piece)
    return bytes(kept)
