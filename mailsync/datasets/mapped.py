"""A dataset under the shared names of a mapping.

Rules
-----
* A record is its mapped fields; everything else of it stays untouched where it is.
* A table takes the mapped columns alone. A card or an entry of a schedule is one text: the
  mapped values are laid over the record that is there, and that must not have changed meanwhile.
* A new record begins with the values that the configuration sets, and with what its kind demands.
* A write counts only if the record then says exactly what was wanted: what a conversion brings
  back otherwise would echo between the sites for ever. What is to be empty and is not, then, is
  as if a user had filled it in: a constant, or a property behind the one that was removed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final, Protocol

from mailsync.core.mapping import Constant, Conversion, FieldMap, Source, Unconvertible
from mailsync.core.model import Etag, Fields, Guid, Key, Value, same_value
from mailsync.datasets.base import (
    Change,
    Dataset,
    Field,
    Newcomer,
    Outcome,
    Reference,
    Result,
    Told,
    Unreadable,
    Write,
)
from mailsync.datasets.rewritten import RewrittenDataset
from mailsync.datasets.texts.properties import Properties


class Form(Protocol):
    """How the records of a kind hold values."""

    def plain(self, fields: Fields) -> Fields:
        """The values of a record by their places; what is not there is None, or left out."""
        ...

    def blank(self, guid: Guid) -> Fields:
        """What a new record of this kind begins with."""
        ...

    def overlaid(self, present: Fields, values: Fields) -> Fields:
        """What to write so that a record has these values. Raises :class:`Unconvertible`."""
        ...

    def compared(self, present: Fields, written: Collection[str]) -> Fields:
        """What must still be there when these fields are written."""
        ...

    def spelled(self, place: str, value: Value) -> Value:
        """The value as it would be read again there. Raises :class:`Unconvertible`."""
        ...


class Columns:
    """Records whose fields are written one by one: rows of tables."""

    def __init__(self, dataset: Dataset) -> None:
        """``dataset``: the table."""
        self._dataset = dataset

    def plain(self, fields: Fields) -> Fields:
        """The columns themselves."""
        return fields

    def blank(self, _guid: Guid) -> Fields:
        """Nothing: the table has defaults of its own."""
        return {}

    def overlaid(self, _present: Fields, values: Fields) -> Fields:
        """The values alone: columns that are not named stay as they are."""
        return self._dataset.spelled(values)

    def compared(self, present: Fields, written: Collection[str]) -> Fields:
        """The columns that are written: the others may change at any time."""
        return {name: present[name] for name in written if name in present}

    def spelled(self, place: str, value: Value) -> Value:
        """As the column spells it."""
        return self._dataset.spelled({place: value})[place]


class Texts(Properties):
    """Records that are one text each: cards, and entries of a schedule."""

    def __init__(self, places: Collection[str], needed: Fields) -> None:
        """``needed``: what a new record needs beside its UID. Raises ValueError."""
        super().__init__(places)
        self.needed: Final = needed

    def blank(self, guid: Guid) -> Fields:
        """With the GUID as UID: the same at every attempt."""
        return {**self.needed, "uid": f"UID:{guid.hex()}"}

    def compared(self, present: Fields, _written: Collection[str]) -> Fields:
        """The whole text."""
        return present


class MappedDataset:
    """A dataset behind a mapping."""

    def __init__(
        self,
        dataset: Dataset,
        form: Form,
        sources: Mapping[str, Source],
        conversions: Mapping[str, Conversion],
        defaults: Fields,
    ) -> None:
        """``sources`` by shared name; ``conversions`` by the names they have there; ``defaults``:
        what own fields hold in new records that come from peers.
        """
        self.inner: Final = dataset
        self.form: Final = form
        self.sources: Final = sources
        self.defaults: Final = defaults
        self._conversions = conversions
        self._take()

    def look(self) -> None:
        """See anew what the dataset holds."""
        self.inner.look()
        self._take()

    def _take(self) -> None:
        """Map what there is: a column that is gone is a field that the dataset does not hold."""
        self.database, self.has_local_keys = self.inner.database, self.inner.has_local_keys
        self.is_written_at_once = self.inner.is_written_at_once
        inner = self.inner.fields
        there = {
            name: source
            for name, source in self.sources.items()
            if isinstance(source, Constant) or inner is None or source.field in inner
        }
        self.mapping = FieldMap(there, self._conversions)
        order = {name: number for number, name in enumerate(inner or ())}
        places = sorted(self.mapping.places.items(), key=lambda one: order.get(one[1].field, 0))
        constants = self.mapping.constants.items()
        self.fields: Mapping[str, Field] | None = {
            **{name: self._field(name, place.field) for name, place in places},
            **{name: Field(blank=value) for name, value in constants},
        }
        names = {place.field: name for name, place in places}
        self.key = tuple(names.get(name, name) for name in self.inner.key)
        plain = {place.field: name for name, place in places if not place.routine}
        found = (_renamed(one, plain) for one in self.inner.references)
        self.references: Sequence[Reference] = [one for one in found if one.fields]

    def _field(self, name: str, own: str) -> Field:
        """A mapped field as others see it."""
        field = (self.inner.fields or {}).get(own, Field())
        blank, empty = (self._shown(name, value) for value in (field.blank, field.empty))
        return field._replace(blank=blank, empty=empty)

    def _shown(self, name: str, value: Value) -> Value:
        try:
            return self.mapping.to_shared(name, value)
        except Unconvertible:
            return None

    def changes(self, known: Mapping[Key, Etag | None]) -> Iterator[Change | Unreadable]:
        """Everything that differs from ``known``, also where no mapped field does."""
        return map(self._shared, self.inner.changes(known))

    def propose_keys(self, records: Sequence[Newcomer], taken: Collection[Key]) -> list[Key]:
        """The keys the dataset proposes. What cannot be converted is refused when it is written."""
        return self.inner.propose_keys([self._foreseen(one) for one in records], taken)

    def read(self, keys: Sequence[Key]) -> Mapping[Key, Change | Unreadable]:
        """What the dataset holds now for exactly these keys."""
        return {key: self._shared(found) for key, found in self.inner.read(keys).items()}

    def spelled(self, fields: Fields) -> Fields:
        """The fields as they would come back from here."""
        return {name: self._spelled(name, value) for name, value in fields.items()}

    def apply(self, writes: Sequence[Write]) -> list[Outcome]:
        """Carry out the writes as writes of own fields."""
        own, told = self.translated(writes)
        return told(self.inner.apply(own))

    def translated(self, writes: Sequence[Write]) -> tuple[list[Write], Told]:
        """The writes of own fields, and from their outcomes to those of ``writes``."""
        present = self.inner.read([write.key for write in writes])
        decided = [self._decided(write, present[write.key]) for write in writes]

        def told(outcomes: Sequence[Outcome]) -> list[Outcome]:
            done = iter(outcomes)
            return [
                self._seen(write, one, next(done)) if isinstance(one, Write) else one
                for write, one in zip(writes, decided, strict=True)
            ]

        return [one for one in decided if isinstance(one, Write)], told

    def close(self) -> None:
        """Release what the dataset holds."""
        self.inner.close()

    def _shared(self, found: Change | Unreadable) -> Change | Unreadable:
        if isinstance(found, Unreadable) or found.fields is None:
            return found
        try:
            fields = self.mapping.shared(self.form.plain(found.fields))
        except Unconvertible as error:
            return Unreadable(found.key, str(error))
        return found._replace(fields=fields)

    def _decided(self, write: Write, found: Change | Unreadable) -> Write | Outcome:
        """The write of own fields, or what becomes of it without one."""
        shown = self._shared(found)
        if isinstance(shown, Unreadable):
            return Outcome(Result.REFUSED, reason=shown.reason)
        if not self._is_expected(shown.fields, write):
            return Outcome(Result.CHANGED)
        present = found.fields if isinstance(found, Change) else None
        try:
            return self._in_own_fields(write, present)
        except Unconvertible as error:
            return Outcome(Result.REFUSED, reason=str(error))

    def _in_own_fields(self, write: Write, present: Fields | None) -> Write:
        """The same write. Raises :class:`Unconvertible`."""
        written: Fields | None = None
        if write.wanted is not None:
            emptied = dict.fromkeys((write.expected or {}).keys() - write.wanted.keys())
            written = self._own(write.guid, present, {**emptied, **self.spelled(write.wanted)})
        places = {place.field for place in self.mapping.places.values()}
        expected = None
        if present is not None:
            expected = self.form.compared(present, places if written is None else written.keys())
        return write._replace(expected=expected, wanted=written)

    def _is_expected(self, present: Fields | None, write: Write) -> bool:
        """Does the record show what is expected, and nobody's value where a field is new?"""
        if present is None or write.expected is None:
            return present is write.expected
        expected, wanted = self.spelled(write.expected), self.spelled(write.wanted or {})
        return not _differing(expected, present) and all(
            self._is_blank(name, present[name]) or same_value(present[name], value)
            for name, value in wanted.items()
            if name in present and name not in expected
        )

    def _is_blank(self, name: str, value: Value) -> bool:
        field = (self.fields or {})[name]
        return same_value(value, field.empty) or same_value(value, field.blank)

    def _own(self, guid: Guid, present: Fields | None, wanted: Fields) -> Fields:
        """The own fields to write. Raises :class:`Unconvertible`."""
        there = self.form.blank(guid) if present is None else present
        values = self.mapping.own(wanted, self.form.plain(there))
        if present is None:
            values = {**self.defaults, **values}
        written = self.form.overlaid(there, values)
        back = self.mapping.shared(self.form.plain(written))
        for name in _differing(wanted, back):
            if wanted[name] is not None:
                told = f"{wanted[name]!r:.80} would come back as {back[name]!r:.80}"
                raise Unconvertible(f"{name}: {told}")
        return written

    def _seen(self, asked: Write, done: Write, outcome: Outcome) -> Outcome:
        """The outcome; without an etag where the record does not show what was asked for."""
        if outcome.etag is None or asked.wanted is None or done.wanted is None:
            return outcome
        back = self.mapping.shared(self.form.plain(done.wanted))
        filled_in = _differing(self.spelled(asked.wanted), back)
        return outcome._replace(etag=None) if filled_in else outcome

    def _foreseen(self, newcomer: Newcomer) -> Newcomer:
        """The newcomer as it will be written; if it cannot be, with its values as they come."""
        guid, fields = newcomer
        try:
            return Newcomer(guid, self._own(guid, None, self.spelled(fields)))
        except Unconvertible:
            places = self.mapping.places.items()
            raw = {place.field: fields[name] for name, place in places if name in fields}
            return Newcomer(guid, {**self.form.blank(guid), **raw})

    def _spelled(self, name: str, value: Value) -> Value:
        place = self.mapping.places.get(name)
        if place is None:
            return value
        try:
            own = self.form.spelled(place.field, self.mapping.to_own(name, value))
            return self.mapping.to_shared(name, own)
        except Unconvertible:
            return value


