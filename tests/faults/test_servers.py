"""Faults made on Dovecot and Postfix."""

from __future__ import annotations

import imaplib
import random
from dataclasses import replace
from pathlib import Path

import pytest

from mailsync.carriers.base import Sent
from mailsync.carriers.endpoint import Security
from mailsync.carriers.imap import ImapMailbox
from mailsync.core.model import Key
from mailsync.cycle.health import examine_links
from mailsync.cycle.run import Extent
from mailsync.cycle.sending import RETRY_AFTER_MS
from mailsync.errors import BadCertificate, Exit, LoginRefused, Unreachable
from tests.carriers.letters import container, foreign_mail, letter
from tests.cycle.sites import DAY, HOUR, Sites
from tests.faults.post import at, cycle, logged, relayed, until_a_mail_is_taken
from tests.faults.served import Account, filled, on_servers, readdress
from tests.servers.mail import NARROW_HOST, PASSWORD, SMALL_LIMIT, MailServer

Served = tuple[Sites, Account, Account]


@pytest.fixture
def served(tmp_path: Path, mail_server: MailServer) -> Served:
    """Alice and Bob, the small mails between them, and an edit of which Bob does not know."""
    world = on_servers(tmp_path, mail_server, 'max_message = "32 KiB"')
    edited(world[0])
    return world


def edited(sites: Sites, size: int = 0) -> None:
    sites.rows("alice")[Key("1")] = {"name": "Ada", "photo": random.Random(1).randbytes(size)}


def waiting(sites: Sites) -> list[str]:
    """Of each mail that waits at Alice's, why."""
    with sites.sites["alice"].store.transaction() as transaction:
        return [item.reason for item in transaction.outbox.items()]


def same(sites: Sites) -> bool:
    return sites.contents("bob") == sites.contents("alice") != []


async def comes_to_hold_the_same(sites: Sites, bob: Account, mails: int) -> None:
    """So many mails reach Bob, who then holds what Alice does."""
    await bob.has(mails)
    await cycle(sites, "bob")
    assert same(sites)


# --- the way there -------------------------------------------------------------------------


async def test_f01_no_answer_after_the_final_dot(served: Served) -> None:
    sites, alice, bob = served
    usual = alice.submission
    clear = alice.server.endpoint("smtp", alice.user)
    async with relayed(clear, at(1e9), until_a_mail_is_taken) as alice.submission:
        assert (await cycle(sites, "alice")).exit_code == Exit.TEMPORARY
    alice.submission = usual
    sites.clock.now += RETRY_AFTER_MS
    await cycle(sites, "alice", Extent(due_by=sites.clock.now))
    assert waiting(sites) == []
    await comes_to_hold_the_same(sites, bob, 2)
    assert len(logged(sites, "bob", "repeated")) == 1


async def test_f02_an_uplink_slower_than_the_timeout(served: Served) -> None:
    _, alice, bob = served
    clear = alice.server.endpoint("smtp", alice.user)
    async with (
        relayed(clear, at(700_000), at(1e9)) as slow,
        replace(alice, submission=slow, timeout=5).sender() as sender,
    ):
        result = await sender.send(letter(bob.user, container(3_000_000)))
    assert isinstance(result, Sent)
    await bob.has(1)


async def test_f05_a_mail_is_too_large(tmp_path: Path, mail_server: MailServer) -> None:
    sites, alice, bob = on_servers(tmp_path, mail_server)
    alice.submission = mail_server.endpoint("small", alice.user)
    edited(sites, 2 * SMALL_LIMIT)
    reports = [await cycle(sites, "alice") for _ in range(2)]
    assert waiting(sites) == []
    mails = sum(report.peer("bob").sent.mails for report in reports)
    assert mails >= 3
    await comes_to_hold_the_same(sites, bob, mails)


async def test_f07_no_more_mails_than_the_provider_takes(served: Served) -> None:
    sites, alice, bob = served
    usual, alice.submission = alice.submission, alice.server.endpoint("seldom", alice.user)
    edited(sites, 60_000)
    assert (await cycle(sites, "alice")).exit_code == Exit.TEMPORARY
    with sites.sites["alice"].store.transaction() as transaction:
        (link,) = examine_links(sites.sites["alice"], transaction)
    assert link.refusal.startswith("paused until 2026-")
    assert "450 4.7.1" in link.refusal
    assert len(waiting(sites)) == 2
    alice.submission = usual
    sites.clock.now += HOUR
    assert (await cycle(sites, "alice")).exit_code == Exit.OK
    await comes_to_hold_the_same(sites, bob, 3)


async def test_f23_a_final_refusal_may_pass(served: Served) -> None:
    sites, _, bob = served
    readdress(sites, "alice", "bob", f"nobody-{bob.user}")
    assert (await cycle(sites, "alice")).exit_code == Exit.FAILED
    (reason,) = waiting(sites)
    assert "550 5.1.1" in reason
    readdress(sites, "alice", "bob", bob.user)
    sites.clock.now += 6 * HOUR
    assert (await cycle(sites, "alice")).exit_code == Exit.OK
    await comes_to_hold_the_same(sites, bob, 1)


async def test_f20_f28_the_peers_mailbox_is_full_and_a_bounce_tells(served: Served) -> None:
    sites, alice, bob = served
    with filled(bob, 1.2):
        await cycle(sites, "alice")
        await alice.has(1)
        report = await cycle(sites, "alice")
        (warning,) = report.warnings
        assert warning.startswith("bob: a mail was not delivered: smtp; 552 5.2.2 ")
        assert report.peer("bob").sent.mails == 0  # no answer to it
        (told,) = (await cycle(sites, "bob")).warnings
        assert told.startswith("the mailbox is 100 % full")
    with sites.sites["alice"].store.transaction() as transaction:
        assert transaction.routes.get("bob").max_message is None  # not a matter of its size
    sites.clock.now += 2 * DAY
    await cycle(sites, "alice")
    await bob.has(1)
    assert (await cycle(sites, "bob")).warnings == []
    assert same(sites)
    sites.clock.now += DAY
    await cycle(sites, "bob")
    await alice.has(2)
    await cycle(sites, "alice")
    with sites.sites["alice"].store.transaction() as transaction:
        assert transaction.warnings.all() == []


