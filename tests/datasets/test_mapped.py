"""Datasets behind a mapping pass what every dataset passes."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from mailsync.core.mapping import Constant, Place, Source
from mailsync.core.model import Fields, Key
from mailsync.datasets.base import Result, Write
from mailsync.datasets.mapping import mapped
from mailsync.datasets.sql import SqlTable
from mailsync.datasets.vcard import VcardFile, VcardFolder
from tests.datasets.conformance import Conformance, Stage
from tests.datasets.test_text_conformance import FileUser, FolderUser, Later

ROUTINES = """
def price_to_shared(value):
    return f"{value / 100:.2f}"

def price_to_own(value):
    return round(float(value) * 100)
"""


class TestMappedTable(Conformance):
    """Other names, a routine, a constant, and columns that are not mapped."""

    def build(self, directory: Path) -> Stage:
        (directory / "rules.py").write_text(ROUTINES)
        path = directory / "data.db"
        connection = sqlite3.connect(path, isolation_level=None)
        connection.executescript(
            "DROP TABLE IF EXISTS t;"
            "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, n INTEGER, cents INTEGER,"
            " at TEXT, writes INTEGER);"
        )

        def put(key: Key, fields: Fields) -> None:
            [number] = json.loads(key)
            cents = round(float(str(fields["price"])) * 100)
            row = [number, fields["name"], fields["number"], cents, "today"]
            connection.execute("INSERT OR REPLACE INTO t VALUES (?, ?, ?, ?, ?, 7)", row)

        def run(statement: str, key: Key) -> None:
            connection.execute(f"{statement} WHERE id = ?", json.loads(key))

        sources: dict[str, Source] = {
            "name": Place("v"),
            "number": Place("n"),
            "price": Place("cents", f"{directory / 'rules.py'}:price"),
            "kind": Constant("part"),
        }
        return Stage(
            mapped(SqlTable(f"sqlite:///{path}", "t"), "sqlite", sources, {}),
            sample=lambda number, version: {
                "name": f"v{version}",
                "number": number,
                "price": f"{version}.50",
                "kind": "part",
            },
            put=put,
            remove=lambda key: run("DELETE FROM t", key),
            touch=lambda key: run("UPDATE t SET at = 'now'", key),
            unfit=lambda fields: {**fields, "kind": "ship"},
            spoil=lambda key: run("UPDATE t SET cents = 'free'", key),
        )

    def test_a_column_that_is_not_mapped_may_change_with_every_write(
        self, stage: Stage, tmp_path: Path
    ) -> None:
        key = stage.insert(1)
        with sqlite3.connect(tmp_path / "data.db") as connection:
            connection.execute(
                "CREATE TRIGGER w AFTER UPDATE OF v ON t"
                " BEGIN UPDATE t SET writes = coalesce(writes, 0) + 1 WHERE id = new.id; END"
            )
        update = Write(stage.guid(1), key, stage.sample(1, 0), stage.sample(1, 1))
        assert stage.write(update).result is Result.WRITTEN
        assert stage.visible() == {}


SOURCES = {
    "full_name": Place("fn"),
    "family": Place("n/family"),
    "mobile": Place("tel;type=cell"),
    "note": Place("note"),
}


def person(number: int, version: int) -> Fields:
    return {
        "full_name": f"Ann {version}, Ö; \\n",
        "family": f"Ö;{number}",
        "mobile": f"+{number}{version}" if version % 2 else None,
        "note": f"{'long ' * 30 * version}\nüber",
    }


def escaped(text: str) -> str:
    for special in "\\,;":
        text = text.replace(special, f"\\{special}")
    return text.replace("\n", "\\N")


def person_text(fields: Fields, uid: str) -> str:
    """As another program writes it: labels, more types, more properties, lines in lower case."""
    texts = {name: escaped(str(value)) for name, value in fields.items() if value is not None}
    lines = ["BEGIN:VCARD", f"uid:{uid}", "version:3.0", f"n:{texts['family']};Ann;;;"]
    lines += [f"item1.note:{texts['note']}", "item1.X-ABLABEL:Ship", "TEL;TYPE=home:5"]
    if "mobile" in texts:
        lines.append(f"tel;type=VOICE;type=CELL;type=pref:{texts['mobile']}")
    return "\n".join([*lines, "photo:data:x,y;z", f"fn:{texts['full_name']}", "END:VCARD", ""])


class TestMappedFolder(Conformance):
    def build(self, directory: Path) -> Stage:
        dataset = mapped(VcardFolder(directory, Later()), "vcard", SOURCES, {"kind": "individual"})
        user = FolderUser(directory, lambda fields: person_text(fields, "theirs"))
        stage = user.stage(dataset, person, "note")
        stage.unfit = lambda fields: {**fields, "full_name": b"bytes"}
        return stage


class TestMappedFile(Conformance):
    def build(self, directory: Path) -> Stage:
        file = directory / "cards.vcf"
        file.touch()
        user = FileUser(file, lambda fields: "", "VCARD")
        stage = user.stage(mapped(VcardFile(file), "vcard", SOURCES, {}), person, "note")

        def put(key: Key, fields: Fields) -> None:
            file.write_bytes((person_text(fields, key) + user.others(key)).encode())

        stage.put = put
        stage.unfit = lambda fields: {**fields, "full_name": "\0"}
        return stage
