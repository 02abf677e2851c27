"""A mail to oneself: does what is sent arrive, unaltered, soon, and dated as our clock says?

It is made like every mail that carries a set, but holds nothing a site could use, and is
removed again by its own UID.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from typing import Final

from mailsync.carriers.base import Arrival, Letter, Sent
from mailsync.config import MailSettings, Settings
from mailsync.core import container
from mailsync.doctor.finding import Finding, bad, doubtful, failed, good
from mailsync.doctor.servers import Inbox, inbox, submission
from mailsync.errors import Exit, MailsyncError

WAIT_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 1.0
PAYLOAD_BYTES: Final = 300
SKEW_SECONDS_WARNING: Final = 30.0
SKEW_SECONDS_FAILURE: Final = 3600.0

NAME: Final = "mail to oneself"


async def round_trip(settings: Settings, mail: MailSettings, word: str) -> AsyncIterator[Finding]:
    """Send it, await it, look at it, remove it."""
    letter = _letter(mail)
    try:
        async with inbox(mail, word) as mailbox:
            begin = time.time()
            async with submission(settings, mail, word) as sender:
                result = await sender.send(letter)
            if not isinstance(result, Sent):
                yield bad(NAME, f"not taken: {result.reason}", _ASK)
                return
            arrival = await _awaited(mailbox, letter.label)
            if arrival is None:
                yield bad(NAME, f"not here after {WAIT_SECONDS:.0f} s", _ASK, Exit.TEMPORARY)
                return
            end = time.time()
            yield _judged(arrival, letter, end - begin)
            received = await mailbox.received_at(arrival.place)
            if received is not None:
                yield clock_skew(begin, received, end)
            if not await mailbox.dispose([arrival.place], None):
                what = f"the mail {arrival.subject} could not be removed again"
                yield doubtful(NAME, what, "Delete it with any mail program.")
    except MailsyncError as error:
        yield failed(NAME, error)


_ASK: Final = "Look for it in the junk folder, and ask the mail provider what became of it."


def clock_skew(sent: float, received: float, found: float) -> Finding:
    """What the server's time of receipt says of our clock; all in seconds since 1970."""
    # servers tell whole seconds
    skew = min(received + 1 - sent, 0.0) + max(received - found, 0.0)
    what = f"{abs(skew):.0f} s {'behind' if skew > 0 else 'ahead of'} the mail server's"
    fix = "Set this machine's clock, best by NTP; the newest of two edits wins by it."
    if abs(skew) > SKEW_SECONDS_FAILURE:
        return bad("clock", what, fix)
    if abs(skew) > SKEW_SECONDS_WARNING:
        return doubtful("clock", what, fix)
    return good("clock", "agrees with the mail server's")


def _letter(mail: MailSettings) -> Letter:
    word = secrets.token_hex(8)
    content = container.frame(container.Kind.BUNDLE, secrets.token_bytes(PAYLOAD_BYTES))
    return Letter(
        recipient=mail.address,
        container=content,
        message_id=f"<doctor-{word}@{mail.address.rpartition('@')[2]}>",
        label=f"doctor-{word}",
    )


async def _awaited(mailbox: Inbox, label: str) -> Arrival | None:
    """The mail, once it is there; None if it does not come in time."""
    loop = asyncio.get_running_loop()
    end = loop.time() + WAIT_SECONDS
    while loop.time() < end:
        arrival = await mailbox.bearing(label)
        if arrival is not None:
            return arrival
        await asyncio.sleep(LOOK_SECONDS)
        await mailbox.wait(0)
    return None


def _judged(arrival: Arrival, letter: Letter, seconds: float) -> Finding:
    if letter.container in arrival.containers:
        return good(NAME, f"there and back in {seconds:.1f} s, attachment unaltered")
    what = f"arrived, but its attachment did not: {arrival.problem or 'it is altered'}"
    fix = "Ask the mail provider to let attachments named *.msync pass unaltered."
    return bad(NAME, what, fix)
