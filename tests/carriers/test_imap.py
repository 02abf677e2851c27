from __future__ import annotations

import asyncio
import imaplib
import logging
import re
import socket
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from mailsync.carriers.base import Arrival, Place, Profile, Sent
from mailsync.carriers.endpoint import Endpoint, Security
from mailsync.carriers.imap import ImapMailbox
from mailsync.carriers.imap_wire import folder_name
from mailsync.carriers.message import compose_message
from mailsync.carriers.smtp import SmtpSender
from mailsync.errors import (
    BadCertificate,
    BadConfiguration,
    LoginRefused,
    OperatorError,
    Unreachable,
)
from tests.carriers.letters import NOW, container, foreign_mail, letter
from tests.servers.mail import PASSWORD, MailServer
from tests.servers.stub import Answer, Hangup, imap_stub

SHIP = "site1@mail.example"


def our_mail(content: bytes, profile: Profile = "robust", sender: str = SHIP) -> bytes:
    return compose_message(
        letter("site2@mail.example", content, profile=profile),
        sender=sender,
        date=NOW,
        boundary="=_edge",
        site="aurora",
    )


@pytest.fixture
def user(mail_server: MailServer) -> str:
    """A mailbox nobody else uses, for one test."""
    return mail_server.add_user(f"user{len(mail_server.users)}@mail.example")


@asynccontextmanager
async def opened(endpoint: Endpoint, **options: object) -> AsyncIterator[ImapMailbox]:
    settings: dict[str, object] = {"timeout": 20, "peers": [SHIP]} | options
    async with ImapMailbox(endpoint, PASSWORD, **settings) as mailbox:  # type: ignore[arg-type]
        yield mailbox


async def all_of(mailbox: ImapMailbox, settled: Collection[Place] = ()) -> list[Arrival]:
    return [arrival async for arrival in mailbox.arrivals(settled)]


def flags(mail_server: MailServer, user: str, folder: str = "INBOX") -> dict[str, str]:
    """UID to flags, as another client sees them; looking changes nothing."""
    with mail_server.imap(user, folder) as client:
        lines = client.uid("FETCH", "1:*", "(FLAGS)")[1]
    found = (re.search(rb"UID (\d+)", line) for line in lines if isinstance(line, bytes))
    return {
        match[1].decode(): match.string.decode().partition("FLAGS ")[2] for match in found if match
    }


def change(mail_server: MailServer, user: str, do: Callable[[imaplib.IMAP4_SSL], object]) -> None:
    """What another client does to the mailbox."""
    with mail_server.imap(user) as client:
        client.select("INBOX")
        do(client)


# --- against a real server -----------------------------------------------------------------


@pytest.mark.parametrize("profile", ["robust", "thin"])
async def test_containers_of_every_size_arrive_byte_for_byte_and_in_order(
    mail_server: MailServer, user: str, profile: Profile
) -> None:
    contents = [container(size) for size in (1, 2, 1000, 191_000, 262_144, 1_000_000, 5_000_000)]
    sender = SmtpSender(mail_server.endpoint("smtps", SHIP), PASSWORD, address=SHIP, site="x")
    async with sender, opened(mail_server.endpoint("imaps", user)) as mailbox:
        for number, content in enumerate(contents):
            await mailbox.wait(0)
            result = await sender.send(letter(user, content, number=number, profile=profile))
            assert isinstance(result, Sent)
            while len(found := await all_of(mailbox)) <= number:
                assert await mailbox.wait(60)
            assert found[-1].containers == (content,)
            assert found[-1].problem is None
            assert found[-1].message_id == f"<{number}@mail.example>"
            assert found[-1].size > result.size  # trace headers
    assert [arrival.containers for arrival in found] == [(content,) for content in contents]
    assert sorted(found, key=lambda arrival: arrival.place) == found


async def test_reading_leaves_no_trace_on_any_mail(mail_server: MailServer, user: str) -> None:
    mail_server.deliver(user, [foreign_mail(), our_mail(container(100)), foreign_mail("Two")])
    change(mail_server, user, lambda client: client.uid("STORE", "3", "+FLAGS", r"(\Seen)"))
    before = flags(mail_server, user)
    assert "Seen" in before["3"]
    for dedicated in (False, True):
        async with opened(mail_server.endpoint("imaps", user), dedicated=dedicated) as mailbox:
            assert len(await all_of(mailbox)) == 3
    assert flags(mail_server, user) == before


