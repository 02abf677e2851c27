"""What of a dataset does not travel, or is refused when it comes: told before anything runs."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from mailsync.core.mapping import Place
from mailsync.datasets.base import Dataset
from mailsync.datasets.mapped import MappedDataset, Texts
from mailsync.datasets.sql.losses import needed, of_table
from mailsync.datasets.texts.properties import SEVERAL, parse_path


def mistakes(dataset: Dataset) -> Iterator[str]:
    """What its mapping names and the dataset has not: each with its place in the section."""
    if not isinstance(dataset, MappedDataset) or dataset.inner.fields is None:
        return
    held = list(dataset.inner.fields)
    named = {
        f"map.{name}": source.field
        for name, source in dataset.sources.items()
        if isinstance(source, Place)
    }
    named |= {f"set.{field}": field for field in dataset.defaults}
    for place, field in named.items():
        if field in dataset.inner.key and field not in held:
            yield f"{place}: {field} is this site's own key, and no field that could travel"
        elif field not in held:
            close = difflib.get_close_matches(field, held, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(held)}"
            yield f"{place}: there is no column {field}; {hint}"


def losses(dataset: Dataset) -> Iterator[str]:
    """What stays here, and what will be held: sentences for people."""
    if not isinstance(dataset, MappedDataset):
        yield from of_table(dataset, frozenset(dataset.fields or ()))
        return
    places = {place.field for place in dataset.mapping.places.values()}
    if isinstance(dataset.form, Texts):
        yield from _of_texts(dataset, dataset.form, places)
    else:
        unmapped = [name for name in dataset.inner.fields or () if name not in places]
        if unmapped:
            yield f"not mapped, so it stays here: {', '.join(unmapped)}"
        yield from of_table(dataset.inner, frozenset(places))
        yield from _of_references(dataset)
        yield from needed(dataset.inner, places | dataset.defaults.keys())


def _of_texts(dataset: MappedDataset, form: Texts, places: set[str]) -> Iterator[str]:
    for name, place in dataset.mapping.places.items():
        if parse_path(place.field).name in SEVERAL:
            several = f"of several {place.field} of one record"
            yield f"{name}: {several} only one travels; the others stay here"
    is_card = "version" in form.needed
    if is_card and "fn" not in places | dataset.defaults.keys():
        yield "new records from peers will be held: no card can be without fn; map it, or set it"


def _of_references(dataset: MappedDataset) -> Iterator[str]:
    referring = {field for one in dataset.inner.references for field in one.fields}
    for name, place in dataset.mapping.places.items():
        if place.routine and place.field in referring:
            yield f"{name}: a foreign key behind a routine travels as it is, not as a reference"
