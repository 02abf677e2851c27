"""Two daemons on real servers, a relay that does to mails what the world does, and ``kill -9``.

``ROUNDS`` in the environment says how long (default 15), ``SEED`` which course it takes.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.end_to_end.site_directory import SiteDirectory, eventually, pair_of_sites
from tests.servers.mail import MailServer
from tests.servers.relay import Relay

ROUNDS = int(os.environ.get("ROUNDS", "15"))
SEED = int(os.environ.get("SEED", "1"))
TIMERS = 'poll = "2s"\nacknowledge_after = "1s"\nresend_after = "3s"'
CALM_SECONDS = 240


class Keeper:
    """Runs a site's daemon, and starts it again whenever it was killed."""

    def __init__(self, site: SiteDirectory) -> None:
        self.site = site
        self._stack = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = self._stack.enter_context(self.site.running("--json", "daemon"))

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self.start()

    def stop(self) -> None:
        self._stack.close()


@contextmanager
def daemons(sites: tuple[SiteDirectory, ...]) -> Iterator[list[Keeper]]:
    keepers = [Keeper(site) for site in sites]
    try:
        for keeper in keepers:
            keeper.start()
        yield keepers
    finally:
        for keeper in keepers:
            keeper.stop()


class Users:
    """What ordinary programs did to both tables."""

    def __init__(self, chance: random.Random, sites: tuple[SiteDirectory, ...]) -> None:
        self._chance = chance
        self._sites = sites
        self.created: set[str] = set()
        self.deleted: set[str] = set()
        self._count = 0

    def act(self) -> None:
        site = self._chance.choice(self._sites)
        titles = [title for title, _ in site.defects()]
        action = self._chance.choice(["insert", "insert", "edit", "edit", "delete"])
        self._count += 1
        if action == "insert" or not titles:
            title = f"defect {self._count}"
            self.created.add(title)
            site.insert(title, f"status {self._count}")
            return
        title = self._chance.choice(titles)
        if action == "delete":
            self.deleted.add(title)
            site.execute("DELETE FROM defects WHERE title = ?", title)
        else:
            status = f"status {self._count}"
            site.execute("UPDATE defects SET status = ? WHERE title = ?", status, title)


def test_two_daemons_survive_everything_at_once(mail_server: MailServer, tmp_path: Path) -> None:
    chance = random.Random(SEED)
    sites = pair_of_sites(mail_server, tmp_path)
    users = Users(chance, sites)
    with Relay(mail_server, random.Random(SEED + 1)) as relay:
        for site, peer in (sites, sites[::-1]):
            site.set_for_peer(peer.name, TIMERS)
            real = mail_server.url("smtps", site.address)
            user = site.address.replace("@", "%40")
            site.replace(real, f"smtp://{user}@127.0.0.1:{relay.port}")
        with daemons(sites) as keepers:
            for number in range(ROUNDS):
                for _ in range(3):
                    users.act()
                if chance.random() < 0.5:
                    chance.choice(keepers).kill()
                if number == ROUNDS // 2:
                    mail_server.restart()
                time.sleep(chance.uniform(0.2, 1.5))
            relay.calm()
            ship, shore = sites
            eventually(
                lambda: ship.defects() == shore.defects() and quiet(sites),
                CALM_SECONDS,
                why=lambda: f"seed {SEED}: {relay.counts}\n{ship.defects()}\n{shore.defects()}",
            )
    titles = [title for title, _ in ship.defects()]
    assert len(titles) == len(set(titles))
    assert users.created - users.deleted <= set(titles) <= users.created
    assert relay.counts.get("drop")
    for site in sites:
        assert "defect in mailsync" not in site.complained(), site.complained()


def quiet(sites: tuple[SiteDirectory, ...]) -> bool:
    """Has every site heard that everything of it has arrived?"""
    return all(
        line["unconfirmed"] == 0 and line["queued"] == 0
        for site in sites
        for line in site.json("status")
        if line["type"] == "peer"
    )
