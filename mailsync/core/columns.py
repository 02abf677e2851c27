"""Column form: what row form says of a dataset, with like beside like.

Rules
-----
* Neighbours in a column resemble each other far more than neighbours in a row, and compress so
  much better. Small bundles that resemble earlier ones are smaller in rows; the sender tries both.
* Records stand in the order of their GUIDs, so that these rise and cost little more than the gap.
* What is defined once per bundle (stems, dots, tags) is shared with the rest of the bundle.
* Every record is paid for as it is read; columns are not unpacked ahead of their rows.

::

    columns     = count name* shapes positions stems counters kinds dots ancestors [tags ranks]
                  definitions vector*            each a byte string; one vector for each name
    shapes      = (flags mask [mask])*           mask: bit i for name i; the second: the killed
    positions   = zigzag(step from the last - 1)*
    stems       = number*                        as in rows, its definition in ``definitions``
    counters    = (step from the last counter of that stem in the section - 1)*
    kinds       = number*                        of the shape
    dots        = number*                        newest, then those of the fields, as in rows
    ancestors   = (count number*)*               for the shapes that have any
    tags        = number*                        of likenesses, as in rows, if some shape has them
    ranks       = zigzag(step from the last - 1)*     of likenesses
    definitions = tokens as in rows, in the order of their first use
    vector      = see ``vectors``

Numbers are LEB128 (see ``varints``); flags are those of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from mailsync.core import vectors
from mailsync.core.digests import Likeness
from mailsync.core.model import DeleteOrder, Dot, Entry, Extraction, Guid
from mailsync.core.rows import (
    ALL_KILLED,
    ANCESTORS,
    DELETE,
    EQUAL,
    FLAGS,
    LIKE,
    OWN_DOTS,
    RECORD_COST,
    SOME_KILLED,
    Row,
    RowReader,
    RowWriter,
    Shape,
    guid_of,
    row_of,
    shape_of,
    stem_and_counter,
)
from mailsync.core.strict_cbor import Scalars
from mailsync.core.tokens import COUNTERS, in_bounds
from mailsync.core.varints import Octets, folded, sized, unfolded, varint
from mailsync.errors import BadFormat

_Thing = TypeVar("_Thing", bound=Hashable)
_Column = TypeVar("_Column")

_STEPS: Final = 2 * COUNTERS
"""Folded steps are below this."""

_NAMES_PAID: Final = 8
"""Names in a mask that cost as much as one field."""


class _Columns(NamedTuple, Generic[_Column]):
    """The columns of numbers, in the order in which they are written."""

    positions: _Column
    stems: _Column
    counters: _Column
    kinds: _Column
    dots: _Column
    ancestors: _Column
    tags: _Column
    ranks: _Column


class ColumnWriter(RowWriter):
    """Writes records in column form, too."""

    def __init__(self, budget: int) -> None:
        """Nothing is known yet."""
        super().__init__(budget)
        self._vector_noise = bytearray()

    def noise(self) -> bytes:
        """All noise so far: of tokens, then of the vectors in their order."""
        own = super().noise()
        noise = sized(own) + self._vector_noise
        return noise if len(noise) > 1 else b""

    def columns(self, rows: Iterable[Row]) -> None:
        """The rows of one dataset."""
        ordered = sorted(rows, key=lambda row: row.guid)
        names = sorted(set().union(*(row.entries for row in ordered)))
        self.count(len(names))
        for name in names:
            self.name(name)
        shapes = [shape_of(row) for row in ordered]
        table = sorted(set(shapes))
        self.pay(sum(_shape_cost(len(names), len(shape.fields)) for shape in table))
        self.token(b"".join(_shape_octets(shape, names) for shape in table))
        for column in self._structure(ordered, shapes, table):
            self.token(column)
        for name in names:
            values = [row.entries[name].value for row in ordered if name in row.entries]
            vector, noise = vectors.written(values)
            self.token(vector)
            self._vector_noise += noise

    def _structure(
        self, rows: Sequence[Row], shapes: Sequence[Shape], table: Sequence[Shape]
    ) -> list[bytes]:
        """Everything but the values: the columns of numbers, then the definitions."""
        body, self._body = self._body, bytearray()
        columns = _Columns(*(bytearray() for _ in _Columns._fields))
        kinds = {shape: varint(number) for number, shape in enumerate(table)}
        before, rank, last = 0, 0, dict[bytes, int]()
        for row, shape in zip(rows, shapes, strict=True):
            self.pay(RECORD_COST)
            columns.positions.extend(varint(folded(row.position - before - 1)))
            before = row.position
            stem, counter = stem_and_counter(row.guid)
            self._numbered(columns.stems, self._stems, stem, self.token)
            columns.counters.extend(varint(counter - last.get(stem, -1) - 1))
            last[stem] = counter
            columns.kinds.extend(kinds[shape])
            if isinstance(row, Extraction) and row.like is not None:
                self._numbered(columns.tags, self._tags, row.like.tag, self._new_tag)
                columns.ranks.extend(varint(folded(row.like.rank - rank - 1)))
                rank = row.like.rank
            self._dots_and_ancestors(columns, shape, row)
        definitions, self._body = self._body, body
        return [*map(bytes, columns[: _numbers(table)]), bytes(definitions)]

    def _dots_and_ancestors(self, columns: _Columns[bytearray], shape: Shape, row: Row) -> None:
        self.pay(len(row.entries))
        dots = [row.entries[name].dot for name, _ in shape.fields]
        if not shape.flags & OWN_DOTS:
            dots = dots[:1]
        if isinstance(row, DeleteOrder):
            dots = [row.newest, *dots]
        for dot in dots:
            self._numbered(columns.dots, self._dots, dot, self._new_dot)
        if row.context:
            self.pay(len(row.context))
            columns.ancestors.extend(varint(len(row.context)))
            for dot in sorted(row.context):
                self._numbered(columns.ancestors, self._dots, dot, self._new_dot)

    def _numbered(
        self,
        column: bytearray,
        known: dict[_Thing, int],
        thing: _Thing,
        define: Callable[[_Thing], None],
    ) -> None:
        """As ``interned``, but the number goes into a column."""
        is_new = thing not in known
        column.extend(varint(known.setdefault(thing, len(known))))
        if is_new:
            self.pay(1)
            define(thing)


class ColumnReader(RowReader):
    """Reads records in column form, too."""

    def __init__(self, body: bytes, noise: bytes, budget: int) -> None:
        """Nothing is known yet."""
        self._vector_noise = Octets(noise)
        super().__init__(body, self._vector_noise.sized() if noise else b"", budget)

    def finish(self) -> None:
        """Nothing may be left over."""
        super().finish()
        self._vector_noise.finish()

    def columns(self, dataset: str, count: int) -> Iterator[Row]:
        """The rows of a dataset; ``count`` is paid for."""
        names = [self.name() for _ in range(self.count())]
        if names != sorted(set(names)):
            raise BadFormat("the columns of a dataset are not in order")
        table = self._shapes_of(self.octets(), names)
        there = [Octets(self.octets()) for _ in range(_numbers(table))]
        columns = _Columns(*there, *[Octets(b"")] * (len(_Columns._fields) - len(there)))
        definitions = Scalars(self.octets())
        values = {name: vectors.read(self.octets(), self._vector_noise) for name in names}
        body, self._scalars = self._scalars, definitions
        position, rank, last = 0, 0, dict[bytes, int]()
        for _ in range(count):
            self.pay(RECORD_COST)
            position = _stepped(columns.positions, position)
            stem = self._numbered(columns.stems, self._stems, self._new_stem)
            last[stem] = last.get(stem, -1) + 1 + columns.counters.number(COUNTERS)
            guid = guid_of(stem, last[stem])
            shape = table[columns.kinds.number(len(table))]
            like = None
            if shape.flags & LIKE:
                tag = self._numbered(columns.tags, self._tags, self._new_tag)
                rank = _stepped(columns.ranks, rank)
                like = Likeness(tag, rank, bool(shape.flags & EQUAL))
            yield self._column_row(columns, values, shape, position, dataset, guid, like)
        self._scalars = body
        ends: list[vectors.Vector | Octets | Scalars]
        ends = [*columns, definitions, *values.values()]
        for part in ends:
            part.finish()

    def _shapes_of(self, octets: bytes, names: Sequence[str]) -> list[Shape]:
        source, shapes = Octets(octets), list[Shape]()
        while not source.at_end:
            flags = source.number(FLAGS)
            fields = source.number(1 << len(names))
            killed = fields if flags & ALL_KILLED else 0
            if flags & SOME_KILLED:
                killed = source.number(1 << len(names))
            self.pay(_shape_cost(len(names), fields.bit_count()))
            marked = zip(names, _bits(fields, len(names)), _bits(killed, len(names)), strict=True)
            shapes.append(
                Shape(flags, tuple((name, dead == "1") for name, it, dead in marked if it == "1"))
            )
        return shapes

    def _column_row(
        self,
        columns: _Columns[Octets],
        values: Mapping[str, vectors.Vector],
        shape: Shape,
        position: int,
        dataset: str,
        guid: Guid,
        like: Likeness | None,
    ) -> Row:
        def dot(column: Octets) -> Dot:
            return self._numbered(column, self._dots, self._new_dot)

        self.pay(len(shape.fields))
        newest = dot(columns.dots) if shape.flags & DELETE else None
        shared = dot(columns.dots) if shape.fields and not shape.flags & OWN_DOTS else None
        dots = [shared or dot(columns.dots) for _ in shape.fields]
        context: frozenset[Dot] = frozenset()
        if shape.flags & ANCESTORS:
            count = self.pay(columns.ancestors.number(COUNTERS))
            context = frozenset(dot(columns.ancestors) for _ in range(count))
        entries = {
            name: Entry(dots[index], next(values[name].values), killed)
            for index, (name, killed) in enumerate(shape.fields)
        }
        return row_of(shape, position, dataset, guid, newest, entries, context, like)

    def _numbered(
        self, column: Octets, known: list[_Thing], define: Callable[[], _Thing]
    ) -> _Thing:
        """As ``interned``, but the number comes from a column."""
        number = column.number(len(known) + 1)
        if number == len(known):
            self.pay(1)
            known.append(define())
        return known[number]


def _numbers(table: Iterable[Shape]) -> int:
    """How many columns of numbers are there: those of likenesses only if some shape has them."""
    return len(_Columns._fields) - 2 * (not any(shape.flags & LIKE for shape in table))


def _stepped(column: Octets, before: int) -> int:
    return in_bounds(before + 1 + unfolded(column.number(_STEPS)), COUNTERS)


def _shape_cost(names: int, fields: int) -> int:
    """Objects of the budget; a mask takes time for every name there is."""
    return 1 + names // _NAMES_PAID + fields


def _bits(mask: int, size: int) -> str:
    """A mask's bits, the lowest first."""
    return f"{mask:0{size}b}"[::-1][:size]


def _shape_octets(shape: Shape, names: Sequence[str]) -> bytes:
    place = {name: 1 << bit for bit, name in enumerate(names)}
    octets = varint(shape.flags) + varint(sum(place[name] for name, _ in shape.fields))
    if shape.flags & SOME_KILLED:
        octets += varint(sum(place[name] for name, killed in shape.fields if killed))
    return octets
