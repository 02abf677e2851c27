"""Faults of mailboxes that no real server makes on request, scripted."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from mailsync.carriers.base import Quota, Throttled
from mailsync.carriers.endpoint import Endpoint
from mailsync.carriers.imap import ImapMailbox
from mailsync.core.model import Key
from mailsync.cycle.report import Report
from mailsync.errors import Exit, Unreachable
from tests.cycle.sites import Sites
from tests.faults.post import Post, by_post, cycle, logged, read_from
from tests.servers.stub import Answer, Hangup, imap_stub

MINUTE = 60_000
PATIENCE = 30
"""Seconds a mail may take on loopback."""


def edited(sites: Sites, **fields: int | str) -> None:
    sites.rows("alice")[Key("1")] = {"name": "Ada", **fields}


def says(text: str) -> Answer:
    return lambda _line: text.encode()


Ranges = Callable[[bytes, int, int], bytes]


def honest(raw: bytes, at: int, size: int) -> bytes:
    return b"BODY[]<%d> " % at + literal(raw[at : at + size])


def whole(raw: bytes, _at: int, _size: int) -> bytes:
    return b"BODY[] " + literal(raw)


def literal(data: bytes) -> bytes:
    return b"{%d}\r\n%s" % (len(data), data)


def server_with(raw: bytes, size: int, ranges: Ranges = honest) -> dict[str, Answer]:
    """An inbox with one mail that is there, announced with this size, and one that is not."""
    header = raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"

    def fetch(line: str) -> bytes:
        if match := re.search(r"BODY.PEEK\[\]<(\d+)\.(\d+)>", line):
            item = ranges(raw, int(match[1]), int(match[2]))
        elif "BODY.PEEK[])" in line:
            item = whole(raw, 0, len(raw))
        else:
            item = b"RFC822.SIZE %d BODY[HEADER]<0> %s" % (size, literal(header))
        return b"* 1 FETCH (UID 4 %s)\r\nTAG OK done\r\n" % item

    return {"SEARCH": says("* SEARCH 4 9\r\nTAG OK done\r\n"), "FETCH": fetch}


@pytest.fixture
def sent(tmp_path: Path) -> tuple[Sites, Post, bytes]:
    """Alice and Bob, and the mail that Alice wrote to him."""
    sites, post = by_post(tmp_path)
    post.hold = True
    sites.rows("alice")[Key("1")] = {"name": "Ada", "text": "x" * 100}
    sites.sync("alice")
    return sites, post, post.sent[0]


def imap(endpoint: Endpoint) -> Callable[[], ImapMailbox]:
    return lambda: ImapMailbox(endpoint, "x", peers=["alice@example.org"], timeout=5)


async def read(
    sent: tuple[Sites, Post, bytes], script: dict[str, Answer], capabilities: str = "UIDPLUS"
) -> Report:
    """Bob reads from a scripted server."""
    sites, post, _ = sent
    async with imap_stub(script, capabilities=capabilities) as stub:
        read_from(sites, post, imap(stub.endpoint))
        return await cycle(sites, "bob")


def same(sent: tuple[Sites, Post, bytes]) -> bool:
    return sent[0].contents("bob") == sent[0].contents("alice") != []


@pytest.mark.parametrize("size", [0, 10, 5_000_000])
async def test_f16_the_server_lies_about_sizes(sent: tuple[Sites, Post, bytes], size: int) -> None:
    await read(sent, server_with(sent[2], size))
    assert same(sent)


async def test_f25_a_listed_mail_is_not_there(sent: tuple[Sites, Post, bytes]) -> None:
    report = await read(sent, server_with(sent[2], len(sent[2])))
    assert report.exit_code == Exit.OK
    assert same(sent)


@pytest.mark.parametrize(
    ("used", "warned"), [(799, False), (800, True), (1_000, True), (2_000, True)]
)
async def test_f28_our_mailbox_is_nearly_full(
    sent: tuple[Sites, Post, bytes], used: int, *, warned: bool
) -> None:
    quota = says(f'* QUOTAROOT "INBOX" ""\r\n* QUOTA "" (STORAGE {used} 1000)\r\nTAG OK\r\n')
    report = await read(sent, {"GETQUOTAROOT": quota}, "QUOTA UIDPLUS")
    assert bool(report.warnings) is warned
    with sent[0].sites["bob"].store.transaction() as transaction:
        assert bool(transaction.warnings.all()) is warned


def test_f28_a_warning_ends_with_its_cause_and_is_logged_once(tmp_path: Path) -> None:
    sites, post = by_post(tmp_path)
    post.quota = Quota(95, 100)
    for _ in range(3):
        assert len(sites.sync("bob").warnings) == 1
    assert len(logged(sites, "bob", "warning")) == 1
    post.quota = Quota(10, 100)
    assert sites.sync("bob").warnings == []
    with sites.sites["bob"].store.transaction() as transaction:
        assert transaction.warnings.all() == []


async def test_f29_idle_is_dead() -> None:
    async with imap_stub({"NOOP": lambda _: b""}) as stub:
        mailbox = ImapMailbox(stub.endpoint, "x", timeout=0.3)
        async with asyncio.timeout(PATIENCE), mailbox:
            assert [arrival async for arrival in mailbox.arrivals(())] == []
            with pytest.raises(Unreachable):
                await mailbox.wait(0.1)


def more_than_asked(raw: bytes, at: int, _size: int) -> bytes:
    return b"BODY[]<%d> " % at + literal(raw[at:])


def from_the_start(raw: bytes, _at: int, size: int) -> bytes:
    return b"BODY[]<0> " + literal(raw[:size])


def another_place(raw: bytes, at: int, size: int) -> bytes:
    """What is said to be the end is another piece of the mail."""
    return b"BODY[]<%d> " % at + literal(raw[:size] if at == 0 else raw[at - 99 : at - 99 + size])


def enlarged(sent: tuple[Sites, Post, bytes]) -> tuple[Sites, Post, bytes]:
    """The same two, and a mail that is fetched in several ranges."""
    sites, post, _ = sent
    sites.rows("alice")[Key("1")] = {"name": "Ada", "photo": random.Random(1).randbytes(300_000)}
    sites.sync("alice")
    assert len(post.sent[-1]) > 400_000
    return sites, post, post.sent[-1]


@pytest.mark.parametrize("ranges", [honest, whole, more_than_asked])
async def test_f30_ranges_are_ignored(sent: tuple[Sites, Post, bytes], ranges: Ranges) -> None:
    await read(sent, server_with(sent[2], len(sent[2]), ranges))
    assert same(sent)


@pytest.mark.parametrize("ranges", [honest, whole, more_than_asked, from_the_start])
def test_f30_ranges_of_a_large_mail_are_ignored(
    sent: tuple[Sites, Post, bytes], ranges: Ranges
) -> None:
    large = enlarged(sent)
    asyncio.run(read(large, server_with(large[2], len(large[2]), ranges)))
    assert same(large)


def test_f30_a_wrong_tail_costs_one_look(sent: tuple[Sites, Post, bytes]) -> None:
    sites, _, raw = large = enlarged(sent)
    report = asyncio.run(read(large, server_with(raw, len(raw), another_place)))
    assert len(report.rejected) == 1
    assert sites.contents("bob") == []
    sites.clock.now += 11 * MINUTE
    asyncio.run(read(large, server_with(raw, len(raw))))
    assert same(large)


def hang_up(_line: str) -> bytes:
    raise Hangup


@pytest.mark.parametrize(
    "throttled",
    [
        pytest.param({"EXAMINE": hang_up}, id="hangs up"),
        pytest.param({"SEARCH": says("* BYE Suggested Backoff Time: 299\r\n")}, id="BYE"),
        pytest.param({"greeting": says("* BYE too many connections\r\n")}, id="full"),
        pytest.param({"SEARCH": says("* SEARCH {99999999999}\r\n")}, id="huge literal"),
    ],
)
async def test_f31_f36_a_server_that_throttles_or_attacks_costs_one_look(
    sent: tuple[Sites, Post, bytes], throttled: dict[str, Answer]
) -> None:
    sites = sent[0]
    sites.rows("bob")[Key("2")] = {"name": "Bob"}
    report = await read(sent, throttled)
    assert isinstance(report.problems[0], Unreachable)
    assert report.exit_code == Exit.TEMPORARY
    assert report.peer("alice").sent.upserts == 1  # what could be done was done
    await read(sent, server_with(sent[2], len(sent[2])))
    assert len(sites.rows("bob")) == 2


BACKOFF = "Suggested Backoff Time: 299961 milliseconds"


@pytest.mark.parametrize("answer", ["* BYE %s\r\n", "TAG NO busy. %s\r\n", "TAG BAD %s\r\n"])
@pytest.mark.parametrize("verb", ["LOGIN", "EXAMINE", "SEARCH"])
async def test_f31_the_server_says_how_long_to_keep_away(
    sent: tuple[Sites, Post, bytes], verb: str, answer: str
) -> None:
    sites, post, raw = sent
    script = server_with(raw, len(raw))
    usual = script.get(verb)
    script[verb] = says(answer % BACKOFF)
    async with imap_stub(script) as stub:
        read_from(sites, post, imap(stub.endpoint))
        assert isinstance((await cycle(sites, "bob")).problems[0], Throttled)
        script.pop(verb)
        script |= {verb: usual} if usual else {}
        for pause in (0, 299_000):
            sites.clock.now += pause
            report = await cycle(sites, "bob")
            assert BACKOFF in str(report.problems[0])
            assert report.exit_code == Exit.TEMPORARY
            assert len(stub.connections) == 1
        sites.clock.now += 1_000
        assert (await cycle(sites, "bob")).problems == []
    assert same(sent)


async def test_f31_throttled(sent: tuple[Sites, Post, bytes]) -> None:
    tries = iter([b"TAG NO [LIMIT] too many\r\n", b"* SEARCH\r\nTAG OK\r\n"])
    report = await read(sent, {"SEARCH": lambda _: next(tries, b"TAG NO\r\n")})
    assert report.exit_code != Exit.FAILED
    await read(sent, server_with(sent[2], len(sent[2])))
    assert same(sent)


@pytest.mark.parametrize(
    "answer", ["* SEARCH {99999999999}\r\n", "* 1 FETCH (UID 4 BODY[] {99999999999}\r\n"]
)
async def test_f36_a_literal_of_a_hundred_gigabytes(
    sent: tuple[Sites, Post, bytes], answer: str
) -> None:
    script = server_with(sent[2], 100)
    script["SEARCH" if "SEARCH" in answer else "FETCH"] = says(answer)
    async with asyncio.timeout(PATIENCE):
        report = await read(sent, script)
    assert isinstance(report.problems[0], Unreachable)
