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
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from mailsync.core.agreement import Stances
from mailsync.core.columns import ColumnReader, ColumnWriter
from mailsync.core.digests import Digests, Matched, MoreDigests, Word
from mailsync.core.model import Guid, RecordId
from mailsync.core.requests import Request
from mailsync.core.rows import TAGS
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
