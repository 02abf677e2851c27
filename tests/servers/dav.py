"""Real CardDAV and CalDAV servers on loopback, Radicale and Xandikos, and a user of theirs.

They come from an environment of their own: see ``scripts/dav-peers``.
"""

from __future__ import annotations

import contextlib
import itertools
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import httpx2
import pytest

from tests.servers.process import HOST, free_port, own_folder, running

USER, PASSWORD = "ann", "correct horse"

_ROOT = Path(__file__).parents[2]
_BOOK = "urn:ietf:params:xml:ns:carddav", "addressbook"
_CALENDAR = "urn:ietf:params:xml:ns:caldav", "calendar"
_KINDS = {"carddav": _BOOK, "caldav": _CALENDAR}


class DavServer:
    """A server with one user, who makes collections and changes them by plain HTTP."""

    def __init__(self, url: str, home: str) -> None:
        """``home``: the path of the user's collections, with a slash at its end."""
        self.url = url
        self.home = home
        self._numbers = itertools.count(1)
        self.client = httpx2.Client(
            base_url=url, auth=(USER, PASSWORD), trust_env=False, timeout=60.0
        )

    def new(self, scheme: str, title: str = "Crew") -> DavCollection:
        """A new, empty collection."""
        space, kind = _KINDS[scheme]
        path = f"{self.home}c{next(self._numbers)}/"
        body = (
            f'<D:mkcol xmlns:D="DAV:" xmlns:K="{space}"><D:set><D:prop><D:resourcetype>'
            f"<D:collection/><K:{kind}/></D:resourcetype><D:displayname>{title}</D:displayname>"
            "</D:prop></D:set></D:mkcol>"
        )
        self._done("MKCOL", path, content=body, headers={"Content-Type": "application/xml"})
        return DavCollection(self, scheme, path)

    def _done(self, method: str, path: str, **words: object) -> httpx2.Response:
        response = self.client.request(method, path, **words)  # type: ignore[arg-type]
        assert response.status_code < 300, (
            f"{method} {path}: {response.status_code} {response.text}"
        )
        return response


class DavCollection:
    """A collection, as the application on a telephone sees it."""

    def __init__(self, server: DavServer, scheme: str, path: str) -> None:
        self.server = server
        self.scheme = scheme
        self.path = path
        host = server.url.replace("://", f"://{USER}@")
        self.source = f"{scheme}:{host}{path}"

    def put(self, key: str, text: str) -> None:
        """Insert or overwrite a record."""
        self.server._done("PUT", self._at(key), content=text.encode())

    def remove(self, key: str) -> None:
        self.server._done("DELETE", self._at(key))

    def text(self, key: str) -> str:
        return self.server._done("GET", self._at(key)).text

    def _at(self, key: str) -> str:
        return self.path + quote(key)


@pytest.fixture(scope="session")
def radicale() -> Iterator[DavServer]:
    with running_radicale() as server:
        yield server


@pytest.fixture(scope="session")
def xandikos() -> Iterator[DavServer]:
    with running_xandikos() as server:
        yield server


@contextlib.contextmanager
def running_radicale() -> Iterator[DavServer]:
    """A server of its own, for as long as it is used. It wants a login, and rewrites records."""
    with own_folder() as folder, free_port() as port:
        (folder / "users").write_text(f"{USER}:{PASSWORD}\n")
        (folder / "config").write_text(
            f"[server]\nhosts = {HOST}:{port}\n"
            f"[auth]\ntype = htpasswd\nhtpasswd_encryption = plain\n"
            f"htpasswd_filename = {folder / 'users'}\ndelay = 0\n"
            f"[storage]\nfilesystem_folder = {folder / 'data'}\n"
        )
        command = [peer("radicale"), "-C", str(folder / "config")]
        url = f"http://{HOST}:{port}"
        with running(folder, command, _greeting(url)):
            server = DavServer(url, f"/{USER}/")
            yield server


@contextlib.contextmanager
def running_xandikos() -> Iterator[DavServer]:
    """A server of its own, for as long as it is used. It lets everybody in, and keeps bytes."""
    with own_folder() as folder, free_port() as port:
        words = ["serve", "-d", str(folder / "data"), "-l", HOST, "-p", str(port), "--autocreate"]
        command = [peer("xandikos"), *words, f"--current-user-principal=/{USER}/"]
        url = f"http://{HOST}:{port}"
        with running(folder, command, _greeting(url)):
            server = DavServer(url, f"/{USER}/contacts/")
            yield server


def peer(name: str) -> str:
    """A program of the tests' environment of DAV servers and clients, which is made now."""
    subprocess.run([_ROOT / "scripts" / "dav-peers"], check=True)
    return str(_ROOT / ".venv-dav" / "bin" / name)


def _greeting(url: str) -> Callable[[str], httpx2.Client]:
    def greet(_name: str) -> httpx2.Client:
        client = httpx2.Client(trust_env=False)
        client.request("OPTIONS", url)
        return client

    return greet
