"""How few mails and bytes a change costs, whatever the way does to them."""

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mailsync.carriers.base import Letter, Refused, Retry, SendResult, Sent
from mailsync.core.forgetting import expire
from mailsync.core.model import Guid, Key, RecordId
from mailsync.cycle import composing, run
from mailsync.cycle.composing import Composed, compose_for
from mailsync.cycle.report import Report
from mailsync.cycle.run import Extent, run_cycle
from mailsync.cycle.site import Peer, Site
from mailsync.errors import OurError
from tests.cycle.sites import DAY, HOUR, Sites, pair

MINUTE = HOUR // 60


@pytest.fixture
def sites(tmp_path: Path) -> Sites:
    return pair(tmp_path)


async def cycle(sites: Sites, name: str) -> Report:
    """A cycle of which parts may fail."""
    return await run_cycle(sites.sites[name], Extent(), Report())


def taken(letter: Letter) -> SendResult:
    return Sent(len(letter.container))


async def test_after_an_outage_one_set_goes_and_not_its_history(sites: Sites) -> None:
    sites.network.judge = lambda _: Retry("the antenna is down")
    for day in range(30):
        sites.rows("alice")[Key("1")] = {"name": "Ada", "day": day}
        report = await cycle(sites, "alice")
        assert report.exit_code == 5
        sites.clock.now += DAY
    sites.network.judge = taken
    sent = (await cycle(sites, "alice")).peers["bob"].sent
    assert (sent.mails, sent.upserts) == (1, 1)
    sites.network.deliver_all()
    await cycle(sites, "bob")
    assert sites.contents("bob") == [[("day", 29), ("name", "Ada")]]


async def test_what_was_perhaps_taken_is_tried_again_under_the_same_name(sites: Sites) -> None:
    seen: list[str] = []

    def judge(letter: Letter) -> SendResult:
        seen.append(letter.message_id)
        return Retry("no answer after the last dot", uncertain=True)

    sites.network.judge = judge
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    for _ in range(3):
        await cycle(sites, "alice")
        sites.clock.now += HOUR
    assert len(seen) == 3
    assert len(set(seen)) == 1


async def test_a_mail_refused_for_its_size_goes_in_smaller_parts(sites: Sites) -> None:
    import random

    def judge(letter: Letter) -> SendResult:
        size = len(letter.container)
        return Refused("552 too big", too_large=True) if size > 100_000 else Sent(size)

    sites.network.judge = judge
    sites.rows("alice")[Key("1")] = {"photo": random.Random(1).randbytes(400_000)}
    for _ in range(5):
        await cycle(sites, "alice")
    sites.network.deliver_all()
    await cycle(sites, "bob")
    assert len(sites.rows("bob")) == 1


def photo_in_five(directory: Path, lost: int) -> Sites:
    """Alice has sent one record in five mails; the one of this number, from 1, is lost."""
    import random

    sites = pair(directory, 'max_message = "64 KiB"')
    sites.rows("alice")[Key("1")] = {"photo": random.Random(1).randbytes(200_000)}
    assert sites.sync("alice").peers["bob"].sent.mails == 5
    del sites.network.in_transit[lost - 1]
    return sites


def exchange(sites: Sites, times: int) -> list[int]:
    """How many mails Alice and Bob send in each of these turns of two hours."""
    mails = []
    for _ in range(times):
        mails.append(0)
        for name, peer in (("bob", "alice"), ("alice", "bob")):
            sites.network.deliver_all()
            mails[-1] += sites.sync(name).peers[peer].sent.mails
        sites.clock.now += 2 * HOUR
    return mails


@pytest.mark.parametrize("lost", [1, 3, 5])
def test_of_five_mails_the_lost_one_goes_again(tmp_path: Path, lost: int) -> None:
    sites = photo_in_five(tmp_path, lost)
    # nothing; Bob's word of what he holds and the part he lacks; nothing; his confirmation
    assert exchange(sites, 4) == [0, 2, 0, 1]
    assert sites.contents("bob") == sites.contents("alice")
    sites.clock.now += 8 * DAY
    assert exchange(sites, 4) == [0, 0, 0, 0]
    with sites.sites["alice"].store.transaction() as transaction:
        assert transaction.outbox.kept("bob") == []


