"""Sites as an operator has them: a directory each, and ``mailsync`` run in it as a process.

``pair_of_sites`` makes two that know each other on the real mail servers; each has the table
``defects`` in ``pms.db`` under the dataset of the same name.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mailsync
from tests.servers.mail import PASSWORD, MailServer

COMMAND_SECONDS = 180
"""No command of a test takes longer, however busy the machine is."""
PATIENCE_SECONDS = 90.0
"""How long a test waits for what must come."""

TABLE = "CREATE TABLE defects (id INTEGER PRIMARY KEY, title TEXT, status TEXT)"

_SECTION = """
[datasets.defects]
source = "sqlite:///pms.db"
table = "defects"
keys = "local"
"""


@dataclass(frozen=True, slots=True)
class SiteDirectory:
    """One site: its directory, its name for its peers, its mail address."""

    path: Path
    name: str
    address: str

    @property
    def configuration(self) -> Path:
        return self.path / "mailsync.toml"

    @property
    def secret(self) -> Path:
        """Holds the mail password; may be rewritten at any time."""
        return self.path / "secret"

    @property
    def database(self) -> Path:
        return self.path / "pms.db"

    @property
    def state(self) -> Path:
        return self.path / "state.db"

    def run(self, *arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run one command to its end, which must be the exit code ``code``."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.path,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        said = f"{self.name}: {arguments} ended with {done.returncode}, not {code}"
        assert done.returncode == code, f"{said}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *arguments: str | Path, code: int = 0) -> list[dict[str, Any]]:
        """Run one command with ``--json``; its lines, the last one a summary or an error."""
        done = self.run("--json", *arguments, code=code)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert lines and all(line["v"] == 1 for line in lines), done.stdout + done.stderr
        assert lines[-1]["type"] in ("summary", "error"), lines
        return lines

    def sync(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """Run ``mailsync sync``; its summary (or error) line."""
        return self.json("sync", *arguments, code=code)[-1]

    @contextmanager
    def running(self, *arguments: str | Path) -> Iterator[subprocess.Popen[bytes]]:
        """A command that goes on, such as ``daemon``; killed at the end if it still runs.

        What it says is appended to :meth:`said` and :meth:`complained`.
        """
        with (
            (self.path / "stdout").open("ab") as output,
            (self.path / "stderr").open("ab") as errors,
        ):
            process = subprocess.Popen(
                self.command(*arguments),
                cwd=self.path,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(timeout=COMMAND_SECONDS)

    def said(self) -> list[dict[str, Any]]:
        """The JSON lines of every :meth:`running` command so far."""
        lines = (self.path / "stdout").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def complained(self) -> str:
        """Standard error of every :meth:`running` command so far."""
        return (self.path / "stderr").read_text()

    def command(self, *arguments: str | Path) -> list[str]:
        return [sys.executable, "-m", "mailsync", *map(str, arguments)]

    def configure(self, text: str) -> None:
        """Append sections to the configuration."""
        with self.configuration.open("a") as file:
            file.write(text)

    def set_for_peer(self, peer: str, lines: str) -> None:
        """Add lines to ``[peers.PEER]``, e.g. ``poll = "1h"``."""
        self._insert(f"[peers.{peer}]", lines)

    def set_for_mail(self, lines: str) -> None:
        """Add lines to ``[mail]``, e.g. ``dispose_after = "1s"``."""
        self._insert("[mail]", lines)

    def replace(self, old: str, new: str) -> None:
        """Change a text that is in the configuration."""
        text = self.configuration.read_text()
        assert old in text, text
        self.configuration.write_text(text.replace(old, new))

    def execute(self, statement: str, *values: object) -> None:
        """Change the database as a user's program would."""
        with closing(sqlite3.connect(self.database, timeout=60)) as connection, connection:
            connection.execute(statement, values)

    def insert(self, title: str, status: str = "open") -> None:
        """A new defect."""
        self.execute("INSERT INTO defects (title, status) VALUES (?, ?)", title, status)

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """What the database holds."""
        with closing(sqlite3.connect(self.database, timeout=60)) as connection:
            return connection.execute(statement).fetchall()

    def defects(self) -> list[tuple[str, str]]:
        """Title and status of every defect, sorted; local keys differ from site to site."""
        return self.query("SELECT title, status FROM defects ORDER BY title, status")

    def _insert(self, header: str, lines: str) -> None:
        self.replace(f"{header}\n", f"{header}\n{lines}\n")


def make_site(server: MailServer, path: Path, name: str) -> SiteDirectory:
    """A new site with an address of its own and an empty table ``defects``."""
    address = server.add_user(f"{name}-{secrets.token_hex(4)}@mail.example")
    site = SiteDirectory(path, name, address)
    path.mkdir()
    site.secret.write_text(f"{PASSWORD}\n")
    site.run(
        *("init", "--site", name, "--address", address, "--secret-command", "cat secret"),
        *("--imap", server.url("imaps", address), "--smtp", server.url("smtps", address)),
    )
    site.set_for_mail(f'tls_ca = "{server.ca}"')
    site.configure(_SECTION)
    site.execute(TABLE)
    return site


def pair_of_sites(server: MailServer, directory: Path) -> tuple[SiteDirectory, SiteDirectory]:
    """Two new sites, ``ship`` and ``shore``, each the other's accepted peer."""
    ship = make_site(server, directory / "ship", "ship")
    shore = make_site(server, directory / "shore", "shore")
    introduce(ship, shore)
    return ship, shore


def introduce(one: SiteDirectory, other: SiteDirectory) -> None:
    """Exchange their cards, as two operators would."""
    for giver, taker in ((one, other), (other, one)):
        card = taker.path / f"{giver.name}.card"
        giver.run("pair", "card", "-o", card)
        taker.run("pair", "add", card)


def eventually(
    claim: Callable[[], object], seconds: float = PATIENCE_SECONDS, *, why: Callable[[], str] = str
) -> None:
    """Wait until the claim holds; fail, saying ``why()``, when it has not after ``seconds``."""
    end = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < end, f"still not so after {seconds:.0f} s\n{why()}"
        time.sleep(0.1)


def environment() -> dict[str, str]:
    """Where the code under test is found, and no configuration but the directory's own."""
    found = {name: value for name, value in os.environ.items() if name != "MAILSYNC_CONFIG"}
    return {**found, "PYTHONPATH": str(Path(mailsync.__file__).parents[1])}
