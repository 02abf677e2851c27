"""The XML that WebDAV speaks (RFC 4918, 14): requests as text, answers piece by piece.

Rules
-----
* An answer with a document type is refused: without one there are no entities, so nothing can
  grow, and nothing else is ever read because the answer says so.
* An answer is taken apart while it arrives. Memory holds one member of it, and that is bounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from xml.parsers import expat
from xml.sax.saxutils import escape

DAV: Final = "DAV:"
CARDDAV: Final = "urn:ietf:params:xml:ns:carddav"
CALDAV: Final = "urn:ietf:params:xml:ns:caldav"

MEMBER_CHARACTERS_MAX: Final = 32 * 1024 * 1024
"""Of the text of one member: a card with a large photograph has some million."""
ELEMENTS_MAX: Final = 20_000
"""In one member."""
DEPTH_MAX: Final = 32

_SEPARATOR: Final = "}"
_PREFIXES: Final = {"D": DAV, "CR": CARDDAV, "C": CALDAV}


class BadAnswer(Exception):
    """What a server said is no answer to what was asked; the message says why."""


class Name(NamedTuple):
    """The name of an element."""

    space: str
    local: str


@dataclass(slots=True)
class Element:
    """An element with what is in it; attributes mean nothing in WebDAV."""

    name: Name
    children: list[Element] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Its own text."""
        return "".join(self.pieces)

    def all(self, name: Name) -> Iterator[Element]:
        """Those of its children that have this name."""
        return (child for child in self.children if child.name == name)

    def first(self, name: Name) -> Element | None:
        """The first of them; None: there is none."""
        return next(self.all(name), None)

    def said(self, name: Name) -> str:
        """The text of the first of them, without blanks around it."""
        found = self.first(name)
        return "" if found is None else found.text.strip()


class Member(NamedTuple):
    """What a multi-status answer says of one resource."""

    href: str
    status: int
    """Of the resource as a whole; 200 where only its properties have one."""
    found: Mapping[Name, Element]
    """The properties it has."""

    def text(self, name: Name) -> str:
        """A property's text; empty: it has none."""
        return self.found[name].text if name in self.found else ""

    def hrefs(self, name: Name) -> list[str]:
        """The addresses in a property."""
        return [one.text.strip() for one in self._of(name) if one.name == HREF]

    def kinds(self, name: Name) -> set[Name]:
        """The names of the elements in a property."""
        return {one.name for one in self._of(name)}

    def _of(self, name: Name) -> list[Element]:
        return self.found[name].children if name in self.found else []


HREF: Final = Name(DAV, "href")
RESOURCE_TYPE: Final = Name(DAV, "resourcetype")
COLLECTION: Final = Name(DAV, "collection")
DISPLAY_NAME: Final = Name(DAV, "displayname")
ETAG: Final = Name(DAV, "getetag")
PRINCIPAL: Final = Name(DAV, "current-user-principal")
PRIVILEGES: Final = Name(DAV, "current-user-privilege-set")
PRIVILEGE: Final = Name(DAV, "privilege")
SYNC_TOKEN: Final = Name(DAV, "sync-token")
ERROR: Final = Name(DAV, "error")

_MULTISTATUS: Final = Name(DAV, "multistatus")
_RESPONSE: Final = Name(DAV, "response")
_STATUS: Final = Name(DAV, "status")
_PROPSTAT: Final = Name(DAV, "propstat")
_PROP: Final = Name(DAV, "prop")
_DESCRIPTION: Final = Name(DAV, "responsedescription")


def propfind(names: Iterable[Name]) -> bytes:
    """Which properties of a resource, or of a collection's members, are asked for."""
    return _document(Name(DAV, "propfind"), _properties(names))


def sync_collection(token: str, names: Iterable[Name]) -> bytes:
    """What changed since ``token``; empty: all there is (RFC 6578, 3.2)."""
    inner = f"<D:sync-token>{escape(token)}</D:sync-token><D:sync-level>1</D:sync-level>"
    return _document(Name(DAV, "sync-collection"), inner + _properties(names))


def multiget(report: Name, names: Iterable[Name], hrefs: Iterable[str]) -> bytes:
    """These resources, all at once (RFC 6352, 8.7; RFC 4791, 7.9)."""
    inner = "".join(f"<D:href>{escape(one)}</D:href>" for one in hrefs)
    return _document(report, _properties(names) + inner)