def _renamed(reference: Reference, names: Mapping[str, str]) -> Reference:
    """What is mapped of a foreign key, ``names`` being those the fields have now."""
    kept = [one for one in reference.fields if one in names]
    return reference._replace(
        fields=tuple(names[one] for one in kept),
        nullable=frozenset(names[one] for one in reference.nullable if one in names),
        columns=tuple(reference.columns[reference.fields.index(one)] for one in kept),
        is_key=reference.is_key and len(kept) == len(reference.fields),
    )


def unmapped(dataset: Dataset) -> Dataset:
    """The dataset itself, behind mapping and routine, if it has any."""
    while isinstance(dataset, MappedDataset | RewrittenDataset):
        dataset = dataset.inner
    return dataset


def behind_mapping(
    dataset: Dataset, writes: Sequence[Write]
) -> tuple[Dataset, Sequence[Write], Told]:
    """The dataset behind mapping and routine, if it has any; its writes, and from their outcomes
    to those of ``writes``.
    """
    if not isinstance(dataset, MappedDataset | RewrittenDataset):
        return dataset, writes, list
    own, told = dataset.translated(writes)
    inner, written, told_inside = behind_mapping(dataset.inner, own)
    return inner, written, lambda outcomes: told(told_inside(outcomes))


def _differing(wanted: Fields, present: Fields) -> list[str]:
    """Names of wanted fields that are not there, or not the same."""
    return [
        name
        for name, value in wanted.items()
        if name not in present or not same_value(value, present[name])
    ]
