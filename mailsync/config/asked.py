"""A dataset that was named on the command line, as if it had a section."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from mailsync.config.dataset import DATABASE_KINDS, DatasetSettings
from mailsync.config.mistakes import mistakes_in
from mailsync.errors import UsageError


def asked_dataset(
    source: str, base: Path, *, table: str | None, keys: str | None, key: tuple[str, ...] | None
) -> DatasetSettings:
    """The section that has this source, and the others of these keys that its kind takes.

    A database's source may end in ``#TABLE``. Relative paths are relative to ``base``. Raises
    UsageError.
    """
    kind = source.partition(":")[0]
    section: dict[str, object] = {"source": source}
    if kind in DATABASE_KINDS:
        place, _, behind = source.partition("#")
        section = {"source": place, "table": behind or table, "keys": keys, "key": key}
    elif kind == "csv":
        section["key"] = key
    try:
        return DatasetSettings.model_validate(section, context={"base": base})
    except ValidationError as error:
        mistakes = "; ".join(map(str, mistakes_in(error)))
        raise UsageError(f"{kind}: {mistakes}") from error
