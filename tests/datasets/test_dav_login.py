"""A login that a DAV server ceases to take."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from mailsync.datasets.base import Access

pytest.importorskip("httpx2")
from mailsync.datasets.dav.http import Server


class Book(HTTPServer):
    """Takes one token, and remembers those that it was shown."""

    token = "old"
    shown: list[str]


class Handler(BaseHTTPRequestHandler):
    server: Book

    def do_GET(self) -> None:
        said = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.server.shown.append(said)
        self.send_response(200 if said == self.server.token else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


@pytest.fixture
def book() -> Iterator[Book]:
    served = Book(("127.0.0.1", 0), Handler)
    served.shown = []
    thread = Thread(target=served.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield served
    served.shutdown()
    thread.join()
    served.server_close()


def test_a_token_that_ended_is_replaced_by_the_next_one(book: Book) -> None:
    secrets = ["old"]
    server = Server(f"http://127.0.0.1:{book.server_port}/", Access(lambda: secrets[0]))
    try:
        assert server.ask("GET", "/").status == 200
        book.token = secrets[0] = "new"
        assert server.ask("GET", "/").status == 200
        assert server.ask("GET", "/").status == 200
        assert book.shown == ["old", "old", "new", "new"]
        book.token = "other"
        assert server.ask("GET", "/").status == 401
        assert book.shown[4:] == ["new"], "the same is not tried twice"
    finally:
        server.close()
