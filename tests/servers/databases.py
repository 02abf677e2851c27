"""Real PostgreSQL and MariaDB on loopback, in temporary folders; nothing of the system is touched.

Both run without privileges: where the tests run as root, as the user nobody. Durability is off,
for no test cuts the power.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

HOST = "127.0.0.1"
_START_SECONDS = 60.0


class DatabaseServer:
    """A server in a folder, one database for each test that asks."""

    def __init__(self, url: str, connect: Callable[[str], Any], create: str) -> None:
        """``create`` makes a database; ``connect`` opens one in the driver's autocommit mode."""
        self._url = url
        self._connect = connect
        self._create = create
        self._numbers = itertools.count()

    def new(self) -> str:
        """The URL of a new, empty database."""
        name = f"test{next(self._numbers)}"
        with contextlib.closing(self.connect("")) as connection:
            connection.cursor().execute(self._create.format(name))
        return self._url.format(name)

    def connect(self, url: str) -> Any:
        """A user's own connection to a database; an empty text stands for the server's own."""
        return self._connect(url.rpartition("/")[2])


@pytest.fixture(scope="session")
def postgresql() -> Iterator[DatabaseServer]:
    with running_postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[DatabaseServer]:
    with running_mariadb() as server:
        yield server


@contextlib.contextmanager
def running_postgresql() -> Iterator[DatabaseServer]:
    """A server of its own, for as long as it is used."""
    import psycopg

    with _folder() as folder, _port() as port:
        data = folder / "data"
        options = ["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync"]
        _run(folder, _postgres("initdb"), "-D", str(data), *options)
        settings = {
            "port": port, "listen_addresses": HOST, "unix_socket_directories": folder,
            "fsync": "off", "full_page_writes": "off", "synchronous_commit": "off",
            "shared_buffers": "32MB", "max_connections": 100,
        }  # fmt: skip
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]

        def connect(name: str) -> Any:
            return psycopg.connect(
                host=HOST, port=port, user="postgres", dbname=name or "postgres", autocommit=True
            )

        with _running(folder, [_postgres("postgres"), "-D", str(data), *words], connect):
            url = f"postgresql+psycopg://postgres@{HOST}:{port}/{{}}"
            yield DatabaseServer(url, connect, "CREATE DATABASE {}")


@contextlib.contextmanager
def running_mariadb() -> Iterator[DatabaseServer]:
    """A server of its own, for as long as it is used."""
    import MySQLdb

    with _folder() as folder, _port() as port:
        data = folder / "data"
        _run(folder, "mkdir", str(data))
        settings = [
            f"--datadir={data}", f"--port={port}", f"--bind-address={HOST}",
            f"--socket={folder / 'socket'}", f"--pid-file={folder / 'pid'}",
            "--innodb-buffer-pool-size=32M", "--innodb-flush-log-at-trx-commit=0",
            "--sync-binlog=0", "--innodb-doublewrite=0", "--innodb-flush-method=nosync",
            "--skip-grant-tables",  # so that none have to be made
        ]  # fmt: skip

        def connect(name: str) -> Any:
            return MySQLdb.connect(
                host=HOST, port=port, user="root", database=name, charset="utf8mb4",
                autocommit=True,
            )  # fmt: skip

        server = _program("mariadbd", "", "mariadb-server-core")
        with _running(folder, [server, "--no-defaults", *settings], connect):
            url = f"mariadb://root@{HOST}:{port}/{{}}"
            yield DatabaseServer(url, connect, "CREATE DATABASE {} CHARACTER SET utf8mb4")


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ms-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if os.geteuid() == 0:
            shutil.chown(folder, "nobody", "nogroup")
        yield folder


@contextlib.contextmanager
def _port() -> Iterator[int]:
    with socket.socket() as chosen:
        chosen.bind((HOST, 0))
        port = int(chosen.getsockname()[1])
    yield port


def _command(words: Sequence[str]) -> list[str]:
    """The command, as nobody where we are root."""
    if os.geteuid() != 0:
        return list(words)
    return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", *words]


def _run(folder: Path, *words: str) -> None:
    log = folder / "setup.log"
    with log.open("wb") as output:
        done = subprocess.run(
            _command(words), cwd=folder, stdout=output, stderr=output, check=False, env=_ENVIRONMENT
        )
    if done.returncode:
        raise RuntimeError(f"{words[0]}:\n{log.read_text()[-4000:]}")


@contextlib.contextmanager
def _running(folder: Path, words: Sequence[str], connect: Callable[[str], Any]) -> Iterator[None]:
    """The server, from its first answer on."""
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            _command(words), cwd=folder, stdout=output, stderr=output, env=_ENVIRONMENT
        )
    try:
        _await(process, log, connect)
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(process: subprocess.Popen[bytes], log: Path, connect: Callable[[str], Any]) -> None:
    end = time.monotonic() + _START_SECONDS
    while True:
        try:
            connect("").close()
        except Exception:  # noqa: BLE001  each driver has an error of its own
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"no server:\n{log.read_text()[-4000:]}") from None
            time.sleep(0.05)
        else:
            return


def _postgres(name: str) -> str:
    """A program of the newest PostgreSQL; Debian keeps it off the path."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda one: one.parent.name)
    return _program(name, os.pathsep.join(map(str, reversed(folders))), "postgresql")


def _program(name: str, folders: str, package: str) -> str:
    found = shutil.which(name, path=os.pathsep.join([folders, *_PATH]))
    if found is None:
        pytest.fail(f"no {name}; run: apt-get install -y {package}", pytrace=False)
    return found


_PATH = [os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"]
_ENVIRONMENT = {"PATH": os.pathsep.join(_PATH), "LC_ALL": "C.UTF-8", "HOME": "/nonexistent"}
