"""Noise: what no compressor makes smaller, kept out of its way.

Rules
-----
* Long numbers and hexadecimal identifiers in texts are even chances in every digit. They travel
  in as many bits as they have, beside the compressed body: in it, they would cost half as much
  again, and make their neighbours dearer.
* A text leaves a *template* behind, in which one control character stands for what was taken
  out. Whether something is taken out follows from the text alone.
* Numbers of 6, 8 and 14 digits stay: mostly they are times and dates, which do compress.

::

    noise    = [count digits octets]
    digits   = (5 bytes)* for 12 digits each, then as few bytes as the rest needs; big endian
    octets   = hexadecimal identifiers, as they come

    U+0010 to U+0019   a number of 7, 9, 10, 11, 12, 13, 15, 16, 17, 18 digits
    U+001A, U+001B     32 hexadecimal digits, small or capital letters
    U+001C, U+001D     a UUID with its hyphens (RFC 9562), small or capital letters
    U+001E, U+001F     40 or 64 hexadecimal digits, small letters
    backslash          before a backslash, or one of these characters in the text itself;
                       backslash n is a line feed
"""

from __future__ import annotations

import re
from typing import Final

from mailsync.core.varints import Octets, varint
from mailsync.errors import BadFormat

DIGITS_MAX: Final = 2**32
GROUP: Final = 12
GROUP_SIZE: Final = 5
"""Bytes for 12 digits: 10**12 < 2**40."""

_LENGTHS: Final = {
    chr(0x10 + index): length for index, length in enumerate((7, *range(9, 14), *range(15, 19)))
}
_NUMBERS: Final = {length: mark for mark, length in _LENGTHS.items()}
_IDENTIFIERS: Final = {
    "\x1a": "[0-9a-f]{32}",
    "\x1b": "[0-9A-F]{32}",
    "\x1c": "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "\x1d": "[0-9A-F]{8}(?:-[0-9A-F]{4}){3}-[0-9A-F]{12}",
    "\x1e": "[0-9a-f]{40}",
    "\x1f": "[0-9a-f]{64}",
}
_SIZES: Final = {"\x1a": 16, "\x1b": 16, "\x1c": 16, "\x1d": 16, "\x1e": 20, "\x1f": 32}
_CAPITALS: Final = {"\x1b", "\x1d"}
_HYPHENED: Final = {"\x1c", "\x1d"}

_NOTABLE: Final = re.compile(
    r"[\\\n\x10-\x1f]|(?<![0-9A-Za-z])(?:"
    + "|".join(f"({pattern})" for pattern in _IDENTIFIERS.values())
    + r")(?![0-9A-Za-z])|(?<![0-9])[0-9]{7,18}(?![0-9])"
)
_MARKED: Final = re.compile(r"\\(.?)|[\x10-\x1f]", re.DOTALL)
MARKED_OCTETS: Final = re.compile(rb"[\\\x10-\x1f]")
"""What is in UTF-8 wherever something is to be put back."""
_ESCAPED: Final = {"\n": "\\n"}
_LONGER: Final = ("\\", "\n", *map(chr, range(0x10, 0x20)))
"""What has a backslash before it in a template."""


def escapes(text: str) -> int:
    """By how many characters a text's template is longer than the text, at most."""
    return sum(map(text.count, _LONGER))


class NoiseWriter:
    """Collects noise."""

    def __init__(self) -> None:
        """None yet."""
        self._digits: list[str] = []
        self._octets = bytearray()

    def template(self, text: str) -> str:
        """What is left of a text, without line feeds."""
        return _NOTABLE.sub(self._taken, text)

    def written(self) -> bytes:
        """All noise so far; nothing if there is none."""
        digits = "".join(self._digits)
        noise = varint(len(digits)) + _packed(digits) + self._octets
        return noise if len(noise) > 1 else b""

    def _taken(self, match: re.Match[str]) -> str:
        found = match[0]
        if match.lastindex is not None:
            self._octets += bytes.fromhex(found.replace("-", ""))
            return list(_IDENTIFIERS)[match.lastindex - 1]
        if not found.isdigit():
            return _ESCAPED.get(found, "\\" + found)
        mark = _NUMBERS.get(len(found))
        if mark is None:
            return found
        self._digits.append(found)
        return mark


class NoiseReader:
    """Gives noise back in the order in which it was collected."""

    def __init__(self, noise: bytes) -> None:
        """Raises BadFormat if digits are missing."""
        octets = Octets(noise)
        self._digits = _unpacked(octets, octets.number(DIGITS_MAX)) if noise else ""
        self._at = 0
        self._octets = octets

    def text(self, template: str) -> str:
        """The text that left this template. Raises BadFormat."""
        return _MARKED.sub(self._put_back, template)

    def finish(self) -> None:
        """Raise BadFormat unless all is read."""
        self._octets.finish()
        if self._at != len(self._digits):
            raise BadFormat("not well formed: digits are left over")

    def _put_back(self, match: re.Match[str]) -> str:
        mark = match[0]
        if match[1] is not None:
            return _unescaped(match[1])
        if mark in _SIZES:
            return _identifier(mark, self._octets.take(_SIZES[mark]))
        start, self._at = self._at, self._at + _LENGTHS[mark]
        if self._at > len(self._digits):
            raise BadFormat("not well formed: digits are missing")
        return self._digits[start : self._at]


def _unescaped(character: str) -> str:
    if character == "n":
        return "\n"
    if (character and character in "\\\x02\x03") or "\x10" <= character <= "\x1f":
        return character
    raise BadFormat("not well formed: a text is oddly written")


def _identifier(mark: str, octets: bytes) -> str:
    text = octets.hex()
    if mark in _HYPHENED:
        text = f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
    return text.upper() if mark in _CAPITALS else text


def _packed(digits: str) -> bytes:
    groups = [digits[start : start + GROUP] for start in range(0, len(digits), GROUP)]
    return b"".join(int(group).to_bytes(_size(len(group)), "big") for group in groups)


def _unpacked(octets: Octets, count: int) -> str:
    packed = octets.take(count // GROUP * GROUP_SIZE + _size(count % GROUP))
    texts = []
    for start in range(0, len(packed), GROUP_SIZE):
        length = min(GROUP, count - start // GROUP_SIZE * GROUP)
        text = str(int.from_bytes(packed[start : start + GROUP_SIZE], "big")).rjust(length, "0")
        if len(text) > length:
            raise BadFormat("not well formed: digits are oddly written")
        texts.append(text)
    return "".join(texts)


def _size(digits: int) -> int:
    """Bytes that so many digits need."""
    return -(-int(10**digits - 1).bit_length() // 8)
