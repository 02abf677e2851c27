"""Where keys stand in the file, and how durations, sizes and schedules are written."""

from __future__ import annotations

import contextlib
import tomllib
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsync.config import format_duration, format_size
from mailsync.config.lines import key_lines, line_of
from mailsync.config.quantities import (
    DeleteLimit,
    Hours,
    Price,
    format_rates,
    parse_delete_limit,
    parse_duration,
    parse_poll,
    parse_price,
    parse_quiet,
    parse_rates,
    parse_size,
)

# --- lines ---------------------------------------------------------------------------------


def test_lines_are_found_behind_strings_arrays_comments_and_odd_keys() -> None:
    text = (
        "# [no]\n"
        'top = """\n[not] = "a"\\"""\n"""\n'
        "[a.b] # [c]\n"
        'list = [\n  "]", # ]\n  { x = 1 },\n]\n'
        "\"quo.ted\" . 'k = y' = 1\n"
        "lit = '''\n'''''\n"
        "[[many]]\n"
        "z = { inner = 1 }\n"
    )
    tomllib.loads(text)
    lines = key_lines(text)
    assert lines[("top",)] == 2
    assert ("not",) not in lines
    assert lines[("a",)] == lines[("a", "b")] == 5
    assert lines[("a", "b", "list")] == 6
    assert lines[("a", "b", "quo.ted", "k = y")] == 10
    assert lines[("a", "b", "lit")] == 11
    assert lines[("many", "z")] == 14
    assert line_of(lines, ("many", "z", "inner")) == 14
    assert line_of(lines, ("nowhere",)) is None


PRINTABLE = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=20)


@given(
    st.dictionaries(
        PRINTABLE,
        PRINTABLE,
        min_size=1,
    )
)
def test_every_key_of_a_document_has_its_line(document: dict[str, str]) -> None:
    import tomlkit

    text = tomlkit.dumps(document)
    lines = key_lines(text)
    assert lines == {(key,): number for number, key in enumerate(document, start=1)}


# --- quantities ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("15m", 900), ("1h", 3_600), ("1.5h", 5_400), ("7d", 604_800), ("2w", 1_209_600)],
)
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "15", "m", "-1m", "15 minutes", "٣m", "0s", "9999999w", 15, None]
)
def test_wrong_durations(text: object) -> None:
    with pytest.raises(ValueError, match="must be a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("1 MB", 10**6), ("9.5 MB", 9_500_000), ("64 KiB", 65_536), ("500 kB", 500_000), ("7B", 7)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "1", "MB", "-1 MB", "1 XB", "1  MB", 10, None])
def test_wrong_sizes(text: object) -> None:
    with pytest.raises(ValueError, match="must be a size"):
        parse_size(text)


@given(st.integers(min_value=1, max_value=3_650 * 86_400))
def test_durations_survive_writing(seconds: int) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.integers(min_value=0, max_value=10**9 - 1) | st.integers(0, 900).map(lambda n: n * 10**8))
def test_sizes_survive_writing(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(
    st.text()
    | st.lists(st.text("0123456789*/,-#LW", min_size=1, max_size=6), min_size=5, max_size=5).map(
        " ".join
    )
)
def test_poll_raises_nothing_but_value_errors(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(parse_poll(text), (int, str))


@pytest.mark.parametrize("text", ["0 0 30 2 *", "60 * * * *", "* * * *  x", "* * * * 1#6"])
def test_wrong_cron_expressions(text: str) -> None:
    with pytest.raises(ValueError, match="is not a valid cron expression: Bad "):
        parse_poll(text)


@pytest.mark.parametrize(
    ("text", "rates"),
    [("500/day", ((500, 86_400),)), ("30 / minute,2/hour", ((30, 60), (2, 3_600)))],
)
def test_rates(text: str, rates: tuple[tuple[int, int], ...]) -> None:
    assert parse_rates(text) == rates == parse_rates(format_rates(rates))


@pytest.mark.parametrize("text", ["", "30", "0/day", "30/second", "1/day,", "-1/day", 30, "1/day;"])
def test_wrong_rates(text: object) -> None:
    with pytest.raises(ValueError, match="30/minute"):
        parse_rates(text)


@pytest.mark.parametrize(
    ("text", "size", "cost"),
    [
        ("5.80 USD", 1_411, "0.0082 USD"),
        ("0.1 €", 3_000_000, "0.3000 €"),
        ("12 crowns", 10**15, "12000000000.0000 crowns"),
    ],
)
def test_prices(text: str, size: int, cost: str) -> None:
    price = parse_price(text)
    assert str(price) == text
    assert price.of(size) == cost


@given(st.integers(0, 10**15), st.integers(0, 10**9 - 1))
def test_what_a_megabyte_costs_is_exact(size: int, cents: int) -> None:
    cost = Decimal(Price(Decimal(cents) / 100, "EUR").of(size).split()[0])
    assert abs(cost * 10**8 - size * cents) <= 5_000


@pytest.mark.parametrize("text", ["", "5.80", "USD", "5.80USD", "5,80 USD", "-1 USD", "1 U5D", 5.8])
def test_wrong_prices(text: object) -> None:
    with pytest.raises(ValueError, match="must be an amount and a currency"):
        parse_price(text)


@given(st.tuples(st.integers(0, 1_439), st.integers(0, 1_439)).filter(lambda one: one[0] != one[1]))
def test_quiet_hours_survive_writing(hours: tuple[int, int]) -> None:
    assert parse_quiet(str(Hours(*hours))) == hours


@pytest.mark.parametrize("text", ["", "22-6", "22:00", "24:00-06:00", "22:60-06:00", 22, None])
def test_wrong_quiet_hours(text: object) -> None:
    with pytest.raises(ValueError, match="two times of day"):
        parse_quiet(text)


@pytest.mark.parametrize(
    ("text", "of_40", "of_1000"),
    [
        ("10% or 50", 50, 100),
        ("10%", 4, 100),
        ("2.5%", 1, 25),
        ("7", 7, 7),
        ("0", 0, 0),
        ("off", None, None),
    ],
)
def test_limits_of_deletes(text: str, of_40: int | None, of_1000: int | None) -> None:
    limit = parse_delete_limit(text)
    assert (limit.of(40), limit.of(1000)) == (of_40, of_1000)
    assert parse_delete_limit(str(limit)) == limit


@pytest.mark.parametrize("text", ["", "or", "10% or", "or 50", "10%50", "101%", "-1", "ten", 50])
def test_what_is_no_limit_of_deletes(text: object) -> None:
    with pytest.raises(ValueError, match="must be"):
        parse_delete_limit(text)


@given(st.decimals(0, 100, places=1) | st.none(), st.integers(0, 10**9 - 1) | st.none())
def test_every_limit_of_deletes_is_read_as_it_is_written(
    percent: Decimal | None, records: int | None
) -> None:
    limit = DeleteLimit(percent, records)
    assert parse_delete_limit(str(limit)) == limit
