"""CSV files: through DuckDB or not, the same is found; between CSV and tables, too."""

from __future__ import annotations

import random
import sqlite3
import sys
from pathlib import Path

import pytest

from mailsync.datasets.csvfile.dataset import CsvFile
from mailsync.reconcile.csvreading import csv_reading
from mailsync.reconcile.findings import Finding
from mailsync.reconcile.opening import reading_of
from mailsync.reconcile.pairing import Pair, Side
from mailsync.reconcile.reading import PlainReading
from mailsync.reconcile.reconciliation import Reconciliation
from tests.cli.invoking import lines_of, run, succeed


def silent(_what: str, _count: int) -> None:
    """Nobody watches."""


def pair_of(folder: Path, source: bytes, target: bytes, *key: str) -> Pair:
    (folder / "source.csv").write_bytes(source)
    (folder / "target.csv").write_bytes(target)
    one, other = (CsvFile(folder / f"{side}.csv", key or ("id",)) for side in Side)
    return Pair(one, other)


def plainly(pair: Pair) -> tuple[list[Finding], dict[Side, int]]:
    reading = PlainReading(pair, silent)
    return list(Reconciliation(pair, reading, None, silent).findings()), reading.records


def through_duckdb(pair: Pair) -> tuple[list[Finding], dict[Side, int]] | None:
    with csv_reading(pair) as reading:
        if reading is None:
            return None
        found = list(Reconciliation(pair, reading, None, silent).findings())
        return found, reading.records


HEAD = b"id,name,note\n"
PAIRS = {
    "quoted": (
        HEAD + b'1,"a, b","say ""hi"""\n2,c,\n',
        HEAD + b'2,"c",""\n1,"a, b","hi"\n',
    ),
    "lines within": (HEAD + b'1,"a\r\nb",\n', HEAD + b'1,"a\nb",\n'),
    "blank rows": (HEAD + b'1,a,b\n\n,,\n"","",""\n', HEAD + b"1,a,b\n"),
    "other ends": (b"id,name\n1,a\n2,b", b"id,name\r\n1,a\r\n2,c\r\n"),
    "other delimiters": (b"id;name\n1;a,b\n", b'id\tname\n1\t"a,b"\n2\tx;y\n'),
    "a mark at the beginning": (b"\xef\xbb\xbfid,name\n1,a\n", b"id,name\n1,b\n"),
    "what might be nothing": (HEAD + b'1,\1,NULL\n2,"\1",\n', HEAD + b'1,,null\n2,\1,""\n'),
    "cells that run together": (HEAD + b"1,ab,c\n2,1:,x\n", HEAD + b"1,a,bc\n2,1,:x\n"),
    "all of Unicode": ("id,name\n⚓,Größe\nß,é\n".encode(), "id,name\n⚓,Große\nss,é\n".encode()),
    "columns moved": (b"id,name,note\n1,a,b\n", b"note,id,name\nb,1,c\nb,2,c\n"),
    "columns of one side": (b"id,name,age\n1,a,7\n2,b,8\n", b"id,name,note\n1,a,x\n2,c,y\n"),
    "columns named as in SQL": (b'id,"side","k0"\n1,a,b\n', b"id,side,k0\n1,a,c\n"),
    "nothing": (HEAD, HEAD),
}


@pytest.mark.parametrize("name", PAIRS)
def test_duckdb_finds_what_is_found_without_it(name: str, tmp_path: Path) -> None:
    pair = pair_of(tmp_path, *PAIRS[name])
    expected = plainly(pair)
    assert through_duckdb(pair) == expected
    assert (expected[0] == []) == (name in {"blank rows", "nothing"})


def test_random_files_give_the_same_both_ways(tmp_path: Path) -> None:
    chance = random.Random(5)
    cells = ["", "a", "b", "1", "01", '"q"', '"x,y"', '"l\nm"', '""', "é", "\1", ' "'[:1]]
    for _ in range(8):
        source, target = (
            "no,part,x,y\n" + "".join(
                f"{number},{part},{chance.choice(cells)},{chance.choice(cells)}\n"
                for number in range(25) for part in "pq" if chance.random() < 0.8
            )
            for _ in Side
        )  # fmt: skip
        pair = pair_of(tmp_path, source.encode(), target.encode(), "part", "no")
        assert through_duckdb(pair) == plainly(pair), (source, target)


