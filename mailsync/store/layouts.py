"""What is kept of each dataset besides its records: its number, and what it looks like."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

from mailsync.core.drift import Layout
from mailsync.core.model import Record
from mailsync.store.codec import (
    layout_bytes,
    layout_of,
    names_bytes,
    names_of,
    order_bytes,
    order_of,
)
from mailsync.store.record_rows import Names, Naming
from mailsync.store.record_statements import (
    ADD_DATASET,
    ADD_NAMING,
    DATASETS,
    LAY_OUT,
    LOOKED_THROUGH,
    NAMINGS,
    NOTE_UNHELD,
)
from mailsync.store.standing import Kept, Standing
from mailsync.store.statements import Session


class StoredLayouts:
    """The datasets of the store."""

    def __init__(self, session: Session, standing: Standing) -> None:
        """Within the session's open transaction. ``standing``: what is known of before it."""
        self._session = session
        self._standing = standing

    @property
    def kept(self) -> dict[str, Kept]:
        """What is kept, by dataset."""
        if self._standing.datasets is None:
            self._standing.datasets = dict(map(_kept, self._session.rows(DATASETS)))
        return self._standing.datasets

    @property
    def names(self) -> dict[int, str]:
        """The datasets by their numbers."""
        names = self._standing.dataset_names
        if names is None:
            names = {kept.number: name for name, kept in self.kept.items()}
            self._standing.dataset_names = names
        return names

    def number(self, dataset: str) -> int:
        """The dataset's number; one that no record has if nothing is kept of it."""
        kept = self.kept.get(dataset)
        return -1 if kept is None else kept.number

    def layout(self, dataset: str) -> Layout | None:
        """What the dataset looked like when it was last seen; None: it holds any fields."""
        kept = self.kept.get(dataset)
        return None if kept is None else kept.layout

    def unheld(self, dataset: str) -> frozenset[str]:
        """Fields of its records that the dataset does not hold."""
        kept = self.kept.get(dataset)
        return frozenset() if kept is None else kept.unheld - (kept.holds or frozenset())

    def renewed(self, dataset: str) -> frozenset[str]:
        """Fields made anew since all of the dataset was last looked through."""
        kept = self.kept.get(dataset)
        return frozenset() if kept is None else kept.renewed

    def add(self, datasets: Iterable[str]) -> None:
        """Give a number to those of them that have none."""
        if new := set(datasets) - self.kept.keys():
            self._session.run_each(ADD_DATASET, [{"name": name} for name in sorted(new)])
            self._read_again()

    def change(self, dataset: str, layout: Layout, renewed: frozenset[str]) -> None:
        """The dataset looks otherwise than before. ``renewed``: the fields that were made anew."""
        self.add([dataset])
        renewed |= self.renewed(dataset)
        self._session.run(
            LAY_OUT, called=dataset, layout=layout_bytes(layout), renewed=names_bytes(renewed)
        )
        self._read_again()

    def looked_through(self, dataset: str) -> None:
        """All of the dataset was looked at since it looks as it does."""
        if self.renewed(dataset):
            self._session.run(LOOKED_THROUGH, called=dataset)
            self._read_again()

    def note_unheld(self, records: Iterable[Record]) -> None:
        """Fields of these records that their datasets do not hold are remembered by name."""
        news: dict[str, frozenset[str]] = {}
        for dataset, names in {(record.dataset, tuple(record.entries)) for record in records}:
            kept = self.kept[dataset]
            if kept.holds is not None and not kept.holds.issuperset(names):
                noted = news.get(dataset, kept.unheld)
                news[dataset] = noted | (frozenset(names) - kept.holds)
        for name, unheld in news.items():
            if unheld != self.kept[name].unheld:
                self._session.run(NOTE_UNHELD, called=name, unheld=names_bytes(unheld))
                self._read_again()

    def naming(self, kept: Kept) -> Naming | None:
        """What the dataset's fields are called, in their order."""
        if kept.layout is None:
            return None
        names = tuple(kept.layout.fields)
        if names not in self._naming_of:
            self._session.run(ADD_NAMING, names=order_bytes(names))
            self._standing.namings = None
            del self._naming_of
        return self._naming_of[names]

    @property
    def namings(self) -> dict[int, Names]:
        """Lists of names that many records have, by number."""
        if self._standing.namings is None:
            rows = self._session.rows(NAMINGS)
            self._standing.namings = {number: order_of(names) for number, names in rows}
        return self._standing.namings

    @cached_property
    def _naming_of(self) -> dict[Names, Naming]:
        return {names: Naming(number, names) for number, names in self.namings.items()}

    def _read_again(self) -> None:
        self._standing.datasets = self._standing.dataset_names = None


def _kept(row: Sequence[Any]) -> tuple[str, Kept]:
    name, number, layout_there, renewed, unheld = row
    layout = None if layout_there is None else layout_of(layout_there)
    holds = None if layout is None else frozenset(layout.fields)
    return name, Kept(number, layout, holds, names_of(renewed), names_of(unheld))
