"""Reading a mailbox over IMAP (RFC 3501, 4315 UIDPLUS, 6851 MOVE, 2177 IDLE, 2087 QUOTA).

Rules
-----
* Reading is done in EXAMINE and with PEEK: it cannot change anything. Only ``dispose`` selects.
* Every mail costs its few header fields once. Only what may be ours is fetched further, in
  chunks, and never beyond the cap; headers only decide whether to look, never whether to trust.
* Nothing but the UIDs named is touched; EXPUNGE and CLOSE, which take other people's deleted
  mail along, are never used.
* The folder of the account's spam filter is looked into too, where the server names it (RFC 6154):
  for what says of itself that it is ours, never for anything else.
* The library and the connection are ``imap_connection``'s affair, the syntax ``imap_wire``'s.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final, NamedTuple, Self

from mailsync.carriers.base import Arrival, Place, Quota
from mailsync.carriers.bounce import READ_MAX, bounce_in, is_report
from mailsync.carriers.endpoint import Endpoint, Security, one_line
from mailsync.carriers.hints import addresses_in, header_field, is_hinted
from mailsync.carriers.imap_connection import Declined, ImapConnection
from mailsync.carriers.imap_mails import Glance, batches, beginning, glances_of, whole, with_trace
from mailsync.carriers.imap_wire import (
    folder_name,
    marked_folder,
    numbers,
    quota_of,
    response_code,
    uid_set,
)
from mailsync.carriers.message import Limits, contents_of
from mailsync.errors import BadConfiguration, Unreachable

_log = logging.getLogger(__name__)

_IDLE_SLICE: Final = 540.0
"""Seconds; routers forget silent connections after ten minutes."""

_ENVELOPES: Final = ("multipart/", "message/", "application/")
"""Types of mail in which a container may lie although no header says so."""


class _Folder(NamedTuple):
    """A folder's name, as places have it and as commands have it."""

    name: str
    quoted: str
    is_junk: bool = False


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
        self._main = _Folder(folder, _quoted(folder))
        self._junk: _Folder | None = None
        self._reading = self._main
        self._dedicated = dedicated
        self._peers = frozenset(peer.lower() for peer in peers)
        self._size_cap = size_cap
        self._timeout = timeout
        self._minimum_rate = minimum_rate
        self._connection: ImapConnection | None = None
        self._entered: tuple[str, _Folder] | None = None
        self._validity = 0
        self._seen: dict[str, frozenset[Place]] = {}
        """By folder, once it was looked through: where there were mails."""

    async def __aenter__(self) -> Self:
        """Connect, log in, open the folder for reading.

        Raises ``Unreachable``, ``LoginRefused``, ``BadCertificate``, and ``BadConfiguration``
        where there is no such folder. What a server declines only for now is ``Unreachable``.
        """
        self._connection = await ImapConnection.open(
            self._endpoint,
            self._password,
            patience=self._timeout,
            minimum_rate=self._minimum_rate,
        )
        try:
            self._junk = await self._find_junk()
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
        """Every mail not in ``settled``, by folder in the order of their UIDs, without marking it.

        A mail that is not ours comes without containers, so that its place can be settled and
        the mail is not looked at again. Raises ``Unreachable`` when the connection fails; ends
        early if the server renumbers the folder meanwhile.
        """
        for folder in self._folders():
            async with aclosing(self._arrivals_in(folder, settled)) as arrivals:  # type: ignore[type-var]
                async for arrival in arrivals:
                    yield arrival

    async def again(self, places: Mapping[Place, int]) -> AsyncIterator[Arrival]:
        """Mails seen before, with their size then: those whose size is another one now.

        Raises as :meth:`arrivals`.
        """
        for folder in self._folders():
            if not await self._opens(folder):
                continue
            sizes = {place.number: size for place, size in places.items() if self._holds(place)}
            for batch in batches(sorted(sizes)):
                glances = await glances_of(self._session, batch, self._size_cap)
                # of those that the server did not show nobody knows yet whether they may be ours
                unseen = [glance for glance in glances if not sizes[glance.number]]
                candidates = await self._candidates(unseen)
                candidates |= {number for number in batch if sizes[number]}
                for glance in glances:
                    if glance.size == sizes[glance.number]:
                        continue
                    arrival = await self._arrival(glance, candidates)
                    if arrival is not None:
                        yield arrival
                    await self._enter("EXAMINE", folder)

    def vanished(self, places: Collection[Place]) -> frozenset[Place]:
        """Those in folders that :meth:`arrivals` came to the end of, where no mail was."""
        mine = [place for place in places if place.account == self._endpoint.account]
        looked = (one for one in mine if one.folder in self._seen)
        return frozenset(one for one in looked if one not in self._seen[one.folder])

    def _folders(self) -> list[_Folder]:
        """Those to look into; the main one last, so that waiting goes on from there."""
        return [self._main] if self._junk is None else [self._junk, self._main]

    async def _arrivals_in(
        self, folder: _Folder, settled: Collection[Place]
    ) -> AsyncIterator[Arrival]:
        self._entered = None  # a fresh look, and the validity as it is now
        self._seen.pop(folder.name, None)
        if not await self._opens(folder):
            return
        self._session.forget_news()
        validity = self._validity
        known = frozenset(settled)
        present = [self._place(number) for number in await self._search("ALL")]
        fresh = [place.number for place in present if place not in known]
        for batch in batches(fresh):
            await self._enter("EXAMINE", folder)
            glances = await glances_of(self._session, batch, self._size_cap)
            candidates = await self._candidates(glances)
            for glance in glances:
                await self._enter("EXAMINE", folder)  # the caller may have disposed of something
                if self._validity != validity:
                    return
                arrival = await self._arrival(glance, candidates)
                if arrival is not None:
                    yield arrival
        self._seen[folder.name] = frozenset(present)

    async def dispose(self, places: Collection[Place], folder: str | None) -> frozenset[Place]:
        """Move to ``folder``, or delete, exactly these mails; those that are now gone.

        Where the server offers neither MOVE nor UIDPLUS, nothing can be removed without risk to
        other mail, and nothing is. Folders are never created. Raises ``Unreachable``, and
        ``BadConfiguration`` for an impossible folder name.
        """
        gone: set[Place] = set()
        for one in self._folders():
            if any(place.folder == one.name for place in places):
                gone |= await self._dispose_in(one, places, folder)
        return frozenset(gone)

    async def _dispose_in(
        self, source: _Folder, places: Collection[Place], folder: str | None
    ) -> set[Place]:
        await self._enter("SELECT", source)
        wanted = {place.number: place for place in places if self._holds(place)}
        gone: set[Place] = set()
        for batch in batches(sorted(wanted)):
            try:
                await self._remove(uid_set(batch), folder)
            except Declined as error:
                _log.warning("%s: mails not moved to %s: %s", self._endpoint, folder, error)
            left = set(await self._search(f"UID {uid_set(batch)}"))
            gone.update(wanted[number] for number in batch if number not in left)
        return gone

    async def wait(self, seconds: float) -> bool:
        """Wait for new mail; True if there may be some since :meth:`arrivals` last began.

        Raises ``Unreachable`` when the connection fails, also silently.
        """
        session = self._session
        clock = asyncio.get_running_loop()
        end = clock.time() + seconds
        if self._entered is None or self._entered[1] != self._main:
            await self._enter("EXAMINE")
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
            found = quota_of(await self._session.command("GETQUOTAROOT", self._main.quoted))
        except Declined:
            return None
        return None if found is None else Quota(*found)

    @property
    def _session(self) -> ImapConnection:
        if self._connection is None:
            raise Unreachable(f"{self._endpoint}: not connected")
        return self._connection

    def _place(self, number: int) -> Place:
        return Place(self._endpoint.account, self._reading.name, self._validity, number)

    def _holds(self, place: Place) -> bool:
        return place == self._place(place.number)

    async def _find_junk(self) -> _Folder | None:
        """The folder of the spam filter, where the server says which it is."""
        if "SPECIAL-USE" not in self.capabilities:
            return None
        try:
            lines = await self._session.command("LIST", '""', '"*"')
        except Declined:
            return None
        name = marked_folder(lines, rb"\Junk")
        if name is None:
            return None
        quoted = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
        return None if quoted == self._main.quoted else _Folder(name, quoted, is_junk=True)

    async def _opens(self, folder: _Folder) -> bool:
        """Open a folder for reading; one that is not the operator's choice may fail to."""
        try:
            await self._enter("EXAMINE", folder)
        except BadConfiguration as error:
            if not folder.is_junk:
                raise
            _log.warning("%s", error)
            return False
        return True

    async def _enter(self, command: str, folder: _Folder | None = None) -> None:
        """Open a folder, the main one by default, by EXAMINE or SELECT, unless it is open so."""
        wanted = folder or self._main
        if self._entered == (command, wanted):
            return
        self._entered = None
        self._reading = wanted
        try:
            lines = await self._session.command(command, wanted.quoted)
        except Declined as error:
            words = f"{self._endpoint}: folder {wanted.name!r} cannot be opened: {error}"
            kind = Unreachable if error.passes and not wanted.is_junk else BadConfiguration
            raise kind(words) from None
        self._session.entered_folder()
        self._validity = response_code(lines, b"UIDVALIDITY") or 0
        self._entered = (command, wanted)

    async def _search(self, criteria: str) -> list[int]:
        try:
            lines = await self._session.command("SEARCH", criteria, prefix="UID")
        except Declined as error:  # busy, or too many of us: it may pass
            raise Unreachable(f"{self._endpoint}: {error}") from None
        return numbers(lines[:-1])

    async def _candidates(self, glances: Sequence[Glance]) -> frozenset[int]:
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
        traced = await with_trace(self._session, unsure, self._size_cap)
        return frozenset(sure | traced)

    def _is_likely(self, header: bytes) -> bool:
        senders = addresses_in(header_field(header, "from"))
        return (
            (self._dedicated and not self._reading.is_junk)
            or is_hinted(header)
            or not self._peers.isdisjoint(senders)
        )

    async def _arrival(self, glance: Glance, candidates: Collection[int]) -> Arrival | None:
        """What a mail brings; None if it is no longer there."""
        arrival = Arrival(
            place=self._place(glance.number),
            size=glance.size,
            message_id=one_line(header_field(glance.header, "message-id"), 250),
            subject=one_line(header_field(glance.header, "subject")),
            sender=next(iter(addresses_in(header_field(glance.header, "from"))), ""),
            in_junk=self._reading.is_junk,
        )
        if is_report(glance.header, self._peers):
            start = await beginning(self._session, glance.number, READ_MAX)
            return None if start is None else replace(arrival, bounce=bounce_in(start))
        if glance.number not in candidates:
            return _withheld(arrival, glance.refusal) if glance.refusal else arrival
        if glance.size > self._size_cap:
            return replace(arrival, problem=f"larger than the {self._size_cap} bytes accepted")
        try:
            raw = await self._whole(glance.number)
        except Declined as error:
            return _withheld(arrival, str(error))
        if raw is None:
            return None
        contents = contents_of(raw, Limits(size=self._size_cap))
        return replace(arrival, size=len(raw), **contents._asdict())

    async def _whole(self, number: int) -> bytes | None:
        return await whole(self._session, number, self._size_cap)

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


def _withheld(arrival: Arrival, words: str) -> Arrival:
    """A mail that the server does not show now. It has no size: whatever it shows later is news."""
    problem = f"the server does not hand it out: {words}"
    return replace(arrival, size=0, problem=problem, unfinished=True)


def _quoted(folder: str) -> str:
    try:
        return folder_name(folder)
    except ValueError as error:
        raise BadConfiguration(f"folder {folder!a}: {error}") from None
