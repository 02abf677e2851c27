"""Faults between a site and its submission server that no real one makes on request, scripted."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from datetime import datetime
from email import message_from_bytes
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

import mailsync
from mailsync.carriers.base import Letter, Profile
from mailsync.carriers.endpoint import Security
from mailsync.carriers.message import compose_message
from mailsync.config.quantities import parse_rates
from mailsync.core.container import Kind, frame
from mailsync.core.model import Key
from mailsync.cycle.health import examine_links
from mailsync.cycle.packing import BASE64_GROWTH, MAIL_OVERHEAD
from mailsync.cycle.run import Extent
from mailsync.cycle.sending import RETRY_AFTER_MS
from mailsync.errors import BadCertificate, Exit, LoginRefused
from tests.carriers.letters import NOW, container
from tests.cycle.sites import DAY, HOUR, Sites
from tests.faults.post import (
    Post,
    by_post,
    cycle,
    logged,
    message_id,
    submit_to,
    unstuffed,
)
from tests.servers.stub import Answer, Hangup, smtp_stub

STEPS = [0, 1, 2]
PROFILES: list[Profile] = ["robust", "thin"]


@pytest.fixture
def sites(tmp_path: Path) -> tuple[Sites, Post]:
    return by_post(tmp_path)


def says(*answers: str) -> Answer:
    """These answers in turn, the last one for ever; an empty one: no answer, but the end."""
    turn: Iterator[str] = iter(answers)

    def answer(_line: str) -> bytes:
        text = next(turn, answers[-1])
        if not text:
            raise Hangup
        return text.encode() + b"\r\n"

    return answer


def edited(sites: Sites, size: int = 0) -> None:
    sites.rows("alice")[Key("1")] = {"name": "Ada", "photo": random.Random(1).randbytes(size)}


def waiting(sites: Sites) -> int:
    with sites.sites["alice"].store.transaction() as transaction:
        return len(transaction.outbox.items())


async def arrives(sites: Sites, post: Post, mails: list[bytes]) -> bool:
    """Does Bob hold what Alice holds once these mails are there?"""
    for raw in mails:
        post.deliver(unstuffed(raw))
    await cycle(sites, "bob")
    return sites.contents("bob") == sites.contents("alice") != []


def composed(
    content: bytes, profile: Profile = "robust", step: int = 0, label: str = "7f3a91c2"
) -> bytes:
    one = Letter("b@hub.example", content, "<1@x.example>", label, 7, 99, profile, step)
    return compose_message(one, sender="a@x.example", date=NOW, boundary="=_edge", site="x" * 60)


async def test_f01_no_answer_after_the_final_dot(sites: tuple[Sites, Post]) -> None:
    world, post = sites
    edited(world)
    async with smtp_stub({".": says("", "250 taken")}) as stub:
        submit_to(world, post, stub.endpoint)
        assert (await cycle(world, "alice")).exit_code == Exit.TEMPORARY
        now = world.clock.now
        early = await cycle(world, "alice", Extent(due_by=now + RETRY_AFTER_MS - 1000))
        assert early.exit_code == Exit.OK
        assert len(stub.mails) == 1
        world.clock.now += RETRY_AFTER_MS
        await cycle(world, "alice", Extent(due_by=world.clock.now))
    first, second = stub.mails
    assert message_id(first) == message_id(second)
    assert await arrives(world, post, [first, second])
    assert len(logged(world, "bob", "repeated")) == 1
    assert waiting(world) == 0


async def test_f03_a_known_message_id_is_swallowed(sites: tuple[Sites, Post]) -> None:
    world, post = sites
    known: set[str] = set()

    def swallow(raw: bytes) -> list[bytes]:
        first = message_id(raw) not in known
        known.add(message_id(raw))
        return [raw] if first and len(known) > 1 else []

    post.alter = swallow
    edited(world)
    await cycle(world, "alice")
    world.clock.now += 2 * DAY
    await cycle(world, "alice")
    assert len(known) == 2  # a resend has a name of its own
    assert await arrives(world, post, [])


@pytest.mark.parametrize("where", ["announced", "at MAIL", "after DATA", "by bounce"])
async def test_f05_a_mail_is_too_large(sites: tuple[Sites, Post], where: str) -> None:
    world, post = sites
    limit = 150_000
    edited(world, 400_000)
    script: dict[str, Answer] = {}
    extensions = ("AUTH PLAIN", "SIZE")

    def judged(_line: str) -> bytes:
        too_large = len(stub.mails[-1]) > limit
        return b"552 5.3.4 too big\r\n" if too_large else b"250 2.0.0 taken\r\n"

    def announced(line: str) -> bytes:
        size = re.search(r"SIZE=(\d+)", line)
        return b"552 too big\r\n" if size and int(size[1]) > limit else b"250 fine\r\n"

    if where == "announced":
        extensions = ("AUTH PLAIN", f"SIZE {limit}")
    elif where == "at MAIL":
        script["MAIL"] = announced
    elif where == "after DATA":
        script["."] = judged
    async with smtp_stub(script, extensions=extensions) as stub:
        submit_to(world, post, stub.endpoint)
        for _ in range(8):
            seen = len(stub.mails)
            await cycle(world, "alice")
            for raw in stub.mails[seen:] if where == "by bounce" else ():
                if len(raw) > limit:
                    post.box("alice").put(_size_bounce(raw))
    taken = [raw for raw in stub.mails if len(raw) <= limit]
    assert len(taken) >= 4
    if where in ("announced", "at MAIL"):
        assert taken == stub.mails  # not one byte of a larger one went
    assert await arrives(world, post, taken)


def _size_bounce(raw: bytes) -> bytes:
    return (
        b"From: postmaster@hub.example\r\nContent-Type: multipart/report; boundary=b\r\n\r\n"
        b"--b\r\n\r\nAction: failed\r\nStatus: 5.3.4\r\n--b\r\n\r\nMessage-ID: %s\r\n--b--\r\n"
        % message_id(raw).encode()
    )


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("step", STEPS)
def test_f06_the_encoded_size_is_what_counts(profile: Profile, step: int) -> None:
    for size in (1, 100, 56_000, 300_001):
        content = frame(Kind.BUNDLE, bytes(size))
        mail = composed(content, profile, step)
        assert len(content) * 5 / 4 < len(mail) <= len(content) * BASE64_GROWTH + MAIL_OVERHEAD


def test_f06_no_mail_is_larger_than_allowed(tmp_path: Path) -> None:
    world, post = by_post(tmp_path, 'max_message = "32 KiB"')
    edited(world, 200_000)
    world.sync("alice")
    assert len(post.sent) > 5
    assert 30_000 < max(map(len, post.sent)) <= 32_768


def allows(sites: Sites, name: str, rates: str) -> None:
    """From now on the provider of this site takes so many mails."""
    site = sites.sites[name]
    assert site.settings.mail
    mail = site.settings.mail.model_copy(update={"max_mails": parse_rates(rates)})
    site.settings = site.settings.model_copy(update={"mail": mail})


def reasons(sites: Sites) -> list[str]:
    """What status says of the mails that wait at Alice's."""
    site = sites.sites["alice"]
    with site.store.transaction() as transaction:
        return [link.refusal for link in examine_links(site, transaction)]


