"""What users did, so that at the end every value they ever wrote can be accounted for.

Users write values never written before, so a value names the edit that made it; the few that
stand for two edits (moved from row to row, written alike at two sites, brought back from a
backup) are known as ``ambiguous``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import NamedTuple

from mailsync.core.merge import Note
from mailsync.core.model import Guid


class Delete(NamedTuple):
    """One row a user deleted."""

    site: str
    dataset: str
    values: frozenset[int]
    guid: Guid | None


@dataclass
class Accounts:
    """The users' side of the story."""

    count: int = 0
    created: int = 0
    """Rows that may have become a record of their own."""
    begun: int = 0
    """Different rows that sites had in the beginning."""
    alike: set[tuple[object, ...]] = field(default_factory=set)
    """What tells rows apart, of those that a site had twice, for a while, when its state was
    restored: from then on they are two of its own."""
    renamed: dict[tuple[object, ...], set[str]] = field(default_factory=dict)
    """What tells rows apart, of those that users gave another name -> the sites they did so at."""
    history: dict[int, frozenset[int]] = field(default_factory=dict)
    """Value -> the values of the same field that its author had seen."""
    overwritten: set[int] = field(default_factory=set)
    """Knowingly."""
    replaced: set[int] = field(default_factory=set)
    """By users of the same site, whether or not the value still stood there: what beat it may have
    come meanwhile, and the note of that later."""
    doubted: set[int] = field(default_factory=set)
    """Gone by a delete after a write that broke off: nobody can tell whether its users saw them,
    so it counts as one that did, and notes them."""
    beaten: dict[int, set[object]] = field(default_factory=dict)
    """A value that lost -> what won, when that was noticed."""
    written: dict[tuple[str, str, str, str], set[int]] = field(default_factory=dict)
    """Site, dataset, key and field -> what users wrote there."""
    gone: set[int] = field(default_factory=set)
    """Deleted knowingly."""
    undone: set[int] = field(default_factory=set)
    """Gone, but they may come back: a restore undid the delete, or nobody can tell."""
    lost: set[int] = field(default_factory=set)
    """Taken away by a restore before any other site had them."""
    moved: dict[str, set[int]] = field(default_factory=dict)
    """Site -> values that its users moved from row to row. Where a filter keeps one of both rows,
    only that they left the other may get out before a restore."""
    decided: dict[Note, str] = field(default_factory=dict)
    """Conflicts that a person closed -> a site that knows."""
    brought_back: dict[int, set[int]] = field(default_factory=dict)
    """A value that a person brought back -> what it replaced then. Two writes made it, and nobody
    can tell which of them the author of another value saw."""
    ambiguous: set[int] = field(default_factory=set)
    emptied: set[Guid] = field(default_factory=set)
    """Records of which a user emptied a column, or changed what is not accounted for: an edit that
    leaves no value behind."""
    deletes: list[Delete] = field(default_factory=list)

    def value(self, *seen: int) -> int:
        """A new value, by an author who has these before their eyes in the same field."""
        self.count += 1
        known = [self.history[value] | {value} for value in seen]
        self.history[self.count] = frozenset.intersection(*known) if known else frozenset()
        self.overwritten.update(seen)
        return self.count

    def wrote(self, site: str, dataset: str, key: str, row: Mapping[str, object]) -> None:
        """Users of a site gave these fields of a row new values, or emptied them."""
        for name, value in row.items():
            written = self.written.setdefault((site, dataset, key, name), set())
            self.replaced |= written
            if isinstance(value, int):
                written.add(value)

    def is_past(self, guid: Guid, lost: int, standing: object) -> bool:
        """Was what won against a value replaced by users who saw it, as far as one can tell?"""
        winners = self.beaten.get(lost, set())
        if standing in winners:
            return False
        if not isinstance(standing, int):
            return guid in self.emptied
        return standing in self.ambiguous or not self._seen_by(standing).isdisjoint(winners)

    def _seen_by(self, value: int) -> set[int]:
        """What the author of a value had seen, and who brought that or the value itself back."""
        found, new = set[int](), {value}
        while new:
            found |= new
            before = (
                self.brought_back.get(one, set()) | self.history.get(one, set()) for one in new
            )
            new = set[int]().union(*before) - found
        return found - {value}

    def by(self, site: str) -> set[int]:
        """What users of a site wrote."""
        return set[int]().union(*(new for place, new in self.written.items() if place[0] == site))

    def of(self, fields: AbstractSet[str]) -> set[int]:
        """What users wrote into these fields."""
        return set[int]().union(*(new for place, new in self.written.items() if place[3] in fields))

    def deleted(self, delete: Delete, *, in_doubt: bool) -> None:
        self.gone |= delete.values
        if in_doubt:
            self.undone |= delete.values
        self.deletes.append(delete)

    def bring_back(
        self, site: str, dataset: str, key: str, row: Mapping[str, object], seen: set[int]
    ) -> None:
        """A person who has ``seen`` these wrote into the fields of ``row`` what had lost there."""
        values = {value for value in row.values() if isinstance(value, int)}
        self.wrote(site, dataset, key, row)
        self.overwritten |= seen
        for stands_again in (self.overwritten, self.gone, self.replaced):
            stands_again.difference_update(values)
        for value in values:
            self.brought_back.setdefault(value, set()).update(seen - values)

    def put_back(self, site: str, guid: Guid) -> None:
        """The row is back under its key before anybody noticed the delete: it was an edit."""
        self.deletes = [
            delete for delete in self.deletes if (delete.site, delete.guid) != (site, guid)
        ]

    def restored(self, site: str, since: int, held: Collection[int], dead: Collection[int]) -> None:
        """``site`` forgot the deletes after the first ``since``.

        ``held``: the values that some site still has; ``dead``: those that another site knows
        to be deleted.
        """
        self.lost |= self.history.keys() - held
        for number, delete in enumerate(self.deletes):
            forgotten = number >= since and delete.site == site
            if forgotten or not delete.values <= set(dead):
                self.undone |= delete.values
                self.deletes[number] = delete._replace(guid=None)
