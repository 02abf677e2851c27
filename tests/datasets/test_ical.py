from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailsync.core.model import Fields, Guid, Key
from mailsync.datasets.base import Change, Outcome, Result, Unreadable, Write
from mailsync.datasets.texts.ical import IcalFile, IcalFolder
from mailsync.errors import DatasetError

GUID = Guid(bytes(range(16)))
KEY = Key("watch.ics")
WRITTEN, REFUSED = Result.WRITTEN, Result.REFUSED

OSLO = """\
BEGIN:VTIMEZONE
TZID:Europe/Oslo
LAST-MODIFIED:20240101T000000Z
BEGIN:STANDARD
TZOFFSETTO:+0100
DTSTART:19701025T030000
TZOFFSETFROM:+0200
END:STANDARD
END:VTIMEZONE
"""
OSLO_FIELD = (
    "BEGIN:VTIMEZONE\nTZID:Europe/Oslo\nBEGIN:STANDARD\nDTSTART:19701025T030000\n"
    "TZOFFSETFROM:+0200\nTZOFFSETTO:+0100\nEND:STANDARD\nEND:VTIMEZONE"
)
UNUSED = OSLO.replace("Oslo", "Rome")

WATCH = f"""\
BEGIN:VCALENDAR
PRODID:-//Other//EN
VERSION:2.0
{UNUSED}{OSLO}X-WR-CALNAME:Bridge
BEGIN:VEVENT
DTSTAMP:20240101T000000Z
uid:w-1
DTSTART;TZID="Europe/Oslo":20240101T080000
RRULE:FREQ=DAILY
SUMMARY:Watch on the
  bridge
ATTENDEE:mailto:a@example.org
ATTENDEE:mailto:b@example.org
BEGIN:VALARM
TRIGGER:-PT15M
ACTION:DISPLAY
END:VALARM
END:VEVENT
BEGIN:VEVENT
UID:w-1
DTSTAMP:20240101T000000Z
RECURRENCE-ID;TZID=Europe/Oslo:20240103T080000
SUMMARY:Drill
END:VEVENT
END:VCALENDAR
"""

FIELDS: Fields = {
    "component": "vevent",
    "uid": "UID:w-1",
    "dtstart": 'DTSTART;TZID="Europe/Oslo":20240101T080000',
    "rrule": "RRULE:FREQ=DAILY",
    "summary": "SUMMARY:Watch on the bridge",
    "attendee": "ATTENDEE:mailto:a@example.org",
    "attendee#2": "ATTENDEE:mailto:b@example.org",
    "valarm": "BEGIN:VALARM\nACTION:DISPLAY\nTRIGGER:-PT15M\nEND:VALARM",
    "20240103T080000/recurrence-id": "RECURRENCE-ID;TZID=Europe/Oslo:20240103T080000",
    "20240103T080000/summary": "SUMMARY:Drill",
    "timezone/Europe/Oslo": OSLO_FIELD,
}


def noon() -> datetime:
    return datetime(2024, 5, 6, 12, tzinfo=UTC)


@pytest.fixture
def watch(tmp_path: Path) -> Path:
    path = tmp_path / KEY
    path.write_text(WATCH)
    return path


def fields_in(path: Path) -> Fields | None:
    found = IcalFolder(path.parent).read([Key(path.name)])[Key(path.name)]
    assert isinstance(found, Change), found
    return found.fields


def update(path: Path, expected: Fields | None, wanted: Fields | None) -> Outcome:
    [outcome] = IcalFolder(path.parent, noon).apply([Write(GUID, KEY, expected, wanted)])
    return outcome


def without(fields: Fields, *names: str) -> Fields:
    return {name: value for name, value in fields.items() if name not in names}


def test_fields_of_a_series(watch: Path) -> None:
    assert fields_in(watch) == FIELDS


def test_untouched_parts_stay_byte_for_byte(watch: Path) -> None:
    wanted = {
        **without(FIELDS, "attendee#2"),
        "rrule": "RRULE:FREQ=WEEKLY",
        "location": "LOCATION:x",
    }
    assert update(watch, FIELDS, wanted).result is WRITTEN
    expected = WATCH.replace("DAILY", "WEEKLY").replace("ATTENDEE:mailto:b@example.org\n", "")
    assert watch.read_text() == expected.replace("BEGIN:VALARM", "LOCATION:x\nBEGIN:VALARM")


