"""Row form: the deletes and extractions of a bundle, one after the other.

Rules
-----
* What records have in common is a *shape*, written once: which fields, whether they share one
  dot, which are killed. The commonest record is then position, GUID, shape, dot and values.
* A GUID is its last 3 bytes, as a step from the last GUID with the same *stem* (the bytes
  before them). GUIDs minted together share a stem and cost a byte or two.
* Dots, their sites and marks are called by number after their first use.

::

    delete     = position-step guid shape newest-dot [ancestors] row
    extraction = position-step guid shape            [ancestors] row
    row        = dot value*          if the shape says one dot (no dot if it has no fields)
               = (dot value)*        otherwise
    shape      = number [flags count (name [killed])*]
    guid       = number [stem] counter-step
    dot        = number [stamp-step site number]     site = number [64 bits]
    mark       = number [top-step tag]
    ancestors  = count dot*

    flags  1  whole (extraction) or withdrawn (delete)
           2  every field has a dot of its own
           4  there are ancestors
           8  all fields are killed
           16 some fields are killed: true or false after each name
           32 the ancestors are complete: none is to be inferred
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from mailsync.core.model import DeleteOrder, Dot, Entry, Extraction, Guid, Mark, Reason, dots_of
from mailsync.core.tokens import TokenReader, TokenWriter
from mailsync.errors import BadFormat, OurError

RANDOM: Final = 2**64
"""Sites, dot numbers and stream nonces are below this."""

TAGS: Final = 2**32
"""Tags of marks are below this."""

GUID_SIZES: Final = range(4, 17)
COUNTER_SIZE: Final = 3
"""Bytes of a GUID after its stem."""

RECORD_COST: Final = 3
"""Objects of the budget that a record costs besides being counted; its memory is several's."""

SPECIAL: Final = 1
OWN_DOTS: Final = 2
ANCESTORS: Final = 4
ALL_KILLED: Final = 8
SOME_KILLED: Final = 16
COMPLETE: Final = 32
FLAGS: Final = 64


class Shape(NamedTuple):
    """What rows have in common; ``fields`` in the order of their values."""

    flags: int
    fields: tuple[tuple[str, bool], ...]
    """Names, and whether killed."""

    @property
    def special(self) -> bool:
        """Whole (extraction) or withdrawn (delete)."""
        return bool(self.flags & SPECIAL)

    @property
    def complete(self) -> bool:
        """Are the ancestors complete?"""
        return bool(self.flags & COMPLETE)


@dataclass
class _Last:
    """What steps are counted from."""

    stamp: int = 0
    top: int = 0
    position: int = 0


class RowWriter(TokenWriter):
    """Writes records in row form."""

    def __init__(self, budget: int) -> None:
        """Nothing is known yet."""
        super().__init__(budget)
        self._last = _Last()
        self._counters: dict[bytes, int] = {}
        self._stems: dict[bytes, int] = {}
        self._sites: dict[int, int] = {}
        self._dots: dict[Dot, int] = {}
        self._marks: dict[Mark, int] = {}
        self._shapes: dict[Shape, int] = {}

    def start_rows(self) -> None:
        """Positions are counted from zero again."""
        self._last.position = 0

    def delete(self, order: DeleteOrder) -> None:
        """A delete order."""
        withdrawn = order.reason is Reason.WITHDRAWN
        shape = shape_of(order.entries, order.context, special=withdrawn, complete=order.complete)
        self._start(order.position, order.guid, shape)
        self.dot(order.newest)
        self._row(shape, order.entries, order.context)

    def extraction(self, extraction: Extraction) -> None:
        """An extraction record."""
        shape = shape_of(
            extraction.entries,
            extraction.context,
            special=extraction.whole,
            complete=extraction.complete,
        )
        self._start(extraction.position, extraction.guid, shape)
        self._row(shape, extraction.entries, extraction.context)

    def guid(self, guid: Guid) -> None:
        """A GUID of 4 to 16 bytes."""
        if type(guid) is not bytes or len(guid) not in GUID_SIZES:
            raise OurError(f"{guid!r} is not a GUID")
        stem, counter = guid[:-COUNTER_SIZE], int.from_bytes(guid[-COUNTER_SIZE:], "big")
        self.interned(self._stems, stem, self.token)
        self.step(self._counters.get(stem, 0), counter)
        self._counters[stem] = counter

    def dot(self, dot: Dot) -> None:
        """A dot."""
        self.interned(self._dots, dot, self._new_dot)

    def mark(self, mark: Mark) -> None:
        """A mark."""
        self.interned(self._marks, mark, self._new_mark)

    def _new_dot(self, dot: Dot) -> None:
        self.step(self._last.stamp, dot.stamp)
        self._last.stamp = dot.stamp
        self.interned(self._sites, dot.site, self._new_site)
        self.number(dot.number, RANDOM)

    def _new_site(self, site: int) -> None:
        self.number(site, RANDOM)

    def _new_mark(self, mark: Mark) -> None:
        self.step(self._last.top, mark.top)
        self._last.top = mark.top
        self.number(mark.tag, TAGS)

    def _new_shape(self, shape: Shape) -> None:
        self.number(shape.flags, FLAGS)
        self.count(len(shape.fields))
        for name, killed in shape.fields:
            self.name(name)
            if shape.flags & SOME_KILLED:
                self.token(killed)

    def _start(self, position: int, guid: Guid, shape: Shape) -> None:
        self.pay(RECORD_COST)
        self.step(self._last.position, position)
        self._last.position = position
        self.guid(guid)
        self.interned(self._shapes, shape, self._new_shape)

    def _row(self, shape: Shape, entries: Mapping[str, Entry], context: frozenset[Dot]) -> None:
        if context:
            self.count(len(context))
            for ancestor in sorted(context):
                self.dot(ancestor)
        self.pay(len(entries))
        if entries and not shape.flags & OWN_DOTS:
            self.dot(next(iter(entries.values())).dot)
        for name, _ in shape.fields:
            if shape.flags & OWN_DOTS:
                self.dot(entries[name].dot)
            self.value(entries[name].value)


