"""Reading a mailbox over IMAP (RFC 3501, 4315 UIDPLUS, 6851 MOVE, 2177 IDLE, 2087 QUOTA).

Rules
-----
* Reading is done in EXAMINE and with PEEK: it cannot change anything. Only ``dispose`` selects.
* Every mail costs its few header fields once. Only what may be ours is fetched further, in
  chunks, and never beyond the cap; headers only decide whether to look, never whether to trust.
* Nothing but the UIDs named is touched; EXPUNGE and CLOSE, which take other people's deleted
  mail along, are never used.
* The library and the connection are ``imap_connection``'s affair, the syntax ``imap_wire``'s.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from dataclasses import replace
from typing import Final, NamedTuple, Self

from mailsync.carriers.base import Arrival, Place
from mailsync.carriers.endpoint import Endpoint, Security, one_line
from mailsync.carriers.imap_connection import Declined, ImapConnection
from mailsync.carriers.imap_wire import fetched, folder_name, numbers, response_code, uid_set
from mailsync.carriers.message import Limits, contents_of, header_field, is_hinted
from mailsync.errors import BadConfiguration, Unreachable

_log = logging.getLogger(__name__)

_BATCH: Final = 100
"""Mails per command; the library's cost grows with the square of an answer's lines."""
_CHUNK: Final = 262_144
_HEADER: Final = 8_192
_GLIMPSE: Final = 8_192
"""Bytes of body in which an unaltered mail of ours shows its attachment, several times over."""
_IDLE_SLICE: Final = 540.0
"""Seconds; routers forget silent connections after ten minutes."""

_HEADER_ITEM: Final = (
    f"BODY.PEEK[HEADER.FIELDS (FROM SUBJECT MESSAGE-ID X-MAILSYNC CONTENT-TYPE)]<0.{_HEADER}>"
)
_ADDRESS: Final = re.compile(r"[^\s<>()\[\],;:\"]+@[^\s<>()\[\],;:\"]+")
_ENVELOPES: Final = ("multipart/", "message/", "application/")
"""Types of mail in which a container may lie although no header says so."""
_TRACE: Final = re.compile(rb"(?i)mailsync|\.msync|iW1TeW5jDQ")


class Quota(NamedTuple):
    """Bytes used of those granted to the mailbox."""

    used: int
    limit: int


class _Glance(NamedTuple):
    """What a look at a mail's outside shows."""

    number: int
    size: int
    header: bytes


