"""From a dataset and the mapping of its section to the dataset that the others see."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, cast

from mailsync.core.mapping import Conversion, Convert, Place, Source, Unconvertible
from mailsync.core.model import Fields, Value
from mailsync.datasets.base import Dataset
from mailsync.datasets.mapped import Columns, MappedDataset, Texts
from mailsync.datasets.texts.properties import overlap
from mailsync.errors import BadConfiguration
from mailsync.routines import PLAIN, Routine, RoutineFailed, read_routines, routine

_CARD: Final[Fields] = {"version": "VERSION:4.0", "n": "N:;;;;"}
_ENTRY: Final[Fields] = {"component": "vevent"}
_NEEDED: Final[Mapping[str, Fields]] = {
    "vcard": _CARD,
    "carddav": _CARD,
    "ical": _ENTRY,
    "caldav": _ENTRY,
}
"""What a new record needs that no mapping need name, by kind (RFC 2426, 3.1.2; RFC 6350, 6.7.9)."""


def mapped(
    dataset: Dataset, kind: str, sources: Mapping[str, Source], defaults: Fields
) -> MappedDataset:
    """The dataset of this kind behind a mapping.

    ``sources``: what each shared field is. ``defaults``: what own fields hold in new records that
    come from peers. Raises :class:`mailsync.errors.BadConfiguration` where dataset and mapping do
    not fit together.
    """
    places = [one.field for one in sources.values() if isinstance(one, Place)]
    form = _texts([*places, *defaults], _NEEDED[kind]) if kind in _NEEDED else Columns(dataset)
    routines = {one.routine for one in sources.values() if isinstance(one, Place)} - {""}
    unmapped = [name for name in dataset.key if name not in places]
    if unmapped and not dataset.has_local_keys:
        told = "the field that tells its records apart must be among the mapped ones"
        raise BadConfiguration(f"map: {', '.join(unmapped)}: {told}")
    return MappedDataset(dataset, form, sources, _conversions(routines), defaults)


def _texts(places: list[str], needed: Fields) -> Texts:
    try:
        form = Texts(places, needed)
    except ValueError as error:
        raise BadConfiguration(f"map: {error}") from error
    if both := overlap(places):
        raise BadConfiguration(f"map: {both[0]} and {both[1]} are the same property")
    return form


def _conversions(names: set[str]) -> dict[str, Conversion]:
    """The pairs of routines of these names, ``FILE:NAME``."""
    files = {Path(name.rpartition(":")[0]) for name in names}
    defined = {path: read_routines(path) for path in sorted(files)}
    found = {}
    for full in names:
        path, _, name = full.rpartition(":")
        pair = (
            routine(Path(path), defined[Path(path)], f"{name}_{direction}")
            for direction in ("to_shared", "to_own")
        )
        found[full] = Conversion(*map(_convert, pair))
    return found


def _convert(function: Routine) -> Convert:
    def convert(value: Value) -> Value:
        try:
            result = function(value)
        except RoutineFailed as error:
            raise Unconvertible(str(error)) from error
        if type(result) not in PLAIN:
            kind = type(result).__name__
            raise Unconvertible(f"its routine gave a {kind}; a field holds a text or a number")
        return cast("Value", result)

    return convert
