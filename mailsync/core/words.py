"""Words: what sites say to each other before a first synchronization, within a bundle's body.

Rules
-----
* A word names its dataset and its digests' tag, so that it can come late, or twice.

::

    words   = count word*
    word    = 1 name tag shared size start symbols    digests; symbols: see ``reconciliation``
            | 2 name tag have                         they were not enough
            | 3 name tag ranks                        what the sender holds alike: intervals
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from mailsync.core.columns import ColumnReader, ColumnWriter
from mailsync.core.digests import Digests, Matched, MoreDigests, Word
from mailsync.core.rows import TAGS
from mailsync.errors import BadFormat

_KINDS: Final = (Digests, MoreDigests, Matched)


class WordWriter(ColumnWriter):
    """Writes words, too."""

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


class WordReader(ColumnReader):
    """Reads words, too."""

    def words(self) -> tuple[Word, ...]:
        """What is said before a first synchronization."""
        return tuple(self._word() for _ in range(self.count()))

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
