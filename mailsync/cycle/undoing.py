"""Take back what a bundle did here."""

from __future__ import annotations

from dataclasses import replace

from mailsync.core import undoing
from mailsync.core.undoing import Undone
from mailsync.cycle.detecting import detect_dataset
from mailsync.cycle.materialising import materialise_datasets
from mailsync.cycle.report import Report
from mailsync.cycle.saving import save
from mailsync.cycle.site import Site
from mailsync.errors import UsageError
from mailsync.store.history import Event


def undo(site: Site, bundle: int, report: Report) -> list[Undone]:
    """Bring back what a bundle, by its number in the log, overwrote: as new edits.

    What was written since stays, and is named. Raises UsageError, DatasetError.
    """
    site.expand()  # what was open may have been replaced since, or have other columns
    undone = _undo(site, bundle, report)
    local = {one.record.dataset for one in undone} & site.sections.keys()
    materialise_datasets(site, sorted(local), report)
    for problem in report.problems:
        raise problem
    return undone


def rehearse_undo(site: Site, bundle: int) -> list[Undone]:
    """What :func:`undo` would do; nothing is written anywhere. Raises UsageError, DatasetError."""
    with site.store.rehearsal() as store:
        return _undo(replace(site, store=store), bundle, Report())


def _undo(site: Site, bundle: int, report: Report) -> list[Undone]:
    """In the record map alone."""
    with site.store.transaction() as transaction:
        formers = transaction.formers.of(bundle)
    if not formers:
        raise UsageError(
            f"nothing is known that bundle {bundle} changed here; see the numbers in: mailsync log"
        )
    for name in {former.record.dataset for former in formers} & site.sections.keys():
        detect_dataset(site, name, report)
    now = site.surroundings.now()
    with site.store.transaction() as transaction:
        ledger = transaction.ledger()
        transaction.records.fetch(former.record for former in formers)
        stroke = ledger.stroke(now, site.surroundings.bits(32))
        undone = [undoing.undo(ledger, former, stroke) for former in formers]
        save(site, transaction, ledger, now)
        back = sum(not one.left for one in undone)
        words = f"bundle {bundle}: {back} of {len(undone)} records are as they were before it"
        transaction.history.log(Event(now, "undone", "", None, words))
    return undone
