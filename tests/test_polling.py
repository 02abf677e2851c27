"""When the next cycle is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsync.daemon.polling import (
    JITTER_SECONDS_MAX,
    POLL_SECONDS,
    RETRY_SECONDS_MAX,
    jittered,
    next_due,
    patience,
)

BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC).timestamp()

polls = st.one_of(
    st.integers(1, 10**7), st.sampled_from(["0 6 * * *", "*/20 6-22 * * 1-5", "30 2 * * 0"])
)


def berlin(*moment: int, fold: int = 0) -> float:
    year, month, day, hour, minute = moment
    return datetime(year, month, day, hour, minute, tzinfo=BERLIN, fold=fold).timestamp()


def test_an_interval_counts_from_the_last_cycle() -> None:
    assert next_due([900], NOON) == NOON + 900


def test_the_earliest_due_peer_decides() -> None:
    assert next_due([900, 60, "0 6 * * *"], NOON) == NOON + 60


def test_a_site_without_peers_looks_now_and_then() -> None:
    assert next_due([], NOON) == NOON + POLL_SECONDS


def test_cron_means_the_local_clock() -> None:
    assert next_due(["0 6 * * *"], berlin(2026, 6, 1, 7, 0), zone=BERLIN) == berlin(
        2026, 6, 2, 6, 0
    )


def test_cron_without_a_zone_means_this_machines_clock() -> None:
    due = datetime.fromtimestamp(next_due(["17 6 * * *"], NOON)).astimezone()
    assert (due.hour, due.minute) == (6, 17)


def test_an_hour_that_comes_twice_stops_no_poll() -> None:
    at = berlin(2026, 10, 25, 1, 50)
    seen = []
    for _ in range(10):
        at = next_due(["*/30 * * * *"], at, zone=BERLIN)
        seen.append(at)
    assert all(0 < later - earlier <= 5400 for earlier, later in pairwise(seen))
    assert berlin(2026, 10, 25, 4, 0) in seen


def test_an_hour_that_never_comes_stops_no_poll() -> None:
    at = next_due(["30 2 * * *"], berlin(2026, 3, 28, 12, 0), zone=BERLIN)
    assert berlin(2026, 3, 29, 1, 59) < at <= berlin(2026, 3, 29, 4, 0)


def test_a_failure_is_retried_sooner_than_a_slow_poll_and_ever_more_slowly() -> None:
    waits = [next_due([86_400], NOON, failures) - NOON for failures in range(1, 8)]
    assert waits == [5, 10, 20, 40, 80, 160, 300]


def test_after_many_failures_slow_polls_are_kept_and_fast_ones_are_slowed() -> None:
    assert next_due([86_400], NOON, 8) == NOON + 86_400
    assert next_due([10], NOON, 8) == NOON + RETRY_SECONDS_MAX


@given(st.integers(0, 10**6))
def test_patience_is_bounded(failures: int) -> None:
    assert 0 <= patience(failures) <= RETRY_SECONDS_MAX


@given(st.lists(polls, max_size=4), st.floats(0, 4e9), st.integers(0, 100))
def test_what_is_due_lies_ahead(chosen: list[int | str], last: float, failures: int) -> None:
    assert next_due(chosen, last, failures, zone=BERLIN) > last


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_jitter_puts_off_a_little_and_never_brings_forward(chance: float) -> None:
    for wait in timedelta(seconds=10), timedelta(days=1):
        late = jittered(NOON + wait.total_seconds(), NOON, chance) - NOON - wait.total_seconds()
        assert 0 <= late <= min(JITTER_SECONDS_MAX, wait.total_seconds() / 10)
