"""Datasets behind a mapping pass what every dataset passes."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from mailsync.core.mapping import Constant, Place, Source
from mailsync.core.model import Fields, Guid, Key
from mailsync.datasets.base import Change, Newcomer, Result, Unreadable, Write
from mailsync.datasets.mapped import MappedDataset
from mailsync.datasets.mapping import mapped
from mailsync.datasets.sql.table import SqlTable
from mailsync.datasets.texts.ical import IcalFolder
from mailsync.datasets.texts.vcard import VcardFile, VcardFolder
from mailsync.errors import BadConfiguration
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


SERIES = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//Example//Planner//EN
BEGIN:VTIMEZONE
TZID:Oslo
BEGIN:STANDARD
DTSTART:19701025T030000
TZOFFSETFROM:+0200
TZOFFSETTO:+0100
END:STANDARD
END:VTIMEZONE
BEGIN:VEVENT
UID:watch
DTSTAMP:20260101T000000Z
DTSTART;TZID=Oslo:20260102T080000
RRULE:FREQ=DAILY;COUNT=3
SUMMARY;LANGUAGE=en:Watch\\, forward
LOCATION:Bridge
END:VEVENT
BEGIN:VEVENT
UID:watch
DTSTAMP:20260101T000000Z
RECURRENCE-ID;TZID=Oslo:20260103T080000
DTSTART;TZID=Oslo:20260103T090000
SUMMARY:Watch\\, late
END:VEVENT
END:VCALENDAR
""".replace("\n", "\r\n")
DUTIES = {"title": Place("summary"), "starts": Place("dtstart"), "note": Place("description")}


def test_a_mapped_schedule_keeps_what_the_mapping_does_not_name(tmp_path: Path) -> None:
    file = tmp_path / "watch.ics"
    file.write_bytes(SERIES.encode())
    duties = mapped(IcalFolder(tmp_path, Later()), "ical", DUTIES, {"location": "Deck; aft"})
    [found] = duties.changes({})
    assert isinstance(found, Change)
    assert found.fields == {"title": "Watch, forward", "starts": "20260102T080000", "note": None}
    wanted = {"title": "Watch; aft", "starts": "20260102T100000", "note": "Line\nline"}
    newcomer = Newcomer(Guid(bytes(16)), {"title": "Drill", "starts": "20260105T080000Z"})
    [key] = duties.propose_keys([newcomer], [found.key])
    outcomes = duties.apply(
        [
            Write(Guid(b"w" * 16), found.key, found.fields, wanted),
            Write(newcomer.guid, key, None, newcomer.fields),
        ]
    )
    assert [one.result for one in outcomes] == [Result.WRITTEN, Result.WRITTEN]
    changed = SERIES.replace("en:Watch\\, forward", "en:Watch\\; aft", 1)
    changed = changed.replace("Oslo:20260102T08", "Oslo:20260102T10")
    changed = changed.replace("LOCATION:Bridge", "LOCATION:Bridge\r\nDESCRIPTION:Line\\nline")
    assert file.read_bytes().decode() == changed
    assert {
        "BEGIN:VEVENT",
        f"UID:{bytes(16).hex()}",
        "SUMMARY:Drill",
        "DTSTART:20260105T080000Z",
        "LOCATION:Deck\\; aft",
    } <= set((tmp_path / key).read_text().splitlines())


def test_a_mapped_key_is_shared_under_its_shared_name(tmp_path: Path) -> None:
    (tmp_path / "rules.py").write_text(ROUTINES)
    url = f"sqlite:///{tmp_path / 'data.db'}"
    with sqlite3.connect(tmp_path / "data.db") as connection:
        connection.execute("CREATE TABLE t (cents INTEGER PRIMARY KEY, v TEXT, w TEXT)")
    sources = {"price": Place("cents", f"{tmp_path / 'rules.py'}:price"), "name": Place("v")}
    prices = mapped(SqlTable(url, "t", keys="shared"), "sqlite", sources, {"w": "new"})
    assert prices.key == ("price",)
    newcomers = [
        Newcomer(Guid(bytes([number] * 16)), {"price": price, "name": "x"})
        for number, price in enumerate(("1.50", "free", "gratis"))
    ]
    keys = prices.propose_keys(newcomers, [])
    assert len(set(keys)) == 3, "what cannot be converted is not made one"
    writes = [
        Write(one.guid, key, None, one.fields) for one, key in zip(newcomers, keys, strict=True)
    ]
    outcomes = prices.apply(writes)
    assert [one.result for one in outcomes] == [Result.WRITTEN, Result.REFUSED, Result.REFUSED]
    assert outcomes[1].reason == "price: rules.py:6: could not convert string to float: 'free'"
    with sqlite3.connect(tmp_path / "data.db") as connection:
        assert list(connection.execute("SELECT * FROM t")) == [(150, "x", "new")]