def test_overrides_come_and_go(watch: Path) -> None:
    moment = "20240109T080000"
    names = ("20240103T080000/recurrence-id", "20240103T080000/summary")
    wanted = {
        **without(FIELDS, *names),
        f"{moment}/recurrence-id": f"RECURRENCE-ID;TZID=Europe/Oslo:{moment}",
        f"{moment}/valarm": FIELDS["valarm"],
    }
    assert update(watch, FIELDS, wanted).result is WRITTEN
    assert fields_in(watch) == wanted
    text = watch.read_text()
    assert "Drill" not in text
    assert f"UID:w-1\nDTSTAMP:20240506T120000Z\nRECURRENCE-ID;TZID=Europe/Oslo:{moment}\n" in text
    assert update(watch, wanted, FIELDS).result is WRITTEN
    assert fields_in(watch) == FIELDS


@pytest.mark.parametrize("dropped", [[], ["rrule", "valarm", "summary", "dtstart", "attendee"]])
def test_a_new_file_holds_what_was_wanted(tmp_path: Path, dropped: list[str]) -> None:
    wanted = without(FIELDS, *dropped, *(["attendee#2"] if dropped else []))
    assert update(tmp_path / KEY, None, wanted).result is WRITTEN
    assert fields_in(tmp_path / KEY) == wanted
    text = (tmp_path / KEY).read_bytes()
    assert text.startswith(b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:")
    assert text.count(b"DTSTAMP:20240506T120000Z\r\n") == text.count(b"BEGIN:VEVENT")


def test_volatile_properties_order_folding_and_case_are_no_change(watch: Path) -> None:
    dataset = IcalFolder(watch.parent, noon)
    [found] = dataset.changes({})
    assert isinstance(found, Change)
    text = WATCH.replace("20240101T000000Z", "20250101T000000Z").replace("//Other", "//Another")
    text = text.replace("RRULE:FREQ=DAILY\n", "").replace(
        "BEGIN:VALARM", "rrule:FR\n EQ=DAILY\nBEGIN:VALARM"
    )
    text = text.replace("TRIGGER:-PT15M\nACTION:DISPLAY", "action:DISPLAY\nTRIGGER:-PT15M")
    watch.write_bytes(text.replace("\n", "\r\n").encode())
    assert fields_in(watch) == FIELDS


def test_an_unused_time_zone_is_no_field_and_stays(watch: Path) -> None:
    utc = "DTSTART:20240101T080000Z"
    wanted = {**without(FIELDS, "timezone/Europe/Oslo"), "dtstart": utc}
    wanted["20240103T080000/recurrence-id"] = "RECURRENCE-ID:20240103T080000"
    assert update(watch, FIELDS, wanted).result is WRITTEN
    assert fields_in(watch) == wanted
    assert OSLO in watch.read_text()
    assert UNUSED in watch.read_text()


HOSTILE: dict[str, Fields] = {
    "line break": {"summary": "SUMMARY:a\r\nLOCATION:b"},
    "line feed": {"summary": "SUMMARY:a\nLOCATION:b"},
    "end": {"summary": "SUMMARY:a\nEND:VEVENT\nBEGIN:VEVENT\nUID:x"},
    "end alone": {"summary": "END:VCALENDAR"},
    "alarm that ends early": {"valarm": "BEGIN:VALARM\nEND:VALARM\nSUMMARY:x"},
    "zone of another name": {"timezone/Europe/Oslo": OSLO_FIELD.replace("Oslo", "Rome")},
    "zone with more": {"timezone/Europe/Oslo": f"{OSLO_FIELD}\nX-EVIL:1"},
    "component": {"component": "vcalendar"},
    "component with a break": {"component": "vevent\r\nX:1"},
    "no uid": {"uid": "UID:"},
    "another moment": {"20240103T080000/recurrence-id": "RECURRENCE-ID:20240104T080000"},
    "moment that is none": {"../x/recurrence-id": "RECURRENCE-ID:../x"},
    "moment without its id": {"20250103T080000/summary": "SUMMARY:x"},
    "volatile": {"dtstamp": "DTSTAMP:20240101T000000Z"},
    "number": {"summary": 5},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_would_break_the_file_is_refused(watch: Path, name: str) -> None:
    outcome = update(watch, FIELDS, {**FIELDS, **HOSTILE[name]})
    assert outcome.result is REFUSED
    assert outcome.reason
    assert watch.read_text() == WATCH
    [outcome] = IcalFile(watch).apply(
        [Write(GUID, Key("w-1"), FIELDS, {**FIELDS, **HOSTILE[name]})]
    )
    assert outcome.result is REFUSED
    assert watch.read_text() == WATCH


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("RRULE:", "RRULE"),
        ("END:VEVENT\nBEGIN", "BEGIN"),
        ("uid:w-1", "uid:w-2"),
        ("uid:w-1\n", ""),
        ("uid:w-1\n", "uid:w-1\nuid:w-3\n"),
        ("RECURRENCE-ID;TZID=Europe/Oslo:20240103T080000\n", ""),
        ("TZOFFSETTO:+0100", "TZOFFSETTO"),
        (WATCH, ""),
    ],
)
def test_a_file_that_cannot_be_understood_is_held(watch: Path, old: str, new: str) -> None:
    assert old in WATCH
    watch.write_text(WATCH.replace(old, new, 1))
    (watch.parent / "good.ics").write_text(WATCH)
    found = {one.key: one for one in IcalFolder(watch.parent).changes({KEY: None})}
    assert isinstance(found[KEY], Unreadable)
    assert isinstance(found[Key("good.ics")], Change)


