"""When the next cycle is due: times in, times out. Times are seconds since 1970.

Rules
-----
* All peers share one mailbox and one cycle, so the earliest due peer decides.
* A failed cycle is tried again sooner than the next poll, ever more slowly, for some ten
  minutes; after that at the polls alone, and never more often than every five minutes.
* A cron expression means the local clock, also across changes of summer time.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, tzinfo
from typing import Final

from cronsim import CronSim

POLL_SECONDS: Final = 900
"""For a site that has no peers yet."""

RETRY_SECONDS: Final = 5
RETRY_SECONDS_MAX: Final = 300
HASTY_RETRIES: Final = 7
"""5 + 10 + 20 + ... + 300 seconds: ten minutes."""

JITTER_SECONDS_MAX: Final = 30.0
JITTER_PART: Final = 0.1


def next_due(
    polls: Iterable[int | str], last: float, failures: int = 0, *, zone: tzinfo | None = None
) -> float:
    """When the cycle after the one that ended at ``last`` is due.

    ``polls``: seconds or cron expressions, one a peer. ``failures``: how many cycles have
    failed in a row. ``zone``: whose clock cron means; None: this machine's.
    """
    regular = min((_next_poll(poll, last, zone) for poll in polls), default=last + POLL_SECONDS)
    if failures == 0:
        return regular
    retry = last + patience(failures)
    return retry if failures <= HASTY_RETRIES else max(regular, retry)


def patience(failures: int) -> float:
    """Seconds in which nothing is tried after so many failures in a row."""
    if failures == 0:
        return 0.0
    return float(min(RETRY_SECONDS_MAX, RETRY_SECONDS * 2 ** min(failures - 1, 30)))


def jittered(due: float, last: float, chance: float) -> float:
    """``due``, put off a little so that not all sites of a server come at the same moment.

    ``chance``: from 0 to 1.
    """
    return due + chance * max(0.0, min(JITTER_SECONDS_MAX, JITTER_PART * (due - last)))


def _next_poll(poll: int | str, last: float, zone: tzinfo | None) -> float:
    if isinstance(poll, int):
        return last + poll
    # CronSim is given the clock on the wall; what that means is decided here
    wall = datetime.fromtimestamp(last, zone).replace(tzinfo=None)
    for found in CronSim(poll, wall):
        for fold in (0, 1):  # an hour that comes twice
            moment = found.replace(tzinfo=zone, fold=fold).timestamp()
            if moment > last:
                return float(moment)
    return last + POLL_SECONDS
