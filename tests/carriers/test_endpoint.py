from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from mailsync.carriers.endpoint import Endpoint, Security, connection_error, one_line, tls_context
from mailsync.errors import BadConfiguration


def test_a_url_names_everything() -> None:
    found = Endpoint.from_url("imaps://sync%40ship.example@mail.ship.example:1993", Path("ca.pem"))
    assert found == Endpoint(
        "mail.ship.example", 1993, "sync@ship.example", Security.TLS, Path("ca.pem")
    )
    assert found.account == "sync@ship.example@mail.ship.example"


@pytest.mark.parametrize(
    ("url", "port", "security"),
    [
        ("imaps://u@h.example", 993, Security.TLS),
        ("smtps://u@h.example", 465, Security.TLS),
        ("smtp+starttls://u@h.example", 587, Security.STARTTLS),
        ("imap://u@localhost", 143, Security.CLEAR),
        ("smtp://u@127.0.0.1", 25, Security.CLEAR),
        ("smtp://127.8.8.8", 25, Security.CLEAR),
        ("imap://u@[::1]/", 143, Security.CLEAR),
    ],
)
def test_each_scheme_has_its_port_and_security(url: str, port: int, security: Security) -> None:
    found = Endpoint.from_url(url, None)
    assert (found.port, found.security) == (port, security)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("imap://u@mail.example", "clear text is allowed to this machine only"),
        ("smtp://u@192.168.1.1", "clear text"),
        ("smtp://u@localhost.evil.example", "clear text"),
        ("http://u@mail.example", "http scheme"),
        ("mail.example", "no scheme"),
        ("imap+starttls://u@mail.example", "known: imaps"),
        ("imaps://u@", "no valid host"),
        ("imaps://u@mail.example:99999", "not well formed"),
        ("imaps://u@mail.example:0", "not a port"),
        ("imaps://u@mail.example/INBOX", "nothing may follow"),
        ("imaps://u%0d%0a@mail.example", "control character"),
        ("imaps://u@" + "a" * 70 + ".example", "no valid host"),
        ("imaps://[::1", "not well formed"),
    ],
)
def test_an_unusable_url_is_refused_with_its_reason(url: str, words: str) -> None:
    with pytest.raises(BadConfiguration, match=words):
        Endpoint.from_url(url, None)


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(BadConfiguration) as refused:
        Endpoint.from_url("imaps://u:hunter2@mail.example", None)
    assert "hunter2" not in str(refused.value)


def test_tls_is_always_verified() -> None:
    for security in (Security.TLS, Security.STARTTLS):
        context = tls_context(Endpoint("h.example", 1, "u", security))
        assert context is not None
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname
    assert tls_context(Endpoint("::1", 1, "u", Security.CLEAR)) is None


def test_an_unusable_authority_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("nothing")
    for name in ("missing.pem", "empty.pem"):
        with pytest.raises(BadConfiguration, match=name):
            tls_context(Endpoint("h.example", 1, "u", Security.TLS, tmp_path / name))


def test_errors_name_host_and_port_in_one_line() -> None:
    endpoint = Endpoint("h.example", 993, "u")
    for error in (
        TimeoutError(),
        ConnectionRefusedError(111, "Connection refused"),
        ssl.SSLError("odd\nlines"),
        RuntimeError("odd\r\nwords"),
        OSError(),
    ):
        text = str(connection_error(endpoint, error))
        assert text.startswith("h.example:993: ")
        assert text.isprintable()


def test_a_server_cannot_write_on_our_log() -> None:
    assert one_line("a\r\nb\x1b[2J\x00 c" + "d" * 1000) == "a b [2J c" + "d" * 191
