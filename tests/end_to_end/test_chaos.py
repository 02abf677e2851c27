"""Daemons on real servers, a relay that does to mails what the world does, and ``kill -9``.

``ROUNDS`` in the environment says how long in all (default 24), ``SEED`` which course the first
test takes; there is one for each 12 rounds, of two sites and of three in turn. ``SITES`` keeps
to arrangements of so many.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.end_to_end.exchange import DEFECTS, FILL_DEFECTS, flags, mails
from tests.end_to_end.site_directory import SiteDirectory, eventually, introduce, make_site
from tests.end_to_end.users import Users, journal
from tests.servers.mail import MailServer
from tests.servers.relay import FAULTS, UNREADABLE, Relay

ROUNDS = int(os.environ.get("ROUNDS", "24"))
SEED = int(os.environ.get("SEED", "1"))
SITES = os.environ.get("SITES", "")
ROUNDS_EACH = min(ROUNDS, 12)
SEEDS = range(SEED, SEED + -(-ROUNDS // ROUNDS_EACH))

ARRANGEMENTS = {
    "two": [("ship", "shore")],
    "chain": [("ship", "shore"), ("shore", "yard")],
    "mesh": [("ship", "shore"), ("shore", "yard"), ("yard", "ship")],
}
"""Who is whose peer; in the chain the shore passes on what the others never send each other."""
CHOSEN = [
    name
    for name, links in ARRANGEMENTS.items()
    if SITES in ("", str(len({site for link in links for site in link})))
]

TIMERS = 'poll = "1s"\nacknowledge_after = "1s"\nresend_after = "3s"'
THIN = {("shore", "yard")}
"""Links of thin mails."""
CALM_SECONDS = 180
DEFECTS_BEFORE = 5
"""Few, so that users meet."""

_LABEL = re.compile(rb"(?m)^X-Relay: (\d+) ([\w ]+?)\r?$")


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
        assert self._process.poll() is None, self.site.complained()
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        self._stack.close()


@dataclass
class Fleet:
    """Sites, what runs, and what can be killed."""

    server: MailServer
    relay: Relay
    chance: random.Random
    sites: list[SiteDirectory]
    keepers: list[Keeper] = field(init=False)
    kills: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.keepers = [Keeper(site) for site in self.sites]

    @contextmanager
    def at_work(self) -> Iterator[None]:
        try:
            for keeper in self.keepers:
                keeper.start()
            yield
        finally:
            for keeper in self.keepers:
                keeper.stop()

    def victims(self) -> Iterator[str]:
        """Everything that can be killed, in any order, again and again."""
        everything = sorted(self._killable())
        while True:
            yield from self.chance.sample(everything, len(everything))

    def kill(self, name: str) -> None:
        """Kill it, and start it again after a while."""
        kill, start = self._killable()[name]
        kill()
        self.kills[name] += 1
        time.sleep(self.chance.uniform(0, 1))
        start()

    def _killable(self) -> dict[str, tuple[Callable[[], None], Callable[[], None]]]:
        server = self.server
        return {
            **{keeper.site.name: (keeper.kill, keeper.start) for keeper in self.keepers},
            "relay": (self.relay.kill, self.relay.start),
            "dovecot": (lambda: server.kill("dovecot"), server.start),
            "postfix": (lambda: server.kill("postfix"), server.start),
        }

    def saw_everything(self) -> bool:
        """Was everything killed, and every fault met?"""
        return self.kills.keys() == self._killable().keys() and +self.relay.counts >= Counter(
            FAULTS | {"overtaken"}
        )

    def at_rest(self) -> bool:
        """Is everything of everybody everywhere, and known to be?"""
        first, *others = (contents(site) for site in self.sites)
        return (
            all(other == first for other in others)
            and all(map(quiet, self.sites))
            and len({frozenset(one["id"] for one in journal(site)) for site in self.sites}) == 1
        )

    def left(self, site: SiteDirectory) -> set[tuple[int, str]]:
        """Numbers and labels of the mails in a mailbox."""
        found = (_LABEL.search(raw) for raw in mails(self.server, site.address).values())
        return {(int(label[1]), label[2].decode()) for label in found if label is not None}

    def is_tidy(self) -> bool:
        """Is no mail left but what no peer can be proven to have sent?"""
        labels = {what for site in self.sites for _, what in self.left(site)}
        return labels <= UNREADABLE | {"truncate"}

    def account(self) -> str:
        """What happened, for people."""
        mails = dict(sorted(self.relay.counts.items()))
        return f"killed {dict(self.kills)}, mails {mails}, conflicts {len(journal(self.sites[0]))}"

    def unrest(self) -> str:
        """What keeps it from resting, for people."""
        sites = (
            f"{site.name}: {contents(site)}\n{site.json('status')}\n{journal(site)}\n"
            f"{site.complained()[-3000:]}"
            for site in self.sites
        )
        return "\n".join([self.account(), *sites])


def make_fleet(
    server: MailServer, relay: Relay, chance: random.Random, directory: Path, arrangement: str
) -> Fleet:
    """Sites that send through the relay; the first has some defects, the others none yet."""
    links = ARRANGEMENTS[arrangement]
    names = dict.fromkeys(name for link in links for name in link)
    sites = {name: make_site(server, directory / name, name) for name in names}
    for site in sites.values():
        site.execute("DROP TABLE defects")
        site.execute(DEFECTS)
        site.set_for_mail('dispose_after = "1s"')
        user = site.address.replace("@", "%40")
        site.replace(server.url("smtps", site.address), f"smtp://{user}@127.0.0.1:{relay.port}")
    for one, other in links:
        introduce(sites[one], sites[other])
        lines = f'{TIMERS}\nprofile = "thin"' if (one, other) in THIN else TIMERS
        sites[one].set_for_peer(other, lines)
        sites[other].set_for_peer(one, lines)
    sites["ship"].execute(FILL_DEFECTS, DEFECTS_BEFORE)
    return Fleet(server, relay, chance, list(sites.values()))


def contents(site: SiteDirectory) -> list[tuple[object, ...]]:
    """Every defect; local keys differ from site to site."""
    return site.query(
        "SELECT no, title, status, note, hours, photo, urgent FROM defects ORDER BY 1"
    )


def quiet(site: SiteDirectory) -> bool:
    """Has it heard that everything of it has arrived?

    A mail that was being handed over when the relay was killed may be queued for ten minutes more.
    """
    return all(line["unconfirmed"] == 0 for line in site.json("status") if line["type"] == "peer")


def live_through(fleet: Fleet, users: Users) -> None:
    """Edits everywhere, and every third round something is killed."""
    victims = fleet.victims()
    for number in range(5 * ROUNDS_EACH + 50):
        if number >= ROUNDS_EACH and fleet.saw_everything():
            return
        for _ in range(3):
            users.use_table(fleet.chance.choice(fleet.sites))
        time.sleep(fleet.chance.uniform(0.2, 1.5))
        if number % 3 == 2:
            fleet.kill(next(victims))
    pytest.fail(f"few mails went through the relay: {fleet.account()}")


def assert_mailboxes_rest(fleet: Fleet) -> None:
    """What no peer can be proven to have sent is where it was put, and as it was."""
    for site in fleet.sites:
        theirs = {
            (one.number, one.what)
            for one in fleet.relay.handed()
            if one.recipient == site.address and one.what in UNREADABLE
        }
        assert theirs <= fleet.left(site)
        assert not any(flags(fleet.server, site.address).values())


@pytest.mark.parametrize("seed", SEEDS)
def test_daemons_survive_everything_at_once(
    mail_server: MailServer, tmp_path: Path, seed: int
) -> None:
    arrangement = CHOSEN[(seed - 1) % len(CHOSEN)]
    with Relay(mail_server, tmp_path / "relay", seed) as relay:
        fleet = make_fleet(mail_server, relay, random.Random(seed), tmp_path, arrangement)
        numbers = fleet.sites[0].query("SELECT no FROM defects")
        users = Users(fleet.chance, {number for (number,) in numbers})
        with fleet.at_work():
            live_through(fleet, users)
            relay.calm()
            eventually(fleet.at_rest, CALM_SECONDS, why=fleet.unrest)
            eventually(fleet.is_tidy, why=fleet.account)
        print(f"SEED={seed} SITES={SITES} ({arrangement}): {fleet.account()}")  # noqa: T201  shown where it fails
        users.assert_nothing_lost(fleet.sites)
        assert_mailboxes_rest(fleet)
    for site in fleet.sites:
        assert "defect in mailsync" not in site.complained(), site.complained()