async def test_f07_no_more_mails_than_the_provider_allows(tmp_path: Path) -> None:
    world, post = by_post(tmp_path, 'max_message = "32 KiB"')
    allows(world, "alice", "3/minute, 5/day")
    edited(world, 150_000)
    went = []
    for _ in range(4):
        report = await cycle(world, "alice")
        assert report.exit_code == Exit.TEMPORARY
        assert reasons(world)[0].startswith("max_mails allows no more before 2026-")
        went.append(len(post.sent))
        world.clock.now += 61_000
    assert went == [3, 5, 5, 5]
    world.clock.now += DAY
    for _ in range(2):
        await cycle(world, "alice")
        world.clock.now += 61_000
    assert waiting(world) == 0
    assert reasons(world) == [""]
    assert len(post.sent) == 7  # and nothing twice for having waited a day
    assert await arrives(world, post, [])


async def test_f07_acknowledgements_come_last(tmp_path: Path) -> None:
    world, post = by_post(tmp_path)
    carrier = world.sites["alice"].carrier
    world.add("alice", {"bob": "", "carol": ""}).carrier = carrier
    world.rows("bob")[Key("1")] = {"name": "Ada"}
    await cycle(world, "bob")
    await cycle(world, "alice", Extent(sending=False))
    world.clock.now += 2 * HOUR
    allows(world, "alice", "1/hour")
    for peer in ("carol", "bob"):  # what carol lacks, then Bob's confirmation
        await cycle(world, "alice")
        assert f"To: {peer}@example.org".encode() in post.sent[-1]
        world.clock.now += HOUR
    assert len(post.sent) == 3


