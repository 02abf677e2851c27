"""Real PostgreSQL and MariaDB on loopback, in temporary folders; nothing of the system is touched.

Both run without privileges: where the tests run as root, as the user nobody. Durability is off,
for no test cuts the power.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers.process import HOST, free_port, own_folder, program, run, running, unprivileged


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

    with own_folder() as folder, free_port() as port:
        data = folder / "data"
        options = ["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync"]
        run(folder, _postgres("initdb"), "-D", str(data), *options)
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

        with running(
            folder, unprivileged([_postgres("postgres"), "-D", str(data), *words]), connect
        ):
            url = f"postgresql+psycopg://postgres@{HOST}:{port}/{{}}"
            yield DatabaseServer(url, connect, "CREATE DATABASE {}")


@contextlib.contextmanager
def running_mariadb() -> Iterator[DatabaseServer]:
    """A server of its own, for as long as it is used."""
    import MySQLdb

    with own_folder() as folder, free_port() as port:
        data = folder / "data"
        run(folder, "mkdir", str(data))
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

        server = program("mariadbd", "", "mariadb-server-core")
        with running(folder, unprivileged([server, "--no-defaults", *settings]), connect):
            url = f"mariadb://root@{HOST}:{port}/{{}}"
            yield DatabaseServer(url, connect, "CREATE DATABASE {} CHARACTER SET utf8mb4")


def _postgres(name: str) -> str:
    """A program of the newest PostgreSQL; Debian keeps it off the path."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda one: one.parent.name)
    return program(name, os.pathsep.join(map(str, reversed(folders))), "postgresql")
