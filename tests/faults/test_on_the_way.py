"""What happens to mails between the servers: altered, stripped, doubled, late, lost, answered."""

from __future__ import annotations

import base64
import binascii
import random
import re
from collections.abc import Callable, Iterable
from email import message_from_bytes
from email.mime.message import MIMEMessage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from pathlib import Path
from typing import NamedTuple

import pytest

from mailsync.carriers.bounce import bounce_in
from mailsync.carriers.hints import is_hinted
from mailsync.carriers.message import containers_in
from mailsync.core.model import Key
from mailsync.cycle.run import Extent
from mailsync.store.routes import Route
from tests.cycle.sites import DAY, HOUR, Sites
from tests.faults.post import Alter, Box, MemoryBox, Post, as_it_is, by_post, logged, message_id
from tests.faults.served import read_on
from tests.servers.mail import MailServer

MINUTE = HOUR // 60


class Way(NamedTuple):
    """Alice and Bob, and where his mails lie."""

    sites: Sites
    post: Post
    rounds: int
    """In so many both must hold the same; where nothing is lost, the first is enough."""


@pytest.fixture(params=["memory", "Dovecot"])
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Way:
    sites, post = by_post(tmp_path)
    if request.param == "memory":
        return Way(sites, post, 12)
    server: MailServer = request.getfixturevalue("mail_server")
    read_on(server, sites, post, ["bob"])
    return Way(sites, post, 2)


def edited(sites: Sites, **fields: int | str | bytes) -> None:
    sites.rows("alice")[Key("1")] = {"name": "Ada", **fields}


def settled(sites: Sites, rounds: int = 12, pause: int = DAY) -> bool:
    """Do both hold the same after some rounds?"""
    for _ in range(rounds):
        for name in ("alice", "bob"):
            sites.sync(name)
        sites.clock.now += pause
    return bool(sites.contents("alice")) and sites.contents("alice") == sites.contents("bob")


def route(sites: Sites, name: str, peer: str) -> Route:
    with sites.sites[name].store.transaction() as transaction:
        return transaction.routes.get(peer)


def gateway_headers(raw: bytes) -> Iterable[bytes]:
    """Ids replaced, unknown headers dropped, the subject encoded (RFC 2047)."""
    raw = re.sub(rb"(?m)^Message-ID: .*\r\n", b"Message-ID: <new@gateway.example>\r\n", raw)
    raw = re.sub(rb"(?m)^X-.*\r\n", b"", raw)
    encoded = base64.b64encode(b"[EXTERN] [mailsync] x")
    yield re.sub(rb"(?m)^Subject: .*\r\n", b"Subject: =?utf-8?B?%s?=\r\n" % encoded, raw)


