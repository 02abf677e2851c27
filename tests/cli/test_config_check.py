"""What ``config check`` foresees of the datasets, before anything runs."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from mailsync.errors import Exit
from tests.cli.invoking import lines_of, refuse, run, succeed

SITE = '[site]\nname = "office"\nstate = "state.db"\n'
TABLE = '[datasets.crew]\nsource = "sqlite:///staff.db"\ntable = "staff"\n'
CARDS = '[datasets.crew]\nsource = "vcard:cards"\n'


@pytest.fixture
def place(tmp_path: Path) -> Path:
    with sqlite3.connect(tmp_path / "staff.db") as connection:
        connection.executescript(
            "CREATE TABLE staff (id INTEGER PRIMARY KEY, name TEXT NOT NULL, phone TEXT,"
            " department TEXT NOT NULL, salary REAL NOT NULL DEFAULT 0,"
            " since DATE NOT NULL DEFAULT CURRENT_DATE,"
            " label TEXT GENERATED ALWAYS AS (name || department));"
            "CREATE TABLE part (code TEXT PRIMARY KEY, name TEXT, keeper INTEGER REFERENCES staff);"
        )
    (tmp_path / "cards").mkdir()
    return tmp_path


def configured(place: Path, text: str) -> Path:
    path = place / "mailsync.toml"
    path.write_text(SITE + text)
    return path


def foreseen(place: Path, text: str) -> list[str]:
    """The remarks, on standard error and as JSON alike."""
    path = configured(place, text)
    said = succeed("-c", path, "config", "check").stderr.splitlines()
    found = lines_of(succeed("-c", path, "--json", "config", "check"))
    told = [f"{one['dataset']}: {one['text']}" for one in found if one["type"] == "warning"]
    assert said == told
    return told


def refused(place: Path, text: str) -> list[str]:
    path = configured(place, text)
    return refuse(Exit.BAD_CONFIGURATION, "-c", path, "config", "check")[:-1]


def test_what_a_mapped_table_keeps_to_itself_and_lacks_is_said(place: Path) -> None:
    assert foreseen(place, TABLE + 'map = { full_name = "name", mobile = "phone" }\n') == [
        "crew: not mapped, so it stays here: department, salary, since",
        "crew: computed by the database, so it does not travel: label",
        (
            "crew: new records from peers will be held: department must have a value (NOT NULL "
            "without default); map it, or set it"
        ),
    ]
    everything = 'map = { a = "name", b = "phone", c = "salary", d = "since" }\n'
    assert foreseen(place, f'{TABLE}{everything}set = {{ department = "sea" }}\n') == [
        "crew: not mapped, so it stays here: department",
        "crew: computed by the database, so it does not travel: label",
    ]


def test_a_table_without_mapping_says_what_does_not_travel(place: Path) -> None:
    assert foreseen(place, TABLE) == [
        "crew: computed by the database, so it does not travel: label"
    ]


def test_a_foreign_key_behind_a_routine_is_said(place: Path) -> None:
    (place / "rules.py").write_text(
        "def no_to_shared(x):\n    return x\n\nno_to_own = no_to_shared\n"
    )
    text = '[datasets.part]\nsource = "sqlite:///staff.db"\ntable = "part"\n'
    keeper = 'keeper = { field = "keeper", routine = "rules.py:no" }'
    assert foreseen(place, f'{text}map = {{ code = "code", name = "name", {keeper} }}\n') == [
        "part: keeper: a foreign key behind a routine travels as it is, not as a reference"
    ]


def test_what_cards_keep_to_themselves_is_said(place: Path) -> None:
    assert foreseen(place, CARDS + 'map = { mobile = "tel;type=cell", born = "bday" }\n') == [
        (
            "crew: mobile: of several tel;type=cell of one record only one travels; the others "
            "stay here"
        ),
        "crew: new records from peers will be held: no card can be without fn; map it, or set it",
    ]
    assert foreseen(place, CARDS + 'map = { name = "fn", born = "bday" }\n') == []


@pytest.mark.parametrize(
    ("section", "mistake"),
    [
        (
            TABLE + 'map = { mobile = "fone" }\nset = { "x" = 1 }\n',
            "[datasets.crew] map.mobile: there is no column fone; did you mean phone?",
        ),
        (
            TABLE + 'map = { mobile = "id" }\n',
            "[datasets.crew] map.mobile: id is this site's own key, and no field that could travel",
        ),
        (
            (
                '[datasets.part]\nsource = "sqlite:///staff.db"\ntable = "part"\n'
                'map = { title = "name" }\n'
            ),
            (
                "[datasets.part] map: code: the field that tells its records apart must be among "
                "the mapped ones"
            ),
        ),
        (
            CARDS + 'map = { one = "TEL;TYPE=CELL,VOICE", other = "tel;type=voice,cell" }\n',
            (
                "[datasets.crew] map: TEL;TYPE=CELL,VOICE and tel;type=voice,cell are the same "
                "property"
            ),
        ),
        (
            CARDS + 'map = { one = "n/name" }\n',
            "[datasets.crew] map: n has the components family, given, additional, prefix, suffix",
        ),
        (
            CARDS + 'map = { one = { field = "fn", routine = "rules.py:x" } }\n',
            (
                "[datasets.crew] cannot read the routines in {place}/rules.py: No such file or "
                "directory"
            ),
        ),
        (
            '[datasets.all]\nsource = "sqlite:///staff.db"\ntable = "*"\nmap = { a = "name" }\n',
            "7: [datasets.all] map: only for one table: give it a section of its own",
        ),
    ],
)
def test_a_mapping_that_does_not_fit_is_a_mistake(place: Path, section: str, mistake: str) -> None:
    path = place / "mailsync.toml"
    first, *more = refused(place, section)
    colon = ":" if mistake[0].isdigit() else ": "
    assert first == f"{path}{colon}{mistake.format(place=place)}"
    if "set = " in section:
        assert more == [
            (
                f"{path}: [datasets.crew] set.x: there is no column x; there are: name, phone, "
                "department, salary, since"
            )
        ]


def test_a_dataset_out_of_reach_is_no_mistake(place: Path) -> None:
    assert foreseen(place, '[datasets.crew]\nsource = "vcard:nowhere"\n') == [
        f"crew: could not be looked at: there is no folder {place / 'nowhere'}"
    ]


def test_nothing_is_made_by_looking(place: Path) -> None:
    before = sorted(place.iterdir())
    path = configured(place, TABLE)
    assert run("-c", path, "config", "check").exit_code == 0
    assert sorted(place.iterdir()) == sorted([*before, path])


def test_the_doctor_names_a_mapping_that_does_not_fit(place: Path) -> None:
    path = configured(place, TABLE + 'map = { mobile = "fone" }\n')
    found = {one.get("name"): one for one in lines_of(run("-c", path, "--json", "doctor"))}
    assert found["dataset crew"]["grade"] == "failure"
    assert found["dataset crew"]["what"].startswith("map.mobile: there is no column fone;")


def test_a_routine_for_conflicts_that_is_not_there_is_a_mistake(place: Path) -> None:
    (place / "rules.py").write_text("def decide(conflict):\n    return conflict.lost.value\n")
    text = TABLE + 'map = { name = "name" }\nset = { department = "sea" }\n'
    assert foreseen(place, text + 'conflict = "routine:rules.py:decide"\n')
    assert refused(place, text + 'conflict = { name = "routine:rules.py:judge" }\n') == [
        f"{place}/mailsync.toml: [datasets.crew] {place}/rules.py defines no function judge"
    ]


def test_a_field_that_a_filter_names_and_the_table_has_not_is_said(place: Path) -> None:
    lines = """send = { where = "fone like '+%' and name <> 'x'" }
receive = { fields = ["salary", "rank"] }
"""
    assert [one for one in foreseen(place, TABLE + lines) if "no column" in one] == [
        "crew: send names fone, for which there is no column here; did you mean phone?",
        "crew: receive.fields names rank, for which there is no column here",
    ]


def test_a_policy_that_names_nobody_is_said_and_is_no_mistake(place: Path) -> None:
    words = (
        "neither this site nor a peer calls itself so; unless a site further away does, the later "
        "value stays"
    )
    assert foreseen(place, CARDS + 'conflict = { note = "site:ofice", tel = "site:office" }\n') == [
        f'crew: conflict = "site:ofice" (did you mean site:office?): {words}'
    ]
