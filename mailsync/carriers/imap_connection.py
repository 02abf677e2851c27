"""One guarded connection to an IMAP server; the only module that knows aioimaplib.

Rules
-----
* Every wait ends: with an answer, at its timeout, or at once when the connection is lost.
* Whatever goes wrong below the level of a ``NO`` ends the connection for good: after a timeout
  or a line that was not understood, no later answer could be matched to its command.
* One command at a time. The server may send no more than the command in progress asked for.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import Any, Final, Self, TypeVar

from aioimaplib import aioimaplib

from mailsync.carriers.base import Throttled
from mailsync.carriers.endpoint import Endpoint, connection_error, one_line, tls_context
from mailsync.carriers.imap_wire import Argument, Line, astring, render
from mailsync.errors import LoginRefused, Unreachable

_T = TypeVar("_T")

_log = logging.getLogger(__name__)

# It formats every received byte into its debug records: mail bodies and, escaped, passwords.
aioimaplib.log.disabled = True

_SLICE: Final = 4096
"""Bytes fed to the library at once: it recurses once a line, about 1000 lines are too many."""
_LONGEST_LINE: Final = 2 * 2**20
"""Bytes; a SEARCH answer of 200,000 UIDs is shorter. The library's cost grows with its square."""
_ANSWER: Final = 4 * 2**20
"""Bytes a command without a body of mail may be answered with."""
_UNTAGGED: Final = {"STORE": "FETCH", "GETQUOTAROOT": "QUOTA"}
"""Commands whose answers have another name than they."""
_BACKOFF: Final = re.compile(r"Suggested Backoff Time: (\d{1,12}) milliseconds", re.IGNORECASE)
"""Of Microsoft's servers; they go on refusing whoever does not heed it."""
_PASSING: Final = re.compile(
    r"\[(?:UNAVAILABLE|INUSE|LIMIT|SERVERBUG)\]|too many|temporar|try again", re.IGNORECASE
)
"""Codes of RFC 5530, and what servers say that have none."""
_NEWS: Final = re.compile(rb"\* (?:\d+ EXISTS|[1-9]\d* RECENT)\s*$", re.IGNORECASE)


class Declined(Exception):
    """The server answered NO or BAD to one command; the connection is in order."""

    @property
    def passes(self) -> bool:
        """Does it say that this is so only for now?"""
        return _PASSING.search(str(self)) is not None


