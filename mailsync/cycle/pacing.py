"""How much the servers are asked for: what providers allow, and what servers asked to spare them.

Rules
-----
* No more mails in any period than ``max_mails``, whatever process hands them over. What
  certainly was not taken does not count.
* A server that has had too much is left alone, ever longer while it stays so: one letter of a
  route is tried after each pause, not every letter that waits.
* What waits says why. Acknowledgements wait longest: data carries its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from mailsync.carriers.base import Mailbox, Sender, Throttled
from mailsync.cycle.site import Carrier, Site
from mailsync.cycle.wording import moment
from mailsync.errors import Unreachable
from mailsync.store.outbox import Queued
from mailsync.store.pauses import Pause
from mailsync.store.transaction import Transaction

PAUSE_MIN_MS = 10 * 60 * 1000
"""The first pause of a route, and ..."""

PAUSE_MAX_MS = 6 * 3600 * 1000
"""... the longest: a daily limit is over within a quarter of a day of its end."""

BACKOFF_MAX_MS = 24 * 3600 * 1000
"""Longer than this no server keeps us away by a word."""

_READING = "mailbox"


class Cleared(NamedTuple):
    """Those letters that may be handed over now, in their order."""

    going: list[Queued]
    waiting: list[str]
    """Why others may not, in words."""
    more_at: int | None
    """When more may go, if ``max_mails`` stops some (milliseconds since 1970)."""


def cleared(site: Site, transaction: Transaction, queued: Sequence[Queued]) -> Cleared:
    """Which of these letters may go; why others may not is noted with them."""
    now = site.surroundings.now()
    waiting: dict[str, list[int]] = {}
    going = []
    pauses = {peer: _pause(transaction, _route(peer), now) for peer in {i.peer for i in queued}}
    for item in queued:
        if why := pauses[item.peer]:
            waiting.setdefault(why, []).append(item.number)
        else:
            going.append(item)
    going.sort(key=lambda item: not item.positions.intervals)
    allowance, more_at = _allowance(site, transaction, len(going), now)
    if more_at is not None:
        why = f"max_mails allows no more before {moment(more_at)}"
        waiting[why] = [item.number for item in going[allowance:]]
    for reason, numbers in waiting.items():
        transaction.outbox.explain(numbers, reason)
    words = [f"{len(ones)} mails wait: {why}" for why, ones in waiting.items()]
    return Cleared(going[:allowance], words, more_at)


def _allowance(
    site: Site, transaction: Transaction, wanted: int, now: int
) -> tuple[int, int | None]:
    """How many mails may go now, up to ``wanted``, and when more if these are fewer."""
    mail = site.settings.mail
    allowance, more_at = wanted, None
    for number, seconds in (mail.max_mails or ()) if mail is not None else ():
        period = seconds * 1000
        latest = transaction.routes.sent_latest(number, now)
        spent = [at for at in latest if at > now - period]
        if number - len(spent) < allowance:
            allowance = number - len(spent)
            more_at = (spent[-1] if spent else now) + period
    return allowance, more_at


def pause_route(transaction: Transaction, peer: str, reason: str, now: int) -> int:
    """The way to the peer is left alone; until when."""
    before = transaction.pauses.get(_route(peer))
    times = 1 if before is None else before.times + 1
    until = now + min(PAUSE_MIN_MS << min(times - 1, 16), PAUSE_MAX_MS)
    transaction.pauses.begin(_route(peer), Pause(until, times, reason))
    return until


def resume_route(transaction: Transaction, peer: str) -> None:
    """The way to the peer takes mails."""
    transaction.pauses.end(_route(peer))


@asynccontextmanager
async def sending(site: Site, carrier: Carrier, queued: Sequence[Queued]) -> AsyncIterator[Sender]:
    """The way for these letters; their routes rest if its server will not even talk to us now.
    Raises as the sender does.
    """
    try:
        async with carrier.sender() as sender:
            yield sender
    except Throttled as problem:
        with site.store.transaction() as transaction:
            now = site.surroundings.now()
            for peer in {item.peer for item in queued}:
                pause_route(transaction, peer, str(problem), now)
            cleared(site, transaction, queued)
        raise


def reading_pause(site: Site, transaction: Transaction) -> str:
    """In words, why the site's mailbox is left alone now; empty if it is not."""
    return _pause(transaction, _READING, site.surroundings.now())


@asynccontextmanager
async def reading(site: Site, carrier: Carrier) -> AsyncIterator[Mailbox]:
    """The site's mailbox, unless its server asked to be left alone. Raises as the mailbox does."""
    with site.store.transaction() as transaction:
        why = reading_pause(site, transaction)
    if why:
        raise Unreachable(f"the mailbox: {why}")
    try:
        async with carrier.mailbox() as mailbox:
            yield mailbox
    except Throttled as problem:
        back_off(site, problem)
        raise


def back_off(site: Site, problem: Throttled) -> None:
    """Leave the mailbox alone for as long as its server asked."""
    now = site.surroundings.now()
    until = now + min(int(problem.seconds * 1000), BACKOFF_MAX_MS)
    with site.store.transaction() as transaction:
        transaction.pauses.begin(_READING, Pause(until, 1, str(problem)))


def _pause(transaction: Transaction, name: str, now: int) -> str:
    """In words, why this is left alone now; empty if it is not."""
    pause = transaction.pauses.get(name)
    # one that lasts longer than any was begun by a clock that has been set back since
    if pause is None or not now < pause.until <= now + BACKOFF_MAX_MS:
        return ""
    return f"paused until {moment(pause.until)}: {pause.reason}"


def _route(peer: str) -> str:
    return f"route {peer}"
