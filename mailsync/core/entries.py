"""The fields of a record: what each holds and which write put it there.

Rules
-----
* A table of a million records has as many lists of the same names, written by the same few
  writes. So a record that is read or detected keeps them as columns (:class:`Woven`), and an
  entry is made only when somebody asks for one. Both are the same to whoever reads them.
"""

from __future__ import annotations

import enum
from collections.abc import ItemsView, Iterator, KeysView, Mapping, Sequence, ValuesView
from collections.abc import Set as AbstractSet
from functools import lru_cache
from operator import is_
from typing import Final, NamedTuple

Value = None | bool | int | float | str | bytes
"""What a field can hold. ``None`` is SQL's NULL, which is not the same as an absent field."""


class Absent(enum.Enum):
    """The value of an entry whose field the record does not have (any more)."""

    ABSENT = 0


ABSENT: Final = Absent.ABSENT

Fields = Mapping[str, Value]
"""Field name to value, as a dataset holds one record. A field not in it is absent."""


class Dot(NamedTuple):
    """Identity of one write. The order of the tuple is the order of writes ("newest").

    ``stamp`` is a hybrid logical clock in milliseconds since 1970 (Kulkarni et al. 2014);
    ``site`` the author's 64-bit number; ``number`` 32 random bits, which only a site restored
    from a backup needs, should it scan at a stamp that was used before.
    """

    stamp: int
    site: int
    number: int


class Glimpse(NamedTuple):
    """A write that a state descends from in these fields alone, as the rest of it was refused."""

    dot: Dot
    fields: frozenset[str]


class Entry(NamedTuple):
    """One field of a record: who wrote it, what, and whether a delete has seen that write."""

    dot: Dot
    value: Value | Absent
    killed: bool = False


class _Meaning(NamedTuple):
    """What the marks of a record's fields say together."""

    alive: bool
    complete: bool
    """No field is absent."""
    used: tuple[int, ...]
    """Numbers of the dots."""


DOT_STEP: Final = 4
"""What one more dot adds to a mark."""
KILLED: Final = 2
LACKING: Final = 1
"""Bits of a mark: a delete has seen the write; the field is absent."""
_FEW: Final = 64
"""So many fields are looked through for one of them."""


