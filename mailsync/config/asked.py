"""A dataset that was named on the command line, as if it had a section."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from mailsync.config.dataset import DATABASE_KINDS, EVERY_TABLE, DatasetSettings
from mailsync.config.mistakes import mistakes_in
from mailsync.errors import UsageError

_TAKEN_BY: Final[Mapping[str, frozenset[str]]] = {
    "table": DATABASE_KINDS,
    "keys": DATABASE_KINDS,
    "key": DATABASE_KINDS | {"csv"},
}
"""Keys of a section that not every kind has."""


def asked_dataset(source: str, keys: Mapping[str, object], base: Path) -> DatasetSettings:
    """The section that has this source, and those of ``keys`` that are not None, and of its kind.

    A database's source may end in ``#TABLE``. Relative paths are relative to ``base``. Raises
    UsageError.
    """
    kind = source.partition(":")[0]
    section = {
        name: value
        for name, value in keys.items()
        if value is not None and kind in _TAKEN_BY.get(name, {kind})
    }
    if kind in DATABASE_KINDS:
        source, _, behind = source.partition("#")
        section |= {"table": behind} if behind else {}
    try:
        return DatasetSettings.model_validate({"source": source, **section}, context={"base": base})
    except ValidationError as error:
        mistakes = "; ".join(map(str, mistakes_in(error)))
        raise UsageError(f"{kind}: {mistakes}") from error


def asked_source(source: str, keys: Mapping[str, object], base: Path) -> DatasetSettings:
    """The same for all that is at the source, whatever tables it has. Raises UsageError."""
    every = {"table": EVERY_TABLE, "key": (EVERY_TABLE,)}
    return asked_dataset(source, {**every, **keys}, base)
