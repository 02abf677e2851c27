"""What is said to a DAV server: listing, reading, writing (RFC 4918, 6578, 6352, 4791).

Rules
-----
* A key is the last part of a resource's address, without the escapes of URLs. Only members of
  the collection itself have one.
* Writes carry what they replace (If-Match, If-None-Match): a quicker user wins.
* What has no strong etag cannot be replaced safely, and is not (RFC 9110, 8.8.3).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from mailsync.core.model import Key
from mailsync.datasets.dav.http import Answer, Server, TooLarge
from mailsync.datasets.dav.xml import (
    CALDAV,
    CARDDAV,
    COLLECTION,
    ETAG,
    PRIVILEGE,
    PRIVILEGES,
    RESOURCE_TYPE,
    BadAnswer,
    Member,
    Multistatus,
    Name,
    multiget,
    propfind,
    sync_collection,
)
from mailsync.errors import DatasetError, MailsyncError

TOGETHER_MAX: Final = 50
"""Records read by one request."""
ROUNDS_MAX: Final = 10_000
"""Answers to one sync-collection report that a server may cut its list into."""

_PLAIN: Final = "!$&'()*+,=:@-._~"
"""What stands in the last part of an address as it is (RFC 3986, 3.3); a semicolon may as well,
but some servers end there."""
_XML: Final = {"Content-Type": 'application/xml; charset="utf-8"'}
_UNKNOWN_REPORT: Final = frozenset({400, 403, 404, 405, 415, 422, 501})
_STALE_TOKEN: Final = frozenset({400, 403, 409, 410, 412})
_WRITE: Final = frozenset({"all", "write", "write-content", "bind"})


class Kind(NamedTuple):
    """A kind of collection, in the words of its protocol."""

    scheme: str
    words: str
    """What people call several of them."""
    resource: Name
    """What its resource type is."""
    home: Name
    """The property that says where a user's collections are."""
    report: Name
    data: Name
    media: str


ADDRESS_BOOK: Final = Kind(
    "carddav",
    "address books",
    Name(CARDDAV, "addressbook"),
    Name(CARDDAV, "addressbook-home-set"),
    Name(CARDDAV, "addressbook-multiget"),
    Name(CARDDAV, "address-data"),
    "text/vcard; charset=utf-8",
)
CALENDAR: Final = Kind(
    "caldav",
    "calendars",
    Name(CALDAV, "calendar"),
    Name(CALDAV, "calendar-home-set"),
    Name(CALDAV, "calendar-multiget"),
    Name(CALDAV, "calendar-data"),
    "text/calendar; charset=utf-8",
)
DAV_KINDS: Final = {one.scheme: one for one in (ADDRESS_BOOK, CALENDAR)}


class Listing(NamedTuple):
    """Members of a collection and their etags, all or those that changed."""

    etags: dict[Key, str]
    gone: set[Key]
    token: str
    """By which to ask for what changed since; empty: the server has none."""


class Found(NamedTuple):
    """A record as the server holds it; ``data`` None: there is none."""

    data: bytes | None
    etag: str = ""
    fault: str = ""
    """Why it cannot be read; empty: it can."""


class StaleToken(Exception):
    """The server does not know the token (any more): everything must be listed."""


def is_strong(etag: str) -> bool:
    """Does it name the very bytes?"""
    return etag.startswith('"') and etag.endswith('"') and len(etag) > 1


def properties(server: Server, path: str, names: Sequence[Name], depth: int = 0) -> list[Member]:
    """These properties of a resource, and of the members of a collection (depth 1).

    Raises :class:`mailsync.errors.DatasetError`.
    """
    answer, read = _multistatus(server, "PROPFIND", path, depth, propfind(names))
    if answer.status != 207:
        raise server.refusal(answer)
    # addresses may be relative to where the answer came from
    return [one._replace(href=server.at(one.href)) for one in read.members]


