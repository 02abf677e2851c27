"""Timers of what is on its way: when it is sent again, and when they start anew.

Rules
-----
* The time to wait for a confirmation follows what the way has taken so far, and grows each time
  that sending again did not help.
* Whatever leaves anew starts its timer anew; a slow carrier is given grace. No time lies ahead of
  the clock.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

from mailsync.core.model import Link
from mailsync.core.positions import Positions

PATIENCE_MIN = 15 * 60 * 1000
"""Milliseconds; a way that once was fast is not flooded when it has a slow quarter of an hour."""

PATIENCE_MAX = 7 * 24 * 3600 * 1000
"""Milliseconds; a silent peer is tried once a week until it expires, however long it once was
silent before."""


def patience(link: Link, initial: int) -> int:
    """How long to wait for a confirmation before sending again, in milliseconds.

    ``initial`` until the way's own delay is known; then by RFC 6298: mean and four deviations,
    doubled for each time in a row that sending again did not help, up to PATIENCE_MAX.
    """
    limit = max(initial, PATIENCE_MAX)
    known = initial
    if link.round_trip is not None:
        measured = link.round_trip.mean + 4 * link.round_trip.deviation
        known = max(measured, min(initial, PATIENCE_MIN))
    return min(known << min(link.misses, 16), limit)


def renewed(link: Link, positions: Positions, now: int) -> Link:
    """The link with the timers of these positions started again, as they are on their way anew,
    and that of a question, which can only be behind them.
    """
    flights = tuple(
        flight._replace(sent_at=now, since=now, again=True)
        if (flight.positions & positions).intervals
        else flight
        for flight in link.flights
    )
    return replace(link, flights=flights, asked_at=None if link.asked_at is None else now)


def carried(link: Link, positions: Positions, grace: int) -> Link:
    """The link once what is at these positions left by a carrier that is slow: it is not expected
    to arrive for ``grace`` milliseconds.
    """
    flights = tuple(
        flight._replace(grace=grace) if (flight.positions & positions).intervals else flight
        for flight in link.flights
    )
    return replace(link, flights=flights)


def latest(link: Link) -> int:
    """The latest time that something of the link happened (milliseconds since 1970)."""
    times = [flight.sent_at for flight in link.flights]
    others = (link.owe_since, link.heard_at, link.asked_at)
    return max(chain(times, (time for time in others if time is not None)), default=0)


def not_later(link: Link, now: int) -> Link:
    """The link without times to come: the clock was set back since, and timers start again."""
    if latest(link) <= now:
        return link
    flights = tuple(
        f._replace(sent_at=min(f.sent_at, now), since=min(f.since, now)) for f in link.flights
    )
    owe_since = None if link.owe_since is None else min(link.owe_since, now)
    heard_at = None if link.heard_at is None else min(link.heard_at, now)
    asked_at = None if link.asked_at is None else min(link.asked_at, now)
    return replace(link, flights=flights, owe_since=owe_since, heard_at=heard_at, asked_at=asked_at)
