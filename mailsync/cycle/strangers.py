"""Sites that policies give the say, and that nobody here knows.

Rules
-----
* A policy is the same at all sites, and names one by what it calls itself. That one may be further
  away than the peers, or be paired later: a name that is not known is said, and stops nothing.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Final

from mailsync.config import Settings
from mailsync.cycle.site import Peer, Site
from mailsync.store.history import Event
from mailsync.store.transaction import Transaction

_WARNING: Final = "unknown site "


def unknown_sites(settings: Settings, peers: Iterable[Peer]) -> dict[str, str]:
    """By section, what to know of the sites that it names and that neither we nor a peer are."""
    known = {settings.site.name: settings.site.name}
    known |= {peer.calls_itself or peer.name: peer.name for peer in peers}
    found = {}
    for section, of in settings.datasets.items():
        parts = [policy.partition(":") for policy in of.conflict.values()]
        strangers = sorted({name for kind, _, name in parts if kind == "site"} - known.keys())
        if strangers:
            found[section] = "; ".join(_told(name, known) for name in strangers)
    return found


def _told(name: str, known: Mapping[str, str]) -> str:
    """``known``: sites as we call them, by what they call themselves."""
    meant = [itself for itself, called in known.items() if called == name]
    meant += difflib.get_close_matches(name, known, n=1)
    hint = f" (did you mean site:{meant[0]}?)" if meant else ""
    return (
        f'conflict = "site:{name}"{hint}: neither this site nor a peer calls itself so; unless a '
        "site further away does, the later value stays"
    )


def warn_of_unknown_sites(site: Site, transaction: Transaction) -> None:
    """Say so as long as it is so, and once in the log."""
    now = site.surroundings.now()
    found = unknown_sites(site.settings, site.peers.values())
    transaction.warnings.drop_others(_WARNING, found)
    for section, words in found.items():
        text = f"{section}: {words}"
        if transaction.warnings.note(f"{_WARNING}{section}", text, now):
            transaction.history.log(Event(now, "policy", "", None, text))
