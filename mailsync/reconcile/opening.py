"""The two datasets of a reconciliation, opened from what their sections say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from mailsync.config import DatasetSettings
from mailsync.datasets.base import Dataset
from mailsync.datasets.kinds import open_dataset
from mailsync.reconcile.pairing import Pair

Parents = Callable[[DatasetSettings, str], DatasetSettings | None]
"""From a section and the name of a table in the same database to the section of that one."""


@contextmanager
def opened(
    source: DatasetSettings, target: DatasetSettings, match: Sequence[str], parents: Parents
) -> Iterator[Pair]:
    """Both datasets, paired; closed at the end.

    Raises BadConfiguration, DatasetError, UsageError.
    """
    with closing(_open(source)) as first, closing(_open(target)) as second:
        own = _own_keys(source, first, parents) | _own_keys(target, second, parents)
        yield Pair(first, second, match, own)


def _own_keys(section: DatasetSettings, dataset: Dataset, parents: Parents) -> frozenset[str]:
    """Fields that refer to records by keys that mean something in this database alone."""
    found = set()
    for field, reference in dataset.references.items():
        parent = parents(section, reference.table)
        if parent is not None:
            with closing(_open(parent)) as referred:
                if referred.has_local_keys:
                    found.add(field)
    return frozenset(found)


def _open(section: DatasetSettings) -> Dataset:
    return open_dataset(
        section.source,
        table=section.table,
        keys=section.keys,
        key=section.key,
        base=Path(),
        sources=section.map,
        defaults=section.set,
    )