@lru_cache(maxsize=4096)  # most records of a table have the marks of others
def _meaning(marks: Sequence[int]) -> _Meaning:
    return _Meaning(
        not all(mark & KILLED for mark in marks),
        not any(mark & LACKING for mark in marks),
        tuple(sorted({mark // DOT_STEP for mark in marks})),
    )


class Woven(Mapping[str, Entry]):
    """Entries as columns. ``marks`` has for each of ``names`` which of ``dots`` wrote it, times
    ``DOT_STEP``, with the bits ``KILLED`` and ``LACKING``; ``contents`` what it holds, and
    something else than :data:`ABSENT` where the field is absent.
    """

    __slots__ = ("_entries", "_fields", "_meaning", "contents", "dots", "marks", "names")

    def __init__(
        self,
        names: tuple[str, ...],
        contents: Sequence[Value],
        dots: tuple[Dot, ...],
        marks: bytes | tuple[int, ...],
    ) -> None:
        """All but ``dots`` are of one length. ``dots`` may have some that wrote none of it."""
        self.names = names
        self.contents = contents
        self.dots = dots
        self.marks = marks
        self._meaning = _meaning(marks)
        self._entries: dict[str, Entry] | None = None
        self._fields: Fields | None = None

    @property
    def is_alive(self) -> bool:
        """Is some entry not killed?"""
        return self._meaning.alive

    @property
    def used(self) -> tuple[int, ...]:
        """Numbers of the dots that wrote any of it."""
        return self._meaning.used

    @property
    def written_by(self) -> frozenset[Dot]:
        """The dots of the entries."""
        dots = self.dots
        return frozenset([dots[number] for number in self._meaning.used])

    @property
    def fields(self) -> Fields:
        """What the fields hold that are not absent, killed or not."""
        if self._fields is None:
            if self._meaning.complete:
                self._fields = dict(zip(self.names, self.contents, strict=True))
            else:
                columns = zip(self.names, self.contents, self.marks, strict=True)
                self._fields = {name: value for name, value, mark in columns if not mark & LACKING}
        return self._fields

    @property
    def entries(self) -> dict[str, Entry]:
        """The entries themselves; not to be written to."""
        if self._entries is None:
            self._entries = {name: self._entry(place) for place, name in enumerate(self.names)}
        return self._entries

    def writer_of(self, name: str) -> Dot:
        """The write that a field is of."""
        return self.dots[self.marks[self.names.index(name)] // DOT_STEP]

    def rewritten(self, fields: Fields, dot: Dot) -> Woven:
        """The entries after a write of these fields, all of which are there."""
        contents, marks = list(self.contents), list(self.marks)
        dots = self.dots if dot in self.dots else (*self.dots, dot)
        mark = dots.index(dot) * DOT_STEP
        for name, value in fields.items():
            place = self.names.index(name)
            contents[place], marks[place] = value, mark
        return Woven(self.names, contents, dots, marks_of(marks))

    def killed(self) -> Woven:
        """The entries after a delete that has seen all of them."""
        marks = marks_of([mark | KILLED for mark in self.marks])
        return Woven(self.names, self.contents, self.dots, marks)

    def __getitem__(self, name: str) -> Entry:
        if self._entries is not None or len(self.names) > _FEW:
            return self.entries[name]
        try:
            return self._entry(self.names.index(name))
        except ValueError:
            raise KeyError(name) from None

    def _entry(self, place: int) -> Entry:
        mark = self.marks[place]
        value = ABSENT if mark & LACKING else self.contents[place]
        return Entry(self.dots[mark // DOT_STEP], value, bool(mark & KILLED))

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __eq__(self, other: object) -> bool:
        return self.entries == (other.entries if isinstance(other, Woven) else other)

    __hash__ = None  # type: ignore[assignment]  # as of every mapping

    def __repr__(self) -> str:
        return repr(self.entries)

    def keys(self) -> KeysView[str]:
        """The names of the fields."""
        return self.fields.keys() if self._meaning.complete else self.entries.keys()

    def values(self) -> ValuesView[Entry]:
        """The entries."""
        return self.entries.values()

    def items(self) -> ItemsView[str, Entry]:
        """Each name with its entry."""
        return self.entries.items()


def woven(fields: Fields, dot: Dot) -> Woven:
    """The entries of a record of which all was written at once."""
    made = Woven(tuple(fields), tuple(fields.values()), (dot,), bytes(len(fields)))
    made._fields = fields
    return made


def as_woven(entries: Mapping[str, Entry]) -> Woven:
    """The same entries as columns."""
    if isinstance(entries, Woven):
        return entries
    dots = sorted({entry.dot for entry in entries.values()})
    steps = {dot: number * DOT_STEP for number, dot in enumerate(dots)}
    marks = [
        steps[entry.dot] + KILLED * entry.killed + LACKING * (entry.value is ABSENT)
        for entry in entries.values()
    ]
    return Woven(
        tuple(entries),
        [None if isinstance(one.value, Absent) else one.value for one in entries.values()],
        tuple(dots),
        marks_of(marks),
    )


def marks_of(marks: Sequence[int]) -> bytes | tuple[int, ...]:
    """The marks in their shortest form."""
    return bytes(marks) if max(marks, default=0) < 256 else tuple(marks)


def same_value(one: Value | Absent, other: Value | Absent) -> bool:
    """Equal in type and value."""
    return type(one) is type(other) and one == other


def same_fields(one: Fields | None, other: Fields | None) -> bool:
    """Equal field by field in type and value; None (no record) equals only None."""
    if one is other:
        return True
    if one is None or other is None or one != other:
        return False
    # said so that nothing of it is Python's own pace: every row that is written is compared so
    return all(map(is_, map(type, one.values()), map(type, map(other.__getitem__, one))))


def held_fields(fields: Fields | None, held: AbstractSet[str] | None) -> Fields | None:
    """The fields among those that a dataset holds at all; ``held`` None: it holds any."""
    if fields is None or held is None or fields.keys() <= held:
        return fields
    return {name: value for name, value in fields.items() if name in held}