def test_an_old_word_on_parts_moves_nothing(tmp_path: Path) -> None:
    sites = photo_in_five(tmp_path, 3)
    assert exchange(sites, 1) == [0]
    sites.sync("bob")
    (receipt,) = sites.network.in_transit
    for _ in range(3):
        sites.network.store("alice@example.org").add("INBOX", receipt)
    assert sites.sync("alice").peers["bob"].sent.mails == 1
    sites.network.store("alice@example.org").add("INBOX", receipt)
    assert sites.sync("alice").peers["bob"].sent.mails == 0


def test_parts_that_nobody_keeps_go_all_again(tmp_path: Path) -> None:
    sites = photo_in_five(tmp_path, 3)
    with sites.sites["alice"].store.transaction() as transaction:
        kept = transaction.outbox.kept("bob")
        transaction.outbox.remove(item.number for item in kept)
    mails = exchange(sites, 16)
    assert mails[:3] == [0, 1, 0]
    assert sum(mails) == 1 + 5 + 1
    assert sites.contents("bob") == sites.contents("alice")


def test_the_part_that_goes_again_may_be_lost_too(tmp_path: Path) -> None:
    sites = photo_in_five(tmp_path, 3)
    assert exchange(sites, 2) == [0, 2]
    sites.network.in_transit.clear()
    mails = exchange(sites, 24)
    assert sum(mails) == 5 + 1
    assert sites.contents("bob") == sites.contents("alice")


def resends(sites: Sites, days: int) -> list[int]:
    """On which of the next days alice sends again what nobody confirms."""
    found = []
    for day in range(1, days + 1):
        sites.clock.now += DAY
        if sites.sync("alice").peers["bob"].sent.mails:
            found.append(day)
        sites.network.in_transit.clear()
    return found


def test_a_silent_peer_is_tried_ever_more_rarely(sites: Sites) -> None:
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    sites.sync("alice")
    sites.network.in_transit.clear()
    assert resends(sites, 28) == [1, 3, 7, 14, 21, 28]


def test_so_is_one_that_was_only_asked_something(sites: Sites) -> None:
    alice = sites.sites["alice"]
    with alice.store.transaction() as transaction:
        transaction.save_links({"bob": expire(alice.links(transaction)["bob"])})
    sites.sync("alice")
    sites.network.in_transit.clear()
    assert resends(sites, 28) == [1, 3, 7, 14, 21, 28]
    for _ in range(4):
        sites.clock.now += 8 * DAY
        sites.round()
    with alice.store.transaction() as transaction:
        link = alice.links(transaction)["bob"]
    assert not link.stale
    assert link.misses == 0


def test_the_timer_learns_how_long_a_slow_way_takes(sites: Sites) -> None:
    for number in range(6):
        sites.rows("alice")[Key("1")] = {"name": "Ada", "number": number}
        sites.sync("alice")
        sites.clock.now += 3 * DAY
        sites.network.deliver_all()
        sites.sync("bob")
        sites.clock.now += 2 * HOUR
        sites.sync("bob")
        sites.clock.now += 3 * DAY
        sites.network.deliver_all()
        sites.sync("alice")
    sites.rows("alice")[Key("1")] = {"name": "Ada", "number": 99}
    sites.sync("alice")
    sites.network.in_transit.clear()
    assert resends(sites, 14)[0] >= 6


def test_what_is_on_its_way_is_not_sent_again(sites: Sites) -> None:
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    assert sites.sync("alice").peers["bob"].sent.upserts == 1
    sites.rows("alice")[Key("2")] = {"name": "Bob"}
    assert sites.sync("alice").peers["bob"].sent.upserts == 1
    assert sites.sync("alice").peers["bob"].sent.mails == 0