async def test_f34_a_login_rots(served: Served) -> None:
    sites, alice, bob = served
    alice.password = "expired"
    report = await cycle(sites, "alice")
    assert report.exit_code == Exit.LOGIN_REFUSED
    assert [type(problem) for problem in report.problems] == [LoginRefused] * 2
    for problem, endpoint in zip(report.problems, (alice.reading, alice.submission), strict=True):
        assert str(problem).startswith(f"{endpoint}: ")
    assert len(waiting(sites)) == 1
    alice.password = PASSWORD
    assert (await cycle(sites, "alice")).exit_code == Exit.OK
    await comes_to_hold_the_same(sites, bob, 1)


async def test_f37_the_server_offers_no_starttls(served: Served) -> None:
    sites, alice, _ = served
    clear = alice.server.endpoint("smtp", alice.user)
    alice.submission = replace(clear, security=Security.STARTTLS)
    (problem,) = (await cycle(sites, "alice")).problems
    assert isinstance(problem, BadCertificate)
    assert len(waiting(sites)) == 1


# --- the mailbox ---------------------------------------------------------------------------


async def test_f25_a_listed_mail_is_not_there(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    sites, _, bob = served
    bob.server.deliver(bob.user, [foreign_mail()])
    await cycle(sites, "alice")
    await bob.has(2)
    search = ImapMailbox._search

    async def slow(mailbox: ImapMailbox, criteria: str) -> list[int]:
        found = await search(mailbox, criteria)
        bob.change(
            lambda client: (client.uid("STORE", "1", "+FLAGS", r"(\Deleted)"), client.expunge())
        )
        return found

    monkeypatch.setattr(ImapMailbox, "_search", slow)
    report = await cycle(sites, "bob")
    assert report.exit_code == Exit.OK
    assert bob.uids() == [b"2"]
    assert same(sites)


async def test_f31_too_many_connections(served: Served) -> None:
    sites, _, bob = served
    await cycle(sites, "alice")
    await bob.has(1)
    usual, narrow = bob.reading, bob.server.endpoint("imap", bob.user)
    bob.reading = replace(narrow, host=NARROW_HOST)
    with imaplib.IMAP4(NARROW_HOST, narrow.port) as other:
        other.login(bob.user, PASSWORD)
        report = await cycle(sites, "bob")
    (problem,) = report.problems
    assert isinstance(problem, Unreachable)
    assert report.exit_code == Exit.TEMPORARY
    bob.reading = usual
    await cycle(sites, "bob")
    assert same(sites)


async def test_f11_the_spam_filter_takes_our_mail(served: Served) -> None:
    sites, _, bob = served
    await cycle(sites, "alice")
    await bob.has(1)

    def to_junk(client: imaplib.IMAP4_SSL) -> None:
        client.create("Junk")
        client.append("Junk", None, None, foreign_mail("Win a prize", bytes(300_000)))
        client.uid("MOVE", "1", "Junk")

    bob.change(to_junk)
    report = await cycle(sites, "bob")
    assert sites.contents("bob") == sites.contents("alice") != []
    (warning,) = report.warnings
    assert warning.startswith("mail from alice is being sorted into Junk")
    with sites.sites["bob"].store.transaction() as transaction:
        assert transaction.mailbox.counts() == {"ours": 1, "foreign": 1}
        assert [one.name for one in transaction.warnings.all()] == ["junk alice"]
    sites.clock.now += 8 * DAY
    await cycle(sites, "bob")  # disposed of there, and nothing else is
    assert len(bob.uids("Junk")) == 1


async def test_f24_copies_in_two_folders(served: Served) -> None:
    sites, _, bob = served
    await cycle(sites, "alice")
    await bob.has(1)

    def copy(client: imaplib.IMAP4_SSL) -> None:
        client.create("Junk")
        client.uid("COPY", "1", "Junk")
        client.uid("COPY", "1", "INBOX")

    bob.change(copy)
    report = await cycle(sites, "bob")
    assert report.peer("alice").received.mails == 3
    assert report.peer("alice").received.upserts == 1


async def test_f26_another_program_reads_and_moves(served: Served) -> None:
    sites, _, bob = served
    await cycle(sites, "alice")
    await bob.has(1)

    def away(client: imaplib.IMAP4_SSL) -> None:
        client.create("Elsewhere")
        client.uid("MOVE", "1", "Elsewhere")

    bob.change(away)
    await cycle(sites, "bob")
    assert sites.contents("bob") == []
    sites.clock.now += 2 * DAY
    await cycle(sites, "alice")
    await bob.has(1)
    bob.change(lambda client: client.uid("STORE", "2", "+FLAGS", r"(\Seen)"))
    await cycle(sites, "bob")
    assert sites.contents("bob") == sites.contents("alice")


async def test_f27_foreign_deleted_mail_survives_our_disposal(served: Served) -> None:
    sites, _, bob = served
    bob.server.deliver(bob.user, [foreign_mail()])
    bob.change(lambda client: client.uid("STORE", "1", "+FLAGS", r"(\Deleted)"))
    await cycle(sites, "alice")
    await bob.has(2)
    await cycle(sites, "bob")
    sites.clock.now += 8 * DAY
    await cycle(sites, "bob")
    assert bob.uids() == [b"1"]
