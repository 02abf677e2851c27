"""Containers as 7-bit text: base64, and a denser form for mails of which every byte counts.

Rules
-----
* Either form begins with ten digits that the container's magic becomes, by which it is found in
  any text; the container tells its own end.
* The dense form is base85 in RFC 1924's alphabet, but with ``, / : [ ]`` for ``& - < = >``. So it
  lacks what texts are altered for on their way: quotes, a dot at the start of a line, ``>`` before
  quoted ones, dashes before signatures, ``=`` of quoted-printable, ``<`` and ``&`` of HTML.
* Its groups are whole: what a gateway adds behind them changes none of them.
* Reading passes over white space and ``>``, takes time linear in the text, and never raises.
"""

from __future__ import annotations

import binascii
import re
import sys
from array import array
from base64 import b64encode, b85encode
from collections.abc import Iterator
from typing import Final

from mailsync.core import container

DENSE_WIDTH: Final = 900
"""Characters in a line of dense armour. RFC 5322, 2.1.1 allows 998, some servers 990."""

_GROUP: Final = 4
_BASE: Final = 85
_EVADED: Final = bytes.maketrans(b"&-<=>", b",/:[]")
_DIGITS: Final = (
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    b"!#$%&()*+-;<=>?@^_`{|}~".translate(_EVADED)
)
_VALUES: Final = bytes.maketrans(_DIGITS, bytes(range(_BASE)))
_NOT_DENSE: Final = bytes(set(range(256)) - set(_DIGITS))
_NOT_BASE64: Final = bytes(
    set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
)


def dense(content: bytes) -> bytes:
    """Bytes as lines of dense armour, each ended by CR LF; zeros fill the last group."""
    digits = b85encode(content + bytes(-len(content) % _GROUP)).translate(_EVADED)
    starts = range(0, len(digits), DENSE_WIDTH)
    return b"".join(digits[start : start + DENSE_WIDTH] + b"\r\n" for start in starts)


DENSE_START: Final = dense(container.MAGIC).strip()
"""How every container in dense armour begins."""

_DENSE: Final = re.compile(re.escape(DENSE_START) + rb"[" + re.escape(_DIGITS) + rb"\s>]*")
_BASE64: Final = re.compile(
    # the 10 digits that no byte after the magic can change, then digits, quoted lines included
    re.escape(b64encode(container.MAGIC)[:10]) + rb"[A-Za-z0-9+/=\s>]*"
)


def armoured_in(text: bytes) -> Iterator[bytes]:
    """What each armour in a text holds, and perhaps bytes of what follows it. Never raises."""
    for match in _BASE64.finditer(text):
        yield from_base64(match[0])
    for match in _DENSE.finditer(text):
        yield _from_dense(match[0])


def from_base64(text: bytes) -> bytes:
    """What base64 text holds up to its padding, whatever else a gateway added to it."""
    digits = text.translate(None, _NOT_BASE64).partition(b"=")[0]
    if len(digits) % 4 == 1:
        digits = digits[:-1]
    return binascii.a2b_base64(digits + b"=" * (-len(digits) % 4))


def _from_dense(text: bytes) -> bytes:
    """The whole groups of dense armour; those of no four bytes are foreign, and become any."""
    rest = iter(text.translate(_VALUES, _NOT_DENSE))
    words = array(
        "I",
        (
            (((a * _BASE + b) * _BASE + c) * _BASE + d) * _BASE + e & 0xFFFFFFFF
            for a, b, c, d, e in zip(rest, rest, rest, rest, rest, strict=False)
        ),
    )
    if sys.byteorder == "little":
        words.byteswap()
    return words.tobytes()
