"""What a request does to a link, at the site that asks and at the one that answers.

Rules
-----
* A request is new if its number is, and is answered if none came for an hour: a peer that asks in
  each of its mails gets no more than an answer an hour.
* Whoever is asked acknowledges at once, even if nothing is due: somebody waits for it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from mailsync.core.model import Bundle, Link
from mailsync.core.requests import Asked, Request

INTERVAL_MS: Final = 3600 * 1000
"""From one request of a peer that is answered to the next."""


def ask(link: Link, request: Request, now: int) -> Link:
    """The link once its peer is to be asked, with the next bundle, which is due at once."""
    return replace(link, asking=Asked(request, now), owe_since=0)


def hear(link: Link, bundle: Bundle, now: int) -> Link:
    """The link after what the bundle asks and answers."""
    ours, theirs = link.asking, bundle.request
    if ours is not None and ours.answered_at is None and bundle.answered == ours.request.number:
        link = replace(link, asking=ours._replace(answered_at=now))
    if theirs is not None and is_answered(link, theirs, now):
        link = replace(link, asked=Asked(theirs, now), owe_since=0)
    return link


def is_answered(link: Link, request: Request, now: int) -> bool:
    """Is this a request that we answer?"""
    last = link.asked
    if last is None:
        return True
    return request.number != last.request.number and not 0 <= now - last.at < INTERVAL_MS


def to_say(link: Link) -> tuple[Request | None, int | None]:
    """What the next bundle asks, and the number of the request that it answers."""
    ours, theirs = link.asking, link.asked
    asks = ours.request if ours is not None and not ours.is_said else None
    answers = theirs.request.number if theirs is not None and not theirs.is_said else None
    return asks, answers


def said(link: Link, bundle: Bundle, now: int) -> Link:
    """The link after a bundle was committed."""
    if bundle.request is not None and link.asking is not None:
        link = replace(link, asking=link.asking._replace(is_said=True))
    if bundle.answered is not None and link.asked is not None:
        link = replace(link, asked=link.asked._replace(is_said=True, answered_at=now))
    return link


def unsaid(link: Link) -> Link:
    """The link once what it said last has not gone: it is to be said again."""
    ours, theirs = link.asking, link.asked
    if ours is not None and ours.is_said and ours.answered_at is None:
        link = replace(link, asking=ours._replace(is_said=False))
    if theirs is not None and theirs.is_said:
        link = replace(link, asked=theirs._replace(is_said=False, answered_at=None))
    return link
