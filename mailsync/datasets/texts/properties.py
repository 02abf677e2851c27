"""Properties of cards and schedules as plain values, for a mapping.

Rules
-----
* A path names a property and the types it has at least: ``tel;type=cell`` is any TEL with the
  type cell, however that is written. Of several the one with the fewest further types is meant
  (then by name), and each property is meant by one path only, the most particular first.
* A component of a structured property stands behind a slash: ``n/family``, ``adr;type=work/city``.
* Texts come without the escapes of the file (RFC 6350, 3.4; RFC 5545, 3.3.11); everything else,
  such as dates, addresses as a whole and URLs, comes as it stands behind the colon. A telephone
  number is a text even where it stands as a URI (RFC 6350, 6.4.1), and is written as a text.
* What is written replaces the value alone: parameters, labels of a group, other components and
  other properties stay as they are. Nothing (NULL) removes the property, or empties the component.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Final, NamedTuple

from mailsync.core.mapping import Unconvertible
from mailsync.core.model import Fields, Value, same_value
from mailsync.datasets.texts.contentline import split_property
from mailsync.datasets.texts.slots import base_and_ordinal

COMPONENT: Final = "component"
"""The one field of a schedule that is no property."""

TELEPHONE: Final = "tel"

COMPONENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "n": ("family", "given", "additional", "prefix", "suffix"),
    "adr": ("box", "extended", "street", "city", "region", "code", "country"),
    "org": ("name", "unit"),
}
"""Structured properties (RFC 6350, 6.2.2, 6.3.1, 6.6.4), each a list with ``;`` between."""

SEVERAL: Final = frozenset(
    {"adr", "attendee", "categories", "comment", "contact", "email", "impp", "note", "org"}
    | {"related", "resources", "role", "tel", "title", "url"}
)
"""Properties that a record often has several of."""

_TEXTS: Final = frozenset(
    {"comment", "contact", "description", "email", "fn", "kind", "label", "location", "mailer"}
    | {"note", "role", "status", "summary", "tel", "title", "uid"}
)
"""Properties whose value is one text; the components of structured ones are texts, too."""

_ESCAPE: Final = re.compile(r"\\([nN,;\\])")
_SPECIAL: Final = re.compile(r"[\n,;\\]")
_AS_URI: Final = re.compile(r";VALUE=\"?uri\"?(?=[;:])", re.IGNORECASE)
_LINE_END: Final = re.compile(r"\r\n?")
_PIECE: Final = re.compile(r"\\.|.", re.DOTALL)


class Path(NamedTuple):
    """A path taken apart."""

    name: str
    types: frozenset[str] = frozenset()
    component: int | None = None
    """Place among the components; None: the property as a whole."""

    @property
    def field(self) -> str:
        """The field that a new property of this path is."""
        types = f";type={','.join(sorted(self.types))}" if self.types else ""
        return self.name + types


def parse_path(text: str) -> Path:
    """Take a path apart, its types in any case and order. Raises ValueError."""
    whole, _, component = text.partition("/")
    name, types = _name_and_types(whole.lower())
    if name in COMPONENTS and component:
        if component not in COMPONENTS[name]:
            raise ValueError(f"{name} has the components {', '.join(COMPONENTS[name])}")
        return Path(name, types, COMPONENTS[name].index(component))
    return Path(*_name_and_types(text if component else whole.lower()))


class Properties:
    """The form of records whose fields are properties."""

    def __init__(self, paths: Iterable[str]) -> None:
        """``paths`` of the mapping. Raises ValueError for one that cannot be."""
        self._paths = {text: parse_path(text) for text in paths}
        properties = {path.field: path for path in self._paths.values()}
        self._particular_first = sorted(properties.values(), key=lambda path: -len(path.types))

    def plain(self, fields: Fields) -> dict[str, Value]:
        """The values at the paths."""
        chosen = self._chosen(fields)
        return {
            text: _plain(path, fields[chosen[path.field]]) if path.field in chosen else None
            for text, path in self._paths.items()
        }

    def overlaid(self, present: Fields, values: Fields) -> dict[str, Value]:
        """The record with these values at these paths. Raises :class:`Unconvertible`."""
        chosen = self._chosen(present)
        before = self.plain(present)
        fields = dict(present)
        for text, value in values.items():
            path, wanted = self._paths[text], self.spelled(text, value)
            if same_value(wanted, before[text]):
                continue
            name = chosen.get(path.field, path.field)
            line = _written(path, fields.get(name), wanted)
            if line is None:
                fields.pop(name, None)
            else:
                fields[name] = line
        return fields

    def spelled(self, text: str, value: Value) -> Value:
        """The value as it would be read again. Raises :class:`Unconvertible`."""
        path = self._paths[text]
        words = _number(path, _words(value))
        if words is not None and "\n" in words and not _is_text(path):
            raise Unconvertible(f"{text} holds no line breaks")
        return words or None if path.component is not None else words

    def _chosen(self, fields: Iterable[str]) -> dict[str, str]:
        """The field of a record that each property means, by the field that it would be anew."""
        free: dict[str, list[tuple[int, str, int, frozenset[str], str]]] = {}
        for field in fields:
            base, ordinal = base_and_ordinal(field)
            name, types = _name_and_types(base)
            free.setdefault(name, []).append((len(types), base, ordinal, types, field))
        chosen = {}
        for path in self._particular_first:
            there = free.get(path.name, [])
            fitting = min((one for one in there if path.types <= one[3]), default=None)
            if fitting is not None:
                there.remove(fitting)
                chosen[path.field] = fitting[-1]
        return chosen


def overlap(paths: Sequence[str]) -> tuple[str, str] | None:
    """Two of the paths that mean the same value, or one a part of the other's."""
    for one, other in combinations(paths, 2):
        first, second = parse_path(one), parse_path(other)
        whole = first.component is None or second.component is None
        if first.field == second.field and (whole or first == second):
            return one, other
    return None


