"""Real daemons of two sites, on real mail servers."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mailsync.errors import Exit
from tests.end_to_end.site_directory import SiteDirectory, eventually, pair_of_sites
from tests.servers.mail import PASSWORD, MailServer

OFTEN = 'poll = "2s"'
RARELY = 'poll = "12h"'
STOPPED_WITHIN_SECONDS = 3.0

Pair = tuple[SiteDirectory, SiteDirectory]


@pytest.fixture
def sites(mail_server: MailServer, tmp_path: Path) -> Pair:
    return pair_of_sites(mail_server, tmp_path)


def poll(sites: Pair, ship: str, shore: str) -> None:
    sites[0].set_for_peer("shore", ship)
    sites[1].set_for_peer("ship", shore)


@contextlib.contextmanager
def daemon(site: SiteDirectory) -> Iterator[subprocess.Popen[bytes]]:
    before = site.complained().count(": at work") if (site.path / "stderr").exists() else 0
    with site.running("--json", "daemon") as process:
        eventually(
            lambda: site.complained().count(": at work") > before or process.poll() is not None,
            why=site.complained,
        )
        yield process


def await_equal(one: SiteDirectory, other: SiteDirectory) -> None:
    eventually(
        lambda: one.defects() == other.defects(),
        why=lambda: f"{one.complained()}\n{other.complained()}",
    )


def await_defect(site: SiteDirectory, title: str, status: str = "open") -> None:
    eventually(lambda: (title, status) in site.defects(), why=site.complained)


def stopped(process: subprocess.Popen[bytes], number: signal.Signals = signal.SIGTERM) -> int:
    """The exit code after the signal. Fails if it does not end in time."""
    process.send_signal(number)
    begin = time.monotonic()
    code = process.wait(timeout=60)
    assert time.monotonic() - begin < STOPPED_WITHIN_SECONDS
    return code


def queued(site: SiteDirectory) -> int:
    with closing(sqlite3.connect(f"file:{site.state}?mode=ro", uri=True, timeout=60)) as found:
        (count,) = found.execute("SELECT count(*) FROM outbox").fetchone()
        return int(count)


def test_an_edit_at_either_site_arrives_at_the_other_without_a_command(sites: Pair) -> None:
    ship, shore = sites
    poll(sites, OFTEN, OFTEN)
    with daemon(ship) as first, daemon(shore) as second:
        ship.insert("bilge pump")
        await_defect(shore, "bilge pump")
        shore.execute("UPDATE defects SET status = 'closed'")
        await_defect(ship, "bilge pump", "closed")
        ship.execute("DELETE FROM defects")
        eventually(lambda: shore.defects() == [], why=shore.complained)
        assert stopped(first) == stopped(second) == 0
    lines = shore.said()
    assert {line["type"] for line in lines[:-1]} == {"cycle"}
    assert sum(line["peers"]["ship"]["received"]["upserts"] for line in lines[:-1]) == 1
    assert lines[-1] == {"v": 1, "type": "summary", "cycles": len(lines) - 1}


def test_announced_mail_is_fetched_long_before_the_poll(sites: Pair) -> None:
    """And a sync by hand works beside a running daemon, at either end."""
    ship, shore = sites
    poll(sites, RARELY, RARELY)
    with daemon(ship), daemon(shore):
        for title in ("bilge pump", "radar", "winch"):
            ship.insert(title)
            ship.sync()
            await_defect(shore, title)
        shore.execute("UPDATE defects SET status = 'closed' WHERE title = 'radar'")
        shore.sync()
        await_defect(ship, "radar", "closed")


def test_listening_survives_a_restart_of_the_server(sites: Pair, mail_server: MailServer) -> None:
    ship, shore = sites
    poll(sites, RARELY, RARELY)
    with daemon(shore) as process:
        ship.insert("bilge pump")
        ship.sync()
        await_defect(shore, "bilge pump")
        mail_server.restart()
        ship.insert("radar")
        ship.sync()
        await_defect(shore, "radar")
        assert stopped(process) == 0


def test_killing_and_restarting_loses_and_doubles_nothing(sites: Pair) -> None:
    ship, shore = sites
    poll(sites, OFTEN, OFTEN)
    for number in range(6):
        victim = sites[number % 2]
        with daemon(ship) as first, daemon(shore) as second:
            ship.insert(f"at sea {number}")
            shore.insert(f"ashore {number}")
            time.sleep(0.7 * number)  # another moment of the cycle every time
            (first if victim is ship else second).kill()
    with daemon(ship), daemon(shore):
        await_equal(ship, shore)
    expected = [
        (f"{place} {number}", "open") for place in ("ashore", "at sea") for number in range(6)
    ]
    assert ship.defects() == expected


def test_a_stopped_server_is_waited_for_and_complained_of_once(
    sites: Pair, mail_server: MailServer
) -> None:
    ship, shore = sites
    poll(sites, OFTEN, OFTEN)
    with daemon(ship) as first, daemon(shore) as second:
        ship.insert("bilge pump")
        await_defect(shore, "bilge pump")
        mail_server.stop()
        try:
            ship.insert("radar")
            eventually(lambda: "Connect call failed" in ship.complained(), why=ship.complained)
            eventually(lambda: queued(ship) > 0, why=ship.complained)
        finally:
            mail_server.start()
        await_defect(shore, "radar")
        eventually(lambda: " over: " in ship.complained(), why=ship.complained)
        assert stopped(first) == stopped(second) == 0
    imap = f"localhost:{mail_server.ports['imaps']}: "
    begun = [line for line in ship.complained().splitlines() if imap in line and "over" not in line]
    assert len(begun) <= 2, begun  # a server going down may first cut, then refuse


def test_a_wrong_password_is_complained_of_once_and_may_be_corrected(sites: Pair) -> None:
    ship, shore = sites
    poll(sites, OFTEN, OFTEN)
    ship.secret.write_text("wrong-7f3a91c2\n")
    ship.insert("bilge pump")
    with daemon(ship), daemon(shore):
        eventually(lambda: ship.complained().count(" refused: ") >= 2, why=ship.complained)
        ship.secret.write_text(f"{PASSWORD}\n")
        await_defect(shore, "bilge pump")
    assert ship.complained().count(" refused: ") == 4  # IMAP and SMTP: begun, over
    assert "wrong-7f3a91c2" not in ship.complained()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_amid_a_transfer_ends_it_at_once(sites: Pair, number: signal.Signals) -> None:
    ship, shore = sites
    poll(sites, OFTEN, OFTEN)
    ship.set_for_peer("shore", 'max_message = "300 kB"')
    for serial in range(6):
        ship.insert(f"photo {serial}", os.urandom(300_000).hex())
    with daemon(ship) as process:
        eventually(lambda: queued(ship) > 0, why=ship.complained)
        assert stopped(process, number) == 0
    with daemon(shore):
        ship.sync()  # a daemon would give the mail it was sending ten minutes to have arrived
        await_equal(ship, shore)
    assert len(shore.defects()) == 6


def test_sigterm_while_a_server_is_silent_ends_it_at_once(sites: Pair) -> None:
    ship, _ = sites
    poll(sites, OFTEN, OFTEN)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        imap = next(
            line for line in ship.configuration.read_text().splitlines() if "imap =" in line
        )
        ship.replace(imap, f'imap = "imap://user@127.0.0.1:{silent.getsockname()[1]}"')
        silent.settimeout(90)
        with daemon(ship) as process, silent.accept()[0]:
            assert stopped(process) == 0


def test_a_second_daemon_on_a_site_is_refused(sites: Pair) -> None:
    ship, _ = sites
    poll(sites, OFTEN, OFTEN)
    with daemon(ship) as process:
        error = ship.json("daemon", code=Exit.LOCKED)[-1]
        assert (error["type"], error["code"]) == ("error", 11)
        assert stopped(process) == 0
    with daemon(ship) as process:
        assert stopped(process) == 0


def test_sighup_reads_the_configuration_again_unless_it_is_broken(sites: Pair) -> None:
    ship, shore = sites
    poll(sites, OFTEN, RARELY)
    good = shore.configuration.read_text()
    with daemon(ship), daemon(shore) as process:
        shore.configure("\n[nonsense]\n")
        process.send_signal(signal.SIGHUP)
        eventually(lambda: "stays as it was" in shore.complained(), why=shore.complained)
        ship.insert("bilge pump")
        await_defect(shore, "bilge pump")
        shore.configuration.write_text(good.replace(RARELY, OFTEN))
        process.send_signal(signal.SIGHUP)
        eventually(lambda: "configuration read again" in shore.complained(), why=shore.complained)
        shore.insert("radar")  # seen only because it polls often now
        await_defect(ship, "radar")
        assert stopped(process) == 0
