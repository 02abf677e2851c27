"""Testimony: proofs of equality within a bundle's body.

Rules
-----
* Everything names the question it is about, so that it can come late, or twice.

::

    proofs  = count proof*
    proof   = 1 tag urgent digest                   a question
            | 2 tag                                 the reader's digest is the sender's, too
            | 3 tag top cover digest start symbols  it is not; symbols: see ``reconciliation``
            | 4 tag have                            so many symbols were not enough
            | 5 tag names                           the sender lacks these: 4 bytes each
    digest  = size total without                    16 bytes, big endian; datasets left out
    without = count name*
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from mailsync.core.proofs import Alike, Cut, Digest, Lacking, MoreSymbols, Proof, Question, Sketch
from mailsync.core.rows import TAGS
from mailsync.core.words import WordReader, WordWriter
from mailsync.errors import BadFormat

_KINDS: Final = (Question, Alike, Sketch, MoreSymbols, Lacking)
_TOTAL_SIZE: Final = 16
_NAME_SIZE: Final = 4


class ProofWriter(WordWriter):
    """Writes proofs, too."""

    def proofs(self, proofs: Collection[Proof]) -> None:
        """What is said about equality."""
        self.count(len(proofs))
        for proof in proofs:
            self.number(_KINDS.index(type(proof)) + 1)
            self.number(proof.tag, TAGS)
            match proof:
                case Question():
                    self.token(proof.urgent)
                    self._digest(proof.digest)
                case Alike():
                    pass
                case Sketch():
                    self.number(proof.cut.top)
                    self.positions(proof.cut.cover)
                    self._digest(proof.digest)
                    self.number(proof.start)
                    self.token(proof.symbols)
                case MoreSymbols():
                    self.number(proof.have)
                case Lacking():
                    self.pay(len(proof.names))
                    self.token(b"".join(name.to_bytes(_NAME_SIZE) for name in proof.names))

    def _digest(self, digest: Digest) -> None:
        self.number(digest.size)
        self.token(digest.total.to_bytes(_TOTAL_SIZE))
        self.count(len(digest.without))
        for name in digest.without:
            self.name(name)


class ProofReader(WordReader):
    """Reads proofs, too."""

    def proofs(self) -> tuple[Proof, ...]:
        """What is said about equality."""
        return tuple(self._proof() for _ in range(self.count()))

    def _proof(self) -> Proof:
        kind = self.number(len(_KINDS) + 1)
        tag = self.number(TAGS)
        match kind:
            case 1:
                return Question(tag, self.flag(), self._digest())
            case 2:
                return Alike(tag)
            case 3:
                cut = Cut(self.number(), self.positions())
                return Sketch(tag, cut, self._digest(), self.number(), self.octets())
            case 4:
                return MoreSymbols(tag, self.number())
            case 5:
                return Lacking(tag, self._record_names())
            case _:
                raise BadFormat("a proof this mailsync does not know")

    def _digest(self) -> Digest:
        size, total = self.number(), self.octets()
        if len(total) != _TOTAL_SIZE:
            raise BadFormat("a digest of 16 bytes was expected")
        without = tuple(self.name() for _ in range(self.count()))
        return Digest(size, int.from_bytes(total), without)

    def _record_names(self) -> tuple[int, ...]:
        octets = self.octets()
        if len(octets) % _NAME_SIZE:
            raise BadFormat("names of 4 bytes each were expected")
        self.pay(len(octets) // _NAME_SIZE)
        starts = range(0, len(octets), _NAME_SIZE)
        return tuple(int.from_bytes(octets[start : start + _NAME_SIZE]) for start in starts)
