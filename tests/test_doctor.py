"""The doctor's checks that need no server."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from mailsync.carriers.channel import Channel
from mailsync.carriers.tcp import Identity, Listener
from mailsync.config import Settings
from mailsync.config.loading import parse
from mailsync.core.model import Stream
from mailsync.doctor import local
from mailsync.doctor.carriers import others_than_mail
from mailsync.doctor.examination import examine, exit_code
from mailsync.doctor.finding import Finding, Grade, bad, doubtful, failed, good
from mailsync.doctor.selfmail import clock_skew
from mailsync.errors import Exit, LoginRefused
from mailsync.keys import blank_certificate, create_keys, load_keys, write_card
from mailsync.names import HostPort
from mailsync.store.state import StateStore

BOTH = frozenset({"shore", "hub"})
DAY_MS = 24 * 3600 * 1000


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A site in order, with two peers."""
    create_keys(tmp_path / "keys")
    StateStore.create(tmp_path / "state.db").close()
    text = '[site]\nname = "ship"\nstate = "state.db"\n'
    for name in sorted(BOTH):
        card = write_card(create_keys(tmp_path / name), name, f"{name}@example.org")
        (tmp_path / f"{name}.card").write_text(card)
        text += f'[peers.{name}]\ncard = "{name}.card"\n'
    text += '[datasets.defects]\nsource = "sqlite:///pms.db"\ntable = "defects"\n'
    text += '[datasets.crew]\nsource = "vcard:crew"\n'
    with closing(sqlite3.connect(tmp_path / "pms.db")) as connection:
        connection.execute("CREATE TABLE defects (id INTEGER PRIMARY KEY, title TEXT)")
    (tmp_path / "crew").mkdir()
    (tmp_path / "mailsync.toml").write_text(text)
    return parse(text.encode(), tmp_path / "mailsync.toml")


def graded(findings: Iterator[Finding]) -> dict[str, Grade]:
    return {found.name: found.grade for found in findings}


def only(findings: Iterator[Finding]) -> Finding:
    (found,) = findings
    assert bool(found.fix) == (found.grade is not Grade.OK)
    return found


async def test_a_site_in_order_without_mail(settings: Settings) -> None:
    found = [one async for one in examine(settings.path, None, mail=True)]
    assert exit_code(found) is Exit.OK
    assert {one.name for one in found if one.grade is Grade.WARNING} == {
        "peer hub",
        "peer shore",
        "mail",
    }


async def test_a_broken_configuration_is_the_only_finding(tmp_path: Path) -> None:
    path = tmp_path / "mailsync.toml"
    path.write_text("[nonsense]\n")
    (found,) = [one async for one in examine(path, None, mail=False)]
    assert (found.grade, found.exit_code) == (Grade.FAILURE, Exit.BAD_CONFIGURATION)
    assert "\n" not in found.what


def test_the_first_failure_decides_the_exit_code() -> None:
    refused = failed("login", LoginRefused("no"))
    findings = [good("a", "b"), doubtful("c", "d", "e"), refused, bad("f", "g", "h")]
    assert exit_code(findings) is Exit.LOGIN_REFUSED
    assert exit_code(findings[:2]) is Exit.OK


def test_keys_must_be_there_and_private(settings: Settings) -> None:
    assert only(local.keys(settings)).grade is Grade.OK
    (settings.site.keys / "site.key").chmod(0o640)
    assert only(local.keys(settings)).exit_code is Exit.LOGIN_REFUSED
    shutil.rmtree(settings.site.keys)
    assert only(local.keys(settings)).exit_code is Exit.NOT_INITIALISED


def test_the_state_store_must_be_private(settings: Settings) -> None:
    assert only(local.state(settings)).grade is Grade.OK
    settings.site.state.chmod(0o644)
    assert only(local.state(settings)).exit_code is Exit.LOGIN_REFUSED


def test_the_state_store_must_be_there(settings: Settings) -> None:
    settings.site.state.unlink()
    assert only(local.state(settings)).exit_code is Exit.NOT_INITIALISED
    assert list(local.silence(settings, BOTH)) == []


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0" + bytes(5000)])
def test_a_damaged_state_store_is_found(settings: Settings, content: bytes) -> None:
    settings.site.state.write_bytes(content)
    assert only(local.state(settings)).grade is not Grade.OK
    assert list(local.silence(settings, BOTH)) == []


@pytest.mark.parametrize(("version", "grade"), [(0, Grade.WARNING), (999, Grade.FAILURE)])
def test_the_state_stores_version(settings: Settings, version: int, grade: Grade) -> None:
    with closing(sqlite3.connect(settings.site.state)) as connection, connection:
        connection.execute("UPDATE version SET number = ?", [version])
    assert only(local.state(settings)).grade is grade


@pytest.mark.parametrize(
    ("free", "grade"), [(10**6, Grade.FAILURE), (10**8, Grade.WARNING), (10**10, Grade.OK)]
)
def test_disk_space(
    settings: Settings, free: int, grade: Grade, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=free))
    assert only(local.disk(settings)).grade is grade


def test_datasets_are_opened_and_read(settings: Settings) -> None:
    assert set(graded(local.datasets(settings)).values()) == {Grade.OK}
    (settings.path.parent / "pms.db").unlink()
    found = graded(local.datasets(settings))
    assert found == {"dataset defects": Grade.FAILURE, "dataset crew": Grade.OK}


