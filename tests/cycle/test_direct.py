"""What a peer's carriers do not take goes by the next, at the same position; nothing is doubled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mailsync.carriers.base import Arrival, Letter, NotHere, Place, Retry, SendResult, Sent
from mailsync.carriers.memory import MemorySender
from mailsync.core import container
from mailsync.core.model import Key
from mailsync.cycle.direct import LINK_CONTAINER_MAX, carriers_to
from mailsync.cycle.receiving import admit
from mailsync.cycle.report import Report
from mailsync.cycle.run import Extent
from tests.cycle.sites import DAY, HOUR, Sites, pair

ROWS = 400


@dataclass
class Line(MemorySender):
    """A link from alice to bob; ``fate`` says of each letter whether it arrives, and the answer."""

    sites: Sites
    fate: Callable[[int], tuple[bool, bool]] = lambda _: (True, True)
    sent: list[Letter] = field(default_factory=list)
    is_up: bool = True

    async def __aenter__(self) -> Line:  # noqa: PYI034
        if not self.is_up:
            raise NotHere("down")
        return self

    async def __aexit__(self, *exc: object) -> None:
        pass

    def sender(self) -> Line:
        return self

    def mailbox(self) -> None:
        return None

    async def send(self, letter: Letter) -> SendResult:
        arrives, confirmed = self.fate(len(self.sent))
        self.sent.append(letter)
        if arrives:
            found = tuple(container.find(letter.container))
            place = Place("tcp", "alice", 0, 0)
            arrival = Arrival(place, len(letter.container), found, carrier="tcp")
            admit(self.sites.sites["bob"], arrival, Report())
        if confirmed:
            return Sent(len(letter.container))
        return Retry("the link was lost", uncertain=True)


@pytest.fixture
def sites(tmp_path: Path) -> Sites:
    return pair(tmp_path, 'max_message = "16 KiB"')


def link(sites: Sites) -> Line:
    line = Line(sites)
    sites.sites["alice"].direct["bob"] = {"tcp": line}
    return line


def fill(sites: Sites) -> None:
    for number in range(ROWS):
        text = sites.sites["alice"].surroundings.octets(60).hex()
        sites.rows("alice")[Key(str(number))] = {"text": text}


def finish(sites: Sites) -> None:
    for _ in range(6):
        sites.round()
        sites.clock.now += 2 * HOUR
    sites.clock.now += 40 * DAY
    sites.round()
    assert sites.round() == 0
    assert sites.contents("alice") == sites.contents("bob")
    for site in sites.sites.values():
        with site.store.transaction() as transaction:
            assert len(transaction.records.all()) == ROWS


def test_a_link_takes_at_once_what_mail_needs_many_letters_for(sites: Sites) -> None:
    line = link(sites)
    fill(sites)
    sent = sites.sync("alice").peer("bob").sent
    assert (sent.mails, sent.upserts, sent.others["tcp"].containers) == (0, ROWS, len(line.sent))
    assert max(len(one.container) for one in line.sent) > 16_384
    finish(sites)


@pytest.mark.parametrize("arrives", [True, False])
def test_when_the_link_is_lost_mail_takes_over_in_its_own_size(
    sites: Sites, *, arrives: bool
) -> None:
    """In the same cycle, whether or not what was under way had arrived."""
    line = link(sites)
    line.fate = lambda _: (arrives, False)
    fill(sites)
    sent = sites.sync("alice").peer("bob").sent
    assert (len(line.sent), sent.others) == (1, {})
    assert sent.mails > 1
    assert all(len(one.container) < 16_384 for one in sites.network.in_transit)
    finish(sites)


def test_a_link_that_breaks_and_comes_again_goes_on_where_it_was(sites: Sites) -> None:
    """Only what was under way goes again: a load is made of containers that slow links can take."""
    line = link(sites)
    for number in range(ROWS):
        text = sites.sites["alice"].surroundings.octets(1_500).hex()
        sites.rows("alice")[Key(str(number))] = {"text": text}
    line.fate = lambda number: (number != 1, number != 1)
    only = Extent(carriers=frozenset({"tcp"}))
    sites.sync("alice", only)
    assert len(line.sent) == 2
    sites.sync("alice", only)
    sizes = [len(one.container) for one in line.sent]
    assert max(sizes) <= LINK_CONTAINER_MAX
    assert sum(sizes) - sizes[1] < 1_500 * ROWS * 1.05
    assert len(sizes) > 3
    finish(sites)


def test_a_link_that_is_down_is_no_problem_and_one_alone_is_waited_for(sites: Sites) -> None:
    line = link(sites)
    line.is_up = False
    fill(sites)
    only = Extent(carriers=frozenset({"tcp"}))
    assert sites.sync("alice", only).peer("bob").sent.bundles == 0
    line.is_up = True
    assert sites.sync("alice", only).peer("bob").sent.upserts == ROWS
    assert sites.network.in_transit == []
    finish(sites)


def test_a_budget_is_for_mails_alone(tmp_path: Path) -> None:
    sites = pair(tmp_path, 'budget = { per_day = "4 kB" }')
    fill(sites)
    held = sites.sync("alice")
    assert "bob" in held.waiting
    line = link(sites)
    report = sites.sync("alice")
    assert not report.waiting
    assert report.peer("bob").sent.upserts > ROWS // 2
    with sites.sites["alice"].store.transaction() as transaction:
        assert transaction.outbox.items() == []
    assert line.sent


def test_a_link_that_is_up_goes_first_and_what_is_missing_does_not_count(sites: Sites) -> None:
    site = sites.sites["alice"]
    assert carriers_to(site, "bob", None) == ["mail"]
    link(sites)
    assert carriers_to(site, "bob", None) == ["tcp", "mail"]
    assert carriers_to(site, "bob", {"mail"}) == ["mail"]
    site.carrier = None
    assert carriers_to(site, "bob", None) == ["tcp"]
    site.direct.clear()
    assert carriers_to(site, "bob", None) == []
