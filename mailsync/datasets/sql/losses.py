"""What of a table does not travel, or is refused when it comes: sentences for people."""

from __future__ import annotations

from collections.abc import Iterator

from mailsync.datasets.base import Dataset
from mailsync.datasets.sql.table import SqlTable


def of_table(dataset: Dataset, names: frozenset[str]) -> Iterator[str]:
    """What of these columns does not travel whole; nothing of what is no table."""
    if not isinstance(dataset, SqlTable):
        return
    if computed := ", ".join(dataset.shape.computed):
        yield f"computed by the database, so it does not travel: {computed}"
    for name in sorted(names):
        if loss := dataset.shape.by_name[name].loss:
            yield f"column {name}: {loss}"


def needed(dataset: Dataset, given: set[str]) -> Iterator[str]:
    """Columns without which a table refuses a new row."""
    if not isinstance(dataset, SqlTable):
        return
    own = dataset.shape.key if dataset.has_local_keys else ()
    needed = [one.name for one in dataset.shape.described if one.needed and one.name not in own]
    if missing := ", ".join(name for name in needed if name not in given):
        yield (
            f"new records from peers will be held: {missing} must have a value (NOT NULL without "
            "default); map it, or set it"
        )