@pytest.mark.parametrize(
    "content",
    [
        HEAD + b'1,"a"b,c\n',
        HEAD + b"1,a,b,c\n",
        HEAD + b"1,a\n2,a,b\n",
        HEAD + b"1,\xff,c\n",
        HEAD + b"1,a,b\r\n2,a,b\n",
    ],
)
def test_what_duckdb_stumbles_over_is_read_without_it(content: bytes, tmp_path: Path) -> None:
    pair = pair_of(tmp_path, HEAD + b"1,a,c\n", content)
    assert through_duckdb(pair) is None
    with reading_of(pair, silent) as reading:
        assert isinstance(reading, PlainReading)


@pytest.mark.parametrize("doubled", [b"1,a,b\n1,c,d\n", b"1,x,y\n1,x,y\n"])
def test_doubled_keys_are_not_touched_either_way(doubled: bytes, tmp_path: Path) -> None:
    pair = pair_of(tmp_path, HEAD + doubled + b"2,a,b\n", HEAD + b"1,x,y\n2,a,b\n")
    assert [one.kind for one in plainly(pair)[0]] == ["refused"]
    assert through_duckdb(pair) is None
    found = through_duckdb(pair_of(tmp_path, HEAD + doubled, HEAD + b"2,a,b\n"))
    assert found is not None
    assert [one.kind for one in found[0]] == ["ambiguous", "missing"]


def test_other_pairs_are_not_for_duckdb(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(HEAD)
    (tmp_path / "a[1].csv").write_bytes(HEAD)
    plain, globbing = (CsvFile(tmp_path / f"{name}.csv", ["id"]) for name in ("a", "a[1]"))
    for pair in (Pair(plain, plain, ["name"]), Pair(plain, globbing)):
        with csv_reading(pair) as reading:
            assert reading is None
    with csv_reading(Pair(plain, plain)) as reading:
        assert reading is not None


# --- the command ---------------------------------------------------------------------------


@pytest.mark.parametrize("installed", [True, False])
def test_one_file_is_made_like_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, installed: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    if not installed:
        monkeypatch.setitem(sys.modules, "duckdb", None)
        monkeypatch.delitem(sys.modules, "mailsync.reconcile.csvreading")
    Path("ship.csv").write_bytes(b'id,name,note\r\n1,"Anna",x\r\n2,"Bert",\r\n')
    Path("shore.csv").write_bytes(b"id;note;name\n3;z;Carl\n1;y;Anna\n")
    command = ("reconcile", "csv:ship.csv", "csv:shore.csv", "--key", "id")
    done = succeed(*command, "--apply", "--delete")
    assert done.stdout.splitlines() == [
        'changed   1: note source "x", target "y"',
        'added     2: id "2", name "Bert", note ""',
        'missing   3: id "3", name "Carl", note "z"',
        "1 added, 1 changed, 1 missing, 3 written to the target; equal now",
    ]
    assert Path("shore.csv").read_bytes() == b"id;note;name\n1;x;Anna\n2;;Bert\n"
    assert succeed(*command).stdout == ""


def test_a_table_and_a_file_hold_the_same_in_their_own_forms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    connection = sqlite3.connect("parts.db", isolation_level=None)
    connection.execute(
        "CREATE TABLE parts (no INTEGER PRIMARY KEY, name TEXT, price REAL, at DATE)"
    )
    connection.execute("INSERT INTO parts VALUES (1, 'gasket', 1.5, NULL), (2, NULL, NULL, NULL)")
    Path("parts.csv").write_bytes(b"no,price,at,name\n1,1.50,,gasket\n3,,2026-01-02,valve\n")
    table, file = "sqlite:///parts.db#parts", "csv:parts.csv"
    done = run("--json", "reconcile", table, file, "--key", "no", "--apply", "--direction", "both")
    *found, summary = lines_of(done)
    assert [(one["type"], one["record"]) for one in found] == [("added", "2"), ("missing", "3")]
    assert summary["equal"] is True
    assert Path("parts.csv").read_bytes().splitlines()[-1] == b"2,,,"
    assert connection.execute("SELECT * FROM parts WHERE no = 3").fetchall() == [
        (3, "valve", None, "2026-01-02")
    ]
    assert succeed("reconcile", table, file, "--key", "no").stdout == ""
    assert succeed("reconcile", file, table, "--key", "no").stdout == ""