class Collection:
    """One collection of records on a server."""

    def __init__(self, server: Server, path: str, kind: Kind) -> None:
        """``path`` as the server writes it; nothing is asked yet."""
        self._server = server
        self.path: Final = path if path.endswith("/") else f"{path}/"
        self._kind = kind

    @property
    def place(self) -> str:
        """What to call it in messages."""
        return self._server.base + self.path

    def listing(self) -> Listing:
        """All its members. Raises DatasetError."""
        try:
            return self.since("")
        except StaleToken:  # to no token at all: it does not have this report
            found = properties(self._server, self.path, (ETAG, RESOURCE_TYPE), 1)
            return self._listing(found, "")

    def since(self, token: str) -> Listing:
        """What changed since ``token``; empty: all there is. Raises StaleToken, DatasetError."""
        names = (ETAG, RESOURCE_TYPE)
        total = Listing({}, set(), token)
        refused = _STALE_TOKEN if token else _UNKNOWN_REPORT
        for _ in range(ROUNDS_MAX):
            body = sync_collection(total.token, names)
            answer, read = _multistatus(self._server, "REPORT", self.path, 0, body)
            if answer.status in refused:
                raise StaleToken
            if answer.status != 207:
                raise self._server.refusal(answer)
            part = self._listing(read.members, read.token)
            etags = {key: etag for key, etag in total.etags.items() if key not in part.gone}
            gone = (total.gone | part.gone) - part.etags.keys()
            total = Listing(etags | part.etags, gone, read.token)
            if not self._is_cut(read.members):
                return total
        raise DatasetError(f"{self.place}: its list of changes does not end")

    def fetch(self, keys: Sequence[Key]) -> Iterator[tuple[Key, Found]]:
        """What it holds under these keys now. Raises DatasetError."""
        for start in range(0, len(keys), TOGETHER_MAX):
            yield from self._fetch_together(keys[start : start + TOGETHER_MAX]).items()

    def get(self, key: Key) -> Found:
        """One record in its very bytes. Raises DatasetError."""
        headers = {"Accept-Encoding": "identity"}  # a packed answer has a weak etag
        try:
            answer = self._server.ask("GET", self._address(key), headers)
        except TooLarge:
            return Found(b"", fault="it is too large")
        if answer.status in {404, 410}:
            return Found(None)
        if answer.status != 200:
            raise self._server.refusal(answer)
        return Found(answer.body, answer.etag)

    def put(self, key: Key, data: bytes, etag: str | None) -> Answer:
        """Write a record that has this etag; None: that is not there yet. Raises DatasetError."""
        condition = {"If-None-Match": "*"} if etag is None else {"If-Match": etag}
        headers = {"Content-Type": self._kind.media, **condition}
        return self._server.ask("PUT", self._address(key), headers, data)

    def delete(self, key: Key, etag: str) -> Answer:
        """Delete a record that has this etag. Raises DatasetError."""
        return self._server.ask("DELETE", self._address(key), {"If-Match": etag})

    def is_writable(self) -> bool:
        """May this user write here? Where the server does not say, yes. Raises DatasetError."""
        own = properties(self._server, self.path, (PRIVILEGES,))[:1]
        told = [one.found[PRIVILEGES] for one in own if PRIVILEGES in one.found]
        granted = {
            one.name.local
            for each in told
            for privilege in each.all(PRIVILEGE)
            for one in privilege.children
        }
        return not told or not granted.isdisjoint(_WRITE)

    def refusal(self, answer: Answer, what: str) -> MailsyncError:
        """The error that an answer stands for which concerns more than one record."""
        return self._server.refusal(answer, what)

    def _fetch_together(self, keys: Sequence[Key]) -> dict[Key, Found]:
        body = multiget(
            self._kind.report, (ETAG, self._kind.data), [self._address(key) for key in keys]
        )
        try:
            answer, read = _answered(self._server, "REPORT", self.path, 0, body)
        except TooLarge:
            if len(keys) == 1:
                return {keys[0]: Found(b"", fault="it is too large")}
            middle = len(keys) // 2
            return self._fetch_together(keys[:middle]) | self._fetch_together(keys[middle:])
        except BadAnswer:  # a record that XML cannot hold; by itself it can be had
            return {key: self.get(key) for key in keys}
        if answer.status != 207:
            raise self._server.refusal(answer)
        told = {self._key(member.href): self._found(member) for member in read.members}
        # what an answer does not mention is not gone: it may have been cut
        return {key: told[key] if key in told else self.get(key) for key in keys}

    def _found(self, member: Member) -> Found:
        if member.status in {404, 410}:
            return Found(None)
        if member.status != 200 or self._kind.data not in member.found:
            return Found(b"", fault=f"the server does not give it (status {member.status})")
        return Found(member.text(self._kind.data).encode(), member.text(ETAG).strip())

    def _listing(self, members: Sequence[Member], token: str) -> Listing:
        etags: dict[Key, str] = {}
        gone: set[Key] = set()
        for member in members:
            key = self._key(member.href)
            if not key or COLLECTION in member.kinds(RESOURCE_TYPE):
                continue
            if member.status in {404, 410}:
                gone.add(key)
            elif member.status == 200:
                etags[key] = member.text(ETAG).strip()
        return Listing(etags, gone, token)

    def _is_cut(self, members: Sequence[Member]) -> bool:
        """Does the server say that this was not all (RFC 6578, 3.6)?"""
        return any(one.status == 507 and not self._key(one.href) for one in members)

    def _key(self, href: str) -> Key:
        """The key of a member; empty: it is none."""
        try:
            path = urlsplit(href).path
        except ValueError:  # brackets that are no address
            return Key("")
        folder, _, name = path.rpartition("/")
        if _plain(f"{folder}/") != _plain(self.path):
            return Key("")
        return Key(unquote(name, errors="surrogateescape"))

    def _address(self, key: Key) -> str:
        return self.path + quote(key, safe=_PLAIN, errors="surrogateescape")


def _plain(path: str) -> str:
    """The same for all spellings of a path."""
    return unquote(path, errors="surrogateescape")


def _multistatus(
    server: Server, method: str, path: str, depth: int, body: bytes
) -> tuple[Answer, Multistatus]:
    """The answer, and what it says, if it is a multi-status one. Raises DatasetError."""
    try:
        return _answered(server, method, path, depth, body)
    except BadAnswer as error:
        raise DatasetError(f"{server.base}{path} answers with {error}") from error
    except TooLarge as error:
        raise DatasetError(f"{server.base}{path} answers with more than we take") from error


def _answered(
    server: Server, method: str, path: str, depth: int, body: bytes
) -> tuple[Answer, Multistatus]:
    """The same. Raises DatasetError, BadAnswer, TooLarge."""
    read = Multistatus()
    answer = server.ask(method, path, {**_XML, "Depth": str(depth)}, body, read.feed)
    if answer.status == 207:
        read.feed(b"", last=True)
    elif answer.status < 300:
        raise DatasetError(f"{server.base}{path} answers like no DAV server")
    return answer, read