async def test_recent_is_left_for_the_mailboxs_owner(mail_server: MailServer, user: str) -> None:
    mail_server.deliver(user, [our_mail(container(100)), foreign_mail()])
    async with opened(mail_server.endpoint("imaps", user)) as mailbox:
        await all_of(mailbox)
    assert all("Recent" in seen for seen in flags(mail_server, user).values())


async def test_only_what_may_be_ours_is_fetched_whole(mail_server: MailServer, user: str) -> None:
    large = foreign_mail("Film", attachment=bytes(range(256)) * 4000)
    thin = our_mail(container(50, 2), "thin")
    renamed = our_mail(container(60), sender="x@y.example").replace(b"[mailsync]", b"[EXT]")
    unmarked = renamed.replace(b"X-Mailsync", b"X-Other")
    mail_server.deliver(user, [large, foreign_mail(), our_mail(container(9)), thin, unmarked])
    async with opened(mail_server.endpoint("imaps", user)) as mailbox:
        fetched: list[int] = []
        whole = mailbox._whole

        async def watched(number: int) -> bytes | None:
            fetched.append(number)
            return await whole(number)

        mailbox._whole = watched  # type: ignore[method-assign]
        found = await all_of(mailbox)
    assert fetched == [3, 4, 5]
    assert [len(arrival.containers) for arrival in found] == [0, 0, 1, 1, 1]
    assert found[0].size > len(large)
    assert found[0].subject == "Film"
    assert [arrival.problem for arrival in found] == [None] * 5


async def test_settled_places_are_not_looked_at_again(mail_server: MailServer, user: str) -> None:
    mail_server.deliver(user, [foreign_mail(), our_mail(container(9))])
    async with opened(mail_server.endpoint("imaps", user)) as mailbox:
        settled = {arrival.place for arrival in await all_of(mailbox)}
        assert await all_of(mailbox, settled) == []
        other = {place._replace(validity=place.validity + 1) for place in settled}
        assert len(await all_of(mailbox, other)) == 2
        mail_server.deliver(user, [our_mail(container(9, 2))])
        assert len(await all_of(mailbox, settled)) == 1


async def test_a_mail_above_the_cap_is_not_downloaded(mail_server: MailServer, user: str) -> None:
    mail_server.deliver(user, [our_mail(container(50_000)), our_mail(container(9))])
    async with opened(mail_server.endpoint("imaps", user), size_cap=40_000) as mailbox:
        large, small = await all_of(mailbox)
    assert large.containers == ()
    assert "larger than the 40000 bytes" in str(large.problem)
    assert small.containers == (container(9),)


async def test_a_stripped_mail_is_reported(mail_server: MailServer, user: str) -> None:
    raw = our_mail(container(100))
    mail_server.deliver(user, [raw[: raw.index(b"iW1T")] + b"removed\r\n--=_edge--\r\n"])
    async with opened(mail_server.endpoint("imaps", user)) as mailbox:
        (arrival,) = await all_of(mailbox)
    assert "attachment was removed" in str(arrival.problem)


async def test_a_box_of_2000_mails_is_read_whole(mail_server: MailServer, user: str) -> None:
    foreign = [foreign_mail(f"Mail {number}") for number in range(1995)]
    ours = [our_mail(container(50, seed)) for seed in range(5)]
    mail_server.fill(user, [*ours[:2], *foreign[:1500], ours[2], *foreign[1500:], *ours[3:]])
    async with opened(mail_server.endpoint("imaps", user)) as mailbox:
        found = await all_of(mailbox)
    assert [arrival.place.number for arrival in found] == list(range(1, 2001))
    containers = [arrival.containers for arrival in found if arrival.containers]
    assert containers == [(container(50, seed),) for seed in range(5)]


