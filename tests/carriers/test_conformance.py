"""What every carrier promises, whatever it is made of. A new one needs a fixture here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from mailsync.carriers.base import (
    Arrival,
    Mailbox,
    Profile,
    Refused,
    Retry,
    Sender,
    SendResult,
    Sent,
)
from mailsync.carriers.folder import FolderMailbox, FolderSender
from mailsync.carriers.imap import ImapMailbox
from mailsync.carriers.memory import MemoryMailbox, MemorySender, Network
from mailsync.carriers.smtp import SmtpSender
from tests.carriers.letters import container, letter
from tests.servers.mail import PASSWORD, MailServer

SHIP = "site3@mail.example"
FORMS: list[tuple[Profile, int]] = [
    (profile, step) for profile in ("robust", "thin") for step in (0, 1, 2)
]


@dataclass
class Pair:
    """A sender, the mailbox of the peer it sends to, and what brings letters from one to other."""

    recipient: str
    sender: Sender
    mailbox: Mailbox
    deliver: Callable[[int], Awaitable[list[Arrival]]]
    """Wait until so many letters lie in the mailbox; all of them."""
    keeps_names: bool = True
    """Do letters arrive under the names that they were sent by?"""


async def look(mailbox: Mailbox) -> list[Arrival]:
    return [arrival async for arrival in mailbox.arrivals([])]


def memory_pair() -> Pair:
    network = Network()
    mailbox = MemoryMailbox(network, "hub")

    async def deliver(count: int) -> list[Arrival]:
        network.deliver_all()
        return await look(mailbox)

    return Pair("hub", MemorySender(network), mailbox, deliver)


def mail_pair(mail_server: MailServer) -> Pair:
    user = mail_server.add_user(f"user{len(mail_server.users)}@mail.example")
    mailbox = ImapMailbox(mail_server.endpoint("imaps", user), PASSWORD, peers=[SHIP])
    sender = SmtpSender(mail_server.endpoint("smtps", SHIP), PASSWORD, address=SHIP, site="x")

    async def deliver(count: int) -> list[Arrival]:
        while len(found := await look(mailbox)) < count:
            assert await mailbox.wait(60)
        return found

    return Pair(user, sender, mailbox, deliver)


def folder_pair(folder: Path) -> Pair:
    mailbox = FolderMailbox(folder, ["abc"])

    async def deliver(count: int) -> list[Arrival]:
        return await look(mailbox)

    return Pair("hub", FolderSender(folder, "abc"), mailbox, deliver, keeps_names=False)


@pytest.fixture(params=["memory", "mail", "folder"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    if request.param == "memory":
        return memory_pair()
    if request.param == "folder":
        return folder_pair(tmp_path)
    return mail_pair(request.getfixturevalue("mail_server"))


@pytest.mark.parametrize(("profile", "step"), FORMS)
async def test_what_is_sent_arrives_byte_for_byte(pair: Pair, profile: Profile, step: int) -> None:
    contents = [container(size) for size in (1, 100, 30_000)]
    async with pair.sender as sender, pair.mailbox:
        for number, content in enumerate(contents):
            one = letter(pair.recipient, content, number=number, profile=profile)
            result = await sender.send(replace(one, step=step))
            assert isinstance(result, Sent)
            assert result.size >= len(content)
        found = await pair.deliver(3)
    assert {arrival.containers for arrival in found} == {(content,) for content in contents}
    assert len({arrival.place for arrival in found}) == 3
    names = {arrival.message_id for arrival in found}
    assert len(names) == 3
    assert not pair.keeps_names or names == {f"<{n}@mail.example>" for n in range(3)}


async def test_a_doubled_letter_arrives_twice(pair: Pair) -> None:
    async with pair.sender as sender, pair.mailbox:
        for _ in range(2):
            await sender.send(letter(pair.recipient, container(9)))
        found = await pair.deliver(2)
    assert [arrival.containers for arrival in found] == [(container(9),)] * 2


async def test_looking_changes_nothing_and_settled_places_are_left_out(pair: Pair) -> None:
    async with pair.sender as sender, pair.mailbox as mailbox:
        for number in range(3):
            await sender.send(letter(pair.recipient, container(9, number), number=number))
        first = await pair.deliver(3)
        assert await look(mailbox) == first
        settled = {first[0].place, first[2].place}
        rest = [arrival async for arrival in mailbox.arrivals(settled)]
    assert rest == [first[1]]


@pytest.mark.parametrize("times", [1, 2])
async def test_disposal_takes_what_it_is_told_and_may_be_repeated(pair: Pair, times: int) -> None:
    async with pair.sender as sender, pair.mailbox as mailbox:
        for number in range(3):
            await sender.send(letter(pair.recipient, container(9, number), number=number))
        first = await pair.deliver(3)
        told = first[1].place
        foreign = told._replace(account="somebody else")
        for _ in range(times):
            assert await mailbox.dispose([told, foreign], None) == {told}
        assert await look(mailbox) == [first[0], first[2]]


async def test_there_is_nothing_to_wait_for_until_a_letter_comes(pair: Pair) -> None:
    async with pair.sender as sender, pair.mailbox as mailbox:
        await look(mailbox)
        assert not await mailbox.wait(0.01)
        await sender.send(letter(pair.recipient, container(9)))
        assert len(await pair.deliver(1)) == 1


# --- what only the memory carrier can do -----------------------------------------------------


async def test_the_test_decides_what_happens_to_letters() -> None:
    network = Network()
    mailbox = MemoryMailbox(network, "hub")
    letters = [letter("hub", container(9, number), number=number) for number in range(4)]
    async with MemorySender(network) as sender:
        for one in letters:
            assert isinstance(await sender.send(one), Sent)
    network.in_transit.reverse()
    network.in_transit.remove(letters[2])  # lost
    network.deliver(letters[1])  # before the others
    network.in_transit.append(letters[0])  # doubled
    assert await mailbox.wait(0)
    assert network.deliver_all() == 3
    order = [letters[1], letters[3], letters[0], letters[0]]
    assert network.letters("hub") == tuple(order)
    assert [arrival.containers for arrival in await look(mailbox)] == [
        (one.container,) for one in order
    ]
    assert not await mailbox.wait(0)


async def test_a_judge_answers_for_the_network() -> None:
    answers: Iterator[SendResult] = iter([Retry("busy"), Refused("no", too_large=True), Sent(5)])
    network = Network(judge=lambda _: next(answers))
    async with MemorySender(network) as sender:
        results = [await sender.send(letter("hub", container(9))) for _ in range(3)]
    assert results == [Retry("busy"), Refused("no", too_large=True), Sent(5)]
    assert len(network.in_transit) == 1


async def test_a_moved_letter_lies_in_its_folder_and_a_rebuilt_mailbox_renumbers() -> None:
    network = Network()
    mailbox = MemoryMailbox(network, "hub")
    for number in range(2):
        network.deliver(letter("hub", container(9, number), number=number))
    one, two = await look(mailbox)
    assert await mailbox.dispose([one.place], "Done") == {one.place}
    assert len(network.letters("hub", "Done")) == 1
    network.renumber("hub")
    (again,) = [arrival async for arrival in mailbox.arrivals([one.place, two.place])]
    assert again.containers == two.containers
    assert again.place.validity == two.place.validity + 1
    assert mailbox.vanished([one.place, two.place, again.place]) == {one.place, two.place}