def _properties(names: Iterable[Name]) -> str:
    return f"<D:prop>{''.join(f'<{_tag(one)}/>' for one in names)}</D:prop>"


def _document(name: Name, inner: str) -> bytes:
    spaces = " ".join(f'xmlns:{prefix}="{space}"' for prefix, space in _PREFIXES.items())
    head = '<?xml version="1.0" encoding="utf-8"?>'
    return f"{head}<{_tag(name)} {spaces}>{inner}</{_tag(name)}>".encode()


def _tag(name: Name) -> str:
    prefix = next(one for one, space in _PREFIXES.items() if space == name.space)
    return f"{prefix}:{name.local}"


class Reader:
    """Takes an XML document apart as it comes in."""

    def __init__(self) -> None:
        """At its beginning."""
        self._parser = expat.ParserCreate(namespace_separator=_SEPARATOR)
        self._parser.buffer_text = True
        self._parser.StartDoctypeDeclHandler = self._document_type
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text
        self._open: list[Element] = []
        self._done: list[Element] = []
        self._count = self._size = 0
        self.root: Name | None = None
        """The name of the document's element, once it is known."""

    def feed(self, data: bytes, *, last: bool = False) -> list[Element]:
        """The children of the document's element that are complete now. Raises BadAnswer."""
        try:
            self._parser.Parse(data, last)
        except expat.ExpatError as error:
            raise BadAnswer(f"no well-formed XML: {error}") from error
        done, self._done = self._done, []
        return done

    def _document_type(self, *_declared: object) -> None:
        raise BadAnswer("XML with a document type, which is refused: it may hold entities")

    def _start(self, name: str, _attributes: Mapping[str, str]) -> None:
        space, _, local = name.rpartition(_SEPARATOR)
        element = Element(Name(space, local))
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.root = element.name
        self._open.append(element)
        self._count += 1
        if len(self._open) > DEPTH_MAX or self._count > ELEMENTS_MAX:
            raise BadAnswer("XML with too many elements")

    def _text(self, text: str) -> None:
        self._size += len(text)
        if self._size > MEMBER_CHARACTERS_MAX:
            raise BadAnswer("XML with too long a text")
        self._open[-1].pieces.append(text)

    def _end(self, _name: str) -> None:
        element = self._open.pop()
        if len(self._open) == 1:
            self._done.append(element)
            self._open[0].children.clear()
            self._open[0].pieces.clear()
            self._count = self._size = 0


class Multistatus:
    """A multi-status answer as it comes in (RFC 4918, 13)."""

    def __init__(self) -> None:
        """At its beginning."""
        self._reader = Reader()
        self.token = ""
        """Of a sync-collection report, once it is there."""
        self.members: list[Member] = []
        """What it has said so far."""

    def feed(self, data: bytes, *, last: bool = False) -> None:
        """Take some more. Raises BadAnswer."""
        for element in self._reader.feed(data, last=last):
            if element.name == _RESPONSE:
                self.members += _members(element)
            elif element.name == SYNC_TOKEN:
                self.token = element.text.strip()
        if self._reader.root not in {None, _MULTISTATUS}:
            raise BadAnswer("XML that is no multi-status answer")


def _members(response: Element) -> Iterator[Member]:
    status = response.said(_STATUS)
    found = {
        one.name: one
        for each in response.all(_PROPSTAT)
        if _code(each.said(_STATUS)) == 200
        for properties in each.all(_PROP)
        for one in properties.children
    }
    for href in response.all(HREF):
        yield Member(href.text.strip(), _code(status) if status else 200, found)


def _code(status: str) -> int:
    """``HTTP/1.1 404 Not Found`` is 404."""
    word = status.split(" ")[1:2]
    if not word or not word[0].isdecimal():
        raise BadAnswer(f"a status {status!r:.80}")
    return int(word[0])


def precondition(body: bytes) -> str:
    """Which of its conditions a server says was not met (RFC 4918, 16); empty: none."""
    reader = Reader()
    try:
        conditions = reader.feed(body, last=True)
    except BadAnswer:
        return ""
    names = [one.name.local for one in conditions if one.name != _DESCRIPTION]
    return names[0] if names and reader.root == ERROR else ""
