"""What ``plan``, ``sync``, ``status`` and ``log`` say of money and of what a budget holds back."""

from __future__ import annotations

import json
import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mailsync.cli import main
from mailsync.errors import Exit
from mailsync.store.state import StateStore
from tests.cli.invoking import succeed


@pytest.fixture
def ship(tmp_path: Path) -> Path:
    """A paired site whose servers do not answer, with one small card and one large."""
    paths = {name: tmp_path / name / "mailsync.toml" for name in ("ship", "hub")}
    for name, path in paths.items():
        address = f"sync@{name}.example"
        servers = ("--imap", "imap://u@127.0.0.1:1", "--smtp", "smtp://u@127.0.0.1:1")
        succeed("-c", path, "init", "--site", name, "--address", address, *servers)
    card = tmp_path / "hub.card"
    succeed("-c", paths["hub"], "pair", "card", "-o", card)
    crew = tmp_path / "ship" / "crew"
    crew.mkdir()
    noise = random.Random(0).randbytes(6_000).hex()
    for name, note in (("anna", "hello"), ("bert", noise)):
        lines = ("BEGIN:VCARD", "VERSION:3.0", f"UID:{name}", f"FN:{name}", f"NOTE:{note}")
        text = "\r\n".join((*lines, "END:VCARD", ""))
        (crew / f"{name}.vcf").write_text(text, newline="")
    with paths["ship"].open("a") as file:
        file.write('\n[datasets.crew]\nsource = "vcard:crew"\n')
    succeed("-c", paths["ship"], "pair", "add", card)
    return paths["ship"]


def configured(path: Path, lines: str) -> None:
    text = path.read_text()
    path.write_text(text.replace("[peers.hub]\n", f"[peers.hub]\n{lines}\n"))


def run(path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["-c", str(path), *arguments])


def lines_of(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_plan_tells_the_price_of_its_mails(ship: Path) -> None:
    configured(ship, 'price_per_mb = "5.80 USD"')
    (summary,) = lines_of(run(ship, "--json", "plan"))
    hub = summary["peers"]["hub"]
    assert hub["mails"] == 1
    assert hub["price"] == f"{hub['bytes'] * 5.8 / 1e6:.4f} USD"
    assert " USD; nothing was written" in run(ship, "plan").stdout


def test_without_a_price_there_is_none(ship: Path) -> None:
    (summary,) = lines_of(run(ship, "--json", "plan"))
    assert "price" not in summary["peers"]["hub"]


def test_in_quiet_hours_sync_ends_with_8_and_says_until_when(ship: Path) -> None:
    now = datetime.now().astimezone()
    begin, end = now - timedelta(hours=1), now + timedelta(hours=2)
    configured(ship, f'budget = {{ quiet = "{begin:%H:%M}-{end:%H:%M}" }}')
    done = run(ship, "--json", "sync", "--no-receive")
    assert done.exit_code == Exit.BUDGET_USED_UP
    waiting, summary = lines_of(done)
    assert (waiting["type"], waiting["peer"]) == ("waiting", "hub")
    assert (waiting["records"], waiting["mails"]) == ({"crew": 2}, 0)
    assert waiting["bytes"] > 6_000
    assert waiting["why"] == f"quiet until {end:%H:%M}"
    assert datetime.fromisoformat(waiting["until"]).timestamp() == pytest.approx(
        end.replace(second=0, microsecond=0).timestamp()
    )
    assert summary["exit"] == 8
    for command in ("plan", "status"):
        done = run(ship, command)
        assert done.exit_code == Exit.OK
        assert "hub: waiting: 2 records of crew, about " in done.stdout
        assert f"quiet until {end:%H:%M}; goes on at " in done.stdout


def test_what_fits_no_day_is_named(ship: Path) -> None:
    configured(ship, 'budget = { per_day = "4 kB" }')
    done = run(ship, "--json", "plan")
    waiting, summary = lines_of(done)
    assert waiting["records"] == {"crew": 1}
    assert waiting["until"] is None
    (words,) = waiting["too_large"]
    assert words.startswith("record bert.vcf of dataset crew needs ")
    assert words.endswith(" bytes, the budget allows 4000 a day")
    assert summary["peers"]["hub"]["upserts"] == {"crew": 1}
    assert summary["peers"]["hub"]["bytes"] <= 4_000
    assert f"hub: too large: {words.partition('needs')[0]}" in run(ship, "plan").stdout


def test_bytes_are_metered_by_peer_and_day(ship: Path) -> None:
    configured(ship, 'price_per_mb = "2 EUR"')
    today = datetime.now().astimezone().date()
    before = today.replace(year=today.year - 1)
    with StateStore.open(ship.parent / "state.db").transaction() as transaction:
        for day, size in ((today, 500_000), (today, 250_000), (before, 100)):
            transaction.history.meter("hub", day.isoformat(), "sent", size)
        transaction.history.meter("hub", today.isoformat(), "received", 250_000)
    *days, summary = lines_of(run(ship, "--json", "log", "--traffic"))
    assert [line["day"] for line in days] == [before.isoformat(), today.isoformat()]
    assert days[1]["sent"] == {"mails": 2, "bytes": 750_000, "price": "1.5000 EUR"}
    assert days[1]["received"] == {"mails": 1, "bytes": 250_000, "price": "0.5000 EUR"}
    assert days[0]["received"] == {"mails": 0, "bytes": 0, "price": "0.0000 EUR"}
    assert summary["days"] == 2
    assert "2.0000 EUR" in run(ship, "log", "hub", "--traffic").stdout
    assert run(ship, "log", "bub", "--traffic").exit_code == Exit.USAGE
    shown = run(ship, "status").stdout
    assert "hub: 1000000 bytes, 2.0000 EUR today, 1000000 bytes, 2.0000 EUR this month" in shown
    (peer,) = [line for line in lines_of(run(ship, "--json", "status")) if line["type"] == "peer"]
    assert (peer["sent_today"], peer["received_month"]) == (750_000, 250_000)
    assert (peer["price_today"], peer["price_month"]) == ("2.0000 EUR", "2.0000 EUR")
