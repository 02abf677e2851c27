"""Token streams: the sequence of CBOR scalars (RFC 8742) in which a bundle's body is written.

Rules
-----
* A body is one sequence of scalars, read from left to right. No nesting, no maps: there is no
  depth to bomb and no key to duplicate.
* Whatever repeats is written out where first met and called by its number after that. The
  number equal to how many are known announces a new one.
* Every number has a bound. Every count is paid for from one budget before anything is read,
  so a short body cannot become many objects.

A value's token stands for itself if it is null, true, false, an integer (64-bit signed), a
float or bytes. A text is a template (see ``noise``). ``undefined`` is ABSENT. simple(0) followed
by 8 bytes is a NaN bit by bit, because CBOR encoders do not keep a NaN's bits.
"""

from __future__ import annotations

import math
import struct
import unicodedata
from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Final, TypeVar

import cbor2

from mailsync.core.model import ABSENT, Absent, Value
from mailsync.core.noise import NoiseReader, NoiseWriter
from mailsync.core.positions import Positions
from mailsync.core.strict_cbor import Scalars, encode
from mailsync.errors import BadFormat, OurError

COUNTERS: Final = 2**53
"""Positions and stamps are below this, so that any language's numbers can hold them."""

NAME_SIZE: Final = 255
"""Bytes of UTF-8 in the name of a dataset or a field, at most."""

INTEGERS: Final = range(-(2**63), 2**63)
"""What an integer value may be."""

_UNDEFINED: Final[object] = cbor2.undefined
_NAN: Final = cbor2.CBORSimpleValue(0)
_NAN_SIZE: Final = 8


class TooMuch(OurError):
    """This is a defect in mailsync. Your data is as it was; please report it with -v output."""


_Thing = TypeVar("_Thing", bound=Hashable)


class TokenWriter:
    """Collects tokens. Every method raises OurError for what no reader would accept."""

    def __init__(self, budget: int) -> None:
        """Nothing is written yet; ``budget`` is what the reader's will be."""
        self._budget = budget
        self._body = bytearray()
        self._noise = NoiseWriter()
        self._names: dict[str, int] = {}

    def written(self) -> bytes:
        """All tokens so far, without their noise."""
        return bytes(self._body)

    def noise(self) -> bytes:
        """All noise so far."""
        return self._noise.written()

    def token(self, token: object) -> None:
        """A scalar as it is."""
        self._body += encode(token)

    def pay(self, count: int) -> None:
        """Take a count from the budget of objects the whole body may become."""
        self._budget -= count
        if self._budget < 0:
            raise TooMuch("a bundle holds more than peers accept")

    def count(self, count: int) -> None:
        """How many things follow; paid for."""
        self.pay(count)
        self.number(count)

    def number(self, number: int, below: int = COUNTERS) -> None:
        """An integer from 0 to ``below`` exclusively."""
        self.token(_bounded(number, below))

    def step(self, before: int, number: int) -> None:
        """A number below COUNTERS, as its difference to one that the reader knows."""
        self.token(_bounded(number, COUNTERS) - before)

    def interned(
        self, known: dict[_Thing, int], thing: _Thing, define: Callable[[_Thing], None]
    ) -> None:
        """The number of a thing, and its definition if it is new."""
        number = known.get(thing)
        if number is not None:
            self.token(number)
            return
        self.token(len(known))
        self.pay(1)
        known[thing] = len(known)
        define(thing)

    def name(self, name: str) -> None:
        """The name of a dataset or field."""
        self.interned(self._names, name, self._new_name)

    def _new_name(self, name: str) -> None:
        if not is_name(name):
            raise OurError(f"{name!r} cannot be the name of a dataset or field")
        self.token(name)

    def positions(self, positions: Positions) -> None:
        """A set of positions: per interval the gap before it and its length, each less one."""
        self.count(len(positions.intervals))
        before = -1
        for low, high in positions.intervals:
            self.number(low - before - 2)
            self.number(_bounded(high, COUNTERS) - low)
            before = high

    def value(self, value: Value | Absent) -> None:
        """What an entry holds, exact in type and bits."""
        if isinstance(value, Absent):
            self.token(_UNDEFINED)
        elif type(value) is float and math.isnan(value):
            self.token(_NAN)
            self.token(struct.pack(">d", value))
        elif type(value) is str:
            self.token(self._noise.template(value))
        elif type(value) is int and value not in INTEGERS:
            raise OurError(f"{value} does not fit in 64 bits")
        elif value is None or type(value) in {bool, int, float, str, bytes}:
            self.token(value)
        else:
            raise OurError(f"a field cannot hold a {type(value).__name__}")


