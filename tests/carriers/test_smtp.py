from __future__ import annotations

import logging
import smtplib
import socket
from dataclasses import replace
from datetime import datetime
from email import message_from_bytes

import pytest

from mailsync.carriers.base import Refused, Retry, Sent, Throttled
from mailsync.carriers.endpoint import Endpoint, Security
from mailsync.carriers.smtp import SmtpSender
from mailsync.errors import (
    BadCertificate,
    BadConfiguration,
    LoginRefused,
    OperatorError,
    Unreachable,
)
from tests.carriers.letters import NOW, container, letter
from tests.servers.mail import PASSWORD, SMALL_LIMIT, MailServer
from tests.servers.stub import Answer, Hangup, Stub, smtp_stub

SHIP = "site1@mail.example"
HUB = "site2@mail.example"


def now() -> datetime:
    return NOW


def sender_to(
    endpoint: Endpoint, password: str = PASSWORD, final_timeout: float = 600
) -> SmtpSender:
    return SmtpSender(
        endpoint,
        password,
        address=SHIP,
        site="aurora",
        clock=now,
        timeout=20,
        final_timeout=final_timeout,
        minimum_rate=1e6,
    )


async def refusal(endpoint: Endpoint, password: str = PASSWORD) -> OperatorError:
    with pytest.raises(OperatorError) as refused:
        await sender_to(endpoint, password).__aenter__()
    text = str(refused.value)
    assert str(endpoint) in text
    assert text.isprintable()
    assert password not in text
    return refused.value


# --- against real servers ------------------------------------------------------------------


@pytest.mark.parametrize("service", ["smtps", "submission", "smtp"])
async def test_a_letter_is_taken_by_every_kind_of_port(
    mail_server: MailServer, service: str
) -> None:
    async with sender_to(mail_server.endpoint(service, SHIP)) as sender:
        result = await sender.send(letter(HUB, container(2000)))
    assert isinstance(result, Sent)
    assert result.size > 2700


async def test_one_connection_serves_a_batch_and_a_refused_letter_in_it(
    mail_server: MailServer,
) -> None:
    async with sender_to(mail_server.endpoint("smtps", SHIP)) as sender:
        first = await sender.send(letter(HUB, container(10), number=1))
        unknown = await sender.send(letter("nobody@mail.example", container(10), number=2))
        odd = await sender.send(letter("a b@mail.example\r\nX: y", container(10), number=3))
        last = await sender.send(letter(HUB, container(10), number=4))
    assert isinstance(first, Sent)
    assert isinstance(unknown, Refused)
    assert "5.1.1" in unknown.reason
    assert not unknown.too_large
    assert isinstance(odd, Refused)
    assert isinstance(last, Sent)


async def test_a_letter_above_the_announced_size_is_refused_before_it_is_sent(
    mail_server: MailServer,
) -> None:
    async with sender_to(mail_server.endpoint("small", SHIP)) as sender:
        assert sender.size_limit == SMALL_LIMIT
        large = await sender.send(letter(HUB, container(SMALL_LIMIT), number=5))
        small = await sender.send(letter(HUB, container(1000), number=6))
    assert isinstance(large, Refused)
    assert large.too_large
    assert isinstance(small, Sent)


async def test_a_wrong_password_is_a_refused_login(mail_server: MailServer) -> None:
    for service in ("smtps", "submission"):
        endpoint = mail_server.endpoint(service, SHIP)
        error = await refusal(endpoint, "wrong-password")
        assert isinstance(error, LoginRefused)
        assert SHIP in str(error)


async def test_an_unknown_authority_is_refused(mail_server: MailServer) -> None:
    for service in ("smtps", "submission"):
        endpoint = replace(mail_server.endpoint(service, SHIP), tls_ca=None)
        error = await refusal(endpoint)
        assert isinstance(error, BadCertificate)
        assert "certificate not accepted" in str(error)


async def test_a_certificate_for_another_host_is_refused(mail_server: MailServer) -> None:
    for service in ("smtps", "submission"):
        endpoint = replace(mail_server.endpoint(service, SHIP), host="127.0.0.1")
        error = await refusal(endpoint)
        assert isinstance(error, BadCertificate)
        assert "127.0.0.1" in str(error)


async def test_tls_to_a_port_that_speaks_clear_text_is_refused(mail_server: MailServer) -> None:
    endpoint = replace(mail_server.endpoint("smtp", SHIP), security=Security.TLS)
    assert isinstance(await refusal(endpoint), BadCertificate)


