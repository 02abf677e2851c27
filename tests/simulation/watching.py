"""Looks over the product's shoulder: what sites show one another, and whom they think restored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from unittest import mock

from mailsync.core import inbound
from mailsync.core.inbound import Received, Verdict
from mailsync.core.model import ABSENT, Bundle, DeleteOrder, Dot, Entry, Extraction, RecordId
from mailsync.cycle import composing, receiving
from mailsync.cycle.site import Peer, Site
from mailsync.store.transaction import Transaction
from tests.simulation.scopes import EVERYTHING
from tests.simulation.world import World

Shown = dict[tuple[str, str, RecordId], dict[tuple[str, Dot, bool], Entry]]
"""By site, peer and record: the entries the peer has shown."""


@contextmanager
def watched(world: World) -> Iterator[None]:
    """While ``world`` plays, enter what looks wrong into its suspicions."""
    shown: Shown = {}
    real_queue, real_process = composing._queue, receiving._process
    at = [""]

    def queue(
        site: Site, transaction: Transaction, peer: Peer, bundle: Bundle, *rest: object
    ) -> None:
        _suspect_echo(world, shown, site.name, peer.name, bundle)
        real_queue(site, transaction, peer, bundle, *rest)  # type: ignore[arg-type]

    def process(site: Site, *rest: object) -> None:
        at[0] = site.name
        real_process(site, *rest)  # type: ignore[arg-type]

    def receive(
        ledger: object, links: object, peer: str, bundle: Bundle, **rest: object
    ) -> Received:
        received = inbound.receive(ledger, links, peer, bundle, **rest)  # type: ignore[arg-type]
        if received.verdict is Verdict.RESTORED and at[0] not in world.restored:
            world.errors.append(f"{at[0]} thinks it was restored, but it was not")
        world.counts["alarms"] += received.verdict is not Verdict.EXPECTED
        if received.verdict is not Verdict.OVERTAKEN:  # nothing of that was looked at
            _remember(shown, at[0], peer, bundle)
        return received

    with (
        mock.patch.object(composing, "_queue", queue),
        mock.patch.object(receiving, "_process", process),
        mock.patch.object(receiving, "receive", receive),
    ):
        yield


def _remember(shown: Shown, site: str, peer: str, bundle: Bundle) -> None:
    items: list[Extraction | DeleteOrder] = [*bundle.extractions, *bundle.deletes]
    for item in items:
        entries = shown.setdefault((site, peer, item.id), {})
        entries |= {(name, one.dot, one.killed): one for name, one in item.entries.items()}


def _is_shown(entries: Mapping[tuple[str, Dot, bool], Entry], name: str, entry: Entry) -> bool:
    """Was this shown? Two rows that are edited in one scan may become one record: what was written
    into either has the same dot, and is not the same.
    """
    before = entries.get((name, entry.dot, entry.killed))
    return before is not None and (ABSENT in (before.value, entry.value) or before == entry)


def _suspect_echo(world: World, shown: Shown, site: str, peer: str, bundle: Bundle) -> None:
    is_scoped = world.rescoped or world.setting.scope != EVERYTHING
    if is_scoped and world.setting.scoped in {site, peer}:
        # what was not for a site when it came, or was refused, may be for it by now, or came back
        # otherwise
        return
    for item in bundle.extractions:
        before = shown.get((site, peer, item.id), {})
        if all(_is_shown(before, name, entry) for name, entry in item.entries.items()):
            world.suspicions.append(f"echo: {site} sends {item.guid.hex()} back to {peer}")
