"""Links between real processes: live, lost, killed, and mail in between."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from mailsync.errors import Exit
from tests.end_to_end.carriers import OFTEN, linked, listening
from tests.end_to_end.site_directory import SiteDirectory, eventually, pair_of_sites
from tests.end_to_end.test_daemon import Pair, await_defect, await_equal, daemon, stopped
from tests.servers.mail import MailServer


@pytest.fixture
def sites(mail_server: MailServer, tmp_path: Path) -> Pair:
    ship, shore = pair_of_sites(mail_server, tmp_path)
    ship.set_for_peer("shore", OFTEN)
    shore.set_for_peer("ship", OFTEN)
    return ship, shore


def mails(sites: Pair, server: MailServer) -> int:
    """How many ever arrived."""
    count = 0
    for site in sites:
        with server.imap(site.address) as client:
            count += int(client.select("INBOX")[1][0] or 0)
    return count


def is_linked(site: SiteDirectory) -> bool:
    """Does its status say that there is a link?"""
    [peer] = [line for line in site.json("status") if line["type"] == "peer"]
    return bool(peer["linked"])


def test_a_change_at_either_end_shows_at_the_other_without_a_mail(
    sites: Pair, mail_server: MailServer
) -> None:
    ship, shore = sites
    with linked(sites) as (first, second):
        ship.insert("bilge pump")
        await_defect(shore, "bilge pump")
        shore.execute("UPDATE defects SET status = 'closed'")
        await_defect(ship, "bilge pump", "closed")
        ship.execute("DELETE FROM defects")
        eventually(lambda: shore.defects() == [], why=shore.complained)
        assert [is_linked(site) for site in sites] == [True, True]
        assert stopped(first) == stopped(second) == 0
    assert [is_linked(site) for site in sites] == [False, False]
    assert mails(sites, mail_server) == 0
    cycles = [line for line in ship.said() if line["type"] == "cycle"]
    assert sum(line["peers"]["shore"]["sent"]["mails"] for line in cycles) == 0
    assert any("tcp" in line["peers"]["shore"]["sent"]["others"] for line in cycles)
    assert ship.said()[-1]["type"] == "summary"
    events = [line["what"] for line in ship.json("log", "shore")[:-1]]
    assert {"link up", "link down"} <= set(events)


def test_what_the_link_had_not_taken_goes_by_mail_and_the_other_way_round(
    sites: Pair, mail_server: MailServer
) -> None:
    ship, shore = sites
    with linked(sites):
        ship.insert("by link")
        await_defect(shore, "by link")
    ship.insert("by mail")
    ship.sync()
    with linked(sites):  # while the mail is on its way, or has arrived and is not read
        ship.insert("by link again")
        await_defect(shore, "by link again")
    assert ship.sync()["peers"]["shore"]["sent"]["upserts"] == 0
    eventually(lambda: shore.sync() and len(shore.defects()) == 3, why=shore.complained)
    await_equal(ship, shore)
    assert shore.json("conflicts", "list", "--all")[:-1] == []


def test_killed_amid_a_transfer_loses_and_doubles_nothing(sites: Pair) -> None:
    """Either end, at any moment; what is under way is larger than any buffer."""
    ship, shore = sites
    chance = random.Random(5)
    expected = []
    for number in range(8):
        for site in sites:
            title = f"{site.name} {number} {chance.randbytes(400_000).hex()}"
            site.insert(title)
            expected.append((title, "open"))
        with linked(sites) as processes:
            time.sleep(chance.choice([0, 0.1, 0.3, 0.6, 1.0]))  # another moment every time
            processes[number % 2].kill()
    with linked(sites):
        await_equal(ship, shore)
    assert ship.defects() == sorted(expected)


def test_daemons_prefer_the_link_and_mail_takes_over_when_it_is_gone(
    sites: Pair, mail_server: MailServer
) -> None:
    ship, shore = sites
    with listening(shore) as (_, place):  # a port that is free
        pass
    shore.replace("[site]\n", f'[site]\nlisten = "{place}"\n')
    for site, peer, lines in ((ship, "shore", f'link = "{place}"'), (shore, "ship", "")):
        site.set_for_peer(peer, f'carrier = "tcp"\npoll = "3s"\n{lines}')
    with daemon(ship) as first:
        with daemon(shore):
            ups = "link with shore up"
            eventually(lambda: ups in ship.complained(), why=ship.complained)
            before = mails(sites, mail_server)
            ship.insert("by link")
            await_defect(shore, "by link")
            shore.insert("back")
            await_defect(ship, "back")
            assert mails(sites, mail_server) == before
        ship.insert("by mail")  # shore's daemon is gone
        eventually(lambda: mails(sites, mail_server) > before, why=ship.complained)
        shore.sync()
        await_defect(shore, "by mail")
        with daemon(shore):
            eventually(lambda: ship.complained().count(ups) > 1, why=ship.complained)
            ship.insert("by link again")
            await_defect(shore, "by link again")
            await_equal(ship, shore)
        assert stopped(first) == 0
    assert len(ship.defects()) == 4


def test_one_sync_calls_a_daemon_that_waits_and_mails_it_when_it_is_gone(
    sites: Pair, mail_server: MailServer
) -> None:
    ship, shore = sites
    with listening(shore) as (_, place):  # a port that is free
        pass
    shore.replace("[site]\n", f'[site]\nlisten = "{place}"\n')
    shore.set_for_peer("ship", 'carrier = "tcp"')
    ship.set_for_peer("shore", f'carrier = "tcp"\nlink = "{place}"')
    with daemon(shore):
        eventually(lambda: "link listening" in shore.complained(), why=shore.complained)
        ship.insert("by link")
        *lines, summary = ship.json("sync")
        sent = summary["peers"]["shore"]["sent"]
        assert (sent["mails"], sent["upserts"]) == (0, 1)
        assert sent["others"]["tcp"]["containers"] > 0
        assert [line["state"] for line in lines if line["type"] == "link"] == ["up", "down"]
        await_defect(shore, "by link")
        shore.insert("back")
        eventually(lambda: ship.sync() and len(ship.defects()) == 2, why=shore.complained)
        assert mails(sites, mail_server) == 0
    ship.insert("by mail")
    *lines, summary = ship.json("sync")
    assert summary["peers"]["shore"]["sent"]["mails"] == 1
    assert [line["state"] for line in lines if line["type"] == "link"] == ["failed"]
    shore.sync()
    await_equal(ship, shore)


def test_a_port_that_is_taken_and_a_peer_that_is_none_are_told(sites: Pair) -> None:
    ship, shore = sites
    with listening(shore) as (_, place):
        error = shore.json("link", "serve", place, code=Exit.TEMPORARY)[-1]
        assert place in error["message"]
        error = ship.json("link", "connect", "nobody", code=Exit.USAGE)[-1]
        assert "there is no peer nobody" in error["message"]
        error = ship.json("link", "connect", "shore", code=Exit.BAD_CONFIGURATION)[-1]
        assert "--address" in error["message"]
        error = ship.json("link", "connect", "shore", "--address", "x", code=Exit.USAGE)[-1]
        assert "must be an address" in error["message"]
