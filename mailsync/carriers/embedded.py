"""Mail servers for a demonstration: SMTP in, IMAP out, on loopback, gone when it is over.

They run in a process of their own (``python -m mailsync.carriers.embedded``), because storing
a big mail stops their event loop for a moment. Mail lives in memory only. On request they
treat mail as a bad network would: drop it, double it, deliver it late.

The process tells its ports in one JSON line when it is ready, and ends with its standard
input, so it never outlives who started it, however that ended.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import hmac
import importlib.util
import json
import logging
import os
import sys
import tempfile
import warnings
from argparse import Namespace
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from mailsync.errors import OurError, UsageError
from mailsync.files import PRIVATE_FILE, create_file

if TYPE_CHECKING:
    from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session
    from pymap.backend.dict import Login

LOOPBACK: Final = "127.0.0.1"
MAIL_BYTES_MAX: Final = 64 * 2**20
DELAY_SECONDS_MAX: Final = 2.0
STOP_SECONDS_MAX: Final = 5.0
_LINE_BYTES_MAX: Final = 2**20

Deliver = Callable[[str, bytes], Awaitable[None]]
"""Puts one mail into one user's INBOX."""


class Ports(NamedTuple):
    """Where the servers listen on 127.0.0.1, in clear text."""

    imap: int
    smtp: int


class Fate(NamedTuple):
    """What the network does to one mail: seconds until each copy arrives; none: it is lost."""

    delays: tuple[float, ...]


@asynccontextmanager
async def embedded_servers(
    users: Mapping[str, str], loss: int = 0, seed: int = 0
) -> AsyncIterator[Ports]:
    """Run both servers for these users (address to password) while the context lasts.

    ``loss`` is the percentage of mails that are dropped; of the rest as many again are doubled
    and as many delayed, drawn from ``seed``. Raises ``UsageError`` if the packages are missing.
    """
    _require_packages()
    with tempfile.TemporaryDirectory(prefix="mailsync-") as directory:
        file = Path(directory) / "users.json"
        create_file(file, json.dumps(dict(users)).encode(), PRIVATE_FILE)
        process = await _start(["--users", str(file), "--loss", str(loss), "--seed", str(seed)])
        try:
            yield await _ports_of(process)
        finally:
            await _stop(process)


def fate_of(chance: Random, loss: int) -> Fate:
    """Draw one mail's fate: dropped, doubled or late, each in ``loss`` percent of the cases."""
    dropped, doubled, late = (chance.random() * 100 < loss for _ in range(3))
    delay = chance.random() * DELAY_SECONDS_MAX
    if dropped:
        return Fate(())
    first = delay if late else 0.0
    return Fate((first, delay) if doubled else (first,))


# --- the side that starts the process ------------------------------------------------------


def _require_packages() -> None:
    missing = [name for name in ("aiosmtpd", "pymap") if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"the embedded mail servers need {' and '.join(missing)}: "
            'pip install "mailsync-sets[demo]"'
        )


async def _start(arguments: Sequence[str]) -> asyncio.subprocess.Process:
    import mailsync  # noqa: PLC0415  only to learn where this very package is

    package = Path(mailsync.__file__ or "").parent.parent
    search = os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH")]))
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        __spec__.name,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": search},
        start_new_session=True,  # Ctrl-C is for us; the servers are needed until we are done
    )


async def _ports_of(process: asyncio.subprocess.Process) -> Ports:
    line = await process.stdout.readline() if process.stdout else b""
    if not line:
        raise OurError("the embedded mail servers did not start")
    return Ports(**json.loads(line))


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.stdin:
        process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS_MAX)
    except TimeoutError:
        process.kill()
        await process.wait()


# --- the process ---------------------------------------------------------------------------


class _Post:
    """Takes mail from SMTP and delivers it, as well as the network allows."""

    def __init__(self, users: Mapping[str, str], deliver: Deliver, loss: int, seed: int) -> None:
        self._users = users
        self._deliver = deliver
        self._loss = loss
        self._chance = Random(seed)  # noqa: S311  a repeatable network, not a secret
        self._late: set[asyncio.Task[None]] = set()

    def authenticate(
        self,
        server: SMTP,  # noqa: ARG002  the interface has it
        session: Session,  # noqa: ARG002
        envelope: Envelope,  # noqa: ARG002
        mechanism: str,  # noqa: ARG002
        data: Any,
    ) -> AuthResult:
        """Check a name and password given by AUTH PLAIN or LOGIN."""
        from aiosmtpd.smtp import AuthResult, LoginPassword  # noqa: PLC0415  optional package

        known = isinstance(data, LoginPassword) and hmac.compare_digest(
            self._users.get(data.login.decode(errors="replace"), "").encode(), data.password
        )
        # Without handled=False a refused client would wait for its answer for ever.
        return AuthResult(success=known and bool(data.password), handled=False)

    async def handle_RCPT(  # noqa: N802  the interface's name
        self,
        server: SMTP,  # noqa: ARG002
        session: Session,  # noqa: ARG002
        envelope: Envelope,
        address: str,
        options: list[str],  # noqa: ARG002
    ) -> str:
        """Accept our users' addresses, and nothing for anywhere else."""
        if address not in self._users:
            return "550 5.1.1 no such user here"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(  # noqa: N802  the interface's name
        self,
        server: SMTP,  # noqa: ARG002
        session: Session,  # noqa: ARG002
        envelope: Envelope,
    ) -> str:
        """Deliver a mail, byte for byte, now, later, twice or never."""
        content = envelope.content
        mail = content if isinstance(content, bytes) else (content or "").encode()
        for address in envelope.rcpt_tos:
            for delay in fate_of(self._chance, self._loss).delays:
                await self._deliver_after(delay, address, mail)
        return "250 2.0.0 taken"

    async def _deliver_after(self, delay: float, address: str, mail: bytes) -> None:
        if delay == 0:
            await self._deliver(address, mail)
            return

        async def later() -> None:
            await asyncio.sleep(delay)
            await self._deliver(address, mail)

        task = asyncio.create_task(later())
        self._late.add(task)
        task.add_done_callback(self._late.discard)