async def test_disposing_takes_exactly_what_it_is_told(mail_server: MailServer, user: str) -> None:
    # F27: the foreign \Deleted mail survives
    mail_server.deliver(user, [our_mail(container(9, seed)) for seed in range(4)])
    mail_server.deliver(user, [foreign_mail()])
    change(mail_server, user, lambda client: client.uid("STORE", "5", "+FLAGS", r"(\Deleted)"))
    change(mail_server, user, lambda client: client.create("Done"))
    async with opened(mail_server.endpoint("imaps", user)) as mailbox:
        one, two, three, _four, _foreign = [arrival.place for arrival in await all_of(mailbox)]
        elsewhere = three._replace(folder="Other")
        earlier = three._replace(validity=three.validity - 1)
        assert await mailbox.dispose([one, elsewhere, earlier], "Done") == {one}
        assert await mailbox.dispose([two], None) == {two}
        assert await mailbox.dispose([two], None) == {two}
        left = [arrival.place.number for arrival in await all_of(mailbox)]
    assert left == [3, 4, 5]
    assert "Deleted" in flags(mail_server, user)["5"]
    assert len(flags(mail_server, user, "Done")) == 1


async def test_without_move_mails_are_copied_and_expunged_by_uid(
    mail_server: MailServer, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail_server.deliver(user, [our_mail(container(9, 1)), our_mail(container(9, 2))])
    change(mail_server, user, lambda client: client.create("Done"))
    change(mail_server, user, lambda client: client.uid("STORE", "2", "+FLAGS", r"(\Deleted)"))
    async with opened(mail_server.endpoint("imaps", user)) as mailbox:
        one, _two = [arrival.place for arrival in await all_of(mailbox)]
        offered = mailbox.capabilities - {"MOVE"}
        monkeypatch.setattr(ImapMailbox, "capabilities", offered)
        assert await mailbox.dispose([one], "Done") == {one}
    assert list(flags(mail_server, user)) == ["2"]
    assert len(flags(mail_server, user, "Done")) == 1


async def test_without_move_and_uidplus_everything_is_left(
    mail_server: MailServer, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail_server.deliver(user, [our_mail(container(9))])
    before = flags(mail_server, user)
    async with opened(mail_server.endpoint("imaps", user)) as mailbox:
        (arrival,) = await all_of(mailbox)
        monkeypatch.setattr(ImapMailbox, "capabilities", frozenset({"IDLE"}))
        for folder in ("Done", None):
            assert await mailbox.dispose([arrival.place], folder) == frozenset()
    assert flags(mail_server, user).keys() == before.keys()
    assert "Deleted" not in flags(mail_server, user)["1"]


async def test_a_missing_folder_loses_nothing_and_is_not_created(
    mail_server: MailServer, user: str
) -> None:
    mail_server.deliver(user, [our_mail(container(9))])
    async with opened(mail_server.endpoint("imaps", user)) as mailbox:
        (arrival,) = await all_of(mailbox)
        assert await mailbox.dispose([arrival.place], "Nowhere") == frozenset()
        assert not await mailbox.has_folder("Nowhere")
        assert len(await all_of(mailbox)) == 1


async def test_disposing_while_reading_disturbs_neither(mail_server: MailServer, user: str) -> None:
    mail_server.deliver(user, [our_mail(container(9, seed)) for seed in range(150)])
    async with opened(mail_server.endpoint("imaps", user)) as mailbox:
        seen = 0
        async for arrival in mailbox.arrivals([]):
            assert arrival.containers == (container(9, seen),)
            assert await mailbox.dispose([arrival.place], None) == {arrival.place}
            seen += 1
        assert seen == 150
        assert await all_of(mailbox) == []


@pytest.mark.parametrize("name", ["Entwürfe & mehr", 'a "b" \\c', "台北", "With space", "&"])
async def test_folders_may_have_any_name(mail_server: MailServer, user: str, name: str) -> None:
    change(mail_server, user, lambda client: client.create(folder_name(name)))
    mail_server.deliver(user, [our_mail(container(9))])
    async with opened(mail_server.endpoint("imaps", user)) as mailbox:
        assert await mailbox.has_folder(name)
        (arrival,) = await all_of(mailbox)
        assert await mailbox.dispose([arrival.place], name) == {arrival.place}
    async with opened(mail_server.endpoint("imaps", user), folder=name) as mailbox:
        (arrival,) = await all_of(mailbox)
        assert arrival.place.folder == name


@pytest.mark.parametrize("password", ['a"b\\c d', "pässwörd ☃", "{5}", "%*()&", "x" * 200])
async def test_passwords_may_be_odd(mail_server: MailServer, user: str, password: str) -> None:
    mail_server.add_user(user, password)
    async with ImapMailbox(mail_server.endpoint("imaps", user), password, timeout=20) as mailbox:
        assert await all_of(mailbox) == []


async def test_capabilities_and_quota_are_those_after_the_login(
    mail_server: MailServer, user: str
) -> None:
    async with opened(mail_server.endpoint("imaps", user)) as mailbox:
        assert {"IDLE", "MOVE", "UIDPLUS", "QUOTA"} <= mailbox.capabilities
        quota = await mailbox.quota()
    assert quota is not None
    assert quota.limit == 2**30
    assert quota.used < quota.limit


async def refusal(endpoint: Endpoint, password: str = PASSWORD, **options: str) -> OperatorError:
    with pytest.raises(OperatorError) as refused:
        await ImapMailbox(endpoint, password, timeout=20, **options).__aenter__()  # type: ignore[arg-type]
    text = str(refused.value)
    assert str(endpoint) in text
    assert text.isprintable()
    assert password not in text
    return refused.value


async def test_what_prevents_a_connection_is_told_apart(mail_server: MailServer) -> None:
    endpoint = mail_server.endpoint("imaps", SHIP)
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        deaf = replace(endpoint, port=one.getsockname()[1])
        assert isinstance(await refusal(deaf), Unreachable)
    assert isinstance(await refusal(endpoint, "wrong-password"), LoginRefused)
    assert isinstance(await refusal(replace(endpoint, tls_ca=None)), BadCertificate)
    assert isinstance(await refusal(replace(endpoint, host="127.0.0.1")), BadCertificate)
    plain = mail_server.ports["imap"]
    assert isinstance(await refusal(replace(endpoint, port=plain)), BadCertificate)
    assert isinstance(await refusal(replace(endpoint, host="no-such-host.invalid")), Unreachable)
    assert isinstance(await refusal(endpoint, folder="Nowhere"), BadConfiguration)


def test_starttls_and_impossible_folders_are_bad_configuration() -> None:
    with pytest.raises(BadConfiguration, match="imaps"):
        ImapMailbox(Endpoint("h.example", 1, "u", Security.STARTTLS), "")
    with pytest.raises(BadConfiguration, match="folder"):
        ImapMailbox(Endpoint("h.example", 1, "u"), "", folder="a\r\nb")


async def test_new_mail_ends_the_wait(mail_server: MailServer, user: str) -> None:
    async with opened(mail_server.endpoint("imaps", user)) as mailbox:
        assert await all_of(mailbox) == []
        assert not await mailbox.wait(0.01)
        waiting = asyncio.ensure_future(mailbox.wait(120))
        await asyncio.to_thread(mail_server.deliver, user, [our_mail(container(9))])
        assert await waiting
        assert len(await all_of(mailbox)) == 1


async def test_mail_that_came_before_the_wait_is_not_slept_over(
    mail_server: MailServer, user: str
) -> None:
    async with opened(mail_server.endpoint("imaps", user)) as mailbox:
        assert await all_of(mailbox) == []
        mail_server.deliver(user, [our_mail(container(9))])
        await mailbox.has_folder("INBOX")  # any command may bring the announcement
        assert await mailbox.wait(120)


async def test_a_server_that_goes_away_ends_the_wait(mail_server: MailServer, user: str) -> None:
    endpoint = mail_server.endpoint("imaps", user)
    async with opened(endpoint) as mailbox:
        await all_of(mailbox)
        waiting = asyncio.ensure_future(mailbox.wait(3600))
        await asyncio.to_thread(mail_server.restart)
        with pytest.raises(Unreachable):
            await waiting
        with pytest.raises(Unreachable):
            await all_of(mailbox)
    async with opened(endpoint) as mailbox:
        assert await all_of(mailbox) == []


# --- against a scripted server, for what a real one does not do on request -------------------


def says(text: str) -> Answer:
    return lambda _: text.encode()


def hangs_up(_: str) -> bytes:
    raise Hangup


async def test_a_cut_connection_ends_an_idle() -> None:  # F29
    async with imap_stub() as stub, opened(stub.endpoint) as mailbox:
        await all_of(mailbox)
        waiting = asyncio.ensure_future(mailbox.wait(3600))
        await stub.idling.wait()
        stub.cut()
        with pytest.raises(Unreachable, match="lost"):
            await waiting


@pytest.mark.parametrize("answer", ["", "+ idling\r\n"])
async def test_a_mute_idle_does_not_hang(answer: str) -> None:  # F29
    async with (
        imap_stub({"IDLE": says(answer), "DONE": says("")}) as stub,
        opened(stub.endpoint, timeout=0.3) as mailbox,
    ):
        await all_of(mailbox)
        with pytest.raises(Unreachable, match="no answer in time"):
            await mailbox.wait(0.1)


async def test_a_declined_idle_falls_back_to_asking() -> None:
    asked: list[str] = []

    def noop(line: str) -> bytes:
        asked.append(line)
        return b"* 1 EXISTS\r\nTAG OK done\r\n"

    async with (
        imap_stub({"IDLE": says("TAG NO not now\r\n"), "NOOP": noop}) as stub,
        opened(stub.endpoint) as mailbox,
    ):
        await all_of(mailbox)
        assert await mailbox.wait(0.2)
    assert asked


async def test_a_server_without_idle_is_asked() -> None:
    async with (
        imap_stub({"NOOP": says("* 3 RECENT\r\nTAG OK\r\n")}, capabilities="") as stub,
        opened(stub.endpoint) as mailbox,
    ):
        await all_of(mailbox)
        assert await mailbox.wait(0.1)
        assert not any("IDLE" in command for command in stub.commands)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("* BYE too many connections\r\n", "too many connections"),
        ("* SEARCH 1 2\r\n", "no answer in time"),
        ("* SEARCH {99999999999}\r\n", "not understood"),  # F36
        ("* SEARCH {" + "9" * 5000 + "}\r\n", "not understood"),
        ("* SEARCH " + "1 " * 1_500_000, "endless line"),
        ("* \xff\xfe SEARCH\r\nTAG OK\r\n", "not understood"),
        (("* x" + 1000 * "y" + "\r\n") * 5000, "more than it was asked for"),
        ("WRONG OK done\r\n", "not understood"),
    ],
)
async def test_a_hostile_answer_ends_the_connection(answer: str, words: str) -> None:
    async with (
        imap_stub({"SEARCH": lambda _: answer.encode("latin-1")}) as stub,
        opened(stub.endpoint, timeout=2) as mailbox,
    ):
        with pytest.raises(Unreachable, match=words):
            await all_of(mailbox)
        with pytest.raises(Unreachable):
            await mailbox.wait(3600)


