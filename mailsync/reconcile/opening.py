"""The two datasets of a reconciliation, opened from what their sections say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from mailsync.config import DatasetSettings
from mailsync.cycle.groups import Opened
from mailsync.datasets.base import Dataset
from mailsync.datasets.mapped import unmapped
from mailsync.reconcile.pairing import Pair
from mailsync.reconcile.reading import PlainReading, Progress, Reading

Parents = Callable[[DatasetSettings, str], DatasetSettings | None]
"""From a section and the name of a table in the same database to the section of that one."""


@contextmanager
def opened(
    source: DatasetSettings, target: DatasetSettings, match: Sequence[str], parents: Parents
) -> Iterator[Pair]:
    """Both datasets, paired; closed at the end.

    Raises BadConfiguration, DatasetError, UsageError.
    """
    with closing(Opened(Path())) as data:
        first, second = data.open("source", source), data.open("target", target)
        own = _own_keys(data, source, first, parents) | _own_keys(data, target, second, parents)
        yield Pair(first, second, match, own)


@contextmanager
def reading_of(pair: Pair, progress: Progress) -> Iterator[Reading]:
    """The way to read this pair: through DuckDB, if it is installed, what it reads."""
    with ExitStack() as stack:
        try:
            from mailsync.reconcile.csvreading import csv_reading  # noqa: PLC0415  an extra

            quick = stack.enter_context(csv_reading(pair))
        except ImportError:
            quick = None
        yield quick or PlainReading(pair, progress)


def _own_keys(
    data: Opened,
    section: DatasetSettings,
    dataset: Dataset,
    parents: Parents,
    below: tuple[str, ...] = (),
) -> frozenset[str]:
    """Fields that refer, through others perhaps, to records by keys that mean something in this
    database alone.
    """
    found: set[str] = set()
    for one in dataset.references:
        parent = None if one.table in below else parents(section, one.table)
        if parent is not None:
            referred = unmapped(data.open(f"{parent.source}#{parent.table}", parent))
            if referred.has_local_keys and one.is_key:
                found.update(one.fields)
            else:
                own = _own_keys(data, parent, referred, parents, (*below, one.table))
                pairs = zip(one.fields, one.columns, strict=True)
                found.update(field for field, column in pairs if column in own)
    return frozenset(found)
