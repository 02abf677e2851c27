"""Numbers in as few bytes as they need: unsigned LEB128, shortest form only.

Rules
-----
* A number has one spelling: a last byte of zero after others is refused.
* What may be negative is folded first: 0, -1, 1, -2, 2 become 0, 1, 2, 3, 4 ("zigzag").
* Reading takes no memory beyond what its reader keeps, and every number has a bound.
"""

from __future__ import annotations

from typing import Final

from mailsync.errors import BadFormat

_MORE: Final = 0x80
_BITS: Final = 7
SIZES: Final = 2**32
"""Sizes are below this."""
_SHORT: Final = [bytes((number,)) for number in range(_MORE)]


def varint(number: int) -> bytes:
    """A number of 0 or more."""
    if number < _MORE:
        return _SHORT[number]
    octets = bytearray()
    while number >= _MORE:
        octets.append(number & _MORE - 1 | _MORE)
        number >>= _BITS
    octets.append(number)
    return bytes(octets)


def sized(octets: bytes) -> bytes:
    """Bytes behind their size."""
    return varint(len(octets)) + octets


def folded(number: int) -> int:
    """Any integer as one of 0 or more."""
    return 2 * number if number >= 0 else -2 * number - 1


def unfolded(number: int) -> int:
    """What ``folded`` was given."""
    return -(number >> 1) - 1 if number & 1 else number >> 1


class Octets:
    """Reads numbers, lines and raw bytes from the first to the last."""

    def __init__(self, data: bytes) -> None:
        """From the first byte."""
        self._data = data
        self._at = 0

    @property
    def at_end(self) -> bool:
        """Is nothing left?"""
        return self._at == len(self._data)

    def number(self, below: int) -> int:
        """The next number. Raises BadFormat unless it is from 0 to ``below`` exclusively."""
        data, at = self._data, self._at
        if at < len(data) and data[at] < _MORE and data[at] < below:  # nearly all are short
            self._at = at + 1
            return data[at]
        number, shift, bits = 0, 0, below.bit_length()
        while True:
            if at == len(data):
                raise BadFormat("not well formed: a number is cut off")
            octet = data[at]
            at += 1
            number |= (octet & _MORE - 1) << shift
            if number >= below:
                raise BadFormat(f"a number from 0 to {below - 1} was expected")
            if octet < _MORE:
                break
            shift += _BITS
            if shift > bits:
                raise BadFormat("not well formed: a number is longer than needed")
        if octet == 0 and shift:
            raise BadFormat("not well formed: a number is longer than needed")
        self._at = at
        return number

    def line(self) -> bytes:
        """The next line, with its line feed."""
        end = self._data.find(b"\n", self._at) + 1
        if not end:
            raise BadFormat("not well formed: a line is cut off")
        line = self._data[self._at : end]
        self._at = end
        return line

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        taken = self._data[self._at : self._at + size]
        if len(taken) < size:
            raise BadFormat("not well formed: bytes are missing")
        self._at += size
        return taken

    def sized(self) -> bytes:
        """The bytes that ``sized`` wrote next."""
        return self.take(self.number(SIZES))

    def rest(self) -> bytes:
        """All bytes not read yet."""
        return self.take(len(self._data) - self._at)

    def finish(self) -> None:
        """Raise BadFormat unless every byte was read."""
        if not self.at_end:
            raise BadFormat("not well formed: something is left over")
