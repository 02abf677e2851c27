"""The benchmark of bytes runs, and what it calls ours is what travels."""

from __future__ import annotations

import csv
import io
import json
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest

from benchmarks import apply as apply_benchmark
from benchmarks import bytes as bytes_benchmark
from benchmarks import csvfiles, delivery, handheld, joining, load, two_sites
from benchmarks import detect as detect_benchmark
from benchmarks import verify as verify_benchmark
from benchmarks.material import KINDS, Edit, Material, carry_out, generated, legislators
from benchmarks.rivals import rivals
from benchmarks.two_sites import TwoSites
from mailsync.core import wire
from mailsync.core.model import Fields

SMALL = {
    "customers": lambda: generated("customers", 120, (1, 20), (10, 10, 7)),
    "contacts": lambda: generated("contacts", 60, (5,), (5,)),
    "events": lambda: generated("events", 60, (5,), ()),
    "legislators": lambda: legislators((20,)),
}
RIVALS = {"JSON lines", "CSV with old", "changeset"}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bytes_benchmark, "MATERIALS", SMALL)


def test_all_ways_are_measured_side_by_side(
    small: None, capsys: pytest.CaptureFixture[str]
) -> None:
    bytes_benchmark.main(["--json"])
    *table, last = capsys.readouterr().out.splitlines()
    found = json.loads(last)
    assert found["content_per_change"].keys() == found["mail_per_change"].keys() == {"1", "20"}
    assert found["single_mail"] == round(found["mail_per_change"]["1"])
    lines = {(line["dataset"], line["changes"]): line for line in found["lines"]}
    assert len(table) == 1 + 2 * len(lines)
    assert {dataset for dataset, _ in lines} == SMALL.keys()
    for (dataset, _), line in lines.items():
        texts = {"vCard/iCal"} if dataset in {"contacts", "events"} else set()
        assert line["content"].keys() == line["mail"].keys() == {"mailsync"} | RIVALS | texts
        assert all(0 < line["content"][name] < line["mail"][name] for name in line["mail"])
    # signed, so at least a signature's 64 bytes; thin, so headers of far less than a kilobyte
    single = lines["customers", 1]
    assert single["content"]["mailsync"] + 64 < single["mail"]["mailsync"] < 1000


def test_an_edit_that_does_not_arrive_spoils_the_measurement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is cheaper than what is not sent."""
    honest = two_sites.cycle
    monkeypatch.setattr(
        bytes_benchmark, "cycle", lambda site: honest(site) if site.name == "ship" else None
    )
    with pytest.raises(AssertionError, match="did not arrive"):
        bytes_benchmark.measure(legislators(()))


def test_content_is_what_is_encoded_and_then_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[int] = []
    encode = wire.encode

    def watched(*arguments: Any, **options: Any) -> wire.Written:
        written = encode(*arguments, **options)
        encoded.append(len(written.content))
        return written

    monkeypatch.setattr(wire, "encode", watched)
    (line,) = bytes_benchmark.measure(legislators(()))
    assert round(line.content["mailsync"] * line.changes) in encoded


def test_a_rehearsal_leaves_the_sites_as_they_were(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All sizes are measured from one state."""
    seen: list[Fields] = []
    rehearsal = TwoSites.rehearsal

    def watched(sites: TwoSites) -> object:
        seen.append({str(key): repr(row) for key, row in sites.rows(sites.office).items()})
        return rehearsal(sites)

    monkeypatch.setattr(TwoSites, "rehearsal", watched)
    material = generated("customers", 40, (5,), ())
    first = bytes_benchmark.measure(material)
    assert len(seen) > 1
    assert all(rows == seen[0] for rows in seen)
    assert bytes_benchmark.measure(generated("customers", 40, (5,), ())) == first


def test_the_mix_is_nine_updates_in_ten() -> None:
    material = generated("customers", 2_000, (1, 5, 20, 500), ())
    for size, draws in material.bundles.items():
        edits = [edit for draw in draws for edit in draw]
        assert {len(draw) for draw in draws} == {size}
        inserts = sum(edit.old is None for edit in edits)
        deletes = sum(edit.new is None for edit in edits)
        assert inserts == deletes == len(edits) / 20
        for edit in edits:
            if edit.old is not None and edit.new is not None:
                assert 1 <= sum(edit.old[name] != edit.new[name] for name in edit.new) <= 2
    assert all(len(row) == 15 for row in material.rows.values())


@pytest.mark.parametrize("name", ["contacts", "events"])
def test_invented_texts_are_read_as_they_were_invented(name: str) -> None:
    material = generated(name, 30, (), ())
    form = KINDS[name].text
    assert form is not None
    wanted = {
        key: {field: str(value) for field, value in fields.items()}
        for key, fields in material.rows.items()
    }
    read = form.parse(form.parse(b"").edited(wanted)).records
    assert {key: parsed.fields for key, parsed in read.items()} == wanted


def sent(material: Material, name: str, edits: list[Edit]) -> str:
    return zlib.decompress(rivals(material)[name](edits)).decode()


