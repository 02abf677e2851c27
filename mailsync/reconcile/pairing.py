"""Which records of two datasets belong together, and in which fields they differ. Pure.

Rules
-----
* Records are paired by the values of fields: those asked for, else those that say the key. Where
  the key is no field at either side, and both are of one kind, they are paired by the key itself.
* Values are compared as both sides would spell them: what is only another form is no difference.
* What stands for nothing at one side, an empty cell or NULL, is copied as what does at the other.
* A record without a value in any of the pairing fields belongs to none that could be told.
* Compared and carried over are the fields that both sides hold, and that are not the keys of one
  side alone.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Final, NamedTuple

from mailsync.core.model import ABSENT, Absent, Fields, Key, Value, same_value
from mailsync.datasets.base import Dataset
from mailsync.datasets.mapped import MappedDataset
from mailsync.datasets.rowkeys import key_text, key_values
from mailsync.errors import UsageError

NOBODY: Final = ""
"""The name of all records that cannot be told apart."""


class Side(enum.IntEnum):
    """One of the two datasets."""

    SOURCE = 0
    TARGET = 1

    @property
    def other(self) -> Side:
        """The dataset it is compared with."""
        return Side(1 - self)

    def __str__(self) -> str:
        """As people call it."""
        return self.name.lower()


class Holding(NamedTuple):
    """What one side holds of a record."""

    key: Key
    fields: Fields


Both = Mapping[Side, Holding]
"""What each side holds of a record; a side that holds nothing is not in it."""


class Pair:
    """Two datasets and how their records are paired."""

    def __init__(
        self,
        source: Dataset,
        target: Dataset,
        match: Sequence[str] = (),
        own: frozenset[str] = frozenset(),
    ) -> None:
        """``match``: fields that tell which records belong together; none: the keys do.

        ``own``: fields that hold keys of one side alone. Raises UsageError if nothing pairs them.
        """
        self.datasets = {Side.SOURCE: source, Side.TARGET: target}
        self.match = tuple(match) or _key_fields(target)
        """The fields that pair records; none: what both call a record does."""
        self._own = own
        by_key = _kind(source) is _kind(target) and not source.has_local_keys
        alike = {*_key_fields(source)} == {*_key_fields(target)}
        if not match and not (alike and (self.match or by_key)):
            raise UsageError(
                "the two have no keys in common; name the fields that tell which records belong"
                " together, e.g. --match uid"
            )
        for side, names in self._held.items():
            if unknown := sorted({*self.match} - (names - own)):
                raise UsageError(f"the {side} has no field {', '.join(unknown)} to pair records by")

    @cached_property
    def left_out(self) -> Mapping[Side, Sequence[str]]:
        """Fields of a side that are neither compared nor carried over."""
        common = self._common or frozenset()
        return {side: sorted(names - common) for side, names in self._held.items()}

    def normal(self, fields: Fields) -> Fields:
        """The common fields in the one form that either side's become."""
        spelled = self.datasets[Side.SOURCE].spelled(self._shared(fields))
        return self.datasets[Side.TARGET].spelled(spelled)

    def name(self, key: Key, normal: Fields) -> str:
        """What both sides call a record that has this key at one, and these fields."""
        if not self.match:
            return key
        values = [normal.get(name) for name in self.match]
        return NOBODY if values.count(None) == len(values) else key_text(values)

    def label(self, name: str) -> str:
        """A name as people read it."""
        if name == NOBODY:
            return f"without {', '.join(self.match) or 'a key'}"
        return ", ".join(map(_word, key_values(Key(name)))) if self.match else name

    def name_of_key(self, side: Side, key: Key) -> str:
        """The same, of a record of which no more than the key can be read."""
        if not self.match:
            return key
        names = _key_fields(self.datasets[side])
        try:
            said = dict(zip(names, key_values(key), strict=True))
        except ValueError:
            return NOBODY
        return self.name(key, self.normal(said)) if {*self.match} <= {*names} else NOBODY

    def differing(self, one: Fields, other: Fields) -> list[str]:
        """Names of the fields whose values differ."""
        first, second = self.normal(one), self.normal(other)
        return [
            name
            for name in sorted(first.keys() | second.keys())
            if not same_value(value_of(first, name), value_of(second, name))
        ]

    def carried(self, side: Side, held: Fields | None, prevailing: Fields) -> Fields:
        """What ``side``, which holds ``held``, is to hold so that nothing differs any more."""
        spelled = self.datasets[side].spelled(self._emptied(side, self._shared(prevailing)))
        if held is None:
            return spelled
        wanted = dict(held)
        for name in self.differing(held, prevailing):
            wanted.pop(name, None)
            if name in spelled:
                wanted[name] = spelled[name]
        return wanted

    def _emptied(self, side: Side, fields: Fields) -> Fields:
        """The other side's fields, with what stands for nothing at ``side``."""
        there, here = self.datasets[side.other].fields, self.datasets[side].fields
        if there is None or here is None:
            return fields
        known = (fields.keys() & there.keys() & here.keys()) - {*self.match}
        empty = (name for name in known if same_value(fields[name], there[name].empty))
        return {**fields, **{name: here[name].empty for name in empty}}

    @cached_property
    def _held(self) -> Mapping[Side, frozenset[str]]:
        """The names of all fields that a side holds, unless it holds any of any name."""
        sides = self.datasets.items()
        return {side: frozenset(one.fields) for side, one in sides if one.fields is not None}

    @cached_property
    def _common(self) -> frozenset[str] | None:
        """The names of the fields that both sides hold; None: any, but for ``own``."""
        held = list(self._held.values())
        return frozenset.intersection(*held) - self._own if held else None

    def _shared(self, fields: Fields) -> Fields:
        common = self._common
        if common is None:
            return fields
        return {name: value for name, value in fields.items() if name in common}


def value_of(fields: Fields, name: str) -> Value | Absent:
    """The field's value, or that there is none."""
    return fields.get(name, ABSENT)


def _word(value: Value) -> str:
    if value is None:
        return "NULL"
    return value.hex() if isinstance(value, bytes) else str(value)


def _kind(dataset: Dataset) -> type[Dataset]:
    return type(dataset.inner if isinstance(dataset, MappedDataset) else dataset)


def _key_fields(dataset: Dataset) -> tuple[str, ...]:
    return () if dataset.has_local_keys else dataset.key