async def test_a_port_nobody_listens_on_is_unreachable() -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        endpoint = Endpoint("127.0.0.1", one.getsockname()[1], SHIP, Security.CLEAR)
        assert isinstance(await refusal(endpoint), Unreachable)


async def test_an_unknown_host_is_unreachable() -> None:
    error = await refusal(Endpoint("no-such-host.invalid", 465, SHIP))
    assert isinstance(error, Unreachable)


async def test_a_server_that_goes_away_costs_the_rest_of_the_batch_only(
    mail_server: MailServer,
) -> None:
    endpoint = mail_server.endpoint("smtps", SHIP)
    async with sender_to(endpoint) as sender:
        assert isinstance(await sender.send(letter(HUB, container(10), number=7)), Sent)
        mail_server.restart()
        lost = await sender.send(letter(HUB, container(10), number=8))
        assert isinstance(lost, Retry)
        assert not lost.uncertain
        assert isinstance(await sender.send(letter(HUB, container(10), number=9)), Retry)
    async with sender_to(endpoint) as sender:
        assert isinstance(await sender.send(letter(HUB, container(10), number=8)), Sent)


async def test_a_sender_may_not_call_itself_what_it_is_not(mail_server: MailServer) -> None:
    endpoint = mail_server.endpoint("smtps", SHIP)
    async with SmtpSender(endpoint, PASSWORD, address=HUB, site="x", clock=now) as sender:
        result = await sender.send(letter(HUB, container(10)))
    assert isinstance(result, Refused)


def test_an_address_that_cannot_stand_in_a_header_is_bad_configuration() -> None:
    with pytest.raises(BadConfiguration):
        SmtpSender(Endpoint("h.example", 1, ""), "", address="a\r\nb@c.example", site="x")


# --- against a scripted server, for what a real one does not do on request -------------------


def says(answer: bytes) -> Answer:
    return lambda _: answer


def hangs_up(_: str) -> bytes:
    raise Hangup


async def sent_with(
    script: dict[str, Answer], final_timeout: float = 600
) -> tuple[object, object, Stub]:
    """The results of one letter under a script, and of the next one on that connection."""
    async with (
        smtp_stub(script) as stub,
        sender_to(stub.endpoint, final_timeout=final_timeout) as sender,
    ):
        first = await sender.send(letter(HUB, container(100)))
        return first, await sender.send(letter(HUB, container(100), number=2)), stub


async def test_the_stub_takes_letters_byte_for_byte() -> None:
    first, second, stub = await sent_with({})
    assert isinstance(first, Sent)
    assert isinstance(second, Sent)
    assert len(stub.mails[0]) == first.size
    assert message_from_bytes(stub.mails[0])["Date"] == "Mon, 23 Nov 2026 12:00:00 +0000"


async def test_each_attempt_is_dated_when_it_is_made() -> None:  # F17
    times = iter([NOW, NOW.replace(year=2027)])
    async with smtp_stub() as stub:
        one = letter(HUB, container(100))
        sender = SmtpSender(
            stub.endpoint, "", address=SHIP, site="x", clock=lambda: next(times), timeout=20
        )
        async with sender:
            await sender.send(one)
            await sender.send(one)
    first, second = (message_from_bytes(mail) for mail in stub.mails)
    assert first["Date"] != second["Date"]
    assert first["Message-ID"] == second["Message-ID"]


async def test_no_answer_after_the_final_dot_is_uncertain() -> None:  # F1
    first, second, stub = await sent_with({".": hangs_up})
    assert len(stub.mails) == 1
    assert isinstance(first, Retry)
    assert first.uncertain
    assert isinstance(second, Retry)
    assert not second.uncertain


async def test_silence_after_the_final_dot_is_uncertain() -> None:
    first, second, _ = await sent_with({".": says(b"")}, final_timeout=0.2)
    assert isinstance(first, Retry)
    assert first.uncertain
    assert isinstance(second, Retry)


async def test_nonsense_after_the_final_dot_is_uncertain() -> None:
    for nonsense in (b"what?\r\n", b"999 huh\r\n", b"251 elsewhere\r\n"):
        first, second, _ = await sent_with({".": says(nonsense)})
        assert isinstance(first, Retry)
        assert first.uncertain
        assert isinstance(second, Retry)


@pytest.mark.parametrize("command", ["MAIL", "RCPT"])
async def test_a_connection_lost_before_data_is_certain(command: str) -> None:
    first, _, stub = await sent_with({command: hangs_up})
    assert stub.mails == []
    assert isinstance(first, Retry)
    assert not first.uncertain


