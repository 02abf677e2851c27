"""mailsync as a library: the same cycle the commands run, for programs that embed it.

::

    async with Site.open("mailsync.toml") as site:
        plan = await site.plan("hub")
        print(plan.summary())
        result = await site.sync("hub")
        for conflict in result.conflicts:
            print(conflict.note.record.guid.hex(), conflict.field, conflict.winner, conflict.loser)
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from mailsync.core.proving import Finding
from mailsync.cycle import conflicts
from mailsync.cycle.conflicts import Conflict, list_conflicts
from mailsync.cycle.planning import Plan, plan_sync
from mailsync.cycle.report import Report
from mailsync.cycle.run import Extent
from mailsync.cycle.site import Site as OpenSite
from mailsync.cycle.site import open_site
from mailsync.cycle.syncing import run_verification, synchronize
from mailsync.errors import UsageError

__all__ = ["Conflict", "Finding", "Plan", "Report", "Site", "SyncResult"]


@dataclass(frozen=True, slots=True)
class SyncResult:
    """What one sync did: its report, and the conflicts that are open after it."""

    report: Report
    conflicts: list[Conflict]


class Site:
    """One installation, opened by :meth:`open`."""

    def __init__(self, site: OpenSite) -> None:
        """Use :meth:`open`."""
        self._site = site

    @classmethod
    @asynccontextmanager
    async def open(cls, path: str | Path) -> AsyncIterator[Site]:
        """The site whose configuration file is at ``path``; closed at the end.

        Raises a :class:`mailsync.errors.MailsyncError`.
        """
        with open_site(Path(path)) as site:
            yield cls(site)

    async def plan(self, *peers: str) -> Plan:
        """What a sync with these peers (none: all) would do; nothing is written anywhere."""
        return plan_sync(self._site, self._chosen(peers))

    async def sync(self, *peers: str) -> SyncResult:
        """One whole cycle; sends to these peers (none: to all).

        Raises UsageError, and Locked if another process is at work. What stopped only a part of
        the cycle is in ``result.report.problems``.
        """
        extent = Extent(peers=self._chosen(peers))
        with self._site.store.lock():
            report = await synchronize(self._site, extent, Report())
        return SyncResult(report, await self.conflicts())

    async def verify(
        self, *peers: str, repair: bool = False, report: Report | None = None
    ) -> dict[str, Finding | None]:
        """Ask these peers (none: all) whether they hold the same, with one whole cycle.

        Answers come by mail: None as long as one is awaited; call it again after later syncs. An
        answer is given once, then the peer is asked anew. ``repair``: mend what differs.
        ``report``: gets added what the cycle did, and to its ``problems`` what stopped a part of
        it. Raises UsageError, Locked.
        """
        chosen, done = self._chosen(peers), Report()
        with self._site.store.lock():
            shown = await run_verification(self._site, chosen, done, repair=repair)
        if report is not None:
            report.add(done)
        return {name: None if one is None else one.finding for name, one in shown.items()}

    async def conflicts(self) -> list[Conflict]:
        """The open conflicts, oldest first."""
        with self._site.store.transaction() as transaction:
            found = list_conflicts(self._site, transaction)
        return [conflict for conflict in found if conflict.closed is None]

    async def restore(self, conflict: Conflict) -> None:
        """Bring back what lost, as a new edit. Raises UsageError, DatasetError, Locked."""
        with self._site.store.lock():
            conflicts.restore(self._site, conflict.id, Report())

    async def resolve(self, conflict: Conflict) -> None:
        """Close a conflict; what won stays. Raises UsageError, Locked."""
        with self._site.store.lock():
            conflicts.resolve(self._site, conflict.id)

    def _chosen(self, peers: tuple[str, ...]) -> frozenset[str] | None:
        unknown = sorted(set(peers) - self._site.peers.keys())
        if unknown:
            raise UsageError(f"there is no peer {unknown[0]} in {self._site.settings.path}")
        return frozenset(peers) or None
