"""Dataset -> record map: what users changed, detected before anything else is done.

This is also the recovery from a crash: markers left standing are resolved here, against what
the dataset now holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from mailsync.core import record_map
from mailsync.core.fitness import unfit
from mailsync.core.identifiers import minted
from mailsync.core.ledger import Ledger
from mailsync.core.model import Key, Record
from mailsync.cycle.drifting import notice
from mailsync.cycle.known import Known
from mailsync.cycle.references import References
from mailsync.cycle.report import Report
from mailsync.cycle.site import Site
from mailsync.datasets.base import Change, Dataset, Unreadable, held_by

BATCH = 2_000
"""Changes written to the store in one transaction."""


def detect_datasets(site: Site, report: Report) -> list[str]:
    """Everything users did to the site's datasets. Returns those that can be used."""
    report.problems += site.expansion.unavailable.values()
    usable = []
    with site.looking():
        for name in site.sections:
            with report.guarding():
                detect_dataset(site, name, report)
                usable.append(name)
    return usable


def detect_dataset(site: Site, name: str, report: Report) -> None:
    """Everything users did to one dataset since the record map was last settled.

    Raises DatasetError.
    """
    dataset = site.look(name)
    with site.store.transaction() as transaction:
        notice(site, transaction, name, dataset, report)
    unreadable: dict[str, str] = {}
    changes = _readable(dataset.changes(Known(site, name)), unreadable)
    while batch := list(islice(changes, BATCH)):
        detect_changes(site, name, batch)
        report.detected[name] = report.detected.get(name, 0) + len(batch)
        report.progress(f"reading {name}", len(batch))
    report.held.setdefault(name, {}).update(unreadable)


def detect_changes(site: Site, name: str, changes: Sequence[Change]) -> None:
    """Enter these changes into the record map, in one transaction."""
    now = site.surroundings.now()
    with site.store.transaction() as transaction:
        ledger = transaction.ledger()
        stroke = ledger.stroke(now, site.surroundings.bits(32))
        guids = minted(now, stroke)
        dataset, keys = site.dataset(name), [change.key for change in changes]
        found = References(site, transaction, ledger).travelling(name, changes, guids)
        held = held_by(dataset)
        keyed = {
            key: record_map.within(record, held)
            for key, record in transaction.records.by_key(name, keys).items()
        }
        new = [key for key in keys if dataset.has_local_keys and key not in keyed]
        wholes = [one.fields for one in dataset.references if len(one.fields) > 1]
        reserved = transaction.reservations.take(name, new)
        for each in found:
            change = _as_known(dataset, keyed, each)
            record = _record_under(ledger, keyed, change)
            if record is not None:
                record_map.detect(ledger, record, change.fields, change.etag, stroke, held, wholes)
            elif change.fields is not None:
                guid = reserved.get(change.key) or next(guids)
                record_map.enrol(ledger, name, guid, change.key, change.fields, change.etag, stroke)
        transaction.save(ledger, now)


def _as_known(dataset: Dataset, keyed: Mapping[Key, Record], found: Change) -> Change:
    """The change without what the dataset only spells its own way, and what nobody wrote."""
    record = keyed.get(found.key)
    if record is None:
        return found
    fields = record_map.as_known(record, found.fields, dataset.spelled)
    if dataset.fields is not None:
        empties = {name: field.empty for name, field in dataset.fields.items()}
        blanks = {name: field.blank for name, field in dataset.fields.items()}
        fields = record_map.without_blanks(record, fields, empties, blanks)
    return found._replace(fields=fields)


def _record_under(ledger: Ledger, keyed: Mapping[Key, Record], change: Change) -> Record | None:
    """The record the row belongs to; None if it is a user's own new row."""
    record = keyed.get(change.key)
    if record is not None and record_map.is_foreign(record, change.fields):
        record_map.unpair(ledger, record)
        return None
    return record


def _readable(found: Iterator[Change | Unreadable], unreadable: dict[str, str]) -> Iterator[Change]:
    """The changes that can be taken; what cannot is held, neither changed nor deleted."""
    for item in found:
        reason = item.reason if isinstance(item, Unreadable) else unfit(item.fields or {})
        if reason is not None:
            unreadable[item.key] = reason
        elif isinstance(item, Change):
            yield item