def test_only_what_is_missing_is_sent_again(sites: Sites) -> None:
    lost = []
    for number in range(3):
        sites.rows("alice")[Key(str(number))] = {"name": str(number)}
        sites.sync("alice")
        if number == 1:
            lost = list(sites.network.in_transit)
            sites.network.in_transit.clear()
        sites.network.deliver_all()
    assert lost
    sites.sync("bob")
    sites.clock.now += 2 * HOUR
    sites.sync("bob")
    sites.network.deliver_all()
    sites.sync("alice")
    sites.clock.now += 2 * DAY
    assert sites.sync("alice").peers["bob"].sent.upserts == 1
    sites.network.deliver_all()
    sites.sync("bob")
    assert len(sites.rows("bob")) == 3


def test_much_data_for_small_mails_goes_in_bundles_that_fit_one_each(tmp_path: Path) -> None:
    import random

    sites = pair(tmp_path, 'max_message = "32 KiB"')
    chance = random.Random(1)
    for number in range(200):
        sites.rows("alice")[Key(str(number))] = {"text": chance.randbytes(500).hex()}
    sent = sites.sync("alice").peers["bob"].sent
    assert sent.bundles == sent.mails > 4
    lost = sites.network.in_transit.pop(2)
    assert lost.parts == 1
    sites.network.deliver_all()
    sites.sync("bob")
    arrived = len(sites.rows("bob"))
    assert 100 < arrived < 200
    sites.clock.now += 2 * HOUR
    sites.sync("bob")
    sites.network.deliver_all()
    sites.sync("alice")
    sites.clock.now += 2 * DAY
    again = sites.sync("alice").peers["bob"].sent
    assert (again.mails, again.upserts) == (1, 200 - arrived)


def test_a_clock_set_back_does_not_hold_up_what_was_lost(sites: Sites) -> None:
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    sites.sync("alice")
    sites.network.in_transit.clear()
    sites.clock.now -= 1000 * DAY
    sites.sync("alice")
    sites.clock.now += 2 * DAY
    sites.sync("alice")
    sites.network.deliver_all()
    sites.sync("bob")
    assert len(sites.rows("bob")) == 1


def test_what_the_peer_got_from_elsewhere_does_not_make_it_stale(tmp_path: Path) -> None:
    sites = Sites(tmp_path)
    sites.add("alice", {"bob": "", "carol": ""})
    sites.add("bob", {"alice": "", "carol": ""})
    sites.add("carol", {"alice": "", "bob": ""})
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    for _ in range(40):
        sites.round()
        sites.clock.now += DAY
    for site in sites.sites.values():
        with site.store.transaction() as transaction:
            assert not any(link.stale for link in site.links(transaction).values())


def test_a_long_silence_does_not_teach_endless_patience(sites: Sites) -> None:
    sites.rows("alice")[Key("1")] = {"name": "Ada", "number": 1}
    sites.sync("alice")
    sites.network.deliver_all()
    sites.sync("bob")
    sites.clock.now += 25 * DAY
    sites.sync("bob")
    sites.network.deliver_all()
    sites.sync("alice")
    sites.rows("alice")[Key("1")] = {"name": "Ada", "number": 2}
    sites.sync("alice")
    sites.network.in_transit.clear()
    assert resends(sites, 8) == [7]


