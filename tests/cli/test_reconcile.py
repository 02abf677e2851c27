"""``mailsync reconcile`` on files: what it says, what it writes, and how it ends."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from mailsync.datasets.base import Outcome, Write
from mailsync.datasets.sql.table import SqlTable
from mailsync.errors import DatasetBusy, Exit
from mailsync.reconcile import reconciliation
from tests.cli.invoking import lines_of, refuse, run, succeed

SCHEMA = "CREATE TABLE defects (id INTEGER PRIMARY KEY, no TEXT UNIQUE, status TEXT, hours REAL)"
Rows = Sequence[tuple[object, ...]]
ROWS: Rows = [(1, "D-1", "open", 1.5), (2, "D-2", "open", None), (3, "D-3", "closed", 8.0)]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MAILSYNC_CONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def database(name: str, *scripts: str, rows: Rows = ROWS) -> sqlite3.Connection:
    connection = sqlite3.connect(name, isolation_level=None)
    connection.execute(SCHEMA)
    connection.executemany("INSERT INTO defects VALUES (?, ?, ?, ?)", rows)
    for script in scripts:
        connection.executescript(script)
    return connection


def defects(connection: sqlite3.Connection, columns: str = "*") -> Rows:
    return connection.execute(f"SELECT {columns} FROM defects ORDER BY no").fetchall()


SHIP, SHORE = "sqlite:///ship.db#defects", "sqlite:///shore.db#defects"
EDITS = (
    "UPDATE defects SET status = 'waiting', hours = 2 WHERE id = 1",
    "DELETE FROM defects WHERE id = 2",
    "INSERT INTO defects VALUES (10, 'D-10', 'open', NULL)",
)


def test_every_difference_is_one_line() -> None:
    database("ship.db")
    database("shore.db", *EDITS)
    done = run("reconcile", SHIP, SHORE)
    assert done.exit_code == Exit.PARTLY
    assert done.stdout.splitlines() == [
        'changed   1: hours source 1.5, target 2.0; status source "open", target "waiting"',
        'added     2: hours NULL, id 2, no "D-2", status "open"',
        'missing   10: hours NULL, id 10, no "D-10", status "open"',
        "1 added, 1 changed, 1 missing; 3 still differ",
    ]


def test_json_lines_hold_both_values() -> None:
    database("ship.db")
    database("shore.db", *EDITS)
    done = run("--json", "reconcile", SHIP, SHORE)
    changed, added, missing, summary = lines_of(done)
    assert changed == {
        "v": 1,
        "type": "changed",
        "record": "1",
        "keys": {"source": "[1]", "target": "[1]"},
        "fields": {
            "hours": {"source": 1.5, "target": 2.0},
            "status": {"source": "open", "target": "waiting"},
        },
    }
    assert (added["type"], added["keys"]) == ("added", {"source": "[2]"})
    assert missing["fields"] == {"id": 10, "no": "D-10", "status": "open", "hours": None}
    assert summary == {
        "v": 1,
        "type": "summary",
        "added": 1,
        "changed": 1,
        "missing": 1,
        "ambiguous": 0,
        "refused": 0,
        "records": {"source": 3, "target": 3},
        "written": {"source": 0, "target": 0},
        "not_compared": {"source": [], "target": []},
        "equal": False,
    }


def test_after_apply_a_second_run_has_nothing_to_say() -> None:
    ship, shore = database("ship.db"), database("shore.db", *EDITS)
    assert succeed("reconcile", SHIP, SHORE, "--apply", "--delete").stdout.endswith(
        "1 added, 1 changed, 1 missing, 3 written to the target; equal now\n"
    )
    assert defects(ship) == defects(shore) == ROWS
    assert succeed("reconcile", SHIP, SHORE, "--apply").stdout == ""
    [summary] = lines_of(succeed("--json", "reconcile", SHIP, SHORE))
    assert summary["equal"] is True


def test_rows_with_keys_of_their_own_are_paired_by_what_they_mean() -> None:
    """Neither the key nor a reference that holds one is compared or copied."""
    child = (
        "CREATE TABLE tasks (id INTEGER PRIMARY KEY, code TEXT, words TEXT,"
        " defect INTEGER REFERENCES defects);"
        "INSERT INTO tasks (code, words, defect) VALUES ('T-1', 'weld', {})"
    )
    ship = database("ship.db", child.format(1))
    shore = database("shore.db", "UPDATE defects SET id = id + 100", rows=ROWS[:2])
    shore.executescript(child.format(102))
    shore.execute("UPDATE tasks SET words = 'paint'")
    shore.execute("UPDATE defects SET status = 'waiting' WHERE no = 'D-1'")
    done = succeed("reconcile", SHIP, SHORE, "--match", "no", "--apply")
    assert "changed   D-1: " in done.stdout
    assert "added     D-3: " in done.stdout
    assert defects(shore, "id, no, status") == [
        (101, "D-1", "open"), (102, "D-2", "open"), (103, "D-3", "closed")
    ]  # fmt: skip
    tasks = ("sqlite:///ship.db#tasks", "sqlite:///shore.db#tasks", "--match", "code")
    done = succeed("reconcile", *tasks, "--apply")
    assert "fields of the target that are not compared: defect" in done.stderr
    assert shore.execute("SELECT code, words, defect FROM tasks").fetchall() == [
        ("T-1", "weld", 102)
    ]
    assert succeed("reconcile", *tasks).stdout == ""
    assert defects(ship) == ROWS


def test_rows_without_a_key_are_counted() -> None:
    ship, shore = (sqlite3.connect(name, isolation_level=None) for name in ("a.db", "b.db"))
    for connection, rows in ((ship, [(1, 2), (1, 2), (3, 4)]), (shore, [(1, 2)] * 3)):
        connection.execute("CREATE TABLE t (a, b)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", rows)
    command = ("reconcile", "sqlite:///a.db#t", "sqlite:///b.db#t", "--key", "*")
    done = succeed(*command, "--apply", "--delete")
    assert done.stdout.endswith("1 added, 1 missing, 2 written to the target; equal now\n")
    assert sorted(shore.execute("SELECT * FROM t")) == [(1, 2), (1, 2), (3, 4)]
    assert succeed(*command).stdout == ""


def test_doubles_of_a_match_are_left_alone() -> None:
    database("ship.db")
    shore = database("shore.db", "UPDATE defects SET status = 'open'")
    done = run("reconcile", SHIP, SHORE, "--match", "status", "--apply", "--delete")
    assert done.exit_code == Exit.PARTLY
    assert "ambiguous open: source 2 ([1], [2]), target 3 ([1], [2], [3])" in done.stdout
    assert len(defects(shore)) == 3


def test_what_the_target_refuses_is_named_and_the_rest_is_done() -> None:
    database("ship.db")
    check = "CREATE TRIGGER t BEFORE INSERT ON defects BEGIN SELECT raise(ABORT, 'not D-2'); END"
    shore = database("shore.db", "DELETE FROM defects WHERE id = 2", check, EDITS[0])
    done = run("--json", "reconcile", SHIP, SHORE, "--apply")
    assert done.exit_code == Exit.PARTLY
    *_, refused, summary = lines_of(done)
    assert (refused["type"], refused["side"], refused["reason"]) == ("refused", "target", "not D-2")
    assert (summary["written"]["target"], summary["refused"]) == (1, 1)
    assert defects(shore, "no, status") == [("D-1", "open"), ("D-3", "closed")]


def test_the_same_number_in_another_form_is_no_difference() -> None:
    """One side has decimals as text with two places, the other as numbers without."""
    for name, kind, value in (("a.db", "TEXT", "'1.10'"), ("b.db", "REAL", "1.1")):
        connection = sqlite3.connect(name)
        connection.execute(f"CREATE TABLE t (k TEXT PRIMARY KEY, price {kind})")
        connection.execute(f"INSERT INTO t VALUES ('x', {value})")
        connection.commit()
    for source, target in (("a", "b"), ("b", "a")):
        done = run("reconcile", f"sqlite:///{source}.db", f"sqlite:///{target}.db", "--table", "t")
        assert (done.exit_code, done.stdout) == (0, ""), (source, done.stdout)


# --- address books -------------------------------------------------------------------------

CARD = "BEGIN:VCARD\r\nVERSION:3.0\r\nUID:{0}\r\nFN:{1}\r\nEND:VCARD\r\n"


def test_a_folder_of_cards_and_one_file_are_paired_by_uid(here: Path) -> None:
    (here / "crew").mkdir()
    for name in ("anna", "bert"):
        (here / "crew" / f"{name}.vcf").write_text(CARD.format(name, name.title()), newline="")
    book = here / "book.vcf"
    book.write_text(CARD.format("anna", "Anne") + CARD.format("carl", "Carl"), newline="")
    command = ("reconcile", "vcard:crew", "vcard:book.vcf", "--match", "uid")
    assert refuse(Exit.USAGE, *command[:3])[0].startswith("the two have no keys in common")
    done = succeed(*command, "--apply", "--direction", "both", "--prefer", "source")
    assert 'fn source "FN:Anna", target "FN:Anne"' in done.stdout
    assert [book.read_text().count(f"FN:{name}") for name in ("Anna", "Bert", "Carl")] == [1] * 3
    cards = [path.read_text() for path in (here / "crew").iterdir()]
    assert len(cards) == 3
    assert any("FN:Carl" in card for card in cards)
    assert succeed(*command).stdout == ""


def test_an_empty_cell_is_a_property_that_is_not_there(here: Path) -> None:
    (here / "crew").mkdir()
    (here / "crew.csv").write_text("name,phone\nAnna,\n")
    mapping = ("--match", "name", "--map", "name=fn,phone=tel")
    succeed("reconcile", "csv:crew.csv", "vcard:crew", *mapping, "--apply")
    [card] = (here / "crew").iterdir()
    assert "TEL" not in card.read_text()
    assert succeed("reconcile", "csv:crew.csv", "vcard:crew", *mapping).stdout == ""


def test_a_table_and_an_address_book_meet_under_the_names_of_a_map(here: Path) -> None:
    connection = sqlite3.connect("staff.db", isolation_level=None)
    connection.execute("CREATE TABLE staff (no INTEGER PRIMARY KEY, name TEXT, phone TEXT)")
    connection.execute("INSERT INTO staff VALUES (7, 'Anna', '+47'), (8, 'Bert', NULL)")
    (here / "crew").mkdir()
    card = CARD.format("anna", "Anna").replace("END:", "TEL;TYPE=HOME:+1\r\nEND:")
    (here / "crew" / "anna.vcf").write_text(card, newline="")
    mapping = "name=fn,phone=tel;type=cell"
    command = ["reconcile", "sqlite:///staff.db#staff", "vcard:crew", "--match", "name"]
    done = succeed(*command, "--map", mapping, "--apply")
    assert done.stdout.splitlines()[:2] == [
        'changed   Anna: phone source "+47", target NULL',
        'added     Bert: name "Bert", phone NULL',
    ]
    anna = (here / "crew" / "anna.vcf").read_bytes()
    assert b"TEL;TYPE=HOME:+1\r\nTEL;TYPE=cell:+47" in anna
    assert succeed(*command, "--map", mapping).stdout == ""
    back = ("reconcile", "vcard:crew", command[1], "--match", "name", "--source-map", mapping)
    connection.execute("DELETE FROM staff WHERE no = 8")
    succeed(*back, "--apply")
    assert connection.execute("SELECT * FROM staff").fetchall() == [
        (7, "Anna", "+47"),
        (8, "Bert", None),
    ]
    assert "write SHARED=OWN,..." in run(*command, "--map", "name").stderr


# --- the command ---------------------------------------------------------------------------


def test_sections_of_the_configuration_are_named_by_name(here: Path) -> None:
    database("ship.db")
    database("shore.db", *EDITS)
    (here / "mailsync.toml").write_text(
        '[site]\nname = "ship"\nstate = "state.db"\n'
        '[datasets.defects]\nsource = "sqlite:///ship.db"\ntable = "defects"\nkeys = "shared"\n'
    )
    assert run("reconcile", "defects", SHORE).stdout.endswith("; 3 still differ\n")
    lines = refuse(Exit.USAGE, "reconcile", "crew", SHORE)
    assert lines[0].startswith("crew is no URL of a dataset, and no dataset of ")
    assert lines[0].endswith(": defects")
    lines = refuse(Exit.USAGE, "reconcile", SHORE, "defects", "--map", "no=number")
    assert lines[0] == "defects is a section, which itself has the map of its fields"


def test_a_table_of_a_group_is_named_with_its_group(here: Path) -> None:
    database("ship.db")
    database("shore.db", *EDITS)
    (here / "mailsync.toml").write_text(
        '[site]\nname = "ship"\nstate = "state.db"\n'
        '[datasets.pms]\nsource = "sqlite:///ship.db"\ntable = "*"\nkeys = "shared"\n'
    )
    assert run("reconcile", "pms.defects", SHORE).stdout.endswith("; 3 still differ\n")
    assert refuse(Exit.USAGE, "reconcile", "pms", SHORE)[0].endswith(": pms.defects")


def test_what_is_wrong_with_a_command_is_said_before_anything_is_read() -> None:
    database("ship.db")
    usage = (
        (("crew", SHIP), "crew is no URL of a dataset, and there is no configuration file; "),
        (
            ("sqlite:///ship.db", SHIP),
            "sqlite: table: missing: a database source needs it, or tables",
        ),
        (("sqlite:///ship.db#*", SHIP), "one table is compared with one"),
        ((SHIP, SHIP, "--prefer", "source"), "--prefer goes with --direction both"),
        ((SHIP, SHIP, "--delete", "--direction", "both"), "--delete needs a direction"),
        ((SHIP, SHIP, "--match", "number"), "the source has no field number to pair records by"),
    )
    for arguments, message in usage:
        assert refuse(Exit.USAGE, "reconcile", *arguments)[0].startswith(message)
    refuse(Exit.BAD_CONFIGURATION, "reconcile", SHIP, "sqlite:///none.db#defects")
    assert not Path("none.db").exists()


KILLED = """
import os, signal, sys
from mailsync.cli import main
from mailsync.datasets.sql.table import SqlTable
from mailsync.reconcile import reconciliation

