"""Row form: the delete orders and extraction records of a dataset, one after the other.

Rules
-----
* What records have in common is a *shape*, written once: delete or extraction, which fields,
  whether they share one dot, which are killed. The commonest record is then position, GUID,
  shape, dot and values.
* A GUID is its last 3 bytes, as a step from the last GUID with the same *stem* (the bytes
  before them). GUIDs minted together share a stem and cost a byte or two.
* Dots, their sites and marks are called by number after their first use.

::

    rows       = row*                in the order of their positions
    row        = position-step guid shape [newest-dot] [ancestors] [likeness] fields
    fields     = dot value*          if the shape says one dot (no dot if there are no fields)
               = (dot value)*        otherwise
    shape      = number [flags count (name [killed])*]
    guid       = number [stem] counter-step
    dot        = number [stamp-step site number]     site = number [64 bits]
    mark       = number [top-step tag]
    ancestors  = count dot*
    likeness   = number [tag] rank

    flags  1  whole (extraction) or withdrawn (delete)
           2  every field has a dot of its own
           4  there are ancestors
           8  all fields are killed
           16 some fields are killed: true or false after each name
           32 the ancestors are complete: none is to be inferred
           64 a delete order; its newest dot follows
           128 a record of the reader's own: its likeness follows (see ``digests``)
           256 its values are the reader's
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from mailsync.core.digests import Likeness
from mailsync.core.model import DeleteOrder, Dot, Entry, Extraction, Guid, Mark, Reason, dots_of
from mailsync.core.tokens import TokenReader, TokenWriter
from mailsync.errors import BadFormat, OurError

RANDOM: Final = 2**64
"""Sites and stream nonces are below this."""

TAGS: Final = 2**32
"""Dot numbers and tags of marks are below this."""

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
DELETE: Final = 64
LIKE: Final = 128
EQUAL: Final = 256
FLAGS: Final = 512

Row = DeleteOrder | Extraction
"""What stands in a row."""


class Shape(NamedTuple):
    """What rows have in common; ``fields`` in the order of their values."""

    flags: int
    fields: tuple[tuple[str, bool], ...]
    """Names, and whether killed."""


@dataclass
class _Last:
    """What steps are counted from."""

    stamp: int = 0
    top: int = 0


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
        self._tags: dict[int, int] = {}
        self._shapes: dict[Shape, int] = {}

    def rows(self, rows: Iterable[Row]) -> None:
        """The rows of one dataset, in the order of their positions."""
        before = 0
        for row in rows:
            self.pay(RECORD_COST)
            self.step(before, row.position)
            before = row.position
            self.guid(row.guid)
            self._row(shape_of(row), row)

    def guid(self, guid: Guid) -> None:
        """A GUID of 4 to 16 bytes."""
        stem, counter = stem_and_counter(guid)
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
        self.number(dot.number, TAGS)

    def _new_site(self, site: int) -> None:
        self.number(site, RANDOM)

    def _new_mark(self, mark: Mark) -> None:
        self.step(self._last.top, mark.top)
        self._last.top = mark.top
        self.number(mark.tag, TAGS)

    def _new_tag(self, tag: int) -> None:
        self.number(tag, TAGS)

    def _new_shape(self, shape: Shape) -> None:
        self.number(shape.flags, FLAGS)
        self.count(len(shape.fields))
        for name, killed in shape.fields:
            self.name(name)
            if shape.flags & SOME_KILLED:
                self.token(killed)

    def _row(self, shape: Shape, row: Row) -> None:
        self.interned(self._shapes, shape, self._new_shape)
        if isinstance(row, DeleteOrder):
            self.dot(row.newest)
        if row.context:
            self.count(len(row.context))
            for ancestor in sorted(row.context):
                self.dot(ancestor)
        if isinstance(row, Extraction) and row.like is not None:
            self.interned(self._tags, row.like.tag, self._new_tag)
            self.number(row.like.rank)
        self.pay(len(row.entries))
        if row.entries and not shape.flags & OWN_DOTS:
            self.dot(next(iter(row.entries.values())).dot)
        for name, _ in shape.fields:
            if shape.flags & OWN_DOTS:
                self.dot(row.entries[name].dot)
            self.value(row.entries[name].value)


class RowReader(TokenReader):
    """Reads records in row form."""

    def __init__(self, body: bytes, noise: bytes, budget: int) -> None:
        """Nothing is known yet."""
        super().__init__(body, noise, budget)
        self._last = _Last()
        self._counters: dict[bytes, int] = {}
        self._stems: list[bytes] = []
        self._sites: list[int] = []
        self._dots: list[Dot] = []
        self._marks: list[Mark] = []
        self._tags: list[int] = []
        self._shapes: list[Shape] = []

    def rows(self, dataset: str, count: int) -> Iterator[Row]:
        """The rows of a dataset; ``count`` is paid for."""
        position = 0
        for _ in range(count):
            self.pay(RECORD_COST)
            position = self.step(position)
            guid = self.guid()
            yield self._row(position, dataset, guid)

    def guid(self) -> Guid:
        """A GUID."""
        stem = self.interned(self._stems, self._new_stem)
        counter = self._counters[stem] = self.step(self._counters.get(stem, 0))
        return guid_of(stem, counter)

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
        return Dot(self._last.stamp, site, self.number(TAGS))

    def _new_site(self) -> int:
        return self.number(RANDOM)

    def _new_mark(self) -> Mark:
        self._last.top = self.step(self._last.top)
        return Mark(self._last.top, self.number(TAGS))

    def _new_tag(self) -> int:
        return self.number(TAGS)

    def _new_shape(self) -> Shape:
        flags = self.number(FLAGS)
        some, every = bool(flags & SOME_KILLED), bool(flags & ALL_KILLED)
        fields = tuple((self.name(), self.flag() if some else every) for _ in range(self.count()))
        if len(dict(fields)) < len(fields):
            raise BadFormat("a record has one field twice")
        return Shape(flags, fields)

    def _row(self, position: int, dataset: str, guid: Guid) -> Row:
        shape = self.interned(self._shapes, self._new_shape)
        newest = self.dot() if shape.flags & DELETE else None
        context: frozenset[Dot] = frozenset()
        if shape.flags & ANCESTORS:
            context = frozenset(self.dot() for _ in range(self.count()))
        like = None
        if shape.flags & LIKE:
            tag = self.interned(self._tags, self._new_tag)
            like = Likeness(tag, self.number(), bool(shape.flags & EQUAL))
        self.pay(len(shape.fields))
        shared = self.dot() if shape.fields and not shape.flags & OWN_DOTS else None
        entries = {
            name: Entry(shared or self.dot(), self.value(), killed) for name, killed in shape.fields
        }
        return row_of(shape, position, dataset, guid, newest, entries, context, like)


def stem_and_counter(guid: Guid) -> tuple[bytes, int]:
    """The two parts of a GUID. Raises OurError for what is none."""
    if type(guid) is not bytes or len(guid) not in GUID_SIZES:
        raise OurError(f"{guid!r} is not a GUID")
    return guid[:-COUNTER_SIZE], int.from_bytes(guid[-COUNTER_SIZE:], "big")


def guid_of(stem: bytes, counter: int) -> Guid:
    """The GUID with these parts. Raises BadFormat for a counter out of bounds."""
    if not 0 <= counter < 1 << 8 * COUNTER_SIZE:
        raise BadFormat("a GUID's counter is out of bounds")
    return Guid(stem + counter.to_bytes(COUNTER_SIZE, "big"))


def shape_of(row: Row) -> Shape:
    """The shape of a row."""
    fields = tuple([(name, row.entries[name].killed) for name in sorted(row.entries)])
    killed = {flag for _, flag in fields}
    if isinstance(row, DeleteOrder):
        flags = DELETE | SPECIAL * (row.reason is Reason.WITHDRAWN)
    else:
        flags = SPECIAL * row.whole
        if row.like is not None:
            flags |= LIKE | EQUAL * row.like.is_equal
    flags |= COMPLETE * row.complete
    flags |= OWN_DOTS * (len(dots_of(row.entries)) > 1)
    flags |= ANCESTORS * bool(row.context)
    flags |= ALL_KILLED * (killed == {True})
    flags |= SOME_KILLED * (killed == {True, False})
    return Shape(flags, fields)


def row_of(
    shape: Shape,
    position: int,
    dataset: str,
    guid: Guid,
    newest: Dot | None,
    entries: dict[str, Entry],
    context: frozenset[Dot],
    like: Likeness | None,
) -> Row:
    """What stands in a row of this shape; ``newest`` only for a delete order."""
    special, complete = bool(shape.flags & SPECIAL), bool(shape.flags & COMPLETE)
    if newest is None:
        return Extraction(position, dataset, guid, entries, context, special, complete, like)
    reason = Reason.WITHDRAWN if special else Reason.DELETED
    return DeleteOrder(position, dataset, guid, reason, newest, entries, context, complete)
