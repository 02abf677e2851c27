"""Budgets of links: how much goes, what first, what waits, and until when."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from itertools import chain
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsync.carriers.base import Letter, Retry, SendResult, Sent
from mailsync.carriers.message import compose_message
from mailsync.config import BudgetSettings, Hours
from mailsync.config.quantities import parse_quiet
from mailsync.core import outbound
from mailsync.core.model import Key
from mailsync.core.positions import NOWHERE, Positions
from mailsync.cycle.budget import day_of, granted, is_quiet, next_time, wall
from mailsync.cycle.conflicts import list_conflicts
from mailsync.cycle.planning import plan_sync, what_waits
from mailsync.cycle.report import Report, Waiting
from mailsync.cycle.run import Extent, run_cycle
from mailsync.errors import Exit
from tests.cycle.sites import DAY, HOUR, Sites

NOON = int(datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp() * 1000)
MINUTE = 60_000


# --- the clock -------------------------------------------------------------------------------

ZONES: list[tzinfo] = [UTC, timezone(timedelta(hours=-11)), ZoneInfo("Europe/Berlin")]
MOMENTS = st.integers(NOON, NOON + 500 * DAY)
MINUTES = st.integers(0, 24 * 60 - 1)
QUIET = st.tuples(MINUTES, MINUTES).filter(lambda one: one[0] != one[1])


@given(MOMENTS, MINUTES, st.sampled_from(ZONES))
def test_the_next_time_is_within_a_day_and_shows_those_minutes(
    now: int, minutes: int, zone: tzinfo
) -> None:
    found = next_time(minutes, now, zone)
    assert now < found <= now + 25 * HOUR
    shown = wall(found, zone)
    skipped = shown.hour * 60 + shown.minute != minutes
    assert not skipped or wall(found - 2 * HOUR, zone).utcoffset() != shown.utcoffset()


@given(MOMENTS, QUIET)
def test_quiet_hours_end_at_the_time_named_and_not_before(now: int, quiet: tuple[int, int]) -> None:
    hours = Hours(*quiet)
    if is_quiet(hours, now, UTC):
        end = next_time(hours.end, now, UTC)
        assert not is_quiet(hours, end, UTC)
        assert is_quiet(hours, end - 1, UTC)
        assert is_quiet(hours, (now + end) // 2, UTC)


@pytest.mark.parametrize(
    ("hours", "quiet_at"),
    [("22:00-06:00", {22, 23, 0, 3, 5}), ("06:00-22:00", {6, 12, 21}), ("12:00-12:01", {12})],
)
def test_quiet_hours_may_pass_midnight(hours: str, quiet_at: set[int]) -> None:
    start = datetime(2026, 11, 23, tzinfo=UTC).timestamp() * 1000
    found = {h for h in range(24) if is_quiet(parse_quiet(hours), int(start) + h * HOUR, UTC)}
    assert quiet_at <= found
    assert len(found) == {"22:00-06:00": 8, "06:00-22:00": 16, "12:00-12:01": 1}[hours]


def test_days_and_quiet_hours_are_those_of_the_sites_clock() -> None:
    zone = timezone(timedelta(hours=9))
    assert (day_of(NOON + 4 * HOUR, UTC), day_of(NOON + 4 * HOUR, zone)) == (
        "2026-11-23",
        "2026-11-24",
    )
    assert is_quiet(parse_quiet("22:00-06:00"), NOON + HOUR, zone)
    assert not is_quiet(parse_quiet("22:00-06:00"), NOON + HOUR, UTC)


def budget(**values: str) -> BudgetSettings:
    return BudgetSettings.model_validate(values)


@given(MOMENTS, st.integers(0, 40_000), st.sampled_from([{}, {"quiet": "22:00-06:00"}]))
def test_what_is_granted_never_exceeds_the_day_and_ends_outside_quiet_hours(
    now: int, spent: int, quiet: dict[str, str]
) -> None:
    settings = budget(per_day="20 kB", **quiet)
    given_now = granted(settings, spent, now, UTC)
    assert given_now.left is not None
    assert given_now.left == 0 or given_now.left + spent <= 20_000
    assert given_now.until > now
    assert not is_quiet(settings.quiet, given_now.until, UTC)
    if not is_quiet(settings.quiet, now, UTC):
        assert day_of(given_now.until, UTC) == day_of(now + DAY, UTC)


# --- whole sites -----------------------------------------------------------------------------


def weigh(letter: Letter) -> SendResult:
    raw = compose_message(
        letter,
        sender="alice@example.org",
        date=datetime(2026, 11, 23, tzinfo=UTC),
        boundary="=" * 32,
        site="alice",
    )
    return Sent(len(raw))


def limited(
    directory: Path, lines: str, datasets: tuple[str, ...] = ("people",), zone: tzinfo = UTC
) -> Sites:
    """Alice with a budget for Bob, Bob with none."""
    sites = Sites(directory)
    sites.network.judge = weigh
    sites.clock.now = NOON
    alice = sites.add("alice", {"bob": lines}, datasets)
    alice.surroundings = replace(alice.surroundings, zone=zone)
    sites.add("bob", {"alice": ""}, datasets)
    return sites


def noise(size: int, seed: int = 0) -> str:
    """Text that does not compress well."""
    return random.Random(seed).randbytes(size // 2).hex()


def fill(sites: Sites, dataset: str, count: int, size: int) -> None:
    for number in range(count):
        row = {"name": noise(size, hash((dataset, number)) % 10_000)}
        sites.rows("alice", dataset)[Key(str(number))] = row


def waits(report: Report) -> Waiting:
    assert report.exit_code == Exit.BUDGET_USED_UP
    return report.waiting["bob"]


def names(sites: Sites, dataset: str = "people") -> int:
    return len(sites.rows("bob", dataset))


def spent_today(sites: Sites) -> int:
    site = sites.sites["alice"]
    with site.store.transaction() as transaction:
        return transaction.history.spent("bob", day_of(sites.clock.now, UTC))


def test_a_day_takes_what_fits_and_the_next_days_the_rest(tmp_path: Path) -> None:
    sites = limited(tmp_path, 'budget = { per_day = "20 kB" }')
    fill(sites, "people", 60, 1_000)
    arrived = []
    for _ in range(9):
        report = sites.sync("alice")
        assert 0 < spent_today(sites) <= 20_000
        sites.network.deliver_all()
        sites.sync("bob", Extent(sending=False))
        arrived.append(names(sites))
        if arrived[-1] == 60:
            break
        waiting = waits(report)
        assert waiting.records == {"people": 60 - arrived[-1]}
        assert spent_today(sites) > 15_000  # most of a day's budget is used
        assert waiting.why == "the budget of 20 kB a day allows no more"
        assert waiting.until == next_time(0, sites.clock.now, UTC)
        assert waiting.bytes == pytest.approx(600 * (60 - arrived[-1]), rel=0.5)
        again = sites.sync("alice")
        assert again.peer("bob").sent.bytes + 15_000 < 20_000  # at most crumbs
        sites.clock.now = waiting.until
    assert arrived[-1] == 60
    assert 2 <= len(arrived) <= 4
    assert report.exit_code == Exit.OK


def test_higher_priority_goes_first(tmp_path: Path) -> None:
    lines = 'budget = { per_day = "12 kB", priority = ["defects", "*", "archive"] }'
    sites = limited(tmp_path, lines, ("archive", "people", "defects"))
    sites.rows("alice", "archive")[Key("old")] = {"name": "old"}
    sites.sync("alice")
    sites.network.deliver_all()
    sites.sync("bob")
    sites.network.deliver_all()
    sites.sync("alice")
    for dataset in ("archive", "people", "defects"):
        fill(sites, dataset, 12, 1_000)
    del sites.rows("alice", "archive")[Key("old")]
    sites.clock.now += DAY
    waiting = waits(sites.sync("alice"))
    sites.network.deliver_all()
    sites.sync("bob")
    assert names(sites, "defects") == 12
    assert 0 < names(sites, "people") < 12
    assert waiting.records == {"archive": 13, "people": 12 - names(sites, "people")}


def test_a_bundle_is_made_smaller_and_what_does_not_fit_stops_nothing(tmp_path: Path) -> None:
    sites = limited(tmp_path, 'budget = { per_day = "10 kB" }')
    rows = sites.rows("alice")
    rows[Key("0")] = {"name": noise(40_000)}
    for number in range(1, 6):
        rows[Key(str(number))] = {"name": noise(100, number)}
    rows[Key("6")] = {"name": noise(30_000, 7)}
    rows[Key("7")] = {"name": "last"}
    for _ in range(3):
        report = sites.sync("alice")
        sites.network.deliver_all()
        sites.clock.now += 2 * HOUR
        sites.sync("bob")
        sites.network.deliver_all()
        sites.sync("alice", Extent(sending=False))
        assert names(sites) == 6
        waiting = waits(report)
        assert waiting.records == {"people": 2}
        assert waiting.until is None
        assert len(waiting.too_large) == 2
        assert waiting.too_large[0].startswith("record 0 of dataset people needs 29")
        assert waiting.too_large[0].endswith(" bytes, the budget allows 10000 a day")
        sites.clock.now += DAY


def test_a_record_that_does_not_fit_beside_its_note_stops_nothing(tmp_path: Path) -> None:
    sites = limited(tmp_path, 'budget = { per_day = "10 kB" }')
    rows = sites.rows("alice")
    rows[Key("0")] = {"name": "first"}
    for _ in range(2):
        for name in ("alice", "bob"):
            sites.sync(name)
            sites.network.deliver_all()
    (his,) = sites.rows("bob")
    sites.rows("bob")[his] = {"name": "his"}
    sites.sync("bob")
    sites.clock.now += HOUR
    rows[Key("0")] = {"name": "hers"}
    sites.network.deliver_all()
    sites.sync("alice")
    with sites.sites["alice"].store.transaction() as transaction:
        (conflict,) = list_conflicts(sites.sites["alice"], transaction)
    assert conflict.loser == "his"
    rows[Key("0")] = {"name": noise(40_000)}  # while the note is on its way
    rows[Key("1")] = {"name": "small"}
    waiting = waits(sites.sync("alice"))
    assert waiting.records == {"people": 1}
    assert waiting.too_large[0].startswith("record 0 of dataset people needs 3")
    sites.network.deliver_all()
    sites.sync("bob")
    assert {row["name"] for row in sites.rows("bob").values()} == {"hers", "small"}


def test_what_fits_another_day_waits_for_it_and_then_goes_first(tmp_path: Path) -> None:
    sites = limited(tmp_path, 'budget = { per_day = "10 kB" }')
    rows = sites.rows("alice")
    rows[Key("0")] = {"name": noise(6_000)}
    sites.sync("alice")
    rows[Key("1")] = {"name": noise(11_000, 1)}
    rows[Key("2")] = {"name": "small"}
    waiting = waits(sites.sync("alice"))
    assert waiting.too_large == ()
    assert waiting.records == {"people": 1}
    assert waiting.until == next_time(0, sites.clock.now, UTC)
    sites.network.deliver_all()
    sites.sync("bob", Extent(sending=False))
    assert names(sites) == 2
    sites.clock.now = waiting.until
    fill(sites, "people", 40, 1_000)
    rows[Key("1")] = {"name": noise(11_000, 1)}
    sites.sync("alice")
    sites.network.deliver_all()
    sites.sync("bob", Extent(sending=False))
    assert noise(11_000, 1) in {row["name"] for row in sites.rows("bob").values()}


def test_ten_thousand_records_too_large_are_given_up_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drafts = 0
    real = outbound.compose

    def counting(*values: object, **named: object) -> object:
        nonlocal drafts
        drafts += 1
        return real(*values, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(outbound, "compose", counting)
    sites = limited(tmp_path, 'budget = { per_day = "4 kB" }')
    fill(sites, "people", 300, 8_000)
    sites.rows("alice")[Key("small")] = {"name": "small"}
    waiting = waits(sites.sync("alice"))
    assert waiting.records == {"people": 300}
    assert drafts < 300
    sites.network.deliver_all()
    sites.sync("bob", Extent(sending=False))
    assert names(sites) == 1


def test_nothing_goes_in_quiet_hours_but_mail_is_read(tmp_path: Path) -> None:
    sites = limited(tmp_path, 'budget = { quiet = "22:00-06:00" }')
    sites.rows("bob")[Key("1")] = {"name": "Bob"}
    sites.sync("bob")
    sites.network.deliver_all()
    sites.rows("alice")[Key("2")] = {"name": "Ada"}
    for hours in (10, 3, 4):  # 22:00, 01:00, 05:00
        sites.clock.now += hours * HOUR
        report = sites.sync("alice")
        assert report.peer("bob").sent.mails == 0
        assert waits(report).why == "quiet until 06:00"
        assert waits(report).until == NOON + 18 * HOUR
        assert waits(report).records == {"people": 1}
        assert waits(report).bytes > 1_000
    assert len(sites.rows("alice")) == 2
    sites.clock.now = NOON + 18 * HOUR
    report = sites.sync("alice")
    assert report.exit_code == Exit.OK
    assert report.peer("bob").sent.mails == 1


def test_quiet_hours_and_days_follow_the_zone_of_the_site(tmp_path: Path) -> None:
    zone = timezone(timedelta(hours=10))
    sites = limited(tmp_path, 'budget = { quiet = "22:00-06:00" }', zone=zone)
    sites.rows("alice")[Key("2")] = {"name": "Ada"}
    assert waits(sites.sync("alice")).until == NOON + 8 * HOUR


def test_mails_of_the_outbox_wait_too_and_keep_their_share(tmp_path: Path) -> None:
    sites = limited(tmp_path, 'budget = { per_day = "10 kB", quiet = "22:00-06:00" }')
    sites.rows("alice")[Key("1")] = {"name": noise(6_000)}
    sites.network.judge = lambda _: Retry("no answer", uncertain=True)
    site = sites.sites["alice"]
    report = asyncio.run(run_cycle(site, Extent(), Report()))
    assert report.exit_code == Exit.TEMPORARY
    assert spent_today(sites) > 5_000  # it may have gone, and is paid for
    sites.network.judge = weigh
    sites.clock.now += 11 * HOUR
    waiting = waits(sites.sync("alice"))
    assert (waiting.mails, waiting.records) == (1, {})
    sites.clock.now = NOON + 18 * HOUR
    fill(sites, "people", 10, 2_000)
    report = sites.sync("alice")
    assert report.peer("bob").sent.mails == 2
    assert spent_today(sites) <= 10_000


def test_acknowledgements_go_until_the_budget_is_used_up(tmp_path: Path) -> None:
    sites = limited(tmp_path, 'budget = { per_day = "10 kB" }')
    sites.rows("alice")[Key("0")] = {"name": noise(10_000)}
    sites.sync("alice")
    rows = sites.rows("alice")
    rows[Key("1")] = {"name": noise(10_000, 1)}
    sites.rows("bob")[Key("1")] = {"name": "Bob"}
    sites.sync("bob")
    sites.network.deliver_all()
    before = spent_today(sites)
    sites.sync("alice", Extent(sending=False))
    sites.clock.now += 2 * HOUR
    report = sites.sync("alice")
    assert report.peer("bob").sent.mails == 1  # the acknowledgement
    assert spent_today(sites) - before < 2_000
    assert waits(report).records == {"people": 1}
    for number in range(20):
        if 10_000 - spent_today(sites) < 1_200:
            break
        sites.rows("bob")[Key("1")] = {"name": f"Bob {number}"}
        sites.sync("bob")
        sites.network.deliver_all()
        sites.sync("alice", Extent(sending=False))
        sites.clock.now += 61 * MINUTE
        sites.sync("alice")
    assert spent_today(sites) <= 10_000


def test_a_plan_and_the_status_say_what_waits_and_write_nothing(tmp_path: Path) -> None:
    sites = limited(tmp_path, 'budget = { per_day = "20 kB" }')
    fill(sites, "people", 60, 1_000)
    site = sites.sites["alice"]
    plan = plan_sync(site)
    assert plan_sync(site).peers["bob"].mails == plan.peers["bob"].mails > 0
    report = sites.sync("alice")
    sent = report.peer("bob").sent
    assert plan.peers["bob"].bytes == pytest.approx(sent.bytes, rel=0.1)
    total = sum(plan.waiting["bob"].records.values())
    assert total == pytest.approx(sum(report.waiting["bob"].records.values()), abs=3)
    for _ in range(2):
        assert what_waits(site)["bob"].until == report.waiting["bob"].until


def test_a_plan_prices_mails_to_the_byte(tmp_path: Path) -> None:
    sites = limited(tmp_path, 'profile = "auto"\nseal = false\nprice_per_mb = "1 EUR"')
    sites.rows("alice")[Key("1")] = {"name": "Ada"}
    sites.sync("alice", Extent(sending=False))
    plan = plan_sync(sites.sites["alice"])
    assert plan.peers["bob"].bytes == pytest.approx(
        sites.sync("alice").peer("bob").sent.bytes, abs=4
    )
    assert sites.network.in_transit[0].profile == "thin"


def test_without_a_budget_nothing_waits(tmp_path: Path) -> None:
    sites = limited(tmp_path, "")
    fill(sites, "people", 60, 1_000)
    report = sites.sync("alice")
    assert (report.waiting, report.exit_code, report.goes_on_at) == ({}, Exit.OK, None)


async def test_a_mail_in_doubt_that_fits_no_day_any_more_is_made_anew(tmp_path: Path) -> None:
    sites = limited(tmp_path, 'budget = { per_day = "20 kB" }')
    fill(sites, "people", 10, 1_500)
    sites.network.judge = lambda _: Retry("no answer", uncertain=True)
    site = sites.sites["alice"]
    await run_cycle(site, Extent(), Report())
    peer = site.peers["bob"]
    lower = peer.settings.model_copy(update={"budget": budget(per_day="5 kB")})
    site.peers = {"bob": replace(peer, settings=lower)}
    sites.network.judge = weigh
    sites.clock.now += DAY
    for _ in range(9):
        await run_cycle(site, Extent(), Report())
        assert spent_today(sites) <= 5_000
        sites.network.deliver_all()
        await run_cycle(sites.sites["bob"], Extent(), Report())
        sites.clock.now += DAY
    assert names(sites) == 10


def test_deletes_go_before_additions_that_came_first(tmp_path: Path) -> None:
    sites = limited(tmp_path, 'budget = { per_day = "12 kB" }')
    sites.rows("alice")[Key("old")] = {"name": "old"}
    sites.round()
    sites.clock.now += DAY
    fill(sites, "people", 40, 1_000)
    sites.sync("alice", Extent(sending=False))
    del sites.rows("alice")[Key("old")]
    assert waits(sites.sync("alice")).records["people"] > 0
    sites.network.deliver_all()
    sites.sync("bob")
    assert "old" not in {row["name"] for row in sites.rows("bob").values()}


@pytest.mark.parametrize(("size_limit", "count"), [(1_500, 2), (10**6, 4)])
def test_what_has_no_rank_is_a_hole_and_the_rest_goes_by_rank(
    tmp_path: Path, size_limit: int, count: int
) -> None:
    sites = limited(tmp_path, "")
    fill(sites, "people", 5, 1_000)
    sites.sync("alice", Extent(sending=False))
    site = sites.sites["alice"]
    with site.store.transaction() as transaction:
        candidates = list(transaction.records.outside(NOWHERE))
        left_out, *others = (record.position for record in candidates)
        links = site.links(transaction)
        surveyed = outbound.survey(
            links,
            "bob",
            candidates,
            lambda one: None if one.position == left_out else -one.position,
        )
        assert list(surveyed.ranked) == sorted(-one for one in others)
        ranked = chain.from_iterable(surveyed.ranked.values())
        bundle, _ = outbound.compose(
            transaction.ledger(),
            links,
            "bob",
            surveyed,
            (next(transaction.records.at(Positions.of([one]))) for one in ranked),
            now=NOON,
            resend_before=0,
            tag=1,
            size_limit=size_limit,
        )
    sent = sorted(others)[-count:]
    assert sorted(item.position for item in bundle.items) == sent
    assert bundle.holes == Positions.of({left_out, *others} - set(sent))
