"""What a person decides about what the guards stopped."""

from __future__ import annotations

from mailsync.core import decisions, record_map
from mailsync.core.guards import Kind
from mailsync.core.model import is_alive
from mailsync.cycle.guarding import BATCH, drop_stop, stands
from mailsync.cycle.known import Known
from mailsync.cycle.materialising import materialise_together
from mailsync.cycle.report import Report
from mailsync.cycle.saving import save
from mailsync.cycle.site import Site
from mailsync.datasets.base import Change
from mailsync.errors import UsageError
from mailsync.store.stops import Stop

NOT_DISCARDED = {
    Kind.REKEYED: "the old records would stand beside the new ones",
    Kind.REPLACED: "what the dataset holds now would be overwritten",
}
"""What is put right in the dataset itself, and why."""


def release(site: Site, stop: Stop) -> None:
    """It is meant: the next sync takes it over."""
    with site.store.transaction() as transaction:
        transaction.stops.release(stop.number, stop.records)


def discard(site: Site, stop: Stop, report: Report) -> int:
    """It is not meant: bring back what is gone; how many records there were.

    Rows that are gone here are written again; records that peers deleted, and whose rows are still
    here, come back at every site. Raises UsageError where that would do harm; DatasetError.
    """
    kind = Kind(stop.kind)
    if kind in NOT_DISCARDED:
        raise UsageError(
            f"{stop.dataset}: {NOT_DISCARDED[kind]}; put the right data back, and it goes on by "
            f"itself, or: mailsync held release {stop.number}"
        )
    site.look(stop.dataset)
    with site.store.transaction() as transaction:
        site.recall(transaction, stop.dataset)
    brought = _keep(site, stop) if kind is Kind.RECEIVED else _write_again(site, stop)
    with site.store.transaction() as transaction:
        drop_stop(site, transaction, stop)
    report.held |= materialise_together(site, [stop.dataset], report)
    return brought


def _write_again(site: Site, stop: Stop) -> int:
    """Take the rows that are gone for lost."""
    changes = site.dataset(stop.dataset).changes(Known(site, stop.dataset))
    gone = [one.key for one in changes if isinstance(one, Change) and one.fields is None]
    brought = 0
    for start in range(0, len(gone), BATCH):
        with site.store.transaction() as transaction:
            ledger = transaction.ledger()
            found = transaction.records.by_key(stop.dataset, gone[start : start + BATCH])
            for record in filter(stands, found.values()):
                record_map.lost(ledger, record)
                brought += 1
            transaction.save(ledger, site.surroundings.now())
    return brought


def _keep(site: Site, stop: Stop) -> int:
    """Take the rows that are still here for written just now. What a peer withdrew is not ours to
    keep: its filter says so, and would again.
    """
    brought = after = 0
    while True:
        with site.store.transaction() as transaction:
            found = transaction.records.unwritten(stop.dataset, after, BATCH, gone=(1,))
            if not found:
                return brought
            after, now = found[-1].position, site.surroundings.now()
            ledger = transaction.ledger()
            stroke = ledger.stroke(now, site.surroundings.bits(32))
            for record in found:
                if not is_alive(record.entries):
                    decisions.keep_row(ledger, record, stroke)
                    brought += 1
            save(site, transaction, ledger, now)