async def test_a_dying_server_fails_the_command_at_once() -> None:
    for command in ("SEARCH", "EXAMINE"):
        async with imap_stub({command: hangs_up}) as stub:
            with pytest.raises(Unreachable, match="lost"):
                async with opened(stub.endpoint) as mailbox:
                    await all_of(mailbox)


async def test_a_refused_greeting_is_unreachable() -> None:
    for greeting in (says("* BYE no room\r\n"), hangs_up, says("nonsense\r\n")):
        async with imap_stub({"greeting": greeting}) as stub:
            assert isinstance(await refusal(stub.endpoint), Unreachable)


async def test_five_thousand_untagged_lines_do_not_overflow() -> None:
    lines = "".join(f"* {number} EXPUNGE\r\n" for number in range(5000))
    async with (
        imap_stub({"SEARCH": says(lines + "* SEARCH\r\nTAG OK done\r\n")}) as stub,
        opened(stub.endpoint) as mailbox,
    ):
        assert await all_of(mailbox) == []


HEADER = b"Subject: [mailsync] x\r\n\r\n"


def one_mail(raw: bytes, body: Callable[[int, int], bytes]) -> dict[str, Answer]:
    """A server with one mail, whose answers to ranges are ``body(offset, length)``."""

    def fetch(line: str) -> bytes:
        if match := re.search(r"BODY.PEEK\[\]<(\d+)\.(\d+)>", line):
            return body(int(match[1]), int(match[2])) + b"TAG OK done\r\n"
        literal = b"{%d}\r\n%s" % (len(HEADER), HEADER)
        label = b"BODY[HEADER.FIELDS (FROM SUBJECT MESSAGE-ID X-MAILSYNC CONTENT-TYPE)]<0>"
        return b"* 1 FETCH (UID 4 RFC822.SIZE %d %s %s)\r\nTAG OK\r\n" % (len(raw), label, literal)

    return {"SEARCH": says("* SEARCH 4\r\nTAG OK done\r\n"), "FETCH": fetch}


