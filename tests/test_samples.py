"""The sample data is what the demonstration and the manual say it is."""

from __future__ import annotations

import base64
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

SAMPLES = Path(__file__).parent.parent / "samples"
CARDS = sorted((SAMPLES / "contacts").glob("*.vcf"))
ENTRIES = sorted((SAMPLES / "schedule").glob("*.ics"))


@pytest.fixture
def ship() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    connection.executescript((SAMPLES / "ship.sql").read_text(encoding="utf-8"))
    yield connection
    connection.close()


def one(connection: sqlite3.Connection, query: str) -> int:
    (number,) = connection.execute(query).fetchone()
    assert isinstance(number, int)
    return number


def test_defects_are_many_and_varied(ship: sqlite3.Connection) -> None:
    assert one(ship, "SELECT count(*) FROM defects") >= 500
    assert one(ship, "SELECT count(DISTINCT description) FROM defects") >= 400
    assert one(ship, "SELECT count(*) FROM defects WHERE cost IS NULL") > 50
    assert one(ship, "SELECT count(*) FROM defects WHERE office_note IS NULL") > 50
    assert one(ship, "SELECT count(*) FROM defects WHERE typeof(cost) = 'real'") > 200
    assert one(ship, "SELECT count(*) FROM defects WHERE status = 'draft'") > 5
    dates = "SELECT count(*) FROM defects WHERE date(reported_on) IS NOT reported_on"
    assert one(ship, dates) == 0


def test_defects_hold_other_scripts_line_breaks_and_quotes(ship: sqlite3.Connection) -> None:
    rows = ship.execute("SELECT description || coalesce(office_note, '') FROM defects").fetchall()
    text = "".join(row[0] for row in rows)
    for sign in "Σзт予ß≈'\n°":
        assert sign in text, sign


def test_spare_parts_have_a_composite_key(ship: sqlite3.Connection) -> None:
    assert 50 <= one(ship, "SELECT count(*) FROM spare_parts") <= 70
    columns = ship.execute("PRAGMA table_info(spare_parts)").fetchall()
    assert [name for _, name, _, _, _, place in columns if place] == ["vessel", "part_no"]
    assert one(ship, "SELECT count(DISTINCT part_no) FROM spare_parts") > 50


def unfolded(path: Path) -> str:
    return path.read_bytes().decode().replace("\r\n ", "")


def test_cards_are_well_formed_and_of_both_versions() -> None:
    assert len(CARDS) == 40
    texts = [unfolded(path) for path in CARDS]
    assert sum("VERSION:3.0\r\n" in text for text in texts) == 20
    assert sum("VERSION:4.0\r\n" in text for text in texts) == 20
    for text in texts:
        assert text.startswith("BEGIN:VCARD\r\nVERSION:")
        assert text.endswith("END:VCARD\r\n")
        assert "\n" not in text.replace("\r\n", "")
    assert len({re.findall(r"^UID:(.+)\r$", text, re.MULTILINE)[0] for text in texts}) == 40


@pytest.mark.parametrize("path", [*CARDS, *ENTRIES], ids=lambda path: path.stem)
def test_lines_are_folded_at_75_bytes(path: Path) -> None:
    content = path.read_bytes()
    assert max(map(len, content.split(b"\r\n"))) <= 75
    assert content.replace(b"\r\n", b"").count(b"\n") == 0


def test_cards_hold_what_makes_address_books_hard() -> None:
    text = "".join(unfolded(path) for path in CARDS)
    for script in ("Ελένη", "Ирина", "さくら", "مريم"):
        assert script in text, script
    assert re.search(r"item1\.TEL:.*\r\nitem1\.X-ABLabel:", text)
    assert max(unfolded(path).count("TEL") for path in CARDS) >= 4
    assert any(b"\r\n " in path.read_bytes() for path in CARDS)


def test_photos_are_small_pictures() -> None:
    text = "".join(unfolded(path) for path in CARDS)
    photos = re.findall(r"PHOTO[^:]*:(?:data:image/\w+;base64,)?([A-Za-z0-9+/=]+)\r\n", text)
    starts = [base64.b64decode(photo, validate=True)[:4] for photo in photos]
    assert starts.count(b"\x89PNG") >= 5
    assert starts.count(b"\xff\xd8\xff\xe0") >= 5


@pytest.mark.parametrize("path", ENTRIES, ids=lambda path: path.stem)
def test_schedule_entries_are_well_formed(path: Path) -> None:
    text = unfolded(path)
    opened: list[str] = []
    for line in text.split("\r\n")[:-1]:
        name, _, value = line.partition(":")
        if name == "BEGIN":
            opened.append(value)
        elif name == "END":
            assert opened.pop() == value
        else:
            assert re.fullmatch(r"[A-Z-]+(;[A-Z-]+=([^;:\"]+|\"[^\"]*\"))*", name), line
    assert opened == []
    assert set(re.findall("^UID:(.+)\r$", text, re.MULTILINE)) == {f"{path.stem}@schedule.example"}
    defined = set(re.findall("^TZID:(.+)\r$", text, re.MULTILINE))
    assert set(re.findall(";TZID=([^:;]+)", text)) == defined


def test_schedule_holds_what_makes_schedules_hard() -> None:
    assert len(ENTRIES) == 20
    text = "".join(unfolded(path) for path in ENTRIES)
    series = unfolded(SAMPLES / "schedule" / "safety-meeting.ics")
    for wanted in ("RRULE:FREQ=WEEKLY", "RECURRENCE-ID;", "TZID:Europe/Athens", "EXDATE;"):
        assert wanted in series, wanted
    assert text.count("BEGIN:VTODO") >= 5
    assert text.count("BEGIN:VALARM") >= 4
    assert text.count("DTSTART;VALUE=DATE:") >= 5


def test_addresses_are_of_reserved_domains_only() -> None:
    paths = [*CARDS, *ENTRIES, SAMPLES / "ship.sql"]
    text = "".join(unfolded(path) for path in paths)
    domains = set(re.findall(r"[\w.]@([\w.-]+)", text)) | set(
        re.findall(r"https?://([\w.]+)", text)
    )
    assert domains
    for domain in domains:
        assert re.search(r"(\.|^)example(\.com|\.org)?$", domain), domain
