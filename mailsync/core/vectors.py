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

import io
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, NamedTuple

from mailsync.core.model import ABSENT, Absent, Value
from mailsync.core.noise import MARKED_OCTETS, NoiseReader, NoiseWriter
from mailsync.core.tokens import INTEGERS, TokenReader, TokenWriter
from mailsync.core.varints import SIZES, Octets, folded, unfolded, varint
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

_NULL: Final = "\x02"
_ABSENT: Final = "\x03"
_NULL_LINE: Final = b"\x02\n"
_ABSENT_LINE: Final = b"\x03\n"
_NEVER: Final = object()
_FIRST_NUMBER: Final = 2


class Vector(NamedTuple):
    """Values to be read one by one."""

    values: Iterator[Value | Absent]
    """As many as are wanted; raises BadFormat where there are no more."""
    finish: Callable[[], None]
    """Raises BadFormat unless all is read."""


def written(values: Sequence[Value | Absent]) -> tuple[bytes, bytes]:
    """The values of one field, and their noise. Raises OurError for what no field can hold."""
    kinds = {type(value) for value in values} - {type(None), Absent}
    if kinds == {int}:
        return NUMBERS + b"".join(map(_number_octets, values)), b""
    if kinds == {str}:
        return _texts_or_words(values)
    if kinds == {float} and not any(type(v) is float and math.isnan(v) for v in values):
        return FLOATS + _lines(values, repr), b""
    writer = TokenWriter(0)
    for value in values:
        writer.value(value)
    return _with_noise(TOKENS, writer.written(), writer.noise())


def read(vector: bytes, noise: Octets) -> Vector:
    """The values, to be read; their noise is taken. Raises BadFormat for an unknown kind."""
    kind, content = vector[:1], vector[1:]
    if kind == NUMBERS:
        octets = Octets(content)
        return Vector(_numbers_in(octets), octets.finish)
    if kind == FLOATS:
        lines = io.BytesIO(content)
        return Vector(_lines_in(lines, _float_in), lambda: _finish(lines))
    reader = _WITH_NOISE.get(kind)
    if reader is not None:
        octets = Octets(content)
        own = noise.take(octets.number(SIZES))
        return reader(octets.rest(), own)
    raise BadFormat("values are in a form this mailsync does not know: update it")


def _tokens_read(content: bytes, noise: bytes) -> Vector:
    tokens = TokenReader(content, noise, 0)
    return Vector(iter(tokens.value, _NEVER), tokens.finish)


def _texts_read(content: bytes, noise: bytes) -> Vector:
    lines, taken_out = io.BytesIO(content), NoiseReader(noise)

    def finish() -> None:
        _finish(lines)
        taken_out.finish()

    return Vector(_lines_in(lines, _texts_in(content, taken_out)), finish)


def _words_read(content: bytes, noise: bytes) -> Vector:
    octets, taken_out = Octets(content), NoiseReader(noise)
    count = octets.number(WORDS_MAX + 1)
    lines = (octets.line() for _ in range(count))
    words = list(islice(_lines_in(lines, _texts_in(content, taken_out)), count))
    taken_out.finish()
    return Vector(_words_in(octets, words), octets.finish)


_WITH_NOISE: Final[dict[bytes, Callable[[bytes, bytes], Vector]]] = {
    TOKENS: _tokens_read,
    TEXTS: _texts_read,
    WORDS: _words_read,
}


def _finish(lines: io.BytesIO) -> None:
    if lines.read(1):
        raise BadFormat("not well formed: something is left over")


def _numbers_in(octets: Octets) -> Iterator[Value | Absent]:
    while True:
        number = octets.number(_NUMBERS_END)
        if number >= _FIRST_NUMBER:
            yield unfolded(number - _FIRST_NUMBER)
        else:
            yield ABSENT if number else None


def _words_in(octets: Octets, words: Sequence[Value | Absent]) -> Iterator[Value | Absent]:
    while True:
        yield words[octets.number(len(words))]


def _lines_in(lines: Iterable[bytes], value: Callable[[bytes], Value]) -> Iterator[Value | Absent]:
    for line in lines:
        if line == _NULL_LINE:
            yield None
        elif line == _ABSENT_LINE:
            yield ABSENT
        elif line.endswith(b"\n"):
            yield value(line[:-1])
        else:
            break
    raise BadFormat("not well formed: a line is cut off")


def _texts_in(content: bytes, noise: NoiseReader) -> Callable[[bytes], str]:
    """What makes texts of lines of this content; mostly there is nothing to put back."""
    put_back = noise.text if MARKED_OCTETS.search(content) else str

    def text(line: bytes) -> str:
        try:
            return put_back(line.decode())
        except UnicodeDecodeError:
            raise BadFormat("not well formed: a text is not UTF-8") from None

    return text


def _float_in(line: bytes) -> float:
    try:
        value = float(line)
    except ValueError:
        raise BadFormat("not well formed: a float was expected") from None
    if repr(value).encode("ascii") != line or math.isnan(value):
        raise BadFormat("not well formed: a float is oddly written")
    return value


_NUMBERS_END: Final = 2**64 + _FIRST_NUMBER


def _number_octets(value: Value | Absent) -> bytes:
    if type(value) is not int:
        return b"\x00" if value is None else b"\x01"
    if value not in INTEGERS:
        raise OurError(f"{value} is beyond 64 bits")
    return varint(folded(value) + _FIRST_NUMBER)


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

    def template(value: Value) -> str:
        line = noise.template(str(value))
        return "\\" + line if line in {_NULL, _ABSENT} else line

    return _lines(values, template), noise.written()


def _lines(values: Sequence[Value | Absent], line: Callable[[Value], str]) -> bytes:
    lines = [
        _NULL if value is None else _ABSENT if isinstance(value, Absent) else line(value)
        for value in values
    ]
    try:
        return "\n".join([*lines, ""]).encode()
    except UnicodeEncodeError as problem:
        raise OurError(f"a text is not Unicode: {problem}") from problem


def _with_noise(kind: bytes, content: bytes, noise: bytes) -> tuple[bytes, bytes]:
    return kind + varint(len(noise)) + content, noise
