"""The demonstration's mail servers, seen by the standard library's clients."""

from __future__ import annotations

import asyncio
import imaplib
import importlib.util
import json
import smtplib
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from mailsync.carriers.embedded import Fate, Ports, embedded_servers, fate_of
from mailsync.errors import Exit, UsageError

ANNA, BERT = "anna@anna.example", "bert@bert.example"
USERS = {ANNA: "anna's word", BERT: "bert's wörd"}


def mail(text: str) -> bytes:
    head = f"From: {ANNA}\r\nTo: {BERT}\r\nSubject: {text}\r\nMessage-ID: <{text}@anna.example>\r\n"
    return f"{head}\r\n.dot\r\n{text}  \r\n".encode()


def submit(ports: Ports, *mails: bytes, recipient: str = BERT) -> None:
    with smtplib.SMTP("127.0.0.1", ports.smtp) as client:
        client.login(ANNA, USERS[ANNA])
        for content in mails:
            client.sendmail(ANNA, [recipient], content)


def mailbox(ports: Ports) -> imaplib.IMAP4:
    client = imaplib.IMAP4("127.0.0.1", ports.imap)
    client.authenticate("PLAIN", lambda _: f"\0{BERT}\0{USERS[BERT]}".encode())
    client.select()
    return client


def fetched(client: imaplib.IMAP4) -> list[bytes]:
    _, found = client.uid("SEARCH", "ALL")
    contents = []
    for number in found[0].split():
        _, data = client.uid("FETCH", number, "(BODY.PEEK[])")
        # News of other mails' flags may stand beside what was asked for, as plain lines.
        contents += [entry[1] for entry in data if isinstance(entry, tuple)]
    return contents


async def at_servers(work: Callable[[Ports], Any], **network: int) -> Any:
    async with embedded_servers(USERS, **network) as ports:
        return await asyncio.to_thread(work, ports)


async def test_mail_arrives_byte_for_byte() -> None:
    def work(ports: Ports) -> list[bytes]:
        submit(ports, mail("one"), mail("two"))
        with mailbox(ports) as client:
            return fetched(client)

    assert await at_servers(work) == [mail("one"), mail("two")]


async def test_mail_of_five_megabytes_arrives() -> None:
    big = mail("big") + b"".join(b"%072d\r\n" % number for number in range(70_000))

    def work(ports: Ports) -> list[bytes]:
        submit(ports, big)
        with mailbox(ports) as client:
            return fetched(client)

    assert await at_servers(work) == [big]


async def test_mailbox_offers_what_we_need_and_deletes_what_we_name() -> None:
    def work(ports: Ports) -> list[bytes]:
        submit(ports, mail("one"), mail("two"), mail("three"))
        with mailbox(ports) as client:
            _, (capabilities,) = client.capability()
            assert {b"IDLE", b"UIDPLUS", b"MOVE"} <= set(capabilities.split())
            _, found = client.uid("SEARCH", "ALL")
            one, two, _ = found[0].split()
            client.create("Done")
            client.uid("MOVE", one, "Done")
            client.uid("STORE", two, "+FLAGS.SILENT", r"(\Deleted)")
            client.uid("EXPUNGE", two)
            return fetched(client)

    assert await at_servers(work) == [mail("three")]


async def test_waiting_client_is_told_of_new_mail() -> None:
    def work(ports: Ports) -> bytes:
        with mailbox(ports) as client:
            client.send(b"x IDLE\r\n")
            assert client.readline().startswith(b"+")
            submit(ports, mail("one"))
            told = client.readline()
            client.send(b"DONE\r\n")
            while not client.readline().startswith(b"x "):
                pass
            return told

    assert (await at_servers(work)).endswith(b" EXISTS\r\n")


async def test_wrong_passwords_and_strangers_are_refused() -> None:
    def work(ports: Ports) -> None:
        for user, password in ((ANNA, "wrong"), (ANNA, ""), ("nobody@x.example", "")):
            with smtplib.SMTP("127.0.0.1", ports.smtp) as client:
                with pytest.raises(smtplib.SMTPAuthenticationError):
                    client.login(user, password)
                with pytest.raises(smtplib.SMTPSenderRefused):
                    client.sendmail(ANNA, [BERT], mail("unasked"))
        with pytest.raises(smtplib.SMTPRecipientsRefused, match="no such user here"):
            submit(ports, mail("one"), recipient="nobody@bert.example")
        imap = imaplib.IMAP4("127.0.0.1", ports.imap)
        with imap, pytest.raises(imaplib.IMAP4.error):
            imap.login(BERT, "wrong")
        with mailbox(ports) as client:
            assert fetched(client) == []

    await at_servers(work)


async def test_bad_network_drops_doubles_and_delays_as_its_seed_says() -> None:
    sent = [f"mail-{number:02d}" for number in range(30)]
    chance = Random(7)
    copies = Counter({text: len(fate_of(chance, 30).delays) for text in sent})

    def work(ports: Ports) -> list[str]:
        submit(ports, *map(mail, sent))
        with mailbox(ports) as client:
            while len(found := fetched(client)) < copies.total():
                client.noop()
            return [content.split(b"\r\n")[2].split()[1].decode() for content in found]

    arrived = await at_servers(work, loss=30, seed=7)
    assert Counter(arrived) == +copies
    assert set(copies.values()) == {0, 1, 2}
    assert arrived != sorted(arrived)


def test_good_network_loses_nothing_and_the_worst_everything() -> None:
    assert {fate_of(Random(seed), 0) for seed in range(50)} == {Fate((0.0,))}
    assert {fate_of(Random(seed), 100) for seed in range(50)} == {Fate(())}


def started(tmp_path: Path) -> subprocess.Popen[bytes]:
    users = tmp_path / "users.json"
    users.write_text(json.dumps(USERS))
    return subprocess.Popen(
        [sys.executable, "-m", "mailsync.carriers.embedded", "--users", str(users)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def test_servers_end_with_their_parent_even_with_open_sessions(tmp_path: Path) -> None:
    process = started(tmp_path)
    assert process.stdin is not None
    assert process.stdout is not None
    ports = Ports(**json.loads(process.stdout.readline()))
    client = mailbox(ports)
    process.stdin.close()
    assert process.wait(timeout=60) == 0
    with pytest.raises(ConnectionRefusedError):
        smtplib.SMTP("127.0.0.1", ports.smtp)
    client.shutdown()
    process.stdout.close()


async def test_servers_end_when_the_work_fails() -> None:
    class Failed(Exception):
        pass

    seen: list[Ports] = []

    async def work() -> None:
        async with embedded_servers(USERS) as ports:
            seen.append(ports)
            raise Failed

    with pytest.raises(Failed):
        await work()
    with pytest.raises(ConnectionRefusedError):
        imaplib.IMAP4("127.0.0.1", seen[0].imap)


async def test_missing_packages_are_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError) as caught:
        await embedded_servers(USERS).__aenter__()
    assert str(caught.value) == (
        'the embedded mail servers need aiosmtpd and pymap: pip install "mailsync-sets[demo]"'
    )
    assert caught.value.exit_code == Exit.USAGE
