"""Dataset -> record map: what users changed, detected before anything else is done.

This is also the recovery from a crash: markers left standing are resolved here, against what
the dataset now holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mailsync.core import recognition, record_map
from mailsync.core.drift import Columns
from mailsync.core.enrolment import Enrolled
from mailsync.core.fitness import unfit
from mailsync.core.matching import content_digest
from mailsync.cycle.drifting import notice
from mailsync.cycle.guarding import guarded
from mailsync.cycle.known import Known
from mailsync.cycle.minting import mint
from mailsync.cycle.references import References
from mailsync.cycle.report import Report
from mailsync.cycle.saving import Cause, save
from mailsync.cycle.site import Site
from mailsync.datasets.base import Change, Dataset, Gated, Unreadable, held_by
from mailsync.datasets.mapped import unmapped
from mailsync.datasets.rewritten import RewrittenDataset
from mailsync.store.notes import GATE


def detect_datasets(site: Site, report: Report, *, meant: int = 0) -> list[str]:
    """Everything users did to the site's datasets. Returns those that can be used.

    ``meant``: so many records of each may be gone at once, says a person.
    """
    report.problems += site.expansion.unavailable.values()
    usable = []
    with site.looking():
        for name in site.sections:
            with report.guarding():
                detect_dataset(site, name, report, meant=meant)
                usable.append(name)
    return usable


def detect_dataset(site: Site, name: str, report: Report, *, meant: int = 0) -> None:
    """Everything users did to one dataset since the record map was last settled.

    ``meant``: see there. Raises DatasetError, SafetyStop.
    """
    dataset = site.look(name)
    with site.store.transaction() as transaction:
        notice(site, transaction, name, dataset, report)
        site.recall(transaction, name)
    report.held.setdefault(name, {})
    if not _is_same(site, name, dataset):
        _look_through(site, name, dataset, report, meant)
    report.read.add(name)


def _is_same(site: Site, name: str, dataset: Dataset) -> bool:
    """Is it certain that nothing has changed since all of the dataset became known? If not, that
    is forgotten before anything that is found is entered.
    """
    gated = unmapped(dataset)
    if not isinstance(gated, Gated):
        return False
    with site.store.transaction() as transaction:
        before = transaction.notes.of(name).get(GATE)
    if before is None:
        return False
    gate = gated.still(before)
    if gate != before:
        with site.store.transaction() as transaction:
            transaction.notes.keep(name, {GATE: gate})
    return gate is not None


def _look_through(site: Site, name: str, dataset: Dataset, report: Report, meant: int) -> None:
    """Compare all of a dataset with the record map."""
    unreadable: dict[str, str] = {}

    def look() -> Iterator[Change]:
        return _readable(dataset.changes(Known(site, name)), unreadable)

    for batch in guarded(site, name, look, meant):
        detect_changes(site, name, batch)
        report.detected[name] = report.detected.get(name, 0) + len(batch)
        report.progress(f"reading {name}", len(batch))
    gated = unmapped(dataset)
    with site.store.transaction() as transaction:
        transaction.layouts.looked_through(name)
        if isinstance(gated, Gated) and gated.gate is not None and not unreadable:
            transaction.notes.keep(name, {GATE: gated.gate})
    site.keep_notes([name])
    report.held[name].update(unreadable)


def detect_changes(site: Site, name: str, changes: Sequence[Change]) -> None:
    """Enter these changes into the record map, in one transaction."""
    now = site.surroundings.now()
    with site.store.transaction() as transaction:
        ledger = transaction.ledger()
        stroke = ledger.stroke(now, site.surroundings.bits(32))
        guids = mint(site, transaction, stroke, now)
        dataset, keys = site.dataset(name), [change.key for change in changes]
        behind = dataset.inner if isinstance(dataset, RewrittenDataset) else dataset
        found = References(site, transaction, ledger).travelling(name, changes, guids)
        if site.sections[name].match:
            found.sort(key=_content)
        keyed = transaction.records.by_key(name, keys)
        columns = _columns(dataset, transaction.layouts.renewed(name))
        new = [key for key in keys if dataset.has_local_keys and key not in keyed]
        shared = 0 if dataset.has_local_keys else 1
        wholes = [one.fields for one in dataset.references if len(one.fields) > 1]
        reserved = transaction.reservations.take(name, new)
        enrolled = []
        for each in found:
            record, fields = keyed.get(each.key), each.fields
            if record is not None and behind is not dataset:
                record, fields = recognition.unrewritten(record, fields, dataset.spelled)
            if record is not None:
                record, fields = recognition.as_known(record, fields, behind.spelled, columns)
                if recognition.is_foreign(record, fields, shared):
                    record_map.unpair(ledger, record)
                    record, fields = None, each.fields
            if record is not None:
                held = held_by(dataset)
                record_map.detect(ledger, record, fields, each.etag, stroke, held, wholes)
            elif fields is not None:
                guid = reserved.get(each.key) or next(guids)
                enrolled.append(Enrolled(guid, each.key, fields, each.etag))
        if enrolled:
            ledger.enrol(name, stroke, enrolled)
        save(site, transaction, ledger, now, Cause())


def _content(change: Change) -> int:
    """Records that are found by their digests come in that order: it costs less to name them."""
    return content_digest(change.fields or {}, {})


def _columns(dataset: Dataset, renewed: frozenset[str]) -> Columns | None:
    if dataset.fields is None:
        return None
    fields = dataset.fields.items()
    return Columns({name: (field.empty, field.blank) for name, field in fields}, renewed)


def _readable(found: Iterator[Change | Unreadable], unreadable: dict[str, str]) -> Iterator[Change]:
    """The changes that can be taken; what cannot is held, neither changed nor deleted."""
    for item in found:
        reason = item.reason if isinstance(item, Unreadable) else unfit(item.fields or {})
        if reason is not None:
            unreadable[item.key] = reason
        elif isinstance(item, Change):
            yield item
