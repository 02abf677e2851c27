"""What ``status`` and ``log`` say of a link with a gap, and of clocks that are ahead."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mailsync.cli.output import moment
from mailsync.core.model import Mark, Stream
from mailsync.core.positions import Positions
from mailsync.cycle.clocks import warn_of_clocks
from mailsync.cycle.gaps import warn_of_gaps
from mailsync.cycle.site import open_site
from mailsync.store.history import Event
from tests.cli.invoking import lines_of, run, succeed

HOUR = 3_600_000


@pytest.fixture
def ship(tmp_path: Path) -> Path:
    """A site with a peer it has never heard of."""
    paths = {name: tmp_path / name / "mailsync.toml" for name in ("ship", "hub")}
    for name, path in paths.items():
        succeed("-c", path, "init", "--site", name, "--address", f"sync@{name}.example")
    card = tmp_path / "hub.card"
    succeed("-c", paths["hub"], "pair", "card", "-o", card)
    succeed("-c", paths["ship"], "pair", "add", card)
    return paths["ship"]


def lose(ship: Path) -> str:
    """Of the hub's first three changes the second does not come; when that was seen."""
    with open_site(ship) as site, site.store.transaction() as transaction:
        link = site.links(transaction)["hub"]
        cover = Positions.of([1, 3])
        link = replace(link, inbound=Stream(1, 1), last=Mark(3, 1), cover=cover)
        transaction.save_links({"hub": link})
        warn_of_gaps(site, transaction)
        (warned,) = transaction.warnings.all()
    return moment(warned.since)


def test_what_is_missing_is_told_with_its_time(ship: Path) -> None:
    (peer,) = [one for one in lines_of(run("-c", ship, "--json", "status")) if "missing" in one]
    assert (peer["missing"], peer["missing_since"]) == (0, None)
    since = lose(ship)
    shown = succeed("-c", ship, "status").stdout
    minute = f"{since[:16]}+00:00"
    assert f"We hold those of hub up to 1, but 2 did not come (missing since {minute})." in shown
    assert "warning: later changes of hub came before earlier ones, which may be on" in shown
    assert f"(since {since})" in shown
    (peer,) = [one for one in lines_of(run("-c", ship, "--json", "status")) if "missing" in one]
    assert (peer["missing"], peer["missing_since"]) == (1, since)


@pytest.mark.parametrize("ours", [False, True])
def test_whose_clock_is_ahead_is_told_and_since_when(ship: Path, *, ours: bool) -> None:
    assert "ahead" not in succeed("-c", ship, "status").stdout
    with open_site(ship) as site, site.store.transaction() as transaction:
        ahead = site.surroundings.now() + HOUR + 1_000
        ledger = transaction.ledger()
        ledger.site = replace(ledger.site, stamp=ahead)
        transaction.save(ledger, ahead)
        if ours:
            transaction.history.log(Event(ahead, "sent", "hub", None, "a mail"))
        warn_of_clocks(site, transaction)
    whose = "This site's clock was" if ours else "Some site's clock is"
    assert f"! {whose} 60 minutes ahead" in succeed("-c", ship, "status").stdout
    (told,) = [one for one in lines_of(run("-c", ship, "--json", "status")) if "ours" in one]
    (warned,) = [one for one in lines_of(run("-c", ship, "--json", "status")) if "text" in one]
    assert (told["type"], told["ours"], told["since"]) == ("clock", ours, warned["since"])
    assert 3_500 < told["ahead_seconds"] <= 3_601
    events = lines_of(run("-c", ship, "--json", "log"))[:-1]
    (event,) = [event for event in events if event["what"] == "clock"]
    assert event["text"] == f"60 minutes ahead: {warned['text']}"