@pytest.mark.parametrize("phase", ["MAIL", "RCPT", "DATA", "."])
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"552 5.3.4 Message size exceeds fixed limit", Refused("", too_large=True)),
        (b"552 too much", Refused("", too_large=True)),
        (b"554 5.2.3 larger than this mailbox takes", Refused("", too_large=True)),
        (b"552 5.2.2 mailbox full", Retry("")),
        (b"452 4.3.1 insufficient storage", Retry("")),
        (b"450 4.7.1 slow down", Retry("", throttled=True)),
        (b"450 slow down", Retry("", throttled=True)),
        (b"450 4.2.0 mailbox busy", Retry("")),
        (b"550 5.4.5 daily sending quota", Retry("", throttled=True)),
        (b"550 5.7.236 tenant limit", Retry("", throttled=True)),
        (b"550 5.5.0 try later", Retry("")),
        (b"550 5.7.1 policy", Refused("")),
        (b"554 no enhanced code", Refused("")),
    ],
)
async def test_an_answer_is_understood_by_its_code_in_every_phase(
    phase: str, answer: bytes, expected: Retry | Refused
) -> None:  # F5, F7, F23, F28
    first, second, stub = await sent_with({phase: says(answer + b"\r\n")})
    assert len(stub.mails) == (2 if phase == "." else 0)
    assert type(first) is type(expected)
    assert isinstance(first, Retry | Refused)
    assert first._replace(reason="") == expected
    assert answer.decode() == first.reason
    assert type(second) is type(expected)


async def test_a_refused_greeting_is_unreachable() -> None:
    for greeting in (says(b"554 go away\r\n"), says(b"421 busy\r\n"), hangs_up):
        async with smtp_stub({"greeting": greeting}) as stub:
            assert isinstance(await refusal(stub.endpoint), Unreachable)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"535 5.7.8 bad credentials", LoginRefused),
        (b"534 5.7.9 needs an app password", LoginRefused),
        (b"454 4.7.0 temporary failure", Throttled),
        (b"454 4.3.0 temporary failure", Unreachable),
    ],
)
async def test_a_login_is_tried_once_and_its_failure_told_apart(
    answer: bytes, kind: type[OperatorError]
) -> None:
    script = {"AUTH": says(answer + b"\r\n")}
    async with smtp_stub(script, extensions=("AUTH PLAIN LOGIN",)) as stub:
        error = await refusal(stub.endpoint)
    assert type(error) is kind
    assert answer.decode() in str(error)
    assert sum(command.startswith("AUTH") for command in stub.commands) == 1


async def test_a_server_without_login_is_a_refused_login() -> None:
    async with smtp_stub(extensions=("SIZE",)) as stub:
        assert isinstance(await refusal(stub.endpoint), LoginRefused)


async def test_hidden_starttls_is_refused_and_no_secret_is_sent() -> None:  # F37
    async with smtp_stub() as stub:
        endpoint = replace(stub.endpoint, security=Security.STARTTLS)
        error = await refusal(endpoint)
    assert isinstance(error, BadCertificate)
    assert "STARTTLS" in str(error)
    assert [command.split()[0] for command in stub.commands] == ["EHLO"]


async def test_size_and_headers_only_bounces_are_asked_for_where_offered() -> None:  # F20
    extensions = ("AUTH PLAIN", "SIZE 0", "DSN")
    async with smtp_stub(extensions=extensions) as stub, sender_to(stub.endpoint) as sender:
        assert sender.size_limit is None
        result = await sender.send(letter(HUB, container(10)))
    assert isinstance(result, Sent)
    assert f"MAIL FROM:<{SHIP}> SIZE={result.size} RET=HDRS" in stub.commands


async def test_this_machine_does_not_tell_its_name() -> None:
    _, _, stub = await sent_with({})
    assert stub.commands[0] == "EHLO [127.0.0.1]"


async def test_no_secret_and_no_mail_is_ever_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "mailsync")  # commands run in this process set its own
    async with smtp_stub() as stub, sender_to(stub.endpoint, "planted-secret") as sender:
        await sender.send(letter(HUB, container(100)))
    assert "label001" in caplog.text
    for secret in ("planted-secret", "cGxhbnRlZC1zZWNyZXQ", "iW1TeW5j"):
        assert secret not in caplog.text


def test_the_servers_of_these_tests_accept_what_any_client_does(mail_server: MailServer) -> None:
    with smtplib.SMTP("127.0.0.1", mail_server.ports["smtp"]) as client:
        client.login(SHIP, PASSWORD)
