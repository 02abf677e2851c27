r"""The expressions of ``where``: text -> condition. One parser, one meaning everywhere.

Rules
-----
* Whatever is not understood raises :class:`BadExpression`, which names the column; nothing else
  is raised, whatever the text. Text, nesting and number of conditions are bounded.

::

    expression = conjunction ("or" conjunction)*
    conjunction = negation ("and" negation)*
    negation   = "not" negation | "(" expression ")" | condition
    condition  = operand ("=" | "<>" | "!=" | "<" | "<=" | ">" | ">=") operand
               | operand "is" ["not"] "null"
               | operand ["not"] "in" "(" operand ("," operand)* ")"
               | operand ["not"] "like" text        % any characters, _ one, \ before either
               | operand ["not"] "between" operand "and" operand
    operand    = number | text | "true" | "false" | "null" | field | "now()" | "age(" field ")"
    text       = '...'                              a quote in it is doubled
    field      = name | "..."                       any name in quotes, a quote in it doubled

Words are in any case. What ``age`` is compared with is a duration, '90d', or seconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Final, NamedTuple

from mailsync.core.conditions import (
    OPERATORS,
    Age,
    All,
    Among,
    Any_,
    Comparison,
    Condition,
    Field,
    IsNull,
    Like,
    Literal,
    Not,
    Now,
    Operand,
)
from mailsync.core.tokens import INTEGERS

LENGTH_MAX: Final = 4_000
DEPTH_MAX: Final = 50
PARTS_MAX: Final = 500

_WORDS: Final = frozenset(
    {"and", "or", "not", "in", "like", "is", "null", "between", "true", "false"}
)
_COMPARISONS: Final = frozenset({*OPERATORS, "!="})
_TOKEN: Final = re.compile(
    r"(?P<space>\s+)"
    r"|(?P<number>[+-]?(?:[0-9]{1,40}(?:\.[0-9]{1,40})?|\.[0-9]{1,40})(?![\w.]))"
    r"|(?P<text>'(?:[^']|'')*')"
    r'|(?P<name>"(?:[^"]|"")+")'
    r"|(?P<word>[^\W\d]\w*)"
    r"|(?P<sign><>|!=|<=|>=|[=<>(),])"
)
_DURATION: Final = re.compile(r"([+-]?)([0-9]{1,9}(?:\.[0-9]{1,9})?) ?([smhdw])")
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


class BadExpression(ValueError):
    """An expression that is not understood; the message says where and why."""

    def __init__(self, column: int, words: str) -> None:
        """``column``: from 1."""
        super().__init__(f"column {column}: {words}")
        self.column = column


class _Token(NamedTuple):
    kind: str
    text: str
    column: int


def parse(text: str) -> Condition:
    """The condition that an expression says. Raises BadExpression."""
    if len(text) > LENGTH_MAX:
        raise BadExpression(LENGTH_MAX, f"more than {LENGTH_MAX} characters")
    reader = _Reader(_tokens(text))
    found = reader.expression(DEPTH_MAX)
    if reader.next.kind != "end":
        raise reader.unexpected("and, or, or the end")
    return found


def _tokens(text: str) -> list[_Token]:
    tokens, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            unfinished = text[at] in "'\""
            words = "a quote without its end" if unfinished else f"{text[at]!r} means nothing here"
            raise BadExpression(at + 1, words)
        if match.lastgroup != "space":
            tokens.append(_Token(match.lastgroup or "", match[0], at + 1))
        at = match.end()
    return [*tokens, _Token("end", "", len(text) + 1)]


class _Reader:
    """Reads tokens one after the other."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._parts = 0

    @property
    def next(self) -> _Token:
        return self._tokens[self._at]

    def unexpected(self, wanted: str) -> BadExpression:
        found = "the end" if self.next.kind == "end" else self.next.text[:40]
        return BadExpression(self.next.column, f"expected {wanted}, found {found}")

    def expression(self, depth: int) -> Condition:
        """``or`` binds least."""
        return self._joined("or", Any_, lambda: self._conjunction(depth), depth)

    def _conjunction(self, depth: int) -> Condition:
        return self._joined("and", All, lambda: self._negation(depth), depth)

    def _joined(
        self,
        word: str,
        kind: Callable[[tuple[Condition, ...]], Condition],
        read: Callable[[], Condition],
        depth: int,
    ) -> Condition:
        if depth <= 0:
            raise BadExpression(self.next.column, f"nested more than {DEPTH_MAX} deep")
        parts = [read()]
        while self._takes(word):
            parts.append(read())
        return parts[0] if len(parts) == 1 else kind(tuple(parts))

    def _negation(self, depth: int) -> Condition:
        if depth <= 0:
            raise BadExpression(self.next.column, f"nested more than {DEPTH_MAX} deep")
        if self._takes("not"):
            return Not(self._negation(depth - 1))
        if self._takes("("):
            inner = self.expression(depth - 1)
            self._require(")")
            return inner
        return self._condition()

    def _condition(self) -> Condition:
        self._parts += 1
        if self._parts > PARTS_MAX:
            raise BadExpression(self.next.column, f"more than {PARTS_MAX} conditions")
        operand = self._operand()
        if self._takes("is"):
            negated = self._takes("not")
            self._require("null")
            return Not(IsNull(operand)) if negated else IsNull(operand)
        if self.next.text in _COMPARISONS:
            sign = self._take().text.replace("!=", "<>")
            return self._comparison(sign, operand, self._right(operand))
        negated = self._takes("not")
        found = self._listed(operand)
        return Not(found) if negated else found

    def _listed(self, operand: Operand) -> Condition:
        """What may stand behind ``not``."""
        if self._takes("in"):
            return self._among(operand)
        if self._takes("like"):
            return self._like(operand)
        if self._takes("between"):
            low = self._right(operand)
            self._require("and")
            high = self._right(operand)
            return All((Comparison(">=", operand, low), Comparison("<=", operand, high)))
        raise self.unexpected("a comparison")

    def _comparison(self, sign: str, left: Operand, right: Operand) -> Comparison:
        if isinstance(right, Age) and isinstance(left, Literal):
            left = _seconds(left, self.next.column)
        return Comparison(sign, left, right)

    def _among(self, operand: Operand) -> Among:
        self._require("(")
        choices = [self._right(operand)]
        while self._takes(","):
            choices.append(self._right(operand))
            self._parts += 1
            if self._parts > PARTS_MAX:
                raise BadExpression(self.next.column, f"more than {PARTS_MAX} conditions")
        self._require(")")
        return Among(operand, tuple(choices))

    def _like(self, operand: Operand) -> Like:
        if self.next.kind != "text":
            raise self.unexpected("a text in single quotes")
        token = self._take()
        pattern = re.findall(r"\\.|[^\\]|\\$", _unquoted(token.text), re.DOTALL)
        if pattern and pattern[-1] == "\\":
            raise BadExpression(token.column, "a backslash without what it stands before")
        return Like(operand, tuple(pattern))

    def _right(self, left: Operand) -> Operand:
        """What is compared with ``left``."""
        column = self.next.column
        found = self._operand()
        return _seconds(found, column) if isinstance(left, Age) else found

    def _operand(self) -> Operand:
        token = self.next
        word = token.text.lower()
        match token.kind:
            case "number":
                return Literal(_number(self._take()))
            case "text":
                return Literal(_unquoted(self._take().text))
            case "name":
                return Field(_unquoted(self._take().text))
            case "word" if word in {"true", "false", "null"}:
                self._take()
                return Literal({"true": True, "false": False, "null": None}[word])
            case "word" if word not in _WORDS:
                self._take()
                return self._called(token) if self._takes("(") else Field(token.text)
        raise self.unexpected("a field or a value")

    def _called(self, function: _Token) -> Operand:
        """A function's value; its opening parenthesis is read."""
        name = function.text.lower()
        if name not in {"now", "age"}:
            words = f"there is no function {function.text[:40]}; there are now() and age(FIELD)"
            raise BadExpression(function.column, words)
        if name == "now":
            self._require(")")
            return Now()
        column, field = self.next.column, self._operand()
        if not isinstance(field, Field):
            raise BadExpression(column, "age needs the name of a field")
        self._require(")")
        return Age(field.name)

    def _take(self) -> _Token:
        token = self.next
        self._at += 1
        return token

    def _takes(self, text: str) -> bool:
        found = self.next.kind in {"word", "sign"} and self.next.text.lower() == text
        self._at += found
        return found

    def _require(self, text: str) -> None:
        if not self._takes(text):
            raise self.unexpected(text)


def _unquoted(text: str) -> str:
    quote = text[0]
    return text[1:-1].replace(quote * 2, quote)


def _number(token: _Token) -> int | Decimal:
    """An integer of 64 bits, or a number with a fraction."""
    if "." in token.text:
        return Decimal(token.text)
    number = int(token.text)
    if number not in INTEGERS:
        raise BadExpression(token.column, "the number has more than 64 bits")
    return number


def _seconds(operand: Operand, column: int) -> Operand:
    """What ages are compared with: a duration in seconds."""
    if not isinstance(operand, Literal) or not isinstance(operand.value, str):
        return operand
    found = _DURATION.fullmatch(operand.value)
    if found is None:
        raise BadExpression(column, "an age is compared with a duration such as '90d' or '12h'")
    seconds = float(found[2]) * _UNITS[found[3]]
    return Literal(-seconds if found[1] == "-" else seconds)
