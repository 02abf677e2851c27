"""What a link's budget lets go, what goes first, and when the rest goes.

Rules
-----
* Days and quiet hours are those of the site's clock. Whole mails count, on the day on which they
  were handed over; what lies in the outbox and may go today has its share before anything new.
* What does not fit stays pending: the rest goes without it. What fits no day is named.
* In quiet hours nothing goes at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta, tzinfo
from typing import NamedTuple

from mailsync.config import BudgetSettings, Hours, format_size
from mailsync.core import outbound
from mailsync.core.merge import subject_of
from mailsync.core.model import Link, Record, is_alive
from mailsync.cycle.pricing import queued_size
from mailsync.cycle.site import Peer, Site
from mailsync.store.outbox import Queued
from mailsync.store.transaction import Transaction

ATTEMPTS = 16
"""So many records are found too dear one by one; after that also what is about as heavy."""


class Allowance(NamedTuple):
    """What may go to a peer now."""

    left: int | None
    """Bytes of whole mails; None: any number."""
    why: str = ""
    """No more goes."""
    until: int = 0
    """Milliseconds since 1970."""


# --- the clock -------------------------------------------------------------------------------


def wall(now: int, zone: tzinfo | None) -> datetime:
    """A time (milliseconds since 1970) as the site's clock shows it."""
    shown = datetime.fromtimestamp(now / 1000, zone)
    return shown.astimezone() if zone is None else shown


def day_of(now: int, zone: tzinfo | None) -> str:
    """The day of a time, ISO 8601."""
    return wall(now, zone).date().isoformat()


