"""Rows that nobody touched, and that the database would delete or alter with rows that are to go.

``ON DELETE CASCADE``, ``SET NULL`` and ``SET DEFAULT`` are rules for users who see what they do.
What a peer deletes or withdraws must not take along what that peer never heard of, or still holds:
the next look at the table would take it for an edit of our users.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from mailsync.core.model import Fields, Key
from mailsync.datasets.sql.engine import ForeignKey, TableName
from mailsync.datasets.sql.shape import Shape


class Bystanders:
    """Finds them, in one transaction."""

    def __init__(self, cursor: Any, shapes: Iterable[Shape]) -> None:
        """``shapes``: of the tables of which no row may go or change by such a rule."""
        self._cursor = cursor
        self._rules: dict[TableName, list[tuple[ForeignKey, Shape]]] = {}
        """By table: the rules that follow its rows, and the tables they are about."""
        for shape in shapes:
            for one in shape.references:
                if one.acts and one.child == shape.name:
                    self._rules.setdefault(one.parent, []).append((one, shape))
        self._leaving: dict[tuple[TableName, Key], int] = {}
        self._rows: dict[int, tuple[TableName, Fields]] = {}

    def __contains__(self, place: int) -> bool:
        """Was this row said to go?"""
        return place in self._rows

    def leave(self, place: int, name: TableName, key: Key, row: Fields) -> None:
        """A row of a table is to go, with all that is in it. It is called ``place``."""
        self._leaving[name, key] = place
        self._rows[place] = (name, row)

    def of(self, places: Sequence[int], is_refused: Callable[[int], bool]) -> TableName | None:
        """The table of a row that is to stay, and would go or change with these; None: there is
        none. ``is_refused``: of a row that was said to go, does it stay?
        """
        pending, met = list(places), set(places)
        while pending:
            for name, key in self._drawn_in(pending.pop()):
                place = self._leaving.get((name, key))
                if place is None or is_refused(place):
                    return name
                if place not in met:
                    met.add(place)
                    pending.append(place)
        return None

    def _drawn_in(self, place: int) -> Iterator[tuple[TableName, Key]]:
        """What the database deletes or alters with a row."""
        name, row = self._rows[place]
        for rule, child in self._rules.get(name, ()):
            values = [row.get(target) for target in rule.targets]
            if None in values or not child.by_name.keys() >= {*rule.columns}:
                continue
            held = child.parameters_of_values(dict(zip(rule.columns, values, strict=True)))
            statement = child.keys_with(rule.columns)
            for found in statement.run(self._cursor, held).fetchall():
                yield rule.child, child.key_of_values(found)
