"""What sites say to each other besides records, within a bundle's body: words before a first
synchronization, and requests.

Rules
-----
* A word names its dataset and its digests' tag, so that it can come late, or twice. A request has a
  number for the same reason.

::

    words   = count word*
    word    = 1 name tag shared size start symbols    digests; symbols: see ``reconciliation``
            | 2 name tag have                         they were not enough
            | 3 name tag ranks                        what the sender holds alike: intervals
    requests = kind [number deletes count name*] [number]
                                                      kind: 1 a request, 2 an answer, 3 both
    glimpses = count (name guid count glimpse*)*      of the records that have any
    glimpse  = dot count name*
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Final

from mailsync.core.agreement import Stances
from mailsync.core.columns import ColumnReader, ColumnWriter
from mailsync.core.digests import Digests, Matched, MoreDigests, Word
from mailsync.core.model import Glimpse, Guid, RecordId
from mailsync.core.requests import Request
from mailsync.core.rows import TAGS, Row
from mailsync.errors import BadFormat

_KINDS: Final = (Digests, MoreDigests, Matched)
_ASKS: Final = 1
_ANSWERS: Final = 2


class WordWriter(ColumnWriter):
    """Writes words, too."""

    def listing(self, records: Collection[RecordId]) -> None:
        """Records, by dataset."""
        grouped: dict[str, list[Guid]] = {}
        for dataset, guid in sorted(records):
            grouped.setdefault(dataset, []).append(guid)
        self.count(len(grouped))
        for dataset, guids in grouped.items():
            self.name(dataset)
            self.count(len(guids))
            for guid in guids:
                self.guid(guid)

    def glimpses(self, rows: Collection[Row]) -> None:
        """What the records that have any descend from in part."""
        self.count(len(rows))
        for row in sorted(rows, key=lambda row: (row.dataset, row.guid)):
            self.name(row.dataset)
            self.guid(row.guid)
            self.count(len(row.glimpses))
            for glimpse in row.glimpses:
                self.dot(glimpse.dot)
                self.count(len(glimpse.fields))
                for name in sorted(glimpse.fields):
                    self.name(name)

    def words(self, words: Collection[Word]) -> None:
        """What is said before a first synchronization."""
        self.count(len(words))
        for word in words:
            self.number(_KINDS.index(type(word)) + 1)
            self.name(word.dataset)
            self.number(word.tag, TAGS)
            match word:
                case Digests():
                    self.token(word.shared)
                    self.number(word.size)
                    self.number(word.start)
                    self.token(word.symbols)
                case MoreDigests():
                    self.number(word.have)
                case Matched():
                    self.positions(word.ranks)

    def requests(self, request: Request | None, answered: int | None) -> None:
        """What is asked, and the number of the request that is answered; one of them at least."""
        self.number(_ASKS * (request is not None) + _ANSWERS * (answered is not None))
        if request is not None:
            self.number(request.number, TAGS)
            self.number(request.deletes)
            self.count(len(request.datasets))
            for name in sorted(request.datasets):
                self.name(name)
        if answered is not None:
            self.number(answered, TAGS)

    def stances(self, stances: Stances) -> None:
        """What is said about conflicts."""
        self.count(len(stances))
        for dataset, words in stances:
            self.name(dataset)
            self.name(words)


class WordReader(ColumnReader):
    """Reads words, too."""

    def listing(self) -> frozenset[RecordId]:
        """Records, by dataset."""
        records: set[RecordId] = set()
        for _ in range(self.count()):
            dataset = self.name()
            records.update(RecordId(dataset, self.guid()) for _ in range(self.count()))
        return frozenset(records)

    def glimpses(self) -> dict[RecordId, tuple[Glimpse, ...]]:
        """What records descend from in part."""
        glimpses: dict[RecordId, tuple[Glimpse, ...]] = {}
        for _ in range(self.count()):
            record_id = RecordId(self.name(), self.guid())
            if record_id in glimpses:
                raise BadFormat("the glimpses of one record are told twice")
            glimpses[record_id] = tuple(self._glimpse() for _ in range(self.count()))
            dots = [glimpse.dot for glimpse in glimpses[record_id]]
            if dots != sorted(set(dots)):
                raise BadFormat("the glimpses of a record are out of order")
        return glimpses

    def _glimpse(self) -> Glimpse:
        return Glimpse(self.dot(), frozenset(self.name() for _ in range(self.count())))

    def words(self) -> tuple[Word, ...]:
        """What is said before a first synchronization."""
        return tuple(self._word() for _ in range(self.count()))

    def requests(self) -> tuple[Request | None, int | None]:
        """What is asked, and the number of the request that is answered."""
        kind = self.number(_ASKS + _ANSWERS + 1)
        if not kind:
            raise BadFormat("a request or an answer was expected")
        request = self._request() if kind & _ASKS else None
        return request, self.number(TAGS) if kind & _ANSWERS else None

    def stances(self) -> Stances:
        """What is said about conflicts."""
        return tuple((self.name(), self.name()) for _ in range(self.count()))

    def _request(self) -> Request:
        number, deletes = self.number(TAGS), self.number()
        return Request(number, frozenset(self.name() for _ in range(self.count())), deletes)

    def _word(self) -> Word:
        kind = self.number(len(_KINDS) + 1)
        dataset, tag = self.name(), self.number(TAGS)
        match kind:
            case 1:
                shared, count, start = self.flag(), self.number(), self.number()
                return Digests(dataset, tag, shared, count, start, self.octets())
            case 2:
                return MoreDigests(dataset, tag, self.number())
            case 3:
                return Matched(dataset, tag, self.positions())
            case _:
                raise BadFormat("a word this mailsync does not know")


def with_glimpses(glimpses: Mapping[RecordId, tuple[Glimpse, ...]], rows: list[Row]) -> list[Row]:
    """The rows of a bundle with what was told of their glimpses."""
    if not glimpses.keys() <= {row.id for row in rows if glimpses}:
        raise BadFormat("glimpses are told of a record that the bundle does not hold")
    return [replace(row, glimpses=glimpses[row.id]) if row.id in glimpses else row for row in rows]