def test_a_key_that_is_not_mapped_is_a_bad_configuration(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'data.db'}"
    with sqlite3.connect(tmp_path / "data.db") as connection:
        connection.execute("CREATE TABLE t (code TEXT PRIMARY KEY, v TEXT)")
    with pytest.raises(BadConfiguration, match="map: code: the field that tells its records apart"):
        mapped(SqlTable(url, "t"), "sqlite", {"name": Place("v")}, {})


def test_a_routine_may_forget_but_not_make_something_else_each_time(tmp_path: Path) -> None:
    rules = tmp_path / "rules.py"
    rules.write_text(
        "def upper_to_shared(value):\n    return value.upper()\n\n"
        "def upper_to_own(value):\n    return value\n\n"
        "def grow_to_shared(value):\n    return value\n\n"
        "def grow_to_own(value):\n    return value + '!'\n\n"
        "def list_to_shared(value):\n    return [value]\n\nlist_to_own = list_to_shared\n"
    )
    url = f"sqlite:///{tmp_path / 'data.db'}"
    with sqlite3.connect(tmp_path / "data.db", isolation_level=None) as connection:
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, w TEXT)")
        connection.execute("INSERT INTO t VALUES (1, 'Anna', '')")

    def through(name: str) -> MappedDataset:
        sources: dict[str, Source] = {"name": Place("v", f"{rules}:{name}"), "w": Place("w")}
        return mapped(SqlTable(url, "t"), "sqlite", sources, {})

    guid, key = Guid(bytes(16)), Key("[1]")
    upper = through("upper")
    [outcome] = upper.apply(
        [Write(guid, key, {"name": "anna", "w": ""}, {"name": "anna", "w": "x"})]
    )
    assert outcome.result is Result.WRITTEN
    assert list(connection.execute("SELECT v, w FROM t")) == [("Anna", "x")], "its own form stays"
    assert upper.spelled({"name": "bo"}) == {"name": "BO"}
    [refused] = through("grow").apply([Write(guid, Key("[2]"), None, {"name": "bo"})])
    assert refused.reason == "name: 'bo!' would come back as 'bo!!'"
    [found] = through("list").changes({})
    assert isinstance(found, Unreadable)
    assert found.reason == "name: its routine gave a list; a field holds a text or a number"


def test_cards_of_other_programs_change_in_one_line_alone(tmp_path: Path) -> None:
    for card in (Path(__file__).parents[2] / "samples" / "contacts").glob("*.vcf"):
        shutil.copy(card, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    sources: dict[str, Source] = {**SOURCES, "city": Place("adr/city"), "mail": Place("email")}
    people = mapped(VcardFolder(tmp_path, Later()), "vcard", sources, {})
    found = [one for one in people.changes({}) if isinstance(one, Change) and one.fields]
    assert len(found) == len(before)
    assert sum(bool(one.fields and one.fields["mobile"]) for one in found) > len(found) // 4
    guid = Guid(bytes(16))
    people.apply([Write(guid, one.key, one.fields, one.fields) for one in found])
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for one in found:
        wanted = {**(one.fields or {}), "full_name": "Somebody Else"}
        [outcome] = people.apply([Write(guid, one.key, one.fields, wanted)])
        assert outcome.result is Result.WRITTEN
        old, new = before[one.key].splitlines(), (tmp_path / one.key).read_bytes().splitlines()
        assert set(new) - set(old) == {b"FN:Somebody Else"}, one.key
        assert len(new) <= len(old)
