"""A submission server between sites and the real ones, that does to mails what gateways do.

It is a process of its own, which can be killed: what it took is in a folder. What becomes of
the k-th mail is drawn from a seed, as cards are from a deck: every so many mails each fate has
had its turn. Every mail handed on is labelled ``X-Relay: NUMBER WHAT``.
"""

from __future__ import annotations

import itertools
import random
import secrets
import smtplib
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope

from tests.servers.mail import PASSWORD, MailServer
from tests.servers.tampering import ANSWERS, MUTATIONS

FAULTS = {"drop", "double", "delay", "reorder", *ANSWERS, *MUTATIONS}
FATES = ("drop", *["deliver"] * 4, *sorted(FAULTS))
UNREADABLE = frozenset({"corrupt", "strip", *ANSWERS})
"""So labelled, a mail cannot be proven to be a peer's. One that was truncated mostly neither."""

_ROOT = Path(__file__).parents[2]
_START_SECONDS = 60.0
_TICK_SECONDS = 0.3


def fate_of(seed: int, number: int) -> str:
    """What becomes of the mail of this number, counted from 0."""
    deal, place = divmod(number, len(FATES))
    return random.Random(f"{seed}/{deal}").sample(FATES, len(FATES))[place]


class Handed(NamedTuple):
    """A mail that the real servers took over; ``what`` was done to it."""

    number: int
    what: str
    recipient: str