def event(uid: str, zone: str = "Europe/Oslo", text: str = OSLO_FIELD) -> Fields:
    start = f"DTSTART;TZID={zone}:20240101T080000"
    fields = {"component": "vevent", "uid": f"UID:{uid}", "dtstart": start}
    return {**fields, f"timezone/{zone}": text}


def test_records_of_one_file_share_its_time_zones(tmp_path: Path) -> None:
    path = tmp_path / "all.ics"
    path.touch()
    dataset = IcalFile(path, noon)
    writes = [Write(GUID, Key(uid), None, event(uid)) for uid in ("a", "b", "c")]
    outcomes = dataset.apply(writes)
    assert [one.result for one in outcomes] == [WRITTEN] * 3
    assert path.read_bytes().count(b"BEGIN:VTIMEZONE") == 1
    assert path.read_bytes().count(b"BEGIN:VCALENDAR") == 1
    known = {one.key: outcome.etag for one, outcome in zip(writes, outcomes, strict=True)}
    assert list(dataset.changes(known)) == []


@pytest.mark.parametrize("order", [("1", "2"), ("2", "1")])
def test_of_two_rules_for_one_zone_the_greater_is_written(
    tmp_path: Path, order: tuple[str, str]
) -> None:
    path = tmp_path / "all.ics"
    path.touch()
    dataset = IcalFile(path, noon)
    texts = [OSLO_FIELD.replace("TZOFFSETTO:+0100", f"TZOFFSETTO:+0{one}00") for one in order]
    outcomes = [
        dataset.apply([Write(GUID, Key(uid), None, event(uid, text=text))])[0]
        for uid, text in zip("ab", texts, strict=True)
    ]
    assert [one.result for one in outcomes] == [WRITTEN] * 2
    assert (outcomes[1].etag is None) == (texts[1] < texts[0])
    found = [one for one in dataset.changes({}) if isinstance(one, Change)]
    assert [one.fields for one in found] == [event(uid, text=max(texts)) for uid in "ab"]


def test_one_bad_event_of_a_file_does_not_hide_the_others(watch: Path) -> None:
    bad = "BEGIN:VEVENT\nUID:bad\nno property\nEND:VEVENT\n"
    watch.write_text(WATCH.replace("BEGIN:VEVENT", bad + "BEGIN:VEVENT", 1))
    found = {one.key: one for one in IcalFile(watch).changes({Key("gone"): None})}
    assert isinstance(found[Key("bad")], Unreadable)
    assert found[Key("w-1")][1] == FIELDS
    assert found[Key("gone")] == Change(Key("gone"), None, None)


def test_a_file_cut_short_is_an_error_that_names_the_line(watch: Path) -> None:
    watch.write_text(WATCH[: WATCH.index("RRULE")])
    with pytest.raises(DatasetError, match=r"line \d+"):
        list(IcalFile(watch).changes({}))


def test_deleting_a_series_leaves_the_rest_of_its_file(watch: Path) -> None:
    [outcome] = IcalFile(watch).apply([Write(GUID, Key("w-1"), FIELDS, None)])
    assert outcome.result is WRITTEN
    first, last = WATCH.index("BEGIN:VEVENT"), WATCH.index("END:VCALENDAR")
    assert watch.read_text() == WATCH[:first] + WATCH[last:]
