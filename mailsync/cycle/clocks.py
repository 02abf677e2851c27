"""Clocks that are, or were, ahead of ours.

Rules
-----
* A clock that is ahead shows by the writes made under it: at other sites when these come there, at
  its own site once it is set back. Until then it can only be compared with another one.
* Ours it was if the log has lines of times to come.
"""

from __future__ import annotations

from typing import Final

from mailsync.cycle.health import AHEAD_MAX_MS, clock_ahead
from mailsync.cycle.site import Site
from mailsync.store.history import Event
from mailsync.store.transaction import Transaction

AHEAD: Final = "clock"
"""What the warning is called."""

_OURS: Final = (
    "this site's clock was ahead and has been set back: what was written here meanwhile wins over "
    "later edits until the clock has passed it"
)
_ANOTHER: Final = (
    "the clock of some site is ahead of this one's, or this one's is behind; edits made by it win "
    "over later ones until it is set right: mailsync doctor compares ours with the mail server's"
)


def was_ours(site: Site, transaction: Transaction) -> bool:
    """Did this site's own clock show times that are still to come?"""
    latest = transaction.history.latest()
    return latest is not None and latest - site.surroundings.now() > AHEAD_MAX_MS


def warn_of_clocks(site: Site, transaction: Transaction) -> None:
    """Say so as long as it is so; and in the log when it begins, and when it is over."""
    now = site.surroundings.now()
    ahead = clock_ahead(site, transaction)
    if ahead:
        words = _OURS if was_ours(site, transaction) else _ANOTHER
        if transaction.warnings.note(AHEAD, words, now):
            text = f"{ahead // 60_000} minutes ahead: {words}"
            transaction.history.log(Event(now, "clock", "", None, text))
    elif transaction.warnings.since(AHEAD) is not None:
        transaction.warnings.drop(AHEAD)
        transaction.history.log(Event(now, "clock", "", None, "none is ahead any more"))