class ImapMailbox:
    """One folder of one account."""

    def __init__(
        self,
        endpoint: Endpoint,
        password: str,
        *,
        folder: str = "INBOX",
        dedicated: bool = False,
        peers: Collection[str] = (),
        size_cap: int = 60_000_000,
        timeout: float = 60.0,
        minimum_rate: float = 200.0,
    ) -> None:
        """Prepare; nothing is connected yet.

        In a ``dedicated`` mailbox every mail is looked into, in a shared one those of ``peers``
        (mail addresses) and those that seem to be ours. Mails above ``size_cap`` bytes are left
        alone. A command fails after ``timeout`` seconds of silence, or when its bytes come more
        slowly than ``minimum_rate`` bytes/s.

        Raises ``BadConfiguration`` for STARTTLS and for an impossible folder name.
        """
        if endpoint.security is Security.STARTTLS:
            raise BadConfiguration(f"{endpoint}: IMAP is spoken over TLS from the start: imaps://")
        self._endpoint = endpoint
        self._password = password
        self._folder = folder
        self._quoted_folder = _quoted(folder)
        self._dedicated = dedicated
        self._peers = frozenset(peer.lower() for peer in peers)
        self._size_cap = size_cap
        self._timeout = timeout
        self._minimum_rate = minimum_rate
        self._connection: ImapConnection | None = None
        self._entered = ""
        self._validity = 0

    async def __aenter__(self) -> Self:
        """Connect, log in, open the folder for reading.

        Raises ``Unreachable``, ``LoginRefused``, ``BadCertificate``, and ``BadConfiguration``
        where there is no such folder.
        """
        self._connection = await ImapConnection.open(
            self._endpoint,
            self._password,
            patience=self._timeout,
            minimum_rate=self._minimum_rate,
        )
        try:
            await self._enter("EXAMINE")
        except BaseException:
            self._connection.abort()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Log out."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    @property
    def capabilities(self) -> frozenset[str]:
        """What the server offers this user, in capitals."""
        return self._session.capabilities

    async def arrivals(self, settled: Collection[Place]) -> AsyncIterator[Arrival]:
        """Every mail not in ``settled`` in the order of their UIDs, without marking it.

        A mail that is not ours comes without containers, so that its place can be settled and
        the mail is not looked at again. Raises ``Unreachable`` when the connection fails; ends
        early if the server renumbers the folder meanwhile.
        """
        self._entered = ""  # a fresh look, and the validity as it is now
        await self._enter("EXAMINE")
        self._session.forget_news()
        validity = self._validity
        known = {place.number for place in settled if place == self._place(place.number)}
        fresh = [number for number in await self._search("ALL") if number not in known]
        for batch in _batches(fresh):
            glances = await self._glances(batch)
            candidates = await self._candidates(glances)
            for glance in glances:
                await self._enter("EXAMINE")  # the caller may have disposed of something
                if self._validity != validity:
                    return
                arrival = await self._arrival(glance, candidates)
                if arrival is not None:
                    yield arrival

    async def dispose(self, places: Collection[Place], folder: str | None) -> frozenset[Place]:
        """Move to ``folder``, or delete, exactly these mails; those that are now gone.

        Where the server offers neither MOVE nor UIDPLUS, nothing can be removed without risk to
        other mail, and nothing is. Folders are never created. Raises ``Unreachable``, and
        ``BadConfiguration`` for an impossible folder name.
        """
        await self._enter("SELECT")
        wanted = {place.number: place for place in places if place == self._place(place.number)}
        gone: set[Place] = set()
        for batch in _batches(sorted(wanted)):
            try:
                await self._remove(uid_set(batch), folder)
            except Declined as error:
                _log.warning("%s: mails not moved to %s: %s", self._endpoint, folder, error)
            left = set(await self._search(f"UID {uid_set(batch)}"))
            gone.update(wanted[number] for number in batch if number not in left)
        return frozenset(gone)

    async def wait(self, seconds: float) -> bool:
        """Wait for new mail; True if there may be some since :meth:`arrivals` last began.

        Raises ``Unreachable`` when the connection fails, also silently.
        """
        session = self._session
        clock = asyncio.get_running_loop()
        end = clock.time() + seconds
        while not session.has_news and (left := end - clock.time()) > 0:
            await session.listen(min(left, _IDLE_SLICE))
            if not session.has_news:  # proves the connection, and asks servers that push nothing
                await session.command("NOOP")
        return session.has_news

    async def has_folder(self, folder: str) -> bool:
        """Is there such a folder? Raises ``Unreachable``, ``BadConfiguration``."""
        try:
            await self._session.command("STATUS", _quoted(folder), "(UIDVALIDITY)")
        except Declined:
            return False
        return True

    async def quota(self) -> Quota | None:
        """How full the mailbox is; None if the server does not tell. Raises ``Unreachable``."""
        if "QUOTA" not in self.capabilities:
            return None
        try:
            lines = await self._session.command("GETQUOTAROOT", self._quoted_folder)
        except Declined:
            return None
        storage = (re.search(rb"(?i)\(?STORAGE (\d{1,18}) (\d{1,18})", line) for line in lines)
        # in units of 1024 bytes (RFC 2087, 3)
        found = (Quota(int(match[1]) * 1024, int(match[2]) * 1024) for match in storage if match)
        return next(found, None)

    @property
    def _session(self) -> ImapConnection:
        if self._connection is None:
            raise Unreachable(f"{self._endpoint}: not connected")
        return self._connection

    def _place(self, number: int) -> Place:
        return Place(self._endpoint.account, self._folder, self._validity, number)

    async def _enter(self, command: str) -> None:
        """Open the folder by EXAMINE or SELECT, unless it is open that way."""
        if self._entered == command:
            return
        self._entered = ""
        try:
            lines = await self._session.command(command, self._quoted_folder)
        except Declined as error:
            raise BadConfiguration(
                f"{self._endpoint}: folder {self._folder!r} cannot be opened: {error}"
            ) from None
        self._session.entered_folder()
        self._validity = response_code(lines, b"UIDVALIDITY") or 0
        self._entered = command

    async def _search(self, criteria: str) -> list[int]:
        return numbers((await self._session.command("SEARCH", criteria, prefix="UID"))[:-1])

    async def _glances(self, batch: Sequence[int]) -> list[_Glance]:
        """Sizes and header fields. One mail the server cannot show does not hide the others."""
        items = f"(UID RFC822.SIZE {_HEADER_ITEM})"
        try:
            answers = await self._fetch(batch, items)
        except Declined:
            if len(batch) == 1:
                return [_Glance(batch[0], 0, b"")]
            middle = len(batch) // 2
            return await self._glances(batch[:middle]) + await self._glances(batch[middle:])
        return [
            _Glance(number, _number(answers[number].get("RFC822.SIZE")), _section(answers[number]))
            for number in batch
            if number in answers
        ]

    async def _fetch(self, batch: Sequence[int], items: str) -> dict[int, dict[str, bytes]]:
        """FETCH answers by UID. The server may ignore ranges, hence the generous size."""
        await self._enter("EXAMINE")
        lines = await self._session.command(
            "FETCH", uid_set(batch), items, prefix="UID", size=self._size_cap
        )
        # mails may come in several answers, among them some nobody asked for
        merged: dict[int, dict[str, bytes]] = {}
        for answer in fetched(lines[:-1]):
            if (number := _number(answer.get("UID"))) in batch:
                merged.setdefault(number, {}).update(answer)
        return merged

    async def _candidates(self, glances: Sequence[_Glance]) -> frozenset[int]:
        """The mails worth fetching whole."""
        sure = {glance.number for glance in glances if self._is_likely(glance.header)}
        unsure = [
            glance.number
            for glance in glances
            if glance.number not in sure
            and glance.size <= self._size_cap
            and header_field(glance.header, "content-type").lower().startswith(_ENVELOPES)
        ]
        if not unsure:
            return frozenset(sure)
        try:
            answers = await self._fetch(unsure, f"(UID BODY.PEEK[TEXT]<0.{_GLIMPSE}>)")
        except Declined:
            return frozenset(sure)
        traced = {number for number in answers if _TRACE.search(_section(answers[number]))}
        return frozenset(sure | traced)

    def _is_likely(self, header: bytes) -> bool:
        senders = _ADDRESS.findall(header_field(header, "from").lower())
        return self._dedicated or is_hinted(header) or not self._peers.isdisjoint(senders)

    async def _arrival(self, glance: _Glance, candidates: Collection[int]) -> Arrival | None:
        """What a mail brings; None if it is no longer there."""
        arrival = Arrival(
            place=self._place(glance.number),
            size=glance.size,
            message_id=one_line(header_field(glance.header, "message-id"), 250),
            subject=one_line(header_field(glance.header, "subject")),
        )
        if glance.number not in candidates:
            return arrival
        if glance.size > self._size_cap:
            return replace(arrival, problem=f"larger than the {self._size_cap} bytes accepted")
        try:
            raw = await self._whole(glance.number)
        except Declined as error:
            return replace(arrival, problem=f"the server does not hand it out: {error}")
        if raw is None:
            return None
        containers, problem = contents_of(raw, Limits(size=self._size_cap))
        return replace(arrival, size=len(raw), containers=containers, problem=problem)

    async def _whole(self, number: int) -> bytes | None:
        """A mail in chunks, as it is; a little beyond the cap where it is larger than it said."""
        raw = bytearray()
        while len(raw) <= self._size_cap:
            items = f"(UID BODY.PEEK[]<{len(raw)}.{_CHUNK}>)"
            answer = (await self._fetch([number], items)).get(number)
            if answer is None:
                return None
            chunk = answer.get(f"BODY[]<{len(raw)}>")
            if chunk is None or len(chunk) > _CHUNK:  # the server ignored the range
                return _section(answer)
            raw += chunk
            if len(chunk) < _CHUNK:
                break
        return bytes(raw)

    async def _remove(self, uids: str, folder: str | None) -> None:
        """Take mails out of the folder by the safest way offered, or leave them."""
        session = self._session
        if folder is not None and "MOVE" in self.capabilities:
            await session.command("MOVE", uids, _quoted(folder), prefix="UID")
        elif "UIDPLUS" in self.capabilities:
            if folder is not None:
                await session.command("COPY", uids, _quoted(folder), prefix="UID")
            await session.command("STORE", uids, r"+FLAGS.SILENT (\Deleted)", prefix="UID")
            await session.command("EXPUNGE", uids, prefix="UID")
        else:
            _log.warning("%s offers no safe way to remove a mail: left", self._endpoint)


def _quoted(folder: str) -> str:
    try:
        return folder_name(folder)
    except ValueError as error:
        raise BadConfiguration(f"folder {folder!a}: {error}") from None


def _batches(values: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(values), _BATCH):
        yield values[start : start + _BATCH]


def _number(digits: bytes | None) -> int:
    return int(digits) if digits is not None and re.fullmatch(rb"\d{1,18}", digits) else 0


def _section(answer: dict[str, bytes]) -> bytes:
    """The content of the one body section that was asked for, whatever range it is said to be."""
    return next((value for name, value in answer.items() if name.startswith("BODY[")), b"")
