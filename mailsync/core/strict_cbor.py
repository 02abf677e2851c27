"""CBOR (RFC 8949) with everything refused that we would not have written ourselves.

Rules
-----
* A decoded item is accepted only if encoding it again gives the very same bytes. That one
  comparison refuses trailing bytes, longer heads than needed, other float widths and keys
  that Python takes for equal (``1``, ``1.0``, ``true``).
* All tags are closed: no big integers, regular expressions, references or dates.
* Nesting is bounded by the caller. A sequence (RFC 8742) is read one scalar at a time, so it
  takes no memory beyond what its reader keeps.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Final, Never

import cbor2

from mailsync.errors import BadFormat, OurError

MAX_DEPTH: Final = 16


class _TagFoundError(Exception):
    """The input holds a tag."""


class _EveryTag(dict[int, Callable[[object, bool], Never]]):
    """A table of tag decoders that has an answer for every tag, the built-in ones included."""

    def __contains__(self, tag: object) -> bool:
        return True

    def __getitem__(self, tag: int) -> Callable[[object, bool], Never]:
        return _refuse

    def get(self, *_: object) -> Callable[[object, bool], Never]:
        """The refusal, whatever the tag."""
        return _refuse


def _refuse(_decoder: object, _immutable: object) -> Never:
    raise _TagFoundError


_EVERY_TAG: Final = _EveryTag()


def encode(item: object) -> bytes:
    """One item in CBOR. Raises OurError for text that is not Unicode (lone surrogates)."""
    try:
        return cbor2.dumps(item)
    except (cbor2.CBOREncodeError, UnicodeEncodeError) as problem:
        raise OurError(f"this cannot be written as CBOR: {problem}") from problem


def decode(data: bytes, max_depth: int = MAX_DEPTH) -> object:
    """The one item that ``encode`` wrote. Raises BadFormat for anything else."""
    try:
        item: object = cbor2.loads(
            data,
            tag_hook=_refuse,
            semantic_decoders=_EVERY_TAG,
            max_depth=max_depth,
            allow_indefinite=False,
            allow_duplicate_keys=False,
        )
        same = cbor2.dumps(item) == data
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, _TagFoundError) as problem:
        raise BadFormat(f"not well formed: {str(problem) or 'it holds a tag'}") from None
    if not same:
        raise BadFormat("not well formed: something is left over or oddly written")
    return item


class Scalars:
    """A CBOR sequence (RFC 8742) of scalars: numbers, strings, simple values."""

    def __init__(self, data: bytes) -> None:
        """From the first item."""
        self._decoder = cbor2.CBORDecoder(
            io.BytesIO(data),
            tag_hook=_refuse,
            semantic_decoders=_EVERY_TAG,
            max_depth=0,
            allow_indefinite=False,
        )

    def next(self) -> object:
        """The next item; an array or map is an empty one. Raises BadFormat if there is none."""
        try:
            item: object = self._decoder.decode()
        except (cbor2.CBORError, ValueError, _TagFoundError) as problem:
            raise BadFormat(f"not well formed: {str(problem) or 'it holds a tag'}") from None
        return item

    def finish(self) -> None:
        """Raise BadFormat unless every byte was read."""
        try:
            self._decoder.read(1)
        except cbor2.CBORDecodeEOF:
            return
        raise BadFormat("not well formed: something is left over")