class _Protocol(aioimaplib.IMAP4ClientProtocol):  # type: ignore[misc]  # the library is untyped
    """The library's protocol, with the ends it leaves loose tied up."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.lost: asyncio.Future[str] = loop.create_future()
        self.news = asyncio.Event()
        self.allowance = _ANSWER
        self.literals: deque[bytes] = deque()

    def fail(self, reason: str) -> None:
        """End the connection; every wait on it ends with ``reason``."""
        if not self.lost.done():
            self.lost.set_result(reason)
        if self.transport is not None:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.fail("the connection is lost")

    def data_received(self, d: bytes) -> None:
        self.allowance -= len(d)
        if self.allowance < 0:
            self.fail("the server sent more than it was asked for")
        for start in range(0, len(d), _SLICE):
            if self.lost.done():
                return
            try:
                super().data_received(d[start : start + _SLICE])
            except Exception as error:  # noqa: BLE001  the library raises anything on odd lines
                self.fail(f"the server's answer was not understood ({type(error).__name__})")
            if len(self.incomplete_line) > _LONGEST_LINE:
                self.fail("the server sent an endless line")

    async def welcome(self, command: bytes) -> None:
        try:
            await super().welcome(command)
        except Exception:  # noqa: BLE001  runs as a task nobody waits for
            self.fail(f"the server says {_words(command)}")

    def _handle_line(self, line: bytes, current_cmd: Any) -> Any:
        announced = aioimaplib.literal_data_re.match(line)
        if announced and int(announced["size"]) > self.allowance:
            raise ValueError("a literal larger than what was asked for")
        return super()._handle_line(line, current_cmd)

    def _untagged_response(self, line: bytes) -> Any:
        if _NEWS.match(line):
            self.news.set()
        elif line[:5].upper() == b"* BYE" and not self.lost.done():
            self.lost.set_result(
                f"the server ends: {one_line(line[5:].decode('ascii', 'replace'))}"
            )
        return super()._untagged_response(line)

    def _continuation(self, line: bytes) -> None:
        if self.literals:
            self.transport.write(self.literals.popleft())
        else:
            super()._continuation(line)


class ImapConnection:
    """A logged-in connection. After ``Unreachable`` was raised it is dead."""

    def __init__(self, endpoint: Endpoint, patience: float, minimum_rate: float) -> None:
        """Prepare; :meth:`open` makes a usable one."""
        self._endpoint = endpoint
        self._patience = patience
        self._minimum_rate = minimum_rate
        self._protocol = _Protocol(asyncio.get_running_loop())
        self._lock = asyncio.Lock()
        self._idle_declined = False

    @classmethod
    async def open(
        cls, endpoint: Endpoint, password: str, *, patience: float, minimum_rate: float
    ) -> Self:
        """Connect and log in.

        Each command may take ``patience`` seconds and what its bytes need at ``minimum_rate``
        bytes/s. Raises ``Unreachable``, ``LoginRefused``, ``BadCertificate``,
        ``BadConfiguration``.
        """
        self = cls(endpoint, patience, minimum_rate)
        try:
            await self._connect()
            await self._log_in(password)
        except BaseException:
            self.abort()
            raise
        return self

    @property
    def capabilities(self) -> frozenset[str]:
        """What the server offers after the login, in capitals (RFC 3501, 7.2.1)."""
        return frozenset(word.upper() for word in self._protocol.capabilities)

    @property
    def has_news(self) -> bool:
        """Did the server announce mail since :meth:`forget_news`?"""
        return self._protocol.news.is_set()

    def forget_news(self) -> None:
        """From now on only further mail is news."""
        self._protocol.news.clear()

    def entered_folder(self) -> None:
        """Tell the library, which does not notice EXAMINE, that a folder is selected."""
        self._protocol.state = aioimaplib.SELECTED

    async def command(
        self, name: str, *arguments: Argument, prefix: str = "", size: int = 0
    ) -> list[Line]:
        """Run one command; the lines of its answer.

        ``prefix`` is ``"UID"`` where the command has that form, ``size`` the bytes of mail it
        may be answered with. Raises ``Declined`` for NO and BAD, ``Unreachable`` for
        everything else.
        """
        async with self._lock:
            self._ensure_alive()
            self._protocol.allowance = size + _ANSWER
            answer = await self._within(
                self._executed(name, arguments, prefix), self._patience + size / self._minimum_rate
            )
        if answer.result != "OK":
            words = f"{answer.result} {_words(bytes(answer.lines[-1]))}"
            if _BACKOFF.search(words):
                self._protocol.fail(f"the server says {words}")
                raise self._dead()
            raise Declined(words)
        return list(answer.lines)

    async def listen(self, seconds: float) -> None:
        """Wait until there is news or ``seconds`` have passed, pushed by IDLE where offered."""
        if "IDLE" in self.capabilities and not self._idle_declined:
            await self._idle(seconds)
        else:
            await self._news_within(seconds)

    async def close(self) -> None:
        """Log out if the connection is in order, then end it."""
        try:
            if not self._protocol.lost.done():
                await self._within(self._executed("LOGOUT", (), ""), min(self._patience, 5.0))
        except Unreachable as error:
            _log.debug("no answer to LOGOUT: %s", error)
        finally:
            self.abort()

    def abort(self) -> None:
        """End the connection now, whatever it is doing."""
        self._protocol.fail("the connection is closed")

    async def _connect(self) -> None:
        host, port = self._endpoint.host, self._endpoint.port
        context = tls_context(self._endpoint)
        try:
            async with asyncio.timeout(self._patience):
                await self._protocol.loop.create_connection(
                    lambda: self._protocol, host, port, ssl=context
                )
        except OSError as error:  # timeouts and TLS errors are such
            raise connection_error(self._endpoint, error) from error
        await self._within(self._protocol.wait("AUTH|NONAUTH"), self._patience)

    async def _log_in(self, password: str) -> None:
        if self._protocol.state == aioimaplib.NONAUTH:
            user = astring(self._endpoint.user)
            try:
                await self.command("LOGIN", user, astring(password))
            except Declined as error:
                words = f"{self._endpoint}: login as {self._endpoint.user} refused: {error}"
                raise (Unreachable if error.passes else LoginRefused)(words) from None
            self._protocol.state = aioimaplib.AUTH
        # what it offered before, or inside the OK, is not what it offers now
        await self._within(self._protocol.capability(), self._patience)

    async def _executed(self, name: str, arguments: Sequence[Argument], prefix: str) -> Any:
        first, *literals = render(arguments)
        words = [first.decode("ascii")] if first else []
        tag, loop = self._protocol.new_tag(), self._protocol.loop
        if name == "FETCH":  # the one kind of command whose lines go on after a literal
            command = aioimaplib.FetchCommand(tag, *words, prefix=prefix, loop=loop)
        else:
            untagged = _UNTAGGED.get(name)
            command = aioimaplib.Command(
                name, tag, *words, prefix=prefix, untagged_resp_name=untagged, loop=loop
            )
        self._protocol.literals = deque(literal + b"\r\n" for literal in literals)
        return await self._protocol.execute(command)

    async def _within(self, work: Coroutine[Any, Any, _T], seconds: float) -> _T:
        """The result of ``work``. Its failure, its timeout and a lost connection are one end."""
        task = asyncio.ensure_future(work)
        waited: set[asyncio.Future[Any]] = {task, self._protocol.lost}
        try:
            await self._heard(waited, seconds)
            if not task.done() and self._protocol.lost.done():
                # an answer that came with the last bytes still counts
                await asyncio.wait({task}, timeout=0)
        except asyncio.CancelledError:
            self.abort()
            raise
        finally:
            task.cancel()
        if not task.done():
            self._protocol.fail("no answer in time")
            raise self._dead()
        if (error := task.exception()) is not None:
            self._protocol.fail(one_line(str(error)) or type(error).__name__)
            raise self._dead() from error
        return task.result()

    async def _heard(self, waited: set[asyncio.Future[Any]], seconds: float) -> None:
        """Wait for the first of these while bytes keep coming, at most ``seconds``."""
        clock = self._protocol.loop
        end = clock.time() + seconds
        allowance = -1
        while allowance != self._protocol.allowance and clock.time() < end:
            allowance = self._protocol.allowance
            timeout = min(self._patience, end - clock.time())
            done, _ = await asyncio.wait(waited, timeout=timeout, return_when="FIRST_COMPLETED")
            if done:
                return

    async def _idle(self, seconds: float) -> None:
        """One IDLE (RFC 2177), ended by us in good time."""
        async with self._lock:
            self._ensure_alive()
            self._protocol.allowance = _ANSWER
            self._protocol.idle_queue = asyncio.Queue()  # read by nobody: news is enough
            idle = asyncio.ensure_future(self._protocol.idle())
            try:
                await self._within(self._accepted(idle), self._patience)
                if not idle.done():
                    await self._news_within(seconds)
                    self._protocol.idle_done()
                answer = await self._within(_finished(idle), self._patience)
                self._idle_declined = answer.result != "OK"
            except asyncio.CancelledError:
                self.abort()
                raise
            finally:
                idle.cancel()

    async def _accepted(self, idle: asyncio.Future[Any]) -> None:
        """Return when the server began to push, or declined to."""
        ready = asyncio.ensure_future(self._protocol.wait_for_idle_response())
        try:
            await asyncio.wait({idle, ready}, return_when="FIRST_COMPLETED")
        finally:
            ready.cancel()

    async def _news_within(self, seconds: float) -> None:
        news = asyncio.ensure_future(self._protocol.news.wait())
        try:
            waited: set[asyncio.Future[Any]] = {news, self._protocol.lost}
            await asyncio.wait(waited, timeout=seconds, return_when="FIRST_COMPLETED")
        finally:
            news.cancel()
        self._ensure_alive()

    def _ensure_alive(self) -> None:
        if self._protocol.lost.done():
            raise self._dead()

    def _dead(self) -> Unreachable:
        words = f"{self._endpoint}: {self._protocol.lost.result()}"
        backoff = _BACKOFF.search(words)
        return Unreachable(words) if backoff is None else Throttled(words, int(backoff[1]) / 1000)


def _words(line: bytes) -> str:
    return one_line(line.removeprefix(b"* ").decode("ascii", "replace"))


async def _finished(work: asyncio.Future[_T]) -> _T:
    return await work
