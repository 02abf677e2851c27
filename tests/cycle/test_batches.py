"""What is due goes in one mail to each peer over one connection, and nothing else is said there."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailsync.carriers.endpoint import Endpoint
from mailsync.carriers.memory import MemoryMailbox
from mailsync.carriers.smtp import SmtpSender
from mailsync.core.model import Key
from mailsync.cycle.report import Report
from mailsync.cycle.run import Extent, run_cycle
from mailsync.daemon.service import DUE
from tests.cycle.sites import HOUR, Sites
from tests.faults.post import Carrier
from tests.servers.stub import smtp_stub

PEERS = {
    "bob": 'datasets = ["people"]',
    "carol": 'datasets = ["people", "parts"]',
    "dave": "",
}


@pytest.fixture
def sites(tmp_path: Path) -> Sites:
    sites = Sites(tmp_path)
    sites.add("alice", PEERS, ("people", "parts"))
    return sites


def submit_to(sites: Sites, endpoint: Endpoint) -> None:
    """Alice hands her mails over there, and gets none."""

    def sender() -> SmtpSender:
        return SmtpSender(
            endpoint,
            "secret",
            address="alice@example.org",
            site="alice",
            clock=lambda: datetime.fromtimestamp(sites.clock.now / 1000, UTC),
            timeout=20,
        )

    carrier = Carrier(sender, lambda: MemoryMailbox(sites.network, "alice@example.org"))
    sites.sites["alice"].carrier = carrier


def verbs(commands: list[str]) -> list[str]:
    return [command.split()[0] for command in commands]


async def test_one_mail_to_each_peer_over_one_connection_and_not_one_command_more(
    sites: Sites,
) -> None:
    for dataset in ("people", "parts"):
        for number in range(20):
            sites.rows("alice", dataset)[Key(str(number))] = {"number": number}
    del sites.rows("alice")[Key("7")]
    async with smtp_stub() as stub:
        submit_to(sites, stub.endpoint)
        report = await run_cycle(sites.sites["alice"], Extent(), Report())
    assert not report.problems
    assert {name: peer.sent.mails for name, peer in report.peers.items()} == dict.fromkeys(PEERS, 1)
    assert len(stub.connections) == 1
    transaction = ["MAIL", "RCPT", "DATA"]
    assert verbs(stub.commands) == ["EHLO", "AUTH", *transaction * len(PEERS), "QUIT"]


async def test_a_refused_letter_costs_one_command_and_no_connection(sites: Sites) -> None:
    def judged(line: str) -> bytes:
        return b"550 5.1.1 unknown\r\n" if "bob" in line else b"250 well\r\n"

    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    async with smtp_stub({"RCPT": judged}) as stub:
        submit_to(sites, stub.endpoint)
        report = await run_cycle(sites.sites["alice"], Extent(), Report())
    assert len(report.problems) == 1
    assert len(stub.connections) == 1
    assert len(stub.mails) == len(PEERS) - 1
    assert sorted(verbs(stub.commands)) == sorted(
        ["EHLO", "AUTH", *["MAIL", "RCPT"] * 3, "RSET", *["DATA"] * 2, "QUIT"]
    )


async def test_the_daemon_sends_new_and_late_mails_over_one_connection(sites: Sites) -> None:
    site = sites.sites["alice"]
    answers = iter([b"450 4.2.0 busy\r\n"])
    async with smtp_stub({"RCPT": lambda _: next(answers, b"250 well\r\n")}) as stub:
        submit_to(sites, stub.endpoint)
        sites.rows("alice")[Key("1")] = {"name": "Ada"}
        await run_cycle(site, DUE, Report())
        assert (len(stub.connections), len(stub.mails)) == (1, 2)
        sites.clock.now += HOUR
        sites.rows("alice", "parts")[Key("1")] = {"name": "bolt"}
        report = Report()
        await run_cycle(site, DUE, report)
        assert (len(stub.connections), len(stub.mails)) == (2, 5)  # bob's at last, two new ones
        await run_cycle(site, DUE, Report())
    assert not report.problems
    assert len(stub.connections) == 2  # nothing to say, nobody to call