def section(label: bytes, data: bytes) -> bytes:
    return b"* 1 FETCH (%s {%d}\r\n%s UID 4)\r\n" % (label, len(data), data)


RAW = our_mail(container(600_000))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(
            lambda at, size: section(b"BODY[]<%d>" % at, RAW[at : at + size]), id="honest"
        ),
        pytest.param(lambda at, size: section(b"BODY[]", RAW), id="whole"),
        pytest.param(lambda at, size: section(b"BODY[]<0>", RAW), id="whole with an origin"),
        pytest.param(
            lambda at, size: (
                b"* 1 FETCH (FLAGS (\\Seen (x)) UID 9)\r\n"
                + section(b"body[]<%d>" % at, RAW[at : at + size])
            ),
            id="with unasked answers",
        ),
    ],
)
async def test_ranges_may_be_ignored(body: Callable[[int, int], bytes]) -> None:  # F30
    async with imap_stub(one_mail(RAW, body)) as stub, opened(stub.endpoint) as mailbox:
        (arrival,) = await all_of(mailbox)
    assert arrival.containers == (container(600_000),)


async def test_a_mail_that_ends_with_a_chunk_is_whole() -> None:
    raw = RAW + b" " * (-len(RAW) % 262_144)

    def body(at: int, size: int) -> bytes:
        if at == len(raw):
            return b'* 1 FETCH (BODY[] "" UID 4)\r\n'
        return section(b"BODY[]<%d>" % at, raw[at : at + size])

    async with imap_stub(one_mail(raw, body)) as stub, opened(stub.endpoint) as mailbox:
        (arrival,) = await all_of(mailbox)
    assert arrival.containers == (container(600_000),)