async def test_a_size_once_refused_is_tried_again_a_month_later(sites: Sites) -> None:
    import random

    chance, limit, refusals = random.Random(1), 70_000, []

    def judge(letter: Letter) -> SendResult:
        if len(letter.container) <= limit:
            return taken(letter)
        refusals.append(len(letter.container))
        return Refused("552 too big", too_large=True)

    async def mails_of_a_photo() -> int:
        sites.clock.now += 31 * DAY
        refusals.clear()
        sites.rows("alice")[Key("1")] = {"photo": chance.randbytes(400_000)}
        mails = 0
        for _ in range(5):
            mails += (await cycle(sites, "alice")).peers["bob"].sent.mails
            sites.network.deliver_all()
            await cycle(sites, "bob")
            sites.clock.now += HOUR
        assert sites.contents("alice") == sites.contents("bob")
        return mails

    sites.network.judge = judge
    many = await mails_of_a_photo()
    assert len(refusals) > 1
    assert await mails_of_a_photo() == many
    assert len(refusals) == 1  # tried once, and nothing was lost by it
    limit = 10**9
    counts = [await mails_of_a_photo() for _ in range(5)]
    assert many > counts[0] > counts[1] > counts[2]
    assert counts[-1] == 1


async def test_a_servers_own_word_on_sizes_holds_until_the_next(
    sites: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    import random

    from mailsync.carriers.memory import MemorySender

    for limit, mails in ((50_000, 5), (10**8, 1)):
        monkeypatch.setattr(MemorySender, "size_limit", limit)
        sites.rows("alice")[Key("2")] = {"name": f"tells of {limit}"}
        await cycle(sites, "alice")
        sites.rows("alice")[Key("1")] = {"photo": random.Random(limit).randbytes(150_000)}
        assert (await cycle(sites, "alice")).peers["bob"].sent.mails == mails


def test_what_cannot_be_said_to_one_peer_keeps_nothing_from_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compose(site: Site, peer: Peer, report: Report, **how: Any) -> Iterator[Composed]:
        if peer.name == "bob":
            raise OurError("a bundle holds more than peers accept")
        return compose_for(site, peer, report, **how)

    monkeypatch.setattr(run, "compose_for", compose)
    sites = Sites(tmp_path)
    sites.add("alice", {"bob": "", "carol": ""})
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    report = asyncio.run(run_cycle(sites.sites["alice"], Extent(), Report()))
    assert [str(problem) for problem in report.problems] == [
        "a bundle holds more than peers accept"
    ]
    assert [letter.recipient for letter in sites.network.in_transit] == ["carol@example.org"]


def test_the_list_of_all_goes_to_a_peer_that_was_given_up_once_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not with each bundle of what is due to it besides, of which a long one leaves no room."""
    chance, listed = random.Random(1), composing._manifest
    more = {RecordId("people", Guid(chance.randbytes(16))) for _ in range(3000)}
    monkeypatch.setattr(composing, "_manifest", lambda transaction: listed(transaction) | more)
    sites = pair(tmp_path, 'max_message = "16 KiB"')
    for number in range(30):
        sites.rows("alice")[Key(str(number))] = {"name": chance.randbytes(100).hex()}
    alice = sites.sites["alice"]
    with alice.store.transaction() as transaction:
        transaction.save_links({"bob": expire(alice.links(transaction)["bob"])})
    assert sites.sync("alice").peers["bob"].sent.mails < 10
    for _ in range(4):
        sites.network.deliver_all()
        sites.clock.now += 8 * DAY
        sites.round()
    assert sites.contents("bob") == sites.contents("alice")
    with alice.store.transaction() as transaction:
        assert not alice.links(transaction)["bob"].stale


def test_what_one_says_arrives_though_it_never_hears_an_answer(sites: Sites) -> None:
    rows = sites.rows("alice")
    for day in range(45):  # beyond the retention time
        rows[Key(str(day))] = {"name": f"row {day}"}
        rows[Key(str(day // 2))] = {"name": f"edited on day {day}"}
        if day % 3 == 2:
            del rows[Key(str(day - 1))]
        for name in ("alice", "bob"):
            sent = sites.sync(name).peers
            assert all(peer.sent.mails <= 1 for peer in sent.values())
            to_bob = [one for one in sites.network.in_transit if one.recipient.startswith("bob")]
            sites.network.in_transit[:] = to_bob
            sites.network.deliver_all()
        assert sites.contents("bob") == sites.contents("alice")
        sites.clock.now += DAY
