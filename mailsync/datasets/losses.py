"""What of a dataset does not travel, or is refused when it comes: told before anything runs."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from mailsync.core.mapping import Place
from mailsync.datasets.base import Dataset
from mailsync.datasets.mapped import MappedDataset, Texts
from mailsync.datasets.properties import SEVERAL, parse_path
from mailsync.datasets.sql import SqlTable


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
        yield from _of_table(dataset, frozenset(dataset.fields or ()))
        return
    places = {place.field for place in dataset.mapping.places.values()}
    if isinstance(dataset.form, Texts):
        yield from _of_texts(dataset, dataset.form, places)
    else:
        unmapped = [name for name in dataset.inner.fields or () if name not in places]
        if unmapped:
            yield f"not mapped, so it stays here: {', '.join(unmapped)}"
        yield from _of_table(dataset.inner, frozenset(places))
        yield from _of_references(dataset)
        yield from _needed(dataset.inner, places | dataset.defaults.keys())


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


def _of_table(dataset: Dataset, names: frozenset[str]) -> Iterator[str]:
    if not isinstance(dataset, SqlTable):
        return
    if computed := ", ".join(dataset.shape.computed):
        yield f"computed by the database, so it does not travel: {computed}"
    for name in sorted(names):
        if loss := dataset.shape.by_name[name].loss:
            yield f"column {name}: {loss}"


def _needed(dataset: Dataset, given: set[str]) -> Iterator[str]:
    """Columns without which a new row is refused."""
    if not isinstance(dataset, SqlTable):
        return
    own = dataset.shape.key if dataset.has_local_keys else ()
    needed = [one.name for one in dataset.shape.described if one.needed and one.name not in own]
    if missing := ", ".join(name for name in needed if name not in given):
        yield (
            f"new records from peers will be held: {missing} must have a value (NOT NULL without "
            "default); map it, or set it"
        )
