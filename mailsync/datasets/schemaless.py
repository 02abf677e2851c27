"""What datasets without a schema have in common: any record may have any field.

Their keys are names that stand beside the fields, and stay at the site.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mailsync.core.model import Fields, Key
from mailsync.datasets.base import Field, Newcomer, Reference


class Schemaless:
    """A dataset that holds any field, each value as it comes, and stands alone."""

    database = None
    is_written_at_once = False
    references: Sequence[Reference] = ()
    has_local_keys = False
    fields: Mapping[str, Field] | None = None
    key: tuple[str, ...] = ()

    def look(self) -> None:
        """It holds any field."""

    def spelled(self, fields: Fields) -> Fields:
        """Every value stays as it is."""
        return fields

    def close(self) -> None:
        """Nothing to release."""


def keys_by_guid(
    records: Sequence[Newcomer], suffix: str, is_taken: Callable[[Key], bool]
) -> list[Key]:
    """Their GUIDs in hexadecimal with the suffix; a number before it where one is taken."""
    keys: dict[Key, None] = {}
    for guid, _ in records:
        key, number = Key(f"{guid.hex()}{suffix}"), 1
        while key in keys or is_taken(key):
            number += 1
            key = Key(f"{guid.hex()}-{number}{suffix}")
        keys[key] = None
    return list(keys)
