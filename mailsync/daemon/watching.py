"""Between cycles: hear of new mail by IDLE where the server offers it, and never depend on it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from contextlib import AsyncExitStack, aclosing
from typing import Final

from mailsync.carriers.base import Mailbox, Throttled
from mailsync.cycle.pacing import back_off, reading
from mailsync.cycle.site import Carrier, Site
from mailsync.daemon.polling import patience
from mailsync.errors import Unreachable

_log = logging.getLogger(__name__)

LULL_SECONDS: Final = 1.0
"""From the first mail announced to the cycle: several often come together."""
CLOSING_SECONDS: Final = 1.0


class Watch:
    """A connection to the site's mailbox that is kept between cycles, and renewed if it breaks."""

    def __init__(self, site: Site) -> None:
        """Prepare; nothing is connected yet."""
        self._site = site
        self._stack = AsyncExitStack()
        self._mailbox: Mailbox | None = None

    async def news(self, quiet: float, seconds: float) -> None:
        """Return when there is mail that no cycle has seen; without such mail, never.

        Does nothing for ``quiet`` seconds, and listens until ``seconds`` have passed since the
        call. To be cancelled when the next cycle is due. Raises nothing: what is wrong with the
        mailbox will be noticed, and told, by the cycle.
        """
        carrier = self._site.carrier
        if carrier is not None and quiet < seconds:
            await asyncio.sleep(quiet)
            if await self._hears(carrier, seconds - quiet):
                await asyncio.sleep(LULL_SECONDS)
                return
        await asyncio.Event().wait()

    async def close(self) -> None:
        """End the connection, without insisting on a polite end."""
        stack, self._stack, self._mailbox = self._stack, AsyncExitStack(), None
        with contextlib.suppress(Exception):
            async with asyncio.timeout(CLOSING_SECONDS):
                await stack.aclose()

    async def _hears(self, carrier: Carrier, seconds: float) -> bool:
        """Listen, on a new connection whenever one is lost."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        failures = 0
        while (left := end - loop.time()) > 0:
            try:
                return await self._listen(carrier, left)
            except Unreachable as problem:
                _log.debug("listening: %s", problem)
                if isinstance(problem, Throttled):
                    back_off(self._site, problem)
                await self.close()
                failures += 1
                await asyncio.sleep(patience(failures))
            except Exception as problem:  # noqa: BLE001  even a defect here must cost no poll
                _log.debug("not listening: %s", problem, exc_info=True)
                await self.close()
                return False
        return False

    async def _listen(self, carrier: Carrier, seconds: float) -> bool:
        if self._mailbox is None:
            mailbox = reading(self._site, carrier)
            self._mailbox = await self._stack.enter_async_context(mailbox)
        with self._site.store.transaction() as transaction:
            settled = transaction.mailbox.settled()
        # mail may have come between the cycle's look and this one
        async with aclosing(self._mailbox.arrivals(settled)) as fresh:  # type: ignore[type-var]
            async for _ in fresh:
                return True
        return await self._mailbox.wait(seconds)
