"""Where the collections of a user are on a server (RFC 6764, 5397, 6352, 4791)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from mailsync.datasets.dav.http import Server
from mailsync.datasets.dav.verbs import DAV_KINDS, Collection, Kind, properties
from mailsync.datasets.dav.xml import DISPLAY_NAME, PRINCIPAL, RESOURCE_TYPE, Member
from mailsync.errors import BadConfiguration, DatasetError, DatasetMissing


class Place(NamedTuple):
    """A collection that is there."""

    path: str
    title: str


def collection_at(server: Server, kind: Kind) -> Collection:
    """The collection at the server's path: that itself, or the only one its user has.

    Raises :class:`mailsync.errors.DatasetError`, ``BadConfiguration``.
    """
    found = places_at(server, kind)
    if len(found) > 1:
        names = ", ".join(f"{kind.scheme}:{server.base}{one.path}" for one in found)
        raise BadConfiguration(f"{server.base} has several {kind.words}, name one: {names}")
    if not found:
        raise DatasetMissing(f"there are no {kind.words} at {server.base}{server.path}")
    return Collection(server, found[0].path, kind)


def places_at(server: Server, kind: Kind) -> list[Place]:
    """The collections of this kind at the server's path: itself, those in it, or its user's.

    Raises :class:`mailsync.errors.DatasetError`.
    """
    for path in _beginnings(server, kind):
        own = _about(server, path, kind)
        if own is None:
            continue
        if kind.resource in own.kinds(RESOURCE_TYPE):
            return [_place(own)]
        if any(other.resource in own.kinds(RESOURCE_TYPE) for other in DAV_KINDS.values()):
            return []  # who names another kind of collection does not mean the user's only one
        for homes in _homes(server, own, kind):
            if found := [one for home in homes for one in _in(server, home, kind)]:
                return found
    return []


def _beginnings(server: Server, kind: Kind) -> Iterator[str]:
    """Where to begin: who names the server alone leaves it to that (RFC 6764, 5)."""
    if server.path != "/":
        yield server.path
    else:
        yield f"/.well-known/{kind.scheme}"
        yield "/"


def _about(server: Server, path: str, kind: Kind) -> Member | None:
    """What a resource says of itself; None: there is no such resource, or it says nothing."""
    names = (RESOURCE_TYPE, DISPLAY_NAME, PRINCIPAL, kind.home)
    try:
        found = properties(server, path, names)
    except DatasetError as error:
        if path == server.path or type(error) not in {DatasetError, DatasetMissing}:
            raise
        return None
    return found[0] if found else None


def _homes(server: Server, own: Member, kind: Kind) -> Iterator[list[str]]:
    """Where collections may be: where the resource says, in it, where its user's principal says."""
    if own.hrefs(kind.home):
        yield [server.at(one) for one in own.hrefs(kind.home)]
        return
    yield [own.href]
    for principal in own.hrefs(PRINCIPAL):
        about = _about(server, server.at(principal), kind)
        if about is not None:
            yield [server.at(one) for one in about.hrefs(kind.home)]


def _in(server: Server, home: str, kind: Kind) -> Iterator[Place]:
    for member in properties(server, home, (RESOURCE_TYPE, DISPLAY_NAME), 1):
        if kind.resource in member.kinds(RESOURCE_TYPE):
            yield _place(member)


def _place(member: Member) -> Place:
    title = member.text(DISPLAY_NAME).strip()
    return Place(member.href, title or member.href.rstrip("/").rpartition("/")[2])
