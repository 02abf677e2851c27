"""What SOURCE and TARGET stand for: a section of the configuration, or one made of a URL."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import cached_property
from pathlib import Path

from mailsync.config import DatasetSettings, Settings, asked_dataset
from mailsync.cycle.groups import Expansion, Memory, Opened, expand
from mailsync.errors import NotInitialised, UsageError


class Places:
    """The datasets a command names."""

    def __init__(
        self, load: Callable[[], Settings], base: Path, key: Sequence[str], match: Sequence[str]
    ) -> None:
        """``load`` the configuration, if it is needed; ``base`` of relative paths in URLs.

        ``key``: what tells records apart where nothing else does; none: ``match``, which pairs
        them. Without that, the keys of a database do.
        """
        self._load = load
        self._base = base
        self._keys = {
            "key": tuple(key or match) or None,
            "keys": None if match or "*" in key else "shared",
        }
        self._named: list[DatasetSettings] = []

    def section(
        self, place: str, table: str | None, sources: Mapping[str, str] | None
    ) -> DatasetSettings:
        """The section that ``place`` names, or that has it as source.

        ``sources``: own fields by their names at the other side. Raises UsageError.
        """
        if ":" not in place:
            if sources:
                raise UsageError(f"{place} is a section, which itself has the map of its fields")
            return self._configured(place)
        keys = {"table": table, "map": sources, **self._keys}
        section = asked_dataset(place, keys, self._base)
        if section.is_group:
            raise UsageError("one table is compared with one: name it")
        return section

    def parent(self, section: DatasetSettings, table: str) -> DatasetSettings | None:
        """The section of a table that a dataset refers to; None: there is none."""
        if section not in self._named:
            return section.model_copy(update={"table": table, "key": None})
        others = self._expansion.sections.values()
        place = (section.source, table)
        return next((one for one in others if (one.source, one.table) == place), None)

    def _configured(self, name: str) -> DatasetSettings:
        try:
            known = self._expansion.sections
        except NotInitialised as error:
            raise UsageError(f"{name} is no URL of a dataset, and there is {error}") from error
        if name not in known:
            problem = self._expansion.unavailable.get(self._settings.section_of(name))
            raise problem or UsageError(
                f"{name} is no URL of a dataset, and no dataset of {self._settings.path}:"
                f" {', '.join(sorted(known)) or 'none'}"
            )
        self._named.append(known[name])
        return known[name]

    @cached_property
    def _expansion(self) -> Expansion:
        with closing(Opened(self._settings.path.parent)) as data:
            return expand(self._settings, Memory(), data)

    @cached_property
    def _settings(self) -> Settings:
        return self._load()