@pytest.mark.parametrize(
    "answer", ["450 4.7.1 slow down", "550 5.4.5 daily limit", "550 5.7.236 x", "421 4.3.2 bye"]
)
async def test_f07_a_quota_of_mails_is_learnt(tmp_path: Path, answer: str) -> None:
    world, post = by_post(tmp_path, 'max_message = "32 KiB"')
    edited(world, 100_000)
    tried = says("250 ok", "250 ok", *[answer] * 8, "250 ok")
    async with smtp_stub({"RCPT": tried}) as stub:
        submit_to(world, post, stub.endpoint)

        def attempts() -> int:
            return sum(line.startswith("RCPT") for line in stub.commands)

        assert (await cycle(world, "alice")).exit_code == Exit.TEMPORARY
        assert waiting(world) >= 2
        for minutes in (10, 20, 40, 80, 160, 320, 360, 360):
            before, connections = attempts(), len(stub.connections)
            for pause in (0, minutes - 1):
                world.clock.now += pause * 60_000
                assert (await cycle(world, "alice")).exit_code == Exit.TEMPORARY
                assert (attempts(), len(stub.connections)) == (before, connections)
            assert f": {answer}" in reasons(world)[0]
            assert reasons(world)[0].startswith("paused until 2026-")
            world.clock.now += 60_000
            await cycle(world, "alice")
            assert attempts() == before + 1 or waiting(world) == 0
    assert waiting(world) == 0
    assert await arrives(world, post, stub.mails)


async def test_f07_a_server_that_will_not_even_talk_to_us_is_left_alone(tmp_path: Path) -> None:
    world, post = by_post(tmp_path)
    edited(world)
    async with smtp_stub({"greeting": says("421 4.7.0 too many logins", "220 hello")}) as stub:
        submit_to(world, post, stub.endpoint)
        for pause in (0, 0, 9 * 60_000):
            world.clock.now += pause
            assert (await cycle(world, "alice")).exit_code == Exit.TEMPORARY
            assert len(stub.connections) == 1
            assert reasons(world)[0].startswith("paused until 2026-")
            assert "421 4.7.0 too many logins" in reasons(world)[0]
        world.clock.now += 60_000
        assert (await cycle(world, "alice")).problems == []
        assert await arrives(world, post, stub.mails)


BLOCKED_NAMES = re.compile(
    r"(?i)\.(zip|gz|xz|7z|rar|z|bz2|exe|img|iso|lib|mat|ops|py|js|vbs|bat|cmd|com|scr|jar|htm)$"
)
BLOCKED_STARTS = (b"PK", b"\x1f\x8b", b"\xfd7zXZ", b"7z\xbc\xaf", b"\x28\xb5\x2f\xfd", b"MZ")


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("step", STEPS)
def test_f08_nothing_in_a_mail_is_on_the_lists_of_filters(profile: Profile, step: int) -> None:
    message = message_from_bytes(composed(container(1000), profile, step))
    for part in message.walk():
        name = part.get_filename() or ""
        assert len(name) <= 40
        assert not BLOCKED_NAMES.search(name)
        payload = part.get_payload(decode=True)
        assert not isinstance(payload, bytes) or not payload.startswith(BLOCKED_STARTS)
        assert part.get_content_type() in {
            "multipart/mixed",
            "text/plain",
            "application/octet-stream",
        }