async def test_a_mail_larger_than_it_said_is_given_up_at_the_cap() -> None:  # F16
    def endless(at: int, size: int) -> bytes:
        return section(b"BODY[]<%d>" % at, b"x" * size)

    async with (
        imap_stub(one_mail(b"tiny", endless)) as stub,
        opened(stub.endpoint, size_cap=1_000_000) as mailbox,
    ):
        (arrival,) = await all_of(mailbox)
        assert sum("BODY.PEEK[]<" in command for command in stub.commands) == 4
    assert "larger than" in str(arrival.problem)


async def test_a_mail_that_vanishes_or_cannot_be_shown_does_not_block() -> None:  # F25, F32
    async with (
        imap_stub(one_mail(b"x", lambda at, size: b"")) as stub,
        opened(stub.endpoint) as mailbox,
    ):
        assert await all_of(mailbox) == []
    script = one_mail(b"x", lambda at, size: b"") | {
        "SEARCH": says("* SEARCH 4 5 6\r\nTAG OK\r\n"),
        "FETCH": says("TAG NO [SERVERBUG] broken mail\r\n"),
    }
    async with imap_stub(script) as stub, opened(stub.endpoint, dedicated=True) as mailbox:
        found = await all_of(mailbox)
    assert [arrival.place.number for arrival in found] == [4, 5, 6]
    assert all("SERVERBUG" in str(arrival.problem) for arrival in found)


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ({"LOGIN": says("TAG NO [UNAVAILABLE] internal error\r\n")}, Unreachable),
        ({"LOGIN": says("TAG NO [ALERT] Too many simultaneous connections\r\n")}, Unreachable),
        ({"LOGIN": says("TAG NO [AUTHENTICATIONFAILED] no\r\n")}, LoginRefused),
        ({"EXAMINE": says("TAG NO [INUSE] the mailbox is locked\r\n")}, Unreachable),
        ({"EXAMINE": says("TAG NO [NONEXISTENT] no such mailbox\r\n")}, BadConfiguration),
    ],
)
async def test_what_a_server_declines_for_now_is_nobodys_mistake(
    script: dict[str, Answer], kind: type[OperatorError]
) -> None:
    async with imap_stub(script) as stub:
        with pytest.raises(kind):
            async with opened(stub.endpoint):
                pass


