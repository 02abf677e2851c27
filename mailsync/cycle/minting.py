"""New identifiers, by the scheme of the configuration; and those that nobody but us may give.

Rules
-----
* A 32-bit identifier is given in the transaction in which its record is entered.
* Who is asked to take a record with an identifier that only this site could have given, and did
  not, has a namesake: another site with its class. The record is refused, and both are named.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mailsync.core.identifiers import (
    AHEAD_MAX,
    class_of,
    given_since,
    guid_32,
    minted,
    next_given,
)
from mailsync.core.model import CONFLICTS, Bundle, Dot, Guid
from mailsync.core.positions import Positions
from mailsync.cycle.report import Report
from mailsync.cycle.site import Site
from mailsync.errors import DatasetError
from mailsync.store.history import Event
from mailsync.store.transaction import Transaction

_AHEAD = "identifiers ahead"
_NAMESAKE = "identifiers of "


class NoIdentifierLeft(DatasetError):
    """Give this site another guid_class under [site], one that no other site of the group has."""


def mint(site: Site, transaction: Transaction, stroke: Dot, now: int) -> Iterator[Guid]:
    """Identifiers for the records first seen ``now`` (milliseconds since 1970), in the scan whose
    writes carry ``stroke``. Raises NoIdentifierLeft.
    """
    guid_class = site.settings.site.guid_class
    if guid_class is None:
        return minted(now, stroke)
    return _given(transaction, guid_class, now)


def _given(transaction: Transaction, guid_class: int, now: int) -> Iterator[Guid]:
    given = transaction.givens.last(guid_class)
    while True:
        after = next_given(given, guid_class, now // 1000)
        if after is None:
            raise NoIdentifierLeft(f"there are no 32-bit identifiers of class {guid_class} left")
        given = after
        transaction.givens.save(guid_class, given)
        yield guid_32(given)


def go_ahead(site: Site, transaction: Transaction, now: int) -> None:
    """This site was restored from a backup: what it may have given since is not given again."""
    guid_class = site.settings.site.guid_class
    if guid_class is not None:
        given = transaction.givens.last(guid_class)
        transaction.givens.save(guid_class, given_since(given, now // 1000))


def without_namesakes(
    site: Site, transaction: Transaction, peer: str, bundle: Bundle, report: Report
) -> Bundle:
    """The bundle without records under identifiers of our own that we did not give."""
    guid_class = site.settings.site.guid_class
    if guid_class is None:
        return bundle
    last = transaction.givens.last(guid_class)
    foreign = [
        item
        for item in bundle.items
        if item.dataset != CONFLICTS
        and class_of(item.guid) == guid_class
        and int.from_bytes(item.guid, "big") > last.value
    ]
    if not foreign:
        return bundle
    words = (
        f"{peer} sent {len(foreign)} records under identifiers of our own guid_class {guid_class} "
        f"that this site never gave, {foreign[0].guid.hex()} the first: another site has the same "
        "number. They were not taken; give each site a number of its own under [site]"
    )
    now = site.surroundings.now()
    if transaction.warnings.note(f"{_NAMESAKE}{peer}", words, now):
        transaction.history.log(Event(now, "refused", peer, bytes(foreign[0].guid), words))
    report.warnings.append(words)
    refused = {item.position for item in foreign}
    return replace(
        bundle,
        extractions=tuple(one for one in bundle.extractions if one.position not in refused),
        deletes=tuple(one for one in bundle.deletes if one.position not in refused),
        holes=bundle.holes | Positions.of(refused),
    )


def warn_if_ahead(site: Site, transaction: Transaction) -> None:
    """Say so if identifiers are given long before their time: they end one day."""
    guid_class = site.settings.site.guid_class
    now = site.surroundings.now()
    ahead = 0
    if guid_class is not None:
        ahead = transaction.givens.last(guid_class).value - now // 1000
    if ahead <= AHEAD_MAX:
        transaction.warnings.drop(_AHEAD)
        return
    words = (
        f"identifiers of guid_class {guid_class} are {ahead // (24 * 3600)} days ahead of the "
        "clock, for more records came than one in 64 seconds, or after a restore from a backup, or "
        "the clock was wrong; they end in the year 2106"
    )
    transaction.warnings.note(_AHEAD, words, now)
