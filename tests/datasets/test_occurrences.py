"""When a schedule's record is over."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsync.datasets.texts.occurrences import last_end

START = "DTSTART:20240101T100000Z"
END = "DTEND:20240101T110000Z"


def moment(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("fields", "end"),
    [
        ({"dtstart": START, "dtend": END}, "2024-01-01 11:00"),
        ({"dtstart": START}, "2024-01-01 10:00"),
        ({"dtstart": START, "duration": "DURATION:P1DT2H"}, "2024-01-02 12:00"),
        ({"dtstart": START, "duration": "DURATION:P2W"}, "2024-01-15 10:00"),
        ({"dtstart": "DTSTART;VALUE=DATE:20240101"}, "2024-01-02"),
        ({"dtstart": 'DTSTART;TZID="a:b":20240101T100000'}, "2024-01-01 10:00"),
        ({"due": "DUE:20240301T000000Z"}, "2024-03-01"),
        ({"dtstart": START, "dtend": END, "rrule": "RRULE:FREQ=DAILY;COUNT=3"}, "2024-01-03 11:00"),
        (
            {"dtstart": START, "dtend": END, "rrule": "RRULE:FREQ=WEEKLY;UNTIL=20240120T000000Z"},
            "2024-01-15 11:00",
        ),
        (
            {"dtstart": START, "rrule": "RRULE:FREQ=MONTHLY;BYDAY=-1FR;COUNT=2"},
            "2024-02-23 10:00",
        ),
        (
            {
                "dtstart": START,
                "rrule": "RRULE:FREQ=DAILY;COUNT=3",
                "exdate": "EXDATE:20240103T100000Z",
            },
            "2024-01-02 10:00",
        ),
        (
            {"dtstart": START, "rdate": "RDATE:20240201T100000Z,20240301T100000Z"},
            "2024-03-01 10:00",
        ),
        (
            {
                "dtstart": START,
                "dtend": END,
                "rrule": "RRULE:FREQ=DAILY;COUNT=2",
                "20240102T100000Z/dtstart": "DTSTART:20240501T100000Z",
                "20240102T100000Z/dtend": "DTEND:20240501T120000Z",
            },
            "2024-05-01 12:00",
        ),
        (
            {"dtstart": START, "rrule": "RRULE:FREQ=HOURLY;UNTIL=20240103T000000Z"},
            "2024-01-03",
        ),
    ],
)
def test_end_of_the_last_occurrence(fields: dict[str, str], end: str) -> None:
    assert last_end({"component": "vevent", **fields}) == moment(end)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"dtstart": "DTSTART:never"},
        {"dtstart": START, "rrule": "RRULE:FREQ=WEEKLY"},
        {"dtstart": START, "rrule": "RRULE:FREQ=SECONDLY;COUNT=1000000000"},
        {"dtstart": START, "rrule": "RRULE:FREQ=DAILY;COUNT=50000"},
        {"dtstart": START, "rrule": "RRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30;COUNT=1"},
        {"dtstart": START, "rrule": "RRULE:FREQ=DAILY;BYDAY=XX;COUNT=1"},
        {"dtstart": START, "rrule": "RRULE:FREQ=YEARLY;INTERVAL=0;BYWEEKNO=53;BYDAY=MO;COUNT=9"},
        {"dtstart": START, "rrule": "RRULE:FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30;COUNT=1"},
        {"dtstart": START, "rrule": "RRULE:FREQ=WEEKLY;BYMONTH=13;COUNT=5"},
        {"dtstart": START, "rrule": "RRULE:FREQ=YEARLY;BYDAY=60MO;COUNT=3"},
        {
            "dtstart": START,
            "rrule": "RRULE:FREQ=WEEKLY",
            "20240108T100000Z/dtstart": "DTSTART:20240109T100000Z",
        },
    ],
)
def test_without_an_end_nothing_is_over(fields: dict[str, str]) -> None:
    assert last_end(fields) is None


PARTS = st.sampled_from(
    [
        "FREQ=DAILY",
        "FREQ=WEEKLY",
        "FREQ=YEARLY",
        "FREQ=X",
        "COUNT=3",
        "COUNT=",
        "COUNT=-1",
        "BYDAY=MO",
        "BYDAY=",
        "INTERVAL=0",
        "INTERVAL=2",
        "UNTIL=20250101",
        "UNTIL=x",
        "BYSETPOS=400",
        "=",
        "BYMONTH=13",
    ]
)
LINES = st.sampled_from(
    [START, END, "DTSTART:99991231T235959Z", "DTSTART:00010101", "DURATION:P1D", "RDATE:99991231"]
)


@given(
    st.dictionaries(
        st.sampled_from(["dtstart", "dtend", "duration", "rrule", "rrule#2", "rdate", "x/dtstart"]),
        st.text(max_size=40)
        | st.lists(PARTS, max_size=5).map(lambda parts: "RRULE:" + ";".join(parts))
        | LINES,
    )
)
def test_whatever_stands_there_raises_nothing(fields: dict[str, str]) -> None:
    assert last_end(fields) is None or isinstance(last_end(fields), int)