async def test_a_peer_may_be_called_as_robots_are() -> None:
    postmaster = "postmaster@ship.example"
    raw = our_mail(container(60), "thin", sender=postmaster)
    header = raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"

    def fetch(line: str) -> bytes:
        label, data = b"RFC822.SIZE %d BODY[HEADER.FIELDS (FROM)]<0>" % len(raw), header
        if "BODY.PEEK[]" in line:
            label, data = b"BODY[]<0>", raw
        return section(label, data) + b"TAG OK done\r\n"

    script = {"SEARCH": says("* SEARCH 4\r\nTAG OK done\r\n"), "FETCH": fetch}
    for peers, found in (([postmaster], (container(60),)), ([SHIP], ())):
        async with imap_stub(script) as stub, opened(stub.endpoint, peers=peers) as mailbox:
            (arrival,) = await all_of(mailbox)
        assert arrival.containers == found


@pytest.mark.parametrize("refused", ["BODY.PEEK[]<", "HEADER.FIELDS"])
async def test_a_mail_that_the_server_withheld_for_a_while_is_taken_later(refused: str) -> None:
    refusing = True
    script = one_mail(RAW, lambda at, size: section(b"BODY[]<%d>" % at, RAW[at : at + size]))
    shown = script["FETCH"]

    def fetch(line: str) -> bytes:
        return b"TAG NO [UNAVAILABLE] later\r\n" if refusing and refused in line else shown(line)

    async with imap_stub({**script, "FETCH": fetch}) as stub, opened(stub.endpoint) as mailbox:
        (before,) = await all_of(mailbox)
        assert before.unfinished
        assert "UNAVAILABLE" in str(before.problem)
        waiting = {before.place: before.size}
        assert all([one.unfinished async for one in mailbox.again(waiting)])
        refusing = False
        (after,) = [one async for one in mailbox.again(waiting)]
    assert after.containers == (container(600_000),)


async def test_a_mail_that_was_withheld_and_is_not_ours_is_not_fetched_whole() -> None:
    refusing = True
    foreign = b"From: a@b.example\r\nSubject: x\r\n\r\n"

    def fetch(line: str) -> bytes:
        assert "BODY.PEEK[]" not in line
        if refusing:
            return b"TAG NO [SERVERBUG] broken\r\n"
        literal = b"{%d}\r\n%s" % (len(foreign), foreign)
        label = b"BODY[HEADER.FIELDS (FROM SUBJECT MESSAGE-ID X-MAILSYNC CONTENT-TYPE)]<0>"
        return b"* 1 FETCH (UID 4 RFC822.SIZE 99 %s %s)\r\nTAG OK\r\n" % (label, literal)

    script = {"SEARCH": says("* SEARCH 4\r\nTAG OK done\r\n"), "FETCH": fetch}
    async with imap_stub(script) as stub, opened(stub.endpoint) as mailbox:
        (before,) = await all_of(mailbox)
        refusing = False
        (after,) = [one async for one in mailbox.again({before.place: before.size})]
    assert (after.containers, after.problem) == ((), None)


