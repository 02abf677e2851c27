"""What became of a dataset's fields since it was last seen, noticed before it is read."""

from __future__ import annotations

from mailsync.core.drift import Layout
from mailsync.datasets.base import Dataset
from mailsync.store.transaction import Transaction


def layout_of(dataset: Dataset) -> Layout | None:
    """What the dataset looks like; None: it holds any fields."""
    if dataset.fields is None:
        return None
    return Layout({name: one.type for name, one in dataset.fields.items()}, tuple(dataset.key))


def notice(transaction: Transaction, name: str, dataset: Dataset) -> None:
    """Remember what the dataset looks like."""
    before, now = transaction.records.layout(name), layout_of(dataset)
    if now is not None and now != before:
        transaction.records.lay_out(name, now)