class TokenReader:
    """Reads tokens. Every method raises BadFormat for what no writer would have written."""

    def __init__(self, body: bytes, noise: bytes, budget: int) -> None:
        """From the first token; ``budget`` is how many objects the body may become."""
        self._scalars = Scalars(body)
        self._noise = NoiseReader(noise)
        self._budget = budget
        self._names: list[str] = []

    def finish(self) -> None:
        """Nothing may be left over."""
        self._scalars.finish()
        self._noise.finish()

    def token(self) -> object:
        """The next scalar."""
        return self._scalars.next()

    def pay(self, count: int) -> int:
        """Take a count from the budget of objects the whole body may become."""
        self._budget -= count
        if self._budget < 0:
            raise BadFormat("the bundle holds more than this site accepts")
        return count

    def number(self, below: int = COUNTERS) -> int:
        """An integer from 0 to ``below`` exclusively."""
        return in_bounds(self.token(), below)

    def step(self, before: int) -> int:
        """A number below COUNTERS, given as its difference to a known one."""
        token = self.token()
        if type(token) is not int:
            raise BadFormat("a number was expected")
        return in_bounds(before + token, COUNTERS)

    def count(self) -> int:
        """How many things follow; paid for."""
        return self.pay(self.number())

    def flag(self) -> bool:
        """True or false."""
        token = self.token()
        if token is True or token is False:
            return token is True
        raise BadFormat("true or false was expected")

    def octets(self) -> bytes:
        """Bytes."""
        token = self.token()
        if type(token) is not bytes:
            raise BadFormat("bytes were expected")
        return token

    def interned(self, known: list[_Thing], define: Callable[[], _Thing]) -> _Thing:
        """A thing called by its number, or a new one that is defined here."""
        number = self.number(len(known) + 1)
        if number == len(known):
            self.pay(1)
            known.append(define())
        return known[number]

    def name(self) -> str:
        """The name of a dataset or field."""
        return self.interned(self._names, self._new_name)

    def _new_name(self) -> str:
        token = self.token()
        if type(token) is not str or not is_name(token):
            raise BadFormat("the name of a dataset or field was expected")
        return token

    def positions(self) -> Positions:
        """A set of positions."""
        intervals: list[tuple[int, int]] = []
        before = -1
        for _ in range(self.count()):
            low = before + 2 + self.number()
            before = in_bounds(low + self.number(), COUNTERS)
            intervals.append((low, before))
        return Positions(tuple(intervals))

    def value(self) -> Value | Absent:
        """What an entry holds."""
        token = self.token()
        if token is _UNDEFINED:
            return ABSENT
        if isinstance(token, cbor2.CBORSimpleValue) and token.value == _NAN.value:
            return self._nan()
        if isinstance(token, str):
            return self._noise.text(token)
        if token is None or isinstance(token, bool | bytes):
            return token
        if type(token) is int and token in INTEGERS:
            return token
        if type(token) is float and not math.isnan(token):
            return token
        raise BadFormat("a value was expected")

    def _nan(self) -> float:
        octets = self.octets()
        if len(octets) == _NAN_SIZE:
            value = float(struct.unpack(">d", octets)[0])
            if math.isnan(value):
                return value
        raise BadFormat("a NaN was expected")


@lru_cache(maxsize=1024)  # a table's names come again with each of its rows
def is_name(name: str) -> bool:
    """May this name a dataset or field? Not empty, short, no control or broken characters."""
    if not 0 < len(name.encode("utf-8", "surrogatepass")) <= NAME_SIZE:
        return False
    return not any(unicodedata.category(character) in {"Cc", "Cs"} for character in name)


def _bounded(number: int, below: int) -> int:
    if type(number) is not int or not 0 <= number < below:
        raise OurError(f"{number!r} is not a number from 0 to {below - 1}")
    return number


def in_bounds(token: object, below: int) -> int:
    """An integer from 0 to ``below`` exclusively. Raises BadFormat for anything else."""
    if type(token) is not int or not 0 <= token < below:
        raise BadFormat(f"a number from 0 to {below - 1} was expected")
    return token