async def test_a_mail_whose_text_is_not_shown_does_not_hide_the_others() -> None:
    mail = our_mail(container(60), sender="x@y.example").replace(b"[mailsync]", b"[EXT]")
    mail = mail.replace(b"X-Mailsync", b"X-Other")
    header, _, text = mail.partition(b"\r\n\r\n")

    def fetch(line: str) -> bytes:
        numbers = [4, 5] if "4:5" in line else [int(line.split()[2])]
        if "TEXT" in line and 4 in numbers:
            return b"TAG NO [SERVERBUG] broken mail\r\n"
        answers = b""
        for number in numbers:
            label, data = b"BODY[]<0>", mail
            if "HEADER.FIELDS" in line:
                label = b"RFC822.SIZE 999 BODY[HEADER.FIELDS (FROM)]<0>"
                data = header + b"\r\n\r\n"
            elif "TEXT" in line:
                label, data = b"BODY[TEXT]<0>", text
            elif number == 4:
                return b"TAG NO [SERVERBUG] broken mail\r\n"
            answers += b"* %d FETCH (%s {%d}\r\n%s UID %d)\r\n" % (
                number - 3, label, len(data), data, number
            )  # fmt: skip
        return answers + b"TAG OK done\r\n"

    script = {"SEARCH": says("* SEARCH 4 5\r\nTAG OK done\r\n"), "FETCH": fetch}
    async with imap_stub(script) as stub, opened(stub.endpoint) as mailbox:
        broken, whole = await all_of(mailbox)
    assert broken.unfinished
    assert whole.containers == (container(60),)


async def test_a_renumbered_folder_ends_the_look() -> None:  # F25
    validities = iter(range(7, 100))

    def open_folder(line: str) -> bytes:
        return b"* OK [UIDVALIDITY %d] ok\r\nTAG OK\r\n" % next(validities)

    script = one_mail(RAW, lambda at, size: section(b"BODY[]<%d>" % at, RAW[at : at + size]))
    script |= {"EXAMINE": open_folder, "SELECT": open_folder}
    script |= {"SEARCH": says("* SEARCH 4 5\r\nTAG OK\r\n")}
    async with imap_stub(script) as stub, opened(stub.endpoint) as mailbox:
        places = []
        async for arrival in mailbox.arrivals([]):
            places.append(arrival.place)
            assert await mailbox.dispose([arrival.place], None) == frozenset()
    assert [place.number for place in places] == [4]


async def test_what_is_no_longer_where_it_was_is_known_once_the_folder_was_looked_through() -> None:
    validity, listed = 7, [4, 5]

    def open_folder(line: str) -> bytes:
        return b"* OK [UIDVALIDITY %d] ok\r\nTAG OK\r\n" % validity

    def search(line: str) -> bytes:
        return b"* SEARCH %s\r\nTAG OK\r\n" % b" ".join(b"%d" % one for one in listed)

    script = one_mail(RAW, lambda at, size: section(b"BODY[]<%d>" % at, RAW[at : at + size]))
    script |= {"EXAMINE": open_folder, "SEARCH": search}
    async with imap_stub(script) as stub, opened(stub.endpoint) as mailbox:
        account = stub.endpoint.account
        seen = [Place(account, "INBOX", 7, number) for number in (4, 5)]
        others = [Place(account, "Junk", 7, 4), Place("other", "INBOX", 7, 4)]
        assert not mailbox.vanished([*seen, *others])
        assert await all_of(mailbox, seen) == []
        assert not mailbox.vanished([*seen, *others])
        listed.remove(4)
        assert await all_of(mailbox, seen) == []
        assert mailbox.vanished([*seen, *others]) == {seen[0]}
        validity = 8
        assert await all_of(mailbox, [one._replace(validity=8) for one in seen]) == []
        assert mailbox.vanished([*seen, *others]) == set(seen)


async def test_a_cancelled_command_ends_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    entered = asyncio.Event()

    def search(line: str) -> bytes:
        entered.set()
        return b""

    async with imap_stub({"SEARCH": search}) as stub, opened(stub.endpoint) as mailbox:
        reading = asyncio.ensure_future(all_of(mailbox))
        await entered.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        with pytest.raises(Unreachable):
            await mailbox.wait(3600)


async def test_no_secret_and_no_mail_is_ever_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "mailsync")  # commands run in this process set its own
    for name in ("aioimaplib", "aioimaplib.aioimaplib"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    script = one_mail(RAW, lambda at, size: section(b"BODY[]<%d>" % at, RAW[at : at + size]))
    async with imap_stub(script) as stub:
        async with ImapMailbox(stub.endpoint, "planted-secret", timeout=20) as mailbox:
            await all_of(mailbox)
        assert sum("planted-secret" in command for command in stub.commands) == 1
    assert "planted-secret" not in caplog.text
    assert "iW1TeW5j" not in caplog.text
