"""What SOURCE and TARGET stand for: a section of the configuration, or one made of a URL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

from mailsync.config import DatasetSettings, Settings, asked_dataset
from mailsync.errors import NotInitialised, UsageError


class Places:
    """The datasets a command names."""

    def __init__(self, load: Callable[[], Settings], base: Path) -> None:
        """``load`` the configuration, if it is needed; ``base`` of relative paths in URLs."""
        self._load = load
        self._base = base
        self._named: list[DatasetSettings] = []

    def section(
        self, place: str, table: str | None, key: Sequence[str], match: Sequence[str]
    ) -> DatasetSettings:
        """The section that ``place`` names, or that has it as source. Raises UsageError.

        Without ``match``, the keys of a database tell which records belong together.
        """
        if ":" not in place:
            return self._configured(place)
        keys = None if match else "shared"
        return asked_dataset(place, self._base, table=table, key=tuple(key) or None, keys=keys)

    def parent(self, section: DatasetSettings, table: str) -> DatasetSettings | None:
        """The section of a table that a dataset refers to; None: there is none."""
        if section not in self._named:
            return section.model_copy(update={"table": table, "key": None})
        others = self._settings.datasets.values()
        place = (section.source, table)
        return next((one for one in others if (one.source, one.table) == place), None)

    def _configured(self, name: str) -> DatasetSettings:
        try:
            known = self._settings.datasets
        except NotInitialised as error:
            raise UsageError(f"{name} is no URL of a dataset, and there is {error}") from error
        if name not in known:
            names = ", ".join(sorted(known)) or "none"
            raise UsageError(
                f"{name} is no URL of a dataset, and no dataset of {self._settings.path}: {names}"
            )
        self._named.append(known[name])
        return known[name]

    @cached_property
    def _settings(self) -> Settings:
        return self._load()
