from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mailsync.core.model import Fields, Key, Value
from mailsync.datasets.sql.table import SqlTable
from tests.datasets.conformance import Conformance, Stage
from tests.servers.databases import DatabaseServer

LOOSE: list[Value] = [1, 1.0, "1", b"1", None, "", -(2**63), "\0"]


class SqlUser:
    """Somebody who works on the database with another program."""

    def __init__(self, connection: Any, columns: str, keys: list[str], mark: str) -> None:
        self.connection = connection
        self.columns = keys
        self.mark = mark
        self.run("DROP TABLE IF EXISTS t")
        self.run(f"CREATE TABLE t ({columns}, PRIMARY KEY ({', '.join(keys)}))")

    def run(self, text: str, values: list[Value] | None = None) -> None:
        self.connection.cursor().execute(text, values or [])

    def put(self, key: Key, fields: Fields) -> None:
        row: dict[str, Value] = {**dict(zip(self.columns, json.loads(key), strict=True)), **fields}
        names, marks = ", ".join(row), ", ".join([self.mark] * len(row))
        self.on(key, "DELETE FROM t")
        self.run(f"INSERT INTO t ({names}) VALUES ({marks})", list(row.values()))

    def on(self, key: Key, text: str) -> None:
        where = " AND ".join(f"{one} = {self.mark}" for one in self.columns)
        self.run(f"{text} WHERE {where}", json.loads(key))


def stage(
    url: str, user: SqlUser, loose: list[Value], spoil: Callable[[Key], None] | None = None
) -> Stage:
    local = user.columns == ["id"]

    def sample(number: int, version: int) -> Fields:
        own: Fields = {} if local else {"k": f"k'{number}"}
        return {
            "n": number, "v": f"v{version}", "x": version + 0.5,
            "b": bytes([version]), "l": loose[version % len(loose)], **own,
        }  # fmt: skip

    return Stage(
        SqlTable(url, "t"),
        sample,
        put=user.put,
        remove=lambda key: user.on(key, "DELETE FROM t"),
        touch=lambda key: user.on(key, "UPDATE t SET v = v"),
        unfit=lambda fields: {**fields, "no_such_column": 1},
        spoil=spoil,
    )


def on_sqlite(directory: Path, own: str, keys: list[str]) -> Stage:
    path = directory / "data.db"
    connection = sqlite3.connect(path, isolation_level=None)
    user = SqlUser(connection, f"{own}, n INTEGER, v TEXT, x REAL, b BLOB, l", keys, "?")
    spoil = "UPDATE t SET v = CAST(x'ff41' AS TEXT)"
    return stage(f"sqlite:///{path}", user, LOOSE, lambda key: user.on(key, spoil))


class TestLocalKeys(Conformance):
    def build(self, directory: Path) -> Stage:
        return on_sqlite(directory, "id INTEGER", ["id"])


class TestSharedCompositeKeys(Conformance):
    def build(self, directory: Path) -> Stage:
        return on_sqlite(directory, "k TEXT", ["n", "k"])


class OnPostgresql(Conformance):
    own = "id bigint GENERATED ALWAYS AS IDENTITY"
    keys: tuple[str, ...] = ("id",)

    @pytest.fixture(autouse=True)
    def database(self, postgresql: DatabaseServer) -> None:
        self.url = postgresql.new()
        self.connection = postgresql.connect(self.url)

    def build(self, directory: Path) -> Stage:
        columns = f"{self.own}, n integer, v text, x float8, b bytea, l text"
        user = PostgresqlUser(self.connection, columns, list(self.keys), "%s")
        loose: list[Value] = ["1", None, "", "\U0001f6a2 e\u0301", "\ufffe"]
        return stage(self.url, user, loose, lambda key: user.on(key, "UPDATE t SET x = 'NaN'"))


class PostgresqlUser(SqlUser):
    def run(self, text: str, values: list[Value] | None = None) -> None:
        super().run(text.replace(") VALUES", ") OVERRIDING SYSTEM VALUE VALUES"), values)


class TestPostgresqlLocalKeys(OnPostgresql):
    pass


class TestPostgresqlSharedCompositeKeys(OnPostgresql):
    own = "k varchar(20)"
    keys = ("n", "k")


class OnMariadb(Conformance):
    driver = "mariadb"
    own = "id bigint unsigned AUTO_INCREMENT"
    keys: tuple[str, ...] = ("id",)

    @pytest.fixture(autouse=True)
    def database(self, mariadb: DatabaseServer) -> None:
        self.url = mariadb.new()
        self.connection = mariadb.connect(self.url)

    def build(self, directory: Path) -> Stage:
        columns = f"{self.own}, n integer, v text, x double, b blob, l text"
        user = SqlUser(self.connection, columns, list(self.keys), "%s")
        loose: list[Value] = ["1", None, "", "\U0001f6a2 e\u0301", "\0\\'%s"]
        return stage(self.url.replace("mariadb:", f"{self.driver}:"), user, loose)


class TestMariadbLocalKeys(OnMariadb):
    pass


class TestMariadbSharedCompositeKeys(OnMariadb):
    own = "k varchar(20)"
    keys = ("n", "k")


class TestMariadbThroughThePureDriver(OnMariadb):
    driver = "mariadb+pymysql"