def test_f04_headers_and_ids_are_rewritten(way: Way) -> None:
    sites, post, rounds = way
    post.alter = gateway_headers
    edited(sites)
    assert settled(sites, rounds)
    (raw, *_) = post.box("bob").mails.values() or [next(iter(gateway_headers(post.sent[0])))]
    assert is_hinted(raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
    assert message_id(raw) == "<new@gateway.example>"


def without(mark: bytes, raw: bytes) -> bytes:
    """The mail with a notice in the place of every part that bears the mark."""
    parts = raw.split(b"--=_edge")
    notice = b"\r\nContent-Type: text/plain\r\n\r\nremoved by policy\r\n"
    return b"--=_edge".join(notice if mark in part else part for part in parts)


def without_binaries(raw: bytes) -> Iterable[bytes]:
    yield without(b"application/octet-stream", raw)


def without_attachments(raw: bytes) -> Iterable[bytes]:
    yield without(b"Content-Disposition: attachment", raw)


@pytest.mark.parametrize(("policy", "step"), [(without_binaries, 1), (without_attachments, 2)])
def test_f09_attachments_are_replaced_by_a_notice(way: Way, policy: Alter, step: int) -> None:
    sites, post, rounds = way
    post.alter = policy
    edited(sites)
    assert settled(sites, rounds + 6, 2 * HOUR)
    assert route(sites, "alice", "bob").step == step
    assert f"c={step}".encode() in post.sent[-1]
    assert logged(sites, "bob", "stripped")
    post.alter = as_it_is
    edited(sites, age=36)
    assert settled(sites, rounds)
    assert route(sites, "alice", "bob").step == step  # never down by itself


def emptied(raw: bytes) -> Iterable[bytes]:
    """The body of a mail that says nothing of itself replaced by a notice."""
    header, _, body = raw.partition(b"\r\n\r\n")
    if b"[mailsync]" in header or b"iW1TeW5j" in body:
        return [raw]
    return [header + b"\r\nContent-Type: text/plain\r\n\r\nremoved by policy\r\n"]


def emptied_of_armour(raw: bytes) -> Iterable[bytes]:
    """The same, where base64 does not pass either."""
    header, _, body = raw.partition(b"\r\n\r\n")
    gone = re.fullmatch(rb"\S{20,900}(\r\n\S+)*\r\n", body)
    return [header + b"\r\n\r\nremoved by policy\r\n"] if gone else [raw]


def without_dollars(raw: bytes) -> Iterable[bytes]:
    yield raw.replace(b"$", b"")


@pytest.mark.parametrize(
    ("policy", "step"), [(emptied, 1), (without_dollars, 1), (emptied_of_armour, 2)]
)
def test_f09_a_thin_mail_loses_its_content(tmp_path: Path, policy: Alter, step: int) -> None:
    sites, post = by_post(tmp_path, 'profile = "thin"')
    post.alter = policy
    sites.rows("alice")[Key("1")] = {"name": "Ada", "photo": random.Random(1).randbytes(500)}
    person = b"From: alice@example.org\r\nMessage-ID: <CAF9a1b2@mail.example>\r\n\r\nHello\r\n"
    foreign = b"From: eve@example.org\r\nMessage-ID: <%s@example.org>\r\n\r\n" % (b"0" * 8)
    reply = foreign.replace(b"eve", b"alice").replace(b"\r\n\r\n", b"\r\nReferences: <x@y>\r\n\r\n")
    for raw in (person, foreign, reply):
        post.box("bob").put(raw)
    for _ in range(2):
        sites.sync("alice")
        sites.sync("bob")
    assert len(logged(sites, "bob", "stripped")) == 1
    with sites.sites["bob"].store.transaction() as transaction:
        assert transaction.mailbox.counts() == {"foreign": 3, "waiting": 1}
    assert settled(sites, pause=2 * HOUR)
    assert route(sites, "alice", "bob").step == step
    assert len(logged(sites, "bob", "stripped")) == step


def test_f09_a_forger_makes_us_step_up_and_nothing_else(tmp_path: Path) -> None:
    sites, post = by_post(tmp_path)
    edited(sites)
    assert settled(sites)
    mails = len(post.sent)
    for number in range(50):
        forged = b"From: alice@example.org\r\nX-Mailsync: v=1; c=%d\r\n\r\nno\r\n" % (number % 3)
        post.box("bob").put(forged)
    assert settled(sites, rounds=50)
    assert len(post.sent) - mails <= 3


def in_its_place(box: Box, raw: bytes) -> None:
    assert isinstance(box, MemoryBox)  # Exchange and its like do so, Dovecot does not
    box.mails[1] = raw


def after_it(box: Box, raw: bytes) -> None:
    box.remove(1)
    box.put(raw)


@pytest.mark.parametrize(
    ("way", "comes"),
    [("memory", in_its_place), ("memory", after_it), ("Dovecot", after_it)],
    indirect=["way"],
)
def test_f10_a_scanner_puts_a_placeholder_first(
    way: Way, comes: Callable[[Box, bytes], None]
) -> None:
    sites, post, _ = way
    post.alter = without_binaries
    edited(sites)
    sites.sync("alice")
    sites.sync("bob")
    assert sites.contents("bob") == []
    box = post.box("bob")
    seen = box.downloads
    sites.sync("bob")
    sites.clock.now += 11 * MINUTE
    sites.sync("bob", Extent(sending=False))
    assert box.downloads == seen  # unchanged: not fetched again
    sites.clock.now += HOUR
    comes(box, post.sent[0])
    sites.sync("bob")
    assert sites.contents("bob") == sites.contents("alice")


def test_f10_a_mail_that_stays_empty_is_given_up_after_two_days(tmp_path: Path) -> None:
    sites, post = by_post(tmp_path)
    post.box("bob").put(b"Subject: [mailsync] 7f3a\r\n\r\nScan in progress\r\n")
    told = [len(sites.sync("bob").rejected)]
    for pause in (11 * MINUTE, HOUR, 6 * HOUR, DAY):
        sites.clock.now += pause
        told.append(len(sites.sync("bob").rejected))
    with sites.sites["bob"].store.transaction() as transaction:
        assert transaction.mailbox.counts() == {"waiting": 1}
    sites.clock.now += DAY
    told.append(len(sites.sync("bob").rejected))
    assert told == [1, 0, 0, 0, 0, 1]
    with sites.sites["bob"].store.transaction() as transaction:
        assert transaction.mailbox.counts() == {"rejected": 1}


def test_f12_every_third_mail_is_swallowed(way: Way) -> None:
    sites, post, rounds = way
    count = iter(range(10_000))
    post.alter = lambda raw: [raw] if next(count) % 3 else []
    for number in range(10):
        edited(sites, number=number)
        sites.sync("alice")
    assert settled(sites, rounds)


def disclaimed(raw: bytes) -> Iterable[bytes]:
    inner = message_from_bytes(raw)
    for footer in ("Disclaimer", "Scanned\n-- \nby a gateway"):
        outer = MIMEMultipart("mixed")
        outer.attach(inner)
        outer.attach(MIMEText(footer, "plain", "utf-8"))
        inner = outer
    yield inner.as_bytes() + b"\r\nThis message is confidential.\r\n"


def test_f13_disclaimers_are_wrapped_around(way: Way) -> None:
    sites, post, rounds = way
    post.alter = disclaimed
    edited(sites)
    assert settled(sites, rounds)


def forwarded(raw: bytes) -> Iterable[bytes]:
    outer = MIMEMultipart("mixed")
    outer.attach(MIMEText("please load this"))
    outer.attach(MIMEMessage(message_from_bytes(raw)))
    yield outer.as_bytes()


def addresses(raw: bytes) -> bytes:
    """The lines that every gateway keeps."""
    return b"".join(re.findall(rb"(?m)^(?:From|To): .*\r\n", raw))


def as_winmail(raw: bytes) -> Iterable[bytes]:
    blob = b"\x78\x9f\x3e\x22" + b"".join(containers_in(raw)) + bytes(100)
    head = b"Content-Type: application/ms-tnef\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    yield addresses(raw) + head + base64.encodebytes(blob)


@pytest.mark.parametrize("alter", [forwarded, as_winmail])
def test_f14_the_structure_is_mangled(way: Way, alter: Alter) -> None:
    sites, post, rounds = way
    post.alter = alter
    edited(sites)
    assert settled(sites, rounds)


def recoded(raw: bytes) -> Iterable[bytes]:
    """Base64 in lines of 64, bare line feeds, and the text quoted-printable."""
    text = base64.b64encode(b"".join(containers_in(raw)))
    lines = b"\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    head = addresses(raw).replace(b"\r\n", b"\n")
    if random.Random(len(raw)).random() < 0.5:
        yield head + b"Content-Transfer-Encoding: quoted-printable\n\n" + binascii.b2a_qp(lines)
    else:
        yield head + b"Content-Transfer-Encoding: BASE64\n\n" + lines + b"\n"


def test_f15_bodies_are_encoded_anew(way: Way) -> None:
    sites, post, _ = way
    post.alter = recoded
    for number in range(6):
        edited(sites, text="x" * number * 7)
        assert settled(sites, rounds=1)


REPORT = (
    b"From: MAILER-DAEMON@mail.example\r\nTo: alice@example.org\r\n"
    b'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
    b"--b\r\n\r\nSorry.\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n"
    b"Reporting-MTA: dns; mail.example\r\n\r\nAction: failed\r\nStatus: %s\r\n"
    b"Diagnostic-Code: smtp; 550 %s no such user\r\n\r\n"
    b"--b\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: %s\r\n\r\n--b--\r\n"
)
UNUSUAL = (
    b"From: Mailer-Daemon@gmx.example\r\nSubject: Mail delivery failed\r\n\r\n"
    b"smtp; host said: 550 #%s %s rejected\r\n\r\n> Message-ID: %s\r\n"
)


def bounce(form: bytes, status: bytes, name: str) -> bytes:
    return form % (status, status, name.encode())


@pytest.mark.parametrize("form", [REPORT, UNUSUAL])
def test_f20_a_bounce_is_a_hint_and_never_answered(tmp_path: Path, form: bytes) -> None:
    sites, post = by_post(tmp_path)
    post.alter = lambda _: []
    edited(sites)
    sites.sync("alice")
    post.box("alice").put(bounce(form, b"5.1.1", message_id(post.sent[0])) + b"x" * 20_000_000)
    post.box("alice").put(bounce(form, b"5.3.4", "<forged@example.org>"))
    warned = sites.sync("alice").warnings
    assert len(warned) == 1
    assert "bob" in warned[0]
    assert "5.1.1" in warned[0]
    assert len(post.sent) == 1
    assert route(sites, "alice", "bob").max_message is None
    with sites.sites["alice"].store.transaction() as transaction:
        assert [one.name for one in transaction.warnings.all()] == ["route bob"]
    post.alter = as_it_is
    assert settled(sites)
    with sites.sites["alice"].store.transaction() as transaction:
        assert transaction.warnings.all() == []


def test_f20_no_report_makes_its_reader_fail() -> None:
    chance = random.Random(1)
    report = bounce(REPORT, b"5.1.1", "<1@x>")
    for _ in range(500):
        at = chance.randrange(len(report))
        bounce_in(report[:at] + chance.randbytes(chance.randrange(9)) + report[at:])


def answers(raw: bytes) -> bytes:
    """A robot that is away, quotes everything, and does not know the rules."""
    subject = re.search(rb"(?m)^Subject: (.*)\r$", raw)
    sender = re.search(rb"(?m)^From: (.*)\r$", raw)
    recipient = re.search(rb"(?m)^To: (.*)\r$", raw)
    assert subject
    assert sender
    assert recipient
    return (
        b"From: %s\r\nTo: %s\r\nSubject: Re: %s\r\nIn-Reply-To: %s\r\n\r\nI am away.\r\n\r\n%s"
        % (recipient[1], sender[1], subject[1], message_id(raw).encode(), raw[:1500])
    )


def test_f21_robots_that_answer_are_never_answered(tmp_path: Path) -> None:
    sites, post = by_post(tmp_path)
    replies: list[bytes] = []

    def delivered(raw: bytes) -> Iterable[bytes]:
        replies.append(answers(raw))
        post.box("alice" if b"To: alice" in replies[-1] else "bob").put(replies[-1])
        return [raw]

    post.alter = delivered
    for number in range(1_000):
        if number % 200 == 0:
            edited(sites, number=number)
        sites.sync(("alice", "bob")[number % 2])
        sites.clock.now += HOUR
    assert sites.contents("alice") == sites.contents("bob")
    # a set and its confirmation for each change, and not one mail more
    assert len(replies) == len(post.sent) == 10


def test_f22_mails_take_days_and_overtake_each_other(tmp_path: Path) -> None:
    sites, post = by_post(tmp_path)
    chance = random.Random(22)
    post.hold = True
    waiting: list[bytes] = []
    for number in range(60):
        if number < 30:
            edited(sites, number=number)
        for name in ("alice", "bob"):
            sites.sync(name)
        waiting += post.sent
        post.sent.clear()
        chance.shuffle(waiting)
        for _ in range(chance.randrange(3)):
            if waiting:
                post.deliver(waiting.pop())
        sites.clock.now += DAY
    post.hold = False
    assert settled(sites)
    post.sent.clear()
    assert settled(sites, rounds=5)
    assert not post.sent


def test_f24_one_mail_comes_many_times(tmp_path: Path) -> None:
    sites, post = by_post(tmp_path)
    post.alter = lambda raw: [raw, raw, raw.replace(b"Message-ID: <", b"Message-ID: <copy-")]
    edited(sites)
    sites.sync("alice")
    report = sites.sync("bob")
    assert report.peer("alice").received.upserts == 1
    assert len(logged(sites, "bob", "repeated")) == 2
    assert settled(sites)


def test_f25_the_server_renumbers_the_mailbox(way: Way) -> None:
    sites, post, _ = way
    box = post.box("bob")
    box.put(b"From: eve@example.org\r\n\r\nHello\r\n")
    edited(sites)
    assert settled(sites, rounds=3)
    mails = len(post.sent)
    box.remove(1)
    box.renumber()
    assert sites.sync("bob").peer("alice").received.upserts == 0
    edited(sites, age=36)  # whose mail has the number that an earlier one had
    assert settled(sites, rounds=1)
    assert settled(sites, rounds=2)
    assert len(post.sent) - mails <= 4