def test_records_that_cannot_be_understood_are_a_warning(settings: Settings) -> None:
    (settings.path.parent / "crew" / "ada.vcf").write_text("no card at all")
    assert graded(local.datasets(settings))["dataset crew"] is Grade.WARNING


def test_a_read_only_dataset_is_a_warning(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_is_writable", lambda _path: False)
    assert set(graded(local.datasets(settings)).values()) == {Grade.WARNING}


def test_no_datasets_and_no_peers_are_warnings(settings: Settings) -> None:
    bare = settings.model_copy(update={"datasets": {}, "peers": {}})
    assert only(local.datasets(bare)).grade is Grade.WARNING
    assert only(local.cards(bare, frozenset())).grade is Grade.WARNING


def test_each_card_is_read_and_no_key_is_there_twice(settings: Settings) -> None:
    assert set(graded(local.cards(settings, BOTH)).values()) == {Grade.OK}
    cards = settings.path.parent
    (cards / "shore.card").write_text((cards / "hub.card").read_text())
    assert Grade.FAILURE in graded(local.cards(settings, BOTH)).values()
    (cards / "shore.card").write_text("cut")
    assert graded(local.cards(settings, BOTH))["card of shore"] is Grade.FAILURE


def test_a_site_is_known_by_what_it_calls_itself(settings: Settings, tmp_path: Path) -> None:
    card = write_card(load_keys(tmp_path / "hub"), "headquarters", "hub@example.org")
    (tmp_path / "hub.card").write_text(card)

    def policies(name: str) -> list[Finding]:
        crew = settings.datasets["crew"].model_copy(update={"conflict": {"*": f"site:{name}"}})
        datasets = {**settings.datasets, "crew": crew}
        return list(local.policies(settings.model_copy(update={"datasets": datasets})))

    assert not [*policies("ship"), *policies("shore"), *policies("headquarters")]
    (doubt,) = policies("hub")
    assert doubt.grade is Grade.WARNING
    assert "did you mean site:headquarters?" in doubt.what


def test_only_the_chosen_peer_is_examined(settings: Settings) -> None:
    (settings.path.parent / "shore.card").unlink()
    chosen = frozenset({"hub"})
    assert graded(local.cards(settings, chosen)) == {"card of hub": Grade.OK}
    assert set(graded(local.silence(settings, chosen))) == {"peer hub"}


def test_a_peer_silent_for_long_is_a_warning(settings: Settings) -> None:
    now = time.time_ns() // 1_000_000
    store = StateStore.open(settings.site.state)
    with store.transaction() as transaction:
        for name, days in (("shore", 1), ("hub", 30)):
            transaction.add_link(name, Stream(1, 1))
            link = replace(transaction.links()[name], heard_at=now - days * DAY_MS)
            transaction.save_links({name: link})
    store.close()
    found = graded(local.silence(settings, BOTH))
    assert found == {"peer shore": Grade.OK, "peer hub": Grade.WARNING}


@pytest.mark.parametrize(
    ("received", "grade"),
    [
        (1000.0, Grade.OK),
        (999.2, Grade.OK),
        (1005.0, Grade.OK),
        (1100.0, Grade.WARNING),
        (900.0, Grade.WARNING),
        (90_000.0, Grade.FAILURE),
        (-90_000.0, Grade.FAILURE),
    ],
)
def test_the_clock_is_compared_with_the_servers(received: float, grade: Grade) -> None:
    found = clock_skew(1000.5, received, 1004.0)
    assert found.grade is grade
    if grade is not Grade.OK:
        assert ("behind" in found.what) == (received > 1000)


# --- links and folders ---------------------------------------------------------------------


def with_carrier(settings: Settings, lines: str) -> Settings:
    text = settings.path.read_text().replace('card = "hub.card"', f'card = "hub.card"\n{lines}')
    settings.path.write_text(text)
    return parse(text.encode(), settings.path)


async def carriers_of_hub(settings: Settings) -> list[Finding]:
    return [one async for one in others_than_mail(settings, frozenset({"hub"}))]


async def test_a_folder_may_be_away_but_not_be_a_file(settings: Settings) -> None:
    lines = 'carrier = "folder"\nfolder_out = "out"\nfolder_in = "in"'
    told = with_carrier(settings, lines)
    assert [one.grade for one in await carriers_of_hub(told)] == [Grade.OK, Grade.OK]
    settings.path.with_name("out").mkdir()
    settings.path.with_name("in").touch()
    outward, inward = await carriers_of_hub(told)
    assert (outward.grade, inward.grade) == (Grade.OK, Grade.FAILURE)
    assert inward.fix


async def test_a_link_is_tried_and_must_lead_to_the_peer(settings: Settings) -> None:
    async def serve(channel: Channel) -> None:
        await channel.serve(lambda _: None)

    ship = load_keys(settings.site.keys)
    for directory, grade in (("hub", Grade.OK), ("shore", Grade.FAILURE)):
        keys = load_keys(settings.path.with_name(directory))
        listener = Listener(Identity(keys, {"ship": ship.public}), blank_certificate(), serve)
        [place] = await listener.start(HostPort("127.0.0.1", 0))
        text = settings.path.read_text()
        try:
            [found] = await carriers_of_hub(
                with_carrier(settings, f'carrier = "tcp"\nlink = "{place}"')
            )
        finally:
            await listener.close()
            settings.path.write_text(text)
        assert found.grade is grade, found