@dataclass
class Relay:
    """The running relay, and what it did."""

    server: MailServer
    folder: Path
    seed: int
    _process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self._user = self.server.add_user(f"relay-{secrets.token_hex(4)}@mail.example")
        (self.folder / "spool").mkdir(parents=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()

    def start(self) -> None:
        """Return when it answers."""
        ports = (self.port, self.server.ports["smtp"])
        words = (self.folder, self.seed, *ports, self._user)
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.servers.relay", *map(str, words)],
                cwd=_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        end = time.monotonic() + _START_SECONDS
        while not self._answers():
            assert time.monotonic() < end, (self.folder / "output").read_text()
            time.sleep(0.02)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def calm(self) -> None:
        """Let everything through from now on, also what was kept."""
        (self.folder / "calm").touch()

    @property
    def counts(self) -> Counter[str]:
        """How many mails each fate met, and how many were overtaken by a later one."""
        counts = Counter(what for kind, _, what, _ in _log(self.folder) if kind == "taken")
        newest: dict[str, int] = {}
        for one in self.handed():
            counts["overtaken"] += one.number < newest.get(one.recipient, 0)
            newest[one.recipient] = max(one.number, newest.get(one.recipient, 0))
        return counts

    def handed(self) -> list[Handed]:
        return _handed(self.folder)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                return connection.recv(4) == b"220 "
        except OSError:
            return False


def _log(folder: Path) -> Iterator[tuple[str, int, str, str]]:
    """``taken`` or ``handed``, the mail's number, its fate or label, and the recipient."""
    path = folder / "log"
    for line in path.read_text().splitlines() if path.exists() else ():
        kind, number, what, recipient = line.split("\t")
        yield kind, int(number), what, recipient


def _handed(folder: Path) -> list[Handed]:
    return [Handed(*rest) for kind, *rest in _log(folder) if kind == "handed"]  # type: ignore[arg-type]


# --- the process -----------------------------------------------------------------------------


@dataclass
class _Gateway:
    """Takes mails into the spool, where :meth:`forward` finds them. Each from one thread."""

    folder: Path
    seed: int
    port: int
    user: str
    news: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        taken = sum(kind == "taken" for kind, *_ in _log(self.folder))
        self._numbers = itertools.count(taken)
        self._newest: dict[str, int] = {}
        for one in _handed(self.folder):
            self._note(one)

    @property
    def calm(self) -> bool:
        return (self.folder / "calm").exists()

    def take(self, sender: str, recipient: str, raw: bytes) -> None:
        """Decide what becomes of one mail."""
        number = next(self._numbers)
        fate = "deliver" if self.calm else fate_of(self.seed, number)
        chance = random.Random(f"{self.seed}/{number} {fate}")
        self._write("taken", Handed(number, fate, recipient))
        if fate in ANSWERS:
            answer = ANSWERS[fate](sender, recipient, raw, chance)
            self._keep(Handed(number, fate, sender), answer)
        if fate in MUTATIONS:
            self._keep(Handed(number, fate, recipient), MUTATIONS[fate](raw, chance))
        elif fate == "reply":
            self._keep(Handed(number, "deliver", recipient), raw)
        elif fate == "double":
            self._keep(Handed(number, fate, recipient), raw)
            self._keep(Handed(number, "deliver", recipient), raw)
        elif fate not in ("drop", "bounce"):
            self._keep(Handed(number, fate, recipient), raw)
        self.news.set()

    def forward(self, chance: random.Random) -> None:
        """Hand on what is due, in any order. Raises OSError, SMTPException: later, then."""
        paths = sorted((self.folder / "spool").glob("*[!~]"))
        for path in chance.sample(paths, len(paths)):
            number, what, recipient = path.name.split("\t")
            mail = Handed(int(number), what, recipient)
            if self.calm or self._is_due(mail, chance):
                with smtplib.SMTP("127.0.0.1", self.port, timeout=60) as client:
                    client.login(self.user, PASSWORD)
                    client.sendmail(self.user, [recipient], path.read_bytes())
                self._write("handed", mail)
                self._note(mail)
                path.unlink()

    def _is_due(self, mail: Handed, chance: random.Random) -> bool:
        if mail.what == "reorder":
            return self._newest.get(mail.recipient, 0) > mail.number
        return mail.what != "delay" or chance.random() < 0.1

    def _keep(self, mail: Handed, raw: bytes) -> None:
        """Whole or not at all, and labelled."""
        path = self.folder / "spool" / "\t".join(map(str, mail))
        half = path.with_name(f"{path.name}~")
        half.write_bytes(f"X-Relay: {mail.number} {mail.what}\r\n".encode() + raw)
        half.rename(path)

    def _note(self, mail: Handed) -> None:
        self._newest[mail.recipient] = max(mail.number, self._newest.get(mail.recipient, 0))

    def _write(self, kind: str, mail: Handed) -> None:
        with (self.folder / "log").open("a") as file:
            file.write("\t".join(map(str, (kind, *mail))) + "\n")


class _Controller(Controller):
    def __init__(self, gateway: _Gateway, port: int) -> None:
        super().__init__(_Handler(gateway), hostname="127.0.0.1", port=port)

    def factory(self) -> SMTP:
        return SMTP(
            self.handler,
            authenticator=lambda *_: AuthResult(success=True),
            auth_require_tls=False,
            data_size_limit=50_000_000,
        )


class _Handler:
    def __init__(self, gateway: _Gateway) -> None:
        self._gateway = gateway

    async def handle_DATA(  # noqa: N802  the interface's name
        self, _server: SMTP, _session: Any, envelope: Envelope
    ) -> str:
        raw = envelope.content
        assert isinstance(raw, bytes)
        for recipient in envelope.rcpt_tos:
            self._gateway.take(envelope.mail_from or "", recipient, raw)
        return "250 taken"


def main(folder: str, seed: str, port: str, onward: str, user: str) -> None:
    gateway = _Gateway(Path(folder), int(seed), int(onward), user)
    _Controller(gateway, int(port)).start()
    chance = random.Random(seed)
    while True:
        gateway.news.wait(_TICK_SECONDS)
        gateway.news.clear()
        try:
            gateway.forward(chance)
        except (OSError, smtplib.SMTPException) as error:
            print(error, flush=True)  # noqa: T201  into the file of its output
            time.sleep(_TICK_SECONDS)


if __name__ == "__main__":
    main(*sys.argv[1:])
