from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from mailsync.core.model import Fields, Key, Value
from mailsync.datasets.sql import SqlTable
from tests.datasets.conformance import Conformance, Stage

SCHEMA = {
    "local": "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, v TEXT, x REAL, b BLOB, l)",
    "shared": "CREATE TABLE t (n INTEGER, k TEXT, v TEXT, x REAL, b BLOB, l, PRIMARY KEY (n, k))",
}


class SqlUser:
    """Somebody who works on the database with another program."""

    def __init__(self, path: Path, kind: str) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.execute(SCHEMA[kind])
        self.columns = ["id"] if kind == "local" else ["n", "k"]

    def put(self, key: Key, fields: Fields) -> None:
        row: dict[str, Value] = {**dict(zip(self.columns, json.loads(key), strict=True)), **fields}
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        self.connection.execute(f"REPLACE INTO t ({names}) VALUES ({marks})", list(row.values()))

    def on(self, key: Key, text: str) -> None:
        where = " AND ".join(f"{one} = ?" for one in self.columns)
        self.connection.execute(f"{text} WHERE {where}", json.loads(key))


def build(directory: Path, kind: str) -> Stage:
    path = directory / "data.db"
    user = SqlUser(path, kind)

    def sample(number: int, version: int) -> Fields:
        own: Fields = {} if kind == "local" else {"k": f"k'{number}"}
        loose: list[Value] = [1, 1.0, "1", b"1", None, "", -(2**63), "\0"]
        return {
            "n": number, "v": f"v{version}", "x": version + 0.5,
            "b": bytes([version]), "l": loose[version % len(loose)], **own,
        }  # fmt: skip

    return Stage(
        SqlTable(f"sqlite:///{path}", "t"),
        sample,
        put=user.put,
        remove=lambda key: user.on(key, "DELETE FROM t"),
        touch=lambda key: user.on(key, "UPDATE t SET v = v"),
        unfit=lambda fields: {**fields, "no_such_column": 1},
        spoil=lambda key: user.on(key, "UPDATE t SET v = CAST(x'ff41' AS TEXT)"),
    )


class TestLocalKeys(Conformance):
    def build(self, directory: Path) -> Stage:
        return build(directory, "local")


class TestSharedCompositeKeys(Conformance):
    def build(self, directory: Path) -> Stage:
        return build(directory, "shared")