async def test_f17_a_mail_is_dated_when_it_is_tried(sites: tuple[Sites, Post]) -> None:
    world, post = sites
    edited(world)
    async with smtp_stub({".": says("", "250 taken")}) as stub:
        submit_to(world, post, stub.endpoint)
        await cycle(world, "alice")
        world.clock.now += 10 * DAY
        await cycle(world, "alice")
    dates = [parsedate_to_datetime(str(message_from_bytes(raw)["Date"])) for raw in stub.mails[:2]]
    assert (dates[1] - dates[0]).days == 10
    assert isinstance(dates[1], datetime)


@pytest.mark.parametrize("step", STEPS)
def test_f18_all_our_headers_stay_short(step: int) -> None:
    header = composed(container(10), step=step, label="x" * 24).partition(b"\r\n\r\n")[0]
    assert len(header) < 1000
    assert max(map(len, header.splitlines())) < 200


@pytest.mark.parametrize("step", STEPS)
def test_f19_no_partial_messages(step: int) -> None:
    assert b"message/partial" not in composed(container(10), step=step)
    package = Path(mailsync.__file__ or "").parent
    sources = [path.read_text("utf-8") for path in package.rglob("*.py")]
    assert len(sources) > 50
    assert not any("message/partial" in source for source in sources)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("550 5.5.0 try again", Exit.TEMPORARY),
        ("450 4.1.2 bad domain", Exit.TEMPORARY),
        ("550 5.1.1 unknown user", Exit.FAILED),
        ("554 5.7.1 spam", Exit.FAILED),
    ],
)
async def test_f23_a_final_refusal_may_pass(
    sites: tuple[Sites, Post], answer: str, code: Exit
) -> None:
    world, post = sites
    edited(world)
    async with smtp_stub({"RCPT": says(answer, answer, "250 ok")}) as stub:
        submit_to(world, post, stub.endpoint)
        for _ in range(2):
            assert (await cycle(world, "alice")).exit_code == code
            with world.sites["alice"].store.transaction() as transaction:
                (item,) = transaction.outbox.items()
            assert answer in item.reason  # what status shows
            world.clock.now += 6 * 3_600_000
        assert (await cycle(world, "alice")).exit_code == Exit.OK
    assert await arrives(world, post, stub.mails)


async def test_f34_a_login_rots(sites: tuple[Sites, Post]) -> None:
    world, post = sites
    edited(world)
    async with smtp_stub({"AUTH": says("535 5.7.8 expired", "235 fine")}) as stub:
        submit_to(world, post, stub.endpoint)
        report = await cycle(world, "alice")
        assert isinstance(report.problems[0], LoginRefused)
        assert report.exit_code == Exit.LOGIN_REFUSED
        assert waiting(world) == 1
        await cycle(world, "alice")
    assert await arrives(world, post, stub.mails)


async def test_f37_starttls_is_hidden(sites: tuple[Sites, Post]) -> None:
    world, post = sites
    edited(world)
    async with smtp_stub() as stub:
        endpoint = stub.endpoint
        object.__setattr__(endpoint, "security", Security.STARTTLS)
        submit_to(world, post, endpoint)
        report = await cycle(world, "alice")
    assert isinstance(report.problems[0], BadCertificate)
    assert not [line for line in stub.commands if line.startswith(("AUTH", "MAIL"))]
    assert waiting(world) == 1


async def test_f28_the_peers_mailbox_is_full(sites: tuple[Sites, Post]) -> None:
    world, post = sites
    edited(world)
    async with smtp_stub({"RCPT": says("552 5.2.2 mailbox full", "250 ok")}) as stub:
        submit_to(world, post, stub.endpoint)
        report = await cycle(world, "alice")
        assert report.exit_code == Exit.TEMPORARY
        await cycle(world, "alice")
    with world.sites["alice"].store.transaction() as transaction:
        assert transaction.routes.get("bob").max_message is None  # not a matter of its size
    assert await arrives(world, post, stub.mails)
