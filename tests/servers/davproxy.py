"""A scripted proxy before a real DAV server, for what a real one does not do on request."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2

_HOP = {"connection", "content-length", "transfer-encoding", "content-encoding", "host", "date"}


@dataclass
class Asked:
    """A request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Said:
    """An answer."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


Script = Callable[[Asked], Said | None]
"""The answer to a request, instead of the server's; None: the server's own."""


def _nothing(_asked: Asked) -> Said | None:
    return None


def _as_it_is(_asked: Asked, said: Said) -> Said:
    return said


@dataclass
class Proxy:
    """Where it listens, what it was asked, and what it does instead of passing it on."""

    url: str
    asked: list[Asked] = field(default_factory=list)
    script: Script = _nothing
    alter: Callable[[Asked, Said], Said] = _as_it_is
    """What becomes of the server's own answer."""

    def methods(self) -> list[str]:
        """What it was asked since the last time."""
        methods = [one.method for one in self.asked]
        self.asked.clear()
        return methods


@contextlib.contextmanager
def proxy_before(server: str, certificates: Path | None = None) -> Iterator[Proxy]:
    """A proxy before the server at this URL; with TLS if there are ``certificates``."""
    with httpx2.Client(base_url=server, trust_env=False, timeout=60.0) as client:

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.command, self.path, headers, body)
                proxy.asked.append(asked)
                said = proxy.script(asked) or proxy.alter(asked, self.passed_on(asked))
                self.send_response(said.status)
                for name, value in said.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(said.body)))
                self.end_headers()
                self.wfile.write(said.body)

            def passed_on(self, asked: Asked) -> Said:
                headers = {name: one for name, one in asked.headers.items() if name not in _HOP}
                response = client.request(
                    asked.method, asked.path, headers=headers, content=asked.body
                )
                kept = {n: v for n, v in response.headers.items() if n.lower() not in _HOP}
                return Said(response.status_code, response.content, kept)

            do_GET = do_PUT = do_DELETE = do_PROPFIND = do_REPORT = answer  # noqa: N815

            def log_message(self, *_words: Any) -> None:
                """It says nothing."""

        listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        scheme = "http"
        if certificates is not None:
            scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
            listener.socket = context.wrap_socket(listener.socket, server_side=True)
        proxy = Proxy(f"{scheme}://localhost:{listener.server_address[1]}")
        thread = threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            listener.shutdown()
            listener.server_close()
            thread.join()