async def _serve(users: Mapping[str, str], loss: int, seed: int) -> None:
    login = await _imap_login(users)
    post = _Post(users, functools.partial(_append, login), loss, seed)
    imap = await _start_imap(login)
    smtp = await _start_smtp(post)
    async with imap, smtp:
        ports = Ports(*(server.sockets[0].getsockname()[1] for server in (imap, smtp)))
        sys.stdout.write(json.dumps(ports._asdict()) + "\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.buffer.read)  # returns when our parent is gone
        # Open sessions would keep the servers' closing waiting (Python 3.12 and later).
        os._exit(0)


async def _imap_login(users: Mapping[str, str]) -> Login:
    from pymap.backend.dict import DictBackend  # noqa: PLC0415  optional package
    from pymap.user import Passwords, UserMetadata  # noqa: PLC0415
    from pysasl.hashing import BuiltinHash  # noqa: PLC0415

    arguments = Namespace(
        host=LOOPBACK,
        port=0,
        debug=False,
        cert=None,
        key=None,
        tls=False,
        proxy_protocol=None,
        passlib_cfg=None,
        demo_data=False,
        demo_user="nobody",
        demo_password=os.urandom(16).hex(),
    )
    # Many rounds protect stored passwords; these are neither stored nor worth protecting.
    # (pysasl's Cleartext fails on passwords that are not ASCII.)
    backend, config = await DictBackend.init(arguments, hash_context=BuiltinHash(rounds=1))
    config.apply_context()
    login, passwords = backend.login, Passwords(config)
    for address, password in users.items():
        hashed = await passwords.hash_password(password)
        login.users_dict[address] = UserMetadata(config, address, password=hashed)
    return login


async def _append(login: Login, address: str, mail: bytes) -> None:
    from pymap.backend.dict import Identity  # noqa: PLC0415  optional package
    from pymap.parsing.message import AppendMessage  # noqa: PLC0415

    async with Identity(address, login, None, frozenset()).new_session() as session:
        inbox = await session.mailbox_set.get_mailbox("INBOX")
        await inbox.append(AppendMessage(mail, datetime.now(UTC)), recent=True)


async def _start_imap(login: Login) -> asyncio.Server:
    from proxyprotocol.sock import SocketInfo  # noqa: PLC0415  optional package
    from pymap.imap import IMAPServer  # noqa: PLC0415

    serve = IMAPServer(login, login.config)
    sessions: set[asyncio.Task[None] | None] = set()

    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The event loop knows its tasks only weakly: an idle session nobody else refers to
        # is garbage to Python 3.13.
        task = asyncio.current_task()
        sessions.add(task)
        try:
            await serve(reader, writer, SocketInfo.get(writer, None, unique_id=os.urandom(8)))
        finally:
            sessions.discard(task)

    return await asyncio.start_server(session, LOOPBACK, 0, limit=_LINE_BYTES_MAX)


async def _start_smtp(post: _Post) -> asyncio.Server:
    from aiosmtpd.smtp import SMTP  # noqa: PLC0415  optional package

    loop = asyncio.get_running_loop()

    def session() -> SMTP:
        return SMTP(
            post,
            data_size_limit=MAIL_BYTES_MAX,
            hostname="localhost",  # it would ask the DNS otherwise
            ident="mailsync",
            authenticator=post.authenticate,
            auth_required=True,
            auth_require_tls=False,
            loop=loop,
        )

    return await loop.create_server(session, LOOPBACK, 0)


def _main() -> None:
    parser = argparse.ArgumentParser(description="Mail servers on loopback, for a demonstration.")
    parser.add_argument("--users", required=True, type=Path, help="JSON: address to password")
    parser.add_argument("--loss", type=int, default=0, metavar="PERCENT")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        _require_packages()
    except UsageError as error:
        parser.error(str(error))
    logging.disable(logging.CRITICAL)  # clients that hang up are no news
    warnings.simplefilter("ignore")  # that passwords in clear text are a risk: not on loopback
    os.environ["FQDN"] = "localhost"  # the IMAP greeting would ask the DNS otherwise
    users = json.loads(options.users.read_bytes())
    asyncio.run(_serve(users, options.loss, options.seed))


if __name__ == "__main__":
    _main()