reconciliation.BATCH = 20
apply, calls = SqlTable.apply, iter(range(100))

def killing(self, writes):
    if next(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return apply(self, writes)

SqlTable.apply = killing
main(sys.argv[1:])
"""


def test_a_killed_run_leaves_whole_batches_and_the_next_one_finishes() -> None:
    rows: Rows = [(n, f"D-{n}", "open", None) for n in range(1, 101)]
    ship, shore = database("ship.db", rows=rows), database("shore.db", rows=[])
    command = ["reconcile", SHIP, SHORE, "--apply"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *command], env=environment, check=False, capture_output=True
    )
    assert killed.returncode == -signal.SIGKILL
    assert len(defects(shore)) == 40
    assert succeed(*command).stdout.endswith("60 added, 60 written to the target; equal now\n")
    assert defects(shore) == defects(ship)
    assert succeed(*command).stdout == ""


def test_what_was_written_before_an_error_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    database("ship.db")
    shore = database("shore.db", rows=[])
    monkeypatch.setattr(reconciliation, "BATCH", 1)
    apply, calls = SqlTable.apply, iter(range(3))

    def failing(table: SqlTable, writes: Sequence[Write]) -> list[Outcome]:
        if next(calls) == 2:
            raise DatasetBusy("shore.db is locked by another program")
        return apply(table, writes)

    monkeypatch.setattr(SqlTable, "apply", failing)
    done = run("reconcile", SHIP, SHORE, "--apply")
    assert done.exit_code == Exit.TEMPORARY
    assert (
        "2 records were written before; another run does the rest\nmailsync: error:" in done.stderr
    )
    assert len(defects(shore)) == 2


def test_a_csv_file_is_made_equal_to_a_table_and_the_other_way_round(here: Path) -> None:
    shore = database("shore.db")
    file = here / "ship.csv"
    file.write_text("no;status;hours\nD-1;waiting;1.5\nD-9;open;2\n")
    asked = ("reconcile", "csv:ship.csv", "sqlite:///shore.db#defects", "--match", "no")
    succeed(*asked, "--apply", "--direction", "both", "--prefer", "source")
    assert defects(shore, "no, status, hours") == [
        ("D-1", "waiting", 1.5),
        ("D-2", "open", None),
        ("D-3", "closed", 8.0),
        ("D-9", "open", 2.0),
    ]
    assert file.read_text() == (
        "no;status;hours\nD-1;waiting;1.5\nD-9;open;2\nD-2;open;\nD-3;closed;8.0\n"
    )
    [told, _] = refuse(Exit.USAGE, *asked[:3])
    assert "a CSV file needs it" in told
