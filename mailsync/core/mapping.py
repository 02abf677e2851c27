"""Mapping: a dataset's own fields under the names that a link shares, converted where they differ.

Rules
-----
* Only mapped fields take part; what the mapping does not name is nobody's business but the
  dataset's.
* A record shows all its mapped fields: one that the dataset does not have is empty (NULL), and
  an empty one is nothing there. Empty is never converted.
* There and back is the same (a lens: Foster et al. 2007): what was written is read again, and
  what is read and written again changes nothing, whatever a conversion forgets.
* A constant is kept nowhere. Another value for it means a record that is not for this dataset;
  an empty one is filled in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from mailsync.core.model import Fields, Value, same_value

Convert = Callable[[Value], Value]
"""From a value, never None, to its other form. Raises :class:`Unconvertible`."""


class Unconvertible(Exception):
    """A value that has no other form; the message says why."""


class Conversion(NamedTuple):
    """Both directions."""

    to_shared: Convert
    to_own: Convert


def _same(value: Value) -> Value:
    return value


_AS_IT_IS: Final = Conversion(_same, _same)


class Place(NamedTuple):
    """Where a shared field is kept here: a field of the dataset's own."""

    field: str
    routine: str = ""
    """The name of a conversion; empty: values are shared as they are kept."""


class Constant(NamedTuple):
    """A shared field that is the same in every record from here."""

    value: Value


Source = Place | Constant
"""What a shared field is, here."""


class FieldMap:
    """A mapping of one dataset."""

    def __init__(
        self, sources: Mapping[str, Source], conversions: Mapping[str, Conversion]
    ) -> None:
        """``sources`` by shared name, no two in one place; ``conversions`` by their own names."""
        self.names: Final = frozenset(sources)
        self.places: Final = {
            name: source for name, source in sources.items() if isinstance(source, Place)
        }
        self.constants: Final = {
            name: source.value for name, source in sources.items() if isinstance(source, Constant)
        }
        self._conversions = {"": _AS_IT_IS, **conversions}

    def shared(self, own: Fields) -> dict[str, Value]:
        """The shared fields of a record. Raises :class:`Unconvertible`."""
        shown = {
            name: self.to_shared(name, own.get(one.field)) for name, one in self.places.items()
        }
        return {**shown, **self.constants}

    def own(self, shared: Fields, present: Fields) -> dict[str, Value]:
        """The own fields that hold ``shared``, where a record now holds ``present``.

        A field that says what it should stays in the form it has. Raises
        :class:`Unconvertible`, also for what the mapping does not name.
        """
        if unknown := sorted(shared.keys() - self.names):
            raise Unconvertible(f"the mapping does not name {', '.join(unknown)}")
        for name, value in self.constants.items():
            if shared.get(name) is not None and not same_value(shared[name], value):
                raise Unconvertible(f"{name} is {shared[name]!r:.80}, here it is always {value!r}")
        return {
            place.field: self._kept(name, shared[name], present.get(place.field))
            for name, place in self.places.items()
            if name in shared
        }

    def to_shared(self, name: str, value: Value) -> Value:
        """An own value as it is shared under ``name``. Raises :class:`Unconvertible`."""
        return _converted(name, self._conversion(name).to_shared, value)

    def to_own(self, name: str, value: Value) -> Value:
        """The value of a shared field as it is kept here. Raises :class:`Unconvertible`."""
        return _converted(name, self._conversion(name).to_own, value)

    def _conversion(self, name: str) -> Conversion:
        return self._conversions[self.places[name].routine]

    def _kept(self, name: str, wanted: Value, present: Value) -> Value:
        if same_value(self.to_shared(name, present), wanted):
            return present
        return self.to_own(name, wanted)


def _converted(name: str, convert: Convert, value: Value) -> Value:
    if value is None:
        return None
    try:
        return convert(value)
    except Unconvertible as error:
        raise Unconvertible(f"{name}: {error}") from error