class RowReader(TokenReader):
    """Reads records in row form."""

    def __init__(self, body: bytes, budget: int) -> None:
        """Nothing is known yet."""
        super().__init__(body, budget)
        self._last = _Last()
        self._counters: dict[bytes, int] = {}
        self._stems: list[bytes] = []
        self._sites: list[int] = []
        self._dots: list[Dot] = []
        self._marks: list[Mark] = []
        self._shapes: list[Shape] = []

    def start_rows(self) -> None:
        """Positions are counted from zero again."""
        self._last.position = 0

    def delete(self, dataset: str) -> DeleteOrder:
        """A delete order."""
        position, guid, shape = self._start()
        reason = Reason.WITHDRAWN if shape.special else Reason.DELETED
        newest = self.dot()
        context, entries = self._row(shape)
        return DeleteOrder(
            position, dataset, guid, reason, newest, entries, context, shape.complete
        )

    def extraction(self, dataset: str) -> Extraction:
        """An extraction record."""
        position, guid, shape = self._start()
        context, entries = self._row(shape)
        return Extraction(position, dataset, guid, entries, context, shape.special, shape.complete)

    def guid(self) -> Guid:
        """A GUID."""
        stem = self.interned(self._stems, self._new_stem)
        counter = self.step(self._counters.get(stem, 0))
        if counter >= 1 << 8 * COUNTER_SIZE:
            raise BadFormat("a GUID's counter is out of bounds")
        self._counters[stem] = counter
        return Guid(stem + counter.to_bytes(COUNTER_SIZE, "big"))

    def dot(self) -> Dot:
        """A dot."""
        return self.interned(self._dots, self._new_dot)

    def mark(self) -> Mark:
        """A mark."""
        return self.interned(self._marks, self._new_mark)

    def _new_stem(self) -> bytes:
        stem = self.octets()
        if len(stem) + COUNTER_SIZE not in GUID_SIZES:
            raise BadFormat("a GUID is too long or too short")
        return stem

    def _new_dot(self) -> Dot:
        self._last.stamp = self.step(self._last.stamp)
        site = self.interned(self._sites, self._new_site)
        return Dot(self._last.stamp, site, self.number(RANDOM))

    def _new_site(self) -> int:
        return self.number(RANDOM)

    def _new_mark(self) -> Mark:
        self._last.top = self.step(self._last.top)
        return Mark(self._last.top, self.number(TAGS))

    def _new_shape(self) -> Shape:
        flags = self.number(FLAGS)
        some, every = bool(flags & SOME_KILLED), bool(flags & ALL_KILLED)
        fields = tuple((self.name(), self.flag() if some else every) for _ in range(self.count()))
        if len(dict(fields)) < len(fields):
            raise BadFormat("a record has one field twice")
        return Shape(flags, fields)

    def _start(self) -> tuple[int, Guid, Shape]:
        self.pay(RECORD_COST)
        position = self._last.position = self.step(self._last.position)
        return position, self.guid(), self.interned(self._shapes, self._new_shape)

    def _row(self, shape: Shape) -> tuple[frozenset[Dot], dict[str, Entry]]:
        context: frozenset[Dot] = frozenset()
        if shape.flags & ANCESTORS:
            context = frozenset(self.dot() for _ in range(self.count()))
        self.pay(len(shape.fields))
        if shape.flags & OWN_DOTS:
            return context, {
                name: Entry(self.dot(), self.value(), killed) for name, killed in shape.fields
            }
        if not shape.fields:
            return context, {}
        dot = self.dot()
        return context, {name: Entry(dot, self.value(), killed) for name, killed in shape.fields}


def shape_of(
    entries: Mapping[str, Entry], context: frozenset[Dot], *, special: bool, complete: bool
) -> Shape:
    """The shape of a row."""
    fields = tuple((name, entries[name].killed) for name in sorted(entries))
    killed = {flag for _, flag in fields}
    flags = SPECIAL * special | COMPLETE * complete
    flags |= OWN_DOTS * (len(dots_of(entries)) > 1)
    flags |= ANCESTORS * bool(context)
    flags |= ALL_KILLED * (killed == {True})
    flags |= SOME_KILLED * (killed == {True, False})
    return Shape(flags, fields)
