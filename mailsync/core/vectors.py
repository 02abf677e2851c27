"""Vectors: the values of one field, one after the other, in the form that suits them all.

Rules
-----
* Values come back exact in type and bits. What no special form can hold goes as tokens.
* The form follows from the values alone, so equal values give equal bytes.
* Null and ABSENT have a place in every form: a field that is sometimes empty stays cheap.

::

    vector   = kind(1 byte) value*
    kind 0   size of the noise; tokens as in rows (see ``tokens``)
    kind 1   integers: LEB128 of 0 null, 1 ABSENT, otherwise the zigzag number + 2
    kind 2   size of the noise; texts: their templates (see ``noise``) in UTF-8, each and a line
             feed; STX null, ETX ABSENT; a template that is STX or ETX has a backslash before it
    kind 3   floats: their shortest decimal digits and a line feed; STX null, ETX ABSENT
    kind 4   size of the noise; words: count, each different one in order, as texts; then for
             each value the number of its word, LEB128
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from mailsync.core.model import ABSENT, Absent, Value
from mailsync.core.noise import NoiseReader, NoiseWriter
from mailsync.core.tokens import INTEGERS, TokenReader, TokenWriter
from mailsync.core.varints import Octets, folded, unfolded, varint
from mailsync.errors import BadFormat, OurError

TOKENS: Final = b"\x00"
NUMBERS: Final = b"\x01"
TEXTS: Final = b"\x02"
FLOATS: Final = b"\x03"
WORDS: Final = b"\x04"

WORDS_MAX: Final = 2**12
"""Different texts in a vector of words, at most."""

WORDS_FROM: Final = 24
"""Values below which the list of words costs more than it saves."""

REPEATED: Final = 3
"""How often each word must occur, on average."""

NULL_LINE: Final = b"\x02"
ABSENT_LINE: Final = b"\x03"

_FIRST_NUMBER: Final = 2
NOISE_MAX: Final = 2**32


class Vector(Protocol):
    """Values to be read one by one."""

    def next(self) -> Value | Absent:
        """The next value. Raises BadFormat."""

    def finish(self) -> None:
        """Raise BadFormat unless all is read."""


def written(values: Sequence[Value | Absent]) -> tuple[bytes, bytes]:
    """The values of one field, and their noise. Raises OurError for what no field can hold."""
    kinds = {type(value) for value in values} - {type(None), Absent}
    if kinds == {int}:
        return NUMBERS + b"".join(map(_number_octets, values)), b""
    if kinds == {str}:
        return _texts_or_words(values)
    if kinds == {float} and not any(type(v) is float and math.isnan(v) for v in values):
        return FLOATS + b"".join(_line(value, _float_octets) for value in values), b""
    writer = TokenWriter(0)
    for value in values:
        writer.value(value)
    return _with_noise(TOKENS, writer.written(), writer.noise())


def read(vector: bytes, noise: Octets) -> Vector:
    """The values, to be read; their noise is taken. Raises BadFormat for an unknown kind."""
    kind, content = vector[:1], vector[1:]
    if kind == NUMBERS:
        return _Numbers(content)
    if kind == FLOATS:
        return _Floats(content)
    reader = _WITH_NOISE.get(kind)
    if reader is not None:
        octets = Octets(content)
        own = noise.take(octets.number(NOISE_MAX))
        return reader(octets.rest(), own)
    raise BadFormat("values are in a form this mailsync does not know: update it")


class _Tokens:
    def __init__(self, content: bytes, noise: bytes) -> None:
        self._tokens = TokenReader(content, noise, 0)

    def next(self) -> Value | Absent:
        return self._tokens.value()

    def finish(self) -> None:
        self._tokens.finish()


class _Numbers:
    def __init__(self, content: bytes) -> None:
        self._octets = Octets(content)

    def next(self) -> Value | Absent:
        number = self._octets.number(_NUMBERS_END)
        if number < _FIRST_NUMBER:
            return ABSENT if number else None
        return unfolded(number - _FIRST_NUMBER)

    def finish(self) -> None:
        self._octets.finish()


class _Lines:
    def __init__(self, content: bytes) -> None:
        self.octets = Octets(content)

    def next(self) -> Value | Absent:
        line = self.octets.line()
        if line == NULL_LINE:
            return None
        return ABSENT if line == ABSENT_LINE else self._value(line)

    def finish(self) -> None:
        self.octets.finish()

    def _value(self, line: bytes) -> Value:
        raise NotImplementedError


class _Texts(_Lines):
    def __init__(self, content: bytes, noise: bytes) -> None:
        super().__init__(content)
        self.noise = NoiseReader(noise)

    def finish(self) -> None:
        super().finish()
        self.noise.finish()

    def _value(self, line: bytes) -> str:
        try:
            return self.noise.text(line.decode())
        except UnicodeDecodeError:
            raise BadFormat("not well formed: a text is not UTF-8") from None


class _Words:
    def __init__(self, content: bytes, noise: bytes) -> None:
        texts = _Texts(content, noise)
        self._octets = texts.octets
        count = self._octets.number(WORDS_MAX + 1)
        self._words = [texts.next() for _ in range(count)]
        texts.noise.finish()

    def next(self) -> Value | Absent:
        return self._words[self._octets.number(len(self._words))]

    def finish(self) -> None:
        self._octets.finish()


class _Floats(_Lines):
    def _value(self, line: bytes) -> float:
        try:
            value = float(line)
        except ValueError:
            raise BadFormat("not well formed: a float was expected") from None
        if repr(value).encode("ascii") != line or math.isnan(value):
            raise BadFormat("not well formed: a float is oddly written")
        return value


_WITH_NOISE: Final[dict[bytes, Callable[[bytes, bytes], Vector]]] = {
    TOKENS: _Tokens,
    TEXTS: _Texts,
    WORDS: _Words,
}

_NUMBERS_END: Final = 2**64 + _FIRST_NUMBER


def _number_octets(value: Value | Absent) -> bytes:
    if type(value) is not int:
        return b"\x00" if value is None else b"\x01"
    if value not in INTEGERS:
        raise OurError(f"{value} is beyond 64 bits")
    return varint(folded(value) + _FIRST_NUMBER)


def _line(value: Value | Absent, octets: Callable[[Value], bytes]) -> bytes:
    if value is None:
        return NULL_LINE + b"\n"
    return (ABSENT_LINE if isinstance(value, Absent) else octets(value)) + b"\n"


def _texts_or_words(values: Sequence[Value | Absent]) -> tuple[bytes, bytes]:
    words = sorted(set(values), key=lambda value: (type(value).__name__, str(value)))
    few = len(words) * REPEATED <= len(values) and len(words) <= WORDS_MAX
    if not few or len(values) < WORDS_FROM:
        return _with_noise(TEXTS, *_texts(values))
    lines, noise = _texts(words)
    number = {word: varint(index) for index, word in enumerate(words)}
    content = varint(len(words)) + lines + b"".join([number[value] for value in values])
    return _with_noise(WORDS, content, noise)


def _texts(values: Sequence[Value | Absent]) -> tuple[bytes, bytes]:
    noise = NoiseWriter()

    def octets(value: Value) -> bytes:
        template = noise.template(str(value))
        if template in {"\x02", "\x03"}:
            template = "\\" + template
        try:
            return template.encode()
        except UnicodeEncodeError as problem:
            raise OurError(f"a text is not Unicode: {problem}") from problem

    lines = b"".join([_line(value, octets) for value in values])
    return lines, noise.written()


def _with_noise(kind: bytes, content: bytes, noise: bytes) -> tuple[bytes, bytes]:
    return kind + varint(len(noise)) + content, noise


def _float_octets(value: Value) -> bytes:
    return repr(value).encode("ascii")