def _name_and_types(field: str) -> tuple[str, frozenset[str]]:
    name, _, types = field.partition(";type=")
    return name, frozenset(types.split(",")) - {""}


def _is_text(path: Path) -> bool:
    return path.component is not None or path.name in _TEXTS


def _plain(path: Path, line: Value) -> Value:
    if not isinstance(line, str):
        return None
    _, value, _ = split_property(line)
    if path.component is not None:
        value = "".join(_components(value)[path.component : path.component + 1])
    words = _number(path, _ESCAPE.sub(_unescaped, value) if _is_text(path) else value)
    return words or None if path.component is not None else words


def _written(path: Path, line: Value, value: Value) -> str | None:
    """The property with this value in it; None: no property."""
    head, old, labels = split_property(line) if isinstance(line, str) else (_head(path), "", "")
    if path.component is None:
        head = _AS_URI.sub("", head) if path.name == TELEPHONE else head
        return None if value is None else head + _escaped(path, value) + labels
    if value is None and line is None:
        return None
    parts = _components(old)
    least = len(COMPONENTS[path.name]) if line is None else path.component + 1
    parts += [""] * (least - len(parts))
    parts[path.component] = _escaped(path, value)
    return f"{head}{';'.join(parts)}{labels}"


def _head(path: Path) -> str:
    """What stands before the value of a new property."""
    if path.name == COMPONENT:
        return ""
    types = f";TYPE={','.join(sorted(path.types))}" if path.types else ""
    return f"{path.name.upper()}{types}:"


def _components(value: str) -> list[str]:
    parts = [""]
    for piece in _PIECE.findall(value):
        if piece == ";":
            parts.append("")
        else:
            parts[-1] += piece
    return parts


def _words(value: Value) -> str | None:
    match value:
        case None:
            return None
        case bytes():
            raise Unconvertible("a property holds texts, not bytes")
        case bool():
            return str(value).lower()
        case str():
            return _LINE_END.sub("\n", value)
        case _:
            return repr(value)


def _number(path: Path, words: str | None) -> str | None:
    """A telephone number without what makes it a URI; everything else as it is."""
    return words.removeprefix("tel:") if words and path.name == TELEPHONE else words


def _escaped(path: Path, value: Value) -> str:
    words = _words(value) or ""
    return _SPECIAL.sub(_with_escape, words) if _is_text(path) else words


def _with_escape(special: re.Match[str]) -> str:
    return "\\n" if special[0] == "\n" else f"\\{special[0]}"


def _unescaped(escape: re.Match[str]) -> str:
    return "\n" if escape[1] in "nN" else escape[1]