def test_rivals_say_every_change() -> None:
    material = legislators(())
    (edits,) = next(iter(material.bundles.values()))
    lines = [json.loads(line) for line in sent(material, "JSON lines", edits).splitlines()]
    kept = {line.pop("guid"): line for line in lines if line.pop("op") != "delete"}
    after = dict(material.rows)
    carry_out(after, edits)
    assert kept == {edit.key: after[edit.key] for edit in edits if edit.new is not None}
    rows = list(csv.reader(io.StringIO(sent(material, "CSV with old", edits))))
    words = [row[0] for row in rows]
    assert words.count("update") == sum(None not in edit for edit in edits)
    assert words.count("old") == sum(edit.old is not None for edit in edits)
    assert words.count("delete") == sum(edit.new is None for edit in edits)


def test_a_changeset_makes_the_other_database_equal() -> None:
    import apsw

    material = generated("customers", 50, (20,), ())
    edits = material.bundles[20][0]
    changeset = zlib.decompress(rivals(material)["changeset"](edits))
    named = ", ".join(material.columns)
    database = apsw.Connection(":memory:")
    database.execute(f"CREATE TABLE customers (guid BLOB PRIMARY KEY, {named})")
    holders = ", ".join("?" * 16)
    database.executemany(
        f"INSERT INTO customers VALUES ({holders})",
        ((bytes.fromhex(key), *row.values()) for key, row in material.rows.items()),
    )
    apsw.Changeset.apply(changeset, database)
    rows = dict(material.rows)
    carry_out(rows, edits)
    found = database.execute("SELECT * FROM customers").fetchall()
    assert {row[0].hex(): row[1:] for row in found if isinstance(row[0], bytes)} == {
        key: tuple(row.values()) for key, row in rows.items()
    }


def test_without_apsw_the_benchmark_says_how_to_install_it(
    small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "apsw", None)
    with pytest.raises(SystemExit, match=r"pip install -e '\.\[benchmark\]'"):
        bytes_benchmark.main([])


def test_the_real_history_names_its_source_and_licence() -> None:
    text = (Path(bytes_benchmark.__file__).parent / "data" / "README.md").read_text("utf-8")
    (edits,) = legislators(()).bundles[68]
    changed = sum(None not in edit for edit in edits)
    removed = sum(edit.new is None for edit in edits)
    assert f"{changed} records were changed, {removed} removed and {68 - changed - removed}" in text
    assert "CC0 1.0" in text
    assert "github.com/unitedstates/congress-legislators" in text


def test_joining_is_measured_against_copying(capsys: pytest.CaptureFixture[str]) -> None:
    joining.main(["--rows", "60", "--differing", "0", "3", "--json"])
    same, some, copied = map(json.loads, capsys.readouterr().out.splitlines())
    assert copied["equal"] and same["equal"] and some["equal"]
    assert same["bytes"] < some["bytes"] < copied["bytes"]


@pytest.mark.parametrize("engine", ["sqlite", "postgresql", "mariadb"])
def test_detection_and_writing_are_measured_beside_what_the_driver_takes(
    engine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """They end the run themselves if a change is missed, or the table is not what it should be."""
    detect_benchmark.main(["--rows", "200", "--rounds", "1", "--engine", engine, "--json"])
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    if engine == "sqlite":
        assert found.pop(1)["what"] == "none"
    assert [line["what"] for line in found] == ["first", "0%", "1%", "10%"]
    assert [line["changes"] for line in found] == [200, 0, 5, 20]
    apply_benchmark.main(["--rows", "200", "--rounds", "1", "--engine", engine, "--json"])
    (line,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert line["writes"] == 20
    assert 0 < line["table_alone"] < line["ratio"]


def test_a_first_load_is_measured_step_by_step(capsys: pytest.CaptureFixture[str]) -> None:
    """It ends the run itself if a record is missing."""
    load.main(["--rows", "60", "--json"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["step"] for line in lines] == ["enter", "compose", "take"]


def test_csv_files_are_measured_beside_the_standard_library(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends the run itself if a change is missed."""
    monkeypatch.setattr(csvfiles, "settle", lambda _path: None)
    csvfiles.main(["--rows", "200", "--rounds", "1", "--json"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["changes"] for line in lines] == [200, 0, 0, 2, 20]


def test_equality_is_proven_and_mended_within_its_bounds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Bytes hardly depend on the number of records."""
    verify_benchmark.main(["--rows", "300", "--differing", "0", "10", "--json"])
    same, damaged = map(json.loads, capsys.readouterr().out.splitlines())
    assert (same["found"], same["equal"], same["mails"]) == (0, True, {"alice": 1, "bob": 1})
    assert all(size <= 300 for sizes in same["bytes"].values() for size in sizes)
    assert (damaged["found"], damaged["equal"]) == (10, True)
    assert damaged["mails"] == {"alice": 2, "bob": 2}
    assert damaged["beyond_records"] <= 2_000


def test_a_small_device_is_measured_by_processes_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(handheld, "VDIRSYNCER", tmp_path / "none")
    handheld.main(["--cards", "3", "--rounds", "1", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert all(value > 0 for value in found.values())
    assert found["--version: x python -c pass"] < found["status: x python -c pass"]
    assert found["--version: MiB"] < found["status: MiB"]
    assert "daemon at rest: MiB" in found


def test_a_change_and_a_thousand_take_a_mail_and_its_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delivery, "ROWS", 50)
    monkeypatch.setattr(delivery, "WEEK", 24)
    found = [delivery.measure(name) for name in ("nothing", "one change", "1,000 changes")]
    assert [one["mails"] for one in found] == [0, 2, 2]
    assert all(one["equal"] for one in found)