def next_time(minutes: int, now: int, zone: tzinfo | None) -> int:
    """When the site's clock next shows so many minutes after midnight."""
    today = wall(now, zone).date()
    moments = (
        datetime.combine(
            today + timedelta(days), time(minutes // 60, minutes % 60, fold=fold), zone
        )
        for days in range(3)
        for fold in (0, 1)  # an hour that comes twice
    )
    return next(at for moment in moments if (at := int(moment.timestamp() * 1000)) > now)


def is_quiet(hours: Hours | None, now: int, zone: tzinfo | None) -> bool:
    """Is nothing sent at this time?"""
    if hours is None:
        return False
    shown = wall(now, zone)
    minutes = shown.hour * 60 + shown.minute
    if hours.begin < hours.end:
        return hours.begin <= minutes < hours.end
    return minutes >= hours.begin or minutes < hours.end


def granted(budget: BudgetSettings | None, spent: int, now: int, zone: tzinfo | None) -> Allowance:
    """What may go now if so many bytes were handed over today."""
    if budget is None:
        return Allowance(None)
    if budget.quiet is not None and is_quiet(budget.quiet, now, zone):
        end = next_time(budget.quiet.end, now, zone)
        return Allowance(0, f"quiet until {wall(end, zone):%H:%M}", end)
    if budget.per_day is None:
        return Allowance(None)
    tomorrow = next_time(0, now, zone)
    if budget.quiet is not None and is_quiet(budget.quiet, tomorrow, zone):
        tomorrow = next_time(budget.quiet.end, tomorrow, zone)
    words = f"the budget of {format_size(budget.per_day)} a day allows no more"
    return Allowance(max(budget.per_day - spent, 0), words, tomorrow)


# --- what lies in the outbox -----------------------------------------------------------------


def allowance(site: Site, transaction: Transaction, peer: Peer) -> Allowance:
    """What may go to a peer now, the outbox included."""
    now, zone = site.surroundings.now(), site.surroundings.zone
    if peer.settings.budget is None:
        return Allowance(None)
    spent = transaction.history.spent(peer.name, day_of(now, zone))
    return granted(peer.settings.budget, spent, now, zone)


class Shares(NamedTuple):
    """The mails of an outbox, as far as they may go, and what then may go besides."""

    going: list[Queued]
    waiting: list[Queued]
    waiting_bytes: int
    allowance: Allowance


def share(site: Site, transaction: Transaction, peer: Peer, items: Iterable[Queued]) -> Shares:
    """Which of a peer's mails may go now, in their order; one that does not fit stops no other."""
    granted_now = allowance(site, transaction, peer)
    left, waiting_bytes = granted_now.left, 0
    if left is None:
        return Shares(list(items), [], 0, granted_now)
    going: list[Queued] = []
    waiting: list[Queued] = []
    step = transaction.routes.get(peer.name).step
    for item in items:
        size = queued_size(site, transaction, peer, item, step)
        if size <= left:
            going.append(item)
            left -= size
        else:
            waiting.append(item)
            waiting_bytes += size
    return Shares(going, waiting, waiting_bytes, granted_now._replace(left=left))


def within_budgets(site: Site, transaction: Transaction, queued: Sequence[Queued]) -> list[Queued]:
    """The mails that budgets let go now, in their order; why others wait is noted with them."""
    stopped: set[int] = set()
    for name in {item.peer for item in queued}:
        mine = [item for item in queued if item.peer == name]
        shares = share(site, transaction, site.peers[name], mine)
        numbers = [item.number for item in shares.waiting]
        transaction.outbox.explain(numbers, shares.allowance.why)
        stopped.update(numbers)
    return [item for item in queued if item.number not in stopped]


def fits_no_day(site: Site, transaction: Transaction, peer: Peer, item: Queued) -> bool:
    """Is this mail larger than what may go in a whole day? The budget was lowered since."""
    budget = peer.settings.budget
    if budget is None or budget.per_day is None:
        return False
    step = transaction.routes.get(peer.name).step
    return queued_size(site, transaction, peer, item, step) > budget.per_day


# --- what goes first -------------------------------------------------------------------------


@dataclass(slots=True)
class Choice:
    """Which records go first, and which stay out because they do not fit."""

    link: Link
    budget: BudgetSettings | None
    section_of: Callable[[str], str]
    """The section that a dataset is of: a group's, or its own."""
    too_large: list[str] = field(default_factory=list)
    """What fits no day, in words."""
    _out: set[int] = field(default_factory=set)
    _stuck: bool = False
    _weight: int | None = None
    """What is as heavy as this stays out."""

    def rank(self, record: Record) -> int:
        """As :data:`mailsync.core.outbound.Rank`: by priority, deletes first."""
        return 0 if self.budget is None else 2 * self._place(record) + is_alive(record.entries)

    @property
    def has_left_out(self) -> bool:
        """Was any found too large?"""
        return bool(self._out)

    def fits(self, record: Record) -> bool:
        """Was it not found too large, nor others that are as heavy?"""
        if record.position in self._out:
            return False
        return self._weight is None or outbound.weight_of(self.link, record) < self._weight

    def note_least(self, size: int) -> None:
        """Even without a record the mails would be of ``size`` bytes, and do not fit."""
        per_day = self.budget.per_day if self.budget is not None else None
        if per_day is not None and size > per_day:
            words = (
                f"a mail without any record needs {size} bytes, the budget allows {per_day} a day"
            )
            self.too_large = [words]
            self._stuck = True

    def is_stuck(self, records: int) -> bool:
        """Will none of so many records ever fit?"""
        return self._stuck or 0 < records <= len(self.too_large)

    def _place(self, record: Record) -> int:
        priority = (self.budget and self.budget.priority) or []
        name = subject_of(record.dataset, record.entries)
        for known in (name, self.section_of(name or ""), "*"):
            if known in priority:
                return priority.index(known)
        return len(priority)

    def leave_out(self, record: Record, size: int) -> None:
        """Alone in a mail of ``size`` bytes the record does not fit."""
        per_day = self.budget.per_day if self.budget is not None else None
        fits_some_day = per_day is None or size <= per_day
        if not fits_some_day:
            name = record.key or record.guid.hex()
            self.too_large.append(
                f"record {name} of dataset {record.dataset} needs {size} bytes,"
                f" the budget allows {per_day} a day"
            )
        self._out.add(record.position)
        if fits_some_day or len(self._out) > ATTEMPTS:
            self._weight = outbound.weight_of(self.link, record) // 2
