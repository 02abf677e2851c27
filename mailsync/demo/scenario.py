"""The story of a ship and its office, told step by step while it happens."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from mailsync.cycle.site import Site, open_site
from mailsync.demo.comparison import contents, differing, size
from mailsync.demo.edits import DISPUTED, MERGED, edit_at_office, edit_at_ship, field_of
from mailsync.demo.rounds import Sending, exchange, one_round
from mailsync.demo.sites import Places


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the story: for a person a headline and some lines, for a program facts."""

    name: str
    headline: str
    lines: Sequence[str]
    facts: dict[str, object] = field(default_factory=dict)
    sendings: Sequence[Sending] = ()
    """What was mailed in this step."""
    conflicts: int = 0
    """How many conflicts came to light."""


class Conflict(NamedTuple):
    """A conflict as a site's journal tells it."""

    id: str
    field: str
    winner: str
    loser: str


async def play(places: Places) -> AsyncIterator[Step]:
    """Synchronize, edit, synchronize again, compare; each step as soon as it is over.

    The last step's fact ``equal`` says how it ended.
    """
    ship, office = places.ship, places.office
    with open_site(ship.configuration) as aboard, open_site(office.configuration) as ashore:
        sites = (aboard, ashore)
        yield await _synchronized(
            "first", "First synchronization: the office is empty", places, sites
        )
        for place, edit in ((ship, edit_at_ship), (office, edit_at_office)):
            yield Step("edit", f"The {place.name} edits", edit(place), {"site": place.name})
        yield await _synchronized(
            "changes", "Synchronization of the edits, both ways", places, sites
        )
        yield _merge(places)
        yield _conflicts(sites)
        yield await _nothing(sites)
    yield _verdict(places)


async def _synchronized(name: str, headline: str, places: Places, sites: Sequence[Site]) -> Step:
    raw = size(places.ship)
    sendings = await exchange(sites)
    compared = f"a dump of the tables and all files would be {_kilobytes(raw)}"
    lines = [*_told(sendings), compared]
    return Step(name, headline, lines, {"raw": raw}, sendings)


def _merge(places: Places) -> Step:
    """Two people edited different fields of one record."""
    facts: dict[str, object] = {}
    lines = []
    for place in (places.ship, places.office):
        values = {name: field_of(place, MERGED, name) for name in ("status", "office_note")}
        facts[place.name] = values
        told = ", ".join(f"{name} {value!r}" for name, value in values.items())
        lines.append(f"{place.name}: {told}")
    return Step("merge", f"{MERGED}: different fields were edited, both edits stand", lines, facts)


def _conflicts(sites: Sequence[Site]) -> Step:
    """Two people edited the same field of one record."""
    known = {site.name: _journal(site) for site in sites}
    lines = [
        f"{name}: conflict {one.id}: {one.field} {one.winner} won, {one.loser} lost and is kept"
        for name, conflicts in known.items()
        for one in conflicts
    ]
    lines.append("mailsync conflicts list shows it at both ends; conflicts restore undoes it")
    facts = {name: [one._asdict() for one in found] for name, found in known.items()}
    headline = f"{DISPUTED}: the same field was edited, a conflict"
    count = max(map(len, known.values()))
    return Step("conflicts", headline, lines, dict(facts), conflicts=count)


def _journal(site: Site) -> list[Conflict]:
    conflicts = []
    with site.store.transaction() as transaction:
        for entry in transaction.journal.entries():
            said = {name: found.value for name, found in entry.note.entries.items()}
            conflicts.append(
                Conflict(
                    entry.note.guid.hex()[:8],
                    str(said.get("field", "the whole record")),
                    str(entry.winner),
                    str(said.get("value")),
                )
            )
    return conflicts


async def _nothing(sites: Sequence[Site]) -> Step:
    sendings = await one_round(sites)
    lines = _told(sendings) or ["no mail, neither way"]
    return Step("nothing", "Synchronization without edits", lines, sendings=sendings)


def _verdict(places: Places) -> Step:
    ship, office = contents(places.ship), contents(places.office)
    different = differing(ship, office)
    lines = [
        f"{name}: {ship[name].total()} at the ship, {office[name].total()} at the office, "
        + (f"{count} DIFFER" if count else "equal")
        for name, count in different.items()
    ]
    facts: dict[str, object] = {
        "equal": not any(different.values()),
        "records": {name: found.total() for name, found in ship.items()},
        "differing": different,
    }
    return Step("verdict", "Both ends compared, by reading tables and files", lines, facts)


def _told(sendings: Sequence[Sending]) -> list[str]:
    """One line a mail; one that had to be sent again is not told again."""
    return [
        line + (f", {times} times" if times > 1 else "")
        for line, times in Counter(map(_line, sendings)).items()
    ]


def _line(sending: Sending) -> str:
    traffic = sending.traffic
    counted = [
        _counted(count, kind)
        for count, kind in ((traffic.upserts, "record"), (traffic.deletes, "delete order"))
        if count
    ]
    what = " and ".join(counted) or "an acknowledgement"
    mails = _counted(traffic.mails, "mail")
    return (
        f"{sending.sender} -> {sending.recipient}: {what} in {mails}, {_kilobytes(traffic.bytes)}"
    )


def _counted(count: int, kind: str) -> str:
    return f"{count} {kind}{'' if count == 1 else 's'}"


def _kilobytes(size: int) -> str:
    return f"{size / 1000:.1f} kB"
