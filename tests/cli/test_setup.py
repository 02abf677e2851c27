"""From nothing to two paired sites by the command line, and every way it can go wrong."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from mailsync.config import load
from mailsync.errors import Exit
from mailsync.keys import load_keys, read_card
from tests.cli.invoking import lines_of, refuse, succeed


@pytest.fixture
def ship(tmp_path: Path) -> Path:
    path = tmp_path / "ship" / "mailsync.toml"
    succeed("-c", path, "init", "--site", "ship", "--address", "sync@ship.example")
    return path


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    path = tmp_path / "hub" / "mailsync.toml"
    succeed("-c", path, "init", "--site", "hub", "--address", "sync@hub.example")
    return path


def card_of(site: Path) -> Path:
    path = site.parent / "own.card"
    succeed("-c", site, "pair", "card", "-o", path)
    return path


# --- init ----------------------------------------------------------------------------------


def test_init_writes_a_configuration_private_keys_and_a_place_for_cards(ship: Path) -> None:
    settings = load(ship)
    assert settings.site.name == "ship"
    assert settings.mail is not None
    assert settings.mail.address == "sync@ship.example"
    assert settings.mail.imap == "imaps://sync%40ship.example@imap.ship.example:993"
    assert settings.mail.secret is None
    load_keys(settings.site.keys)
    assert (ship.parent / "peers").is_dir()
    assert stat.S_IMODE(ship.stat().st_mode) == 0o600
    assert ship.read_text().count("\n#") > 10


def test_init_takes_servers_and_secret_command(tmp_path: Path) -> None:
    path = tmp_path / "mailsync.toml"
    servers = ("--imap", "imap://u@127.0.0.1:1143", "--smtp", "smtp://u@127.0.0.1:1025")
    site = ("--site", "a.b-c_1", "--address", "a@b.example")
    succeed("-c", path, "init", *site, *servers, "--secret-command", "pass 'my \"mail\"'")
    mail = load(path).mail
    assert mail is not None
    assert (mail.imap, mail.smtp) == (servers[1], servers[3])
    assert mail.secret is not None
    assert mail.secret.command == ["pass", 'my "mail"']


def test_init_refuses_to_overwrite(ship: Path) -> None:
    before = {path: path.read_bytes() for path in ship.parent.rglob("*") if path.is_file()}
    lines = refuse(Exit.FAILED, "-c", ship, "init", "--site", "x", "--address", "a@b.example")
    assert lines[0] == f"{ship} exists already and stays as it is"
    after = {path: path.read_bytes() for path in ship.parent.rglob("*") if path.is_file()}
    assert after == before


def test_init_keeps_keys_that_are_there(ship: Path) -> None:
    keys = load_keys(ship.parent / "keys")
    ship.unlink()
    result = succeed("-c", ship, "init", "--site", "ship", "--address", "sync@ship.example")
    assert "kept the keys" in result.stderr
    assert load_keys(ship.parent / "keys") == keys


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--site", "Ship", "--address", "a@b.example"), "[site] name: must be 1 to 63 lower-case"),
        (("--site", "ship", "--address", "nobody"), "[mail] address: must be a mail address"),
        (
            ("--site", "ship", "--address", "a@b.example", "--imap", "imap://mail.example"),
            "[mail] imap: clear text goes to this machine only; use imaps://",
        ),
        (
            ("--site", "ship", "--address", "a@b.example", "--smtp", "smtps://u:p@mail.example"),
            "[mail] smtp: must hold no password",
        ),
        (
            ("--site", "ship", "--address", "a@b.example", "--secret-command", "it's"),
            "--secret-command: No closing quotation",
        ),
        (
            ("--site", "ship", "--address", "a@b.example", "--secret-command", ""),
            "[mail] secret.command: must not be empty",
        ),
        (
            ("--site", "ship", "--address", "a@b.example", "--join", "x"),
            "--join: not supported by this version",
        ),
        (("--site", '"\n[x]', "--address", "a@b.example"), "[site] name: must be"),
    ],
)
def test_init_with_a_wrong_option_writes_nothing(
    options: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    lines = refuse(Exit.USAGE, "-c", tmp_path / "new" / "mailsync.toml", "init", *options)
    assert lines[0].startswith(message)
    assert lines[-1] == "See mailsync COMMAND --help."
    assert list(tmp_path.iterdir()) == []


def test_init_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "mailsync.toml"
    lines = refuse(Exit.FAILED, "-c", path, "init", "--site", "ship", "--address", "a@b.example")
    assert "file" in lines[0]


# --- pair ----------------------------------------------------------------------------------


def test_two_sites_pair_and_see_the_same_fingerprint(ship: Path, hub: Path) -> None:
    fingerprints = []
    for site, other in ((ship, hub), (hub, ship)):
        succeed("-c", site, "pair", "add", card_of(other))
        result = succeed("-c", site, "--json", "pair", "list")
        peer, summary = lines_of(result)
        assert (peer["type"], summary["type"], summary["peers"]) == ("peer", "summary", 1)
        fingerprints.append(peer["fingerprint"])
    assert fingerprints[0] == fingerprints[1]
    assert fingerprints[0] in succeed("-c", ship, "pair", "list").stdout
    assert load(ship).peers["hub"].card == ship.parent / "peers" / "hub.card"
    assert "1 peers, 0 datasets" in succeed("-c", ship, "config", "check").stdout


def test_card_on_standard_output_is_the_card_alone(ship: Path) -> None:
    result = succeed("-c", ship, "pair", "card")
    card = read_card(result.stdout)
    assert (card.site, card.address) == ("ship", "sync@ship.example")
    assert "card fingerprint" in result.stderr
    (summary,) = lines_of(succeed("--json", "-c", ship, "pair", "card"))
    assert read_card(summary["card"]) == card


def test_card_file_is_not_overwritten_by_a_different_one(ship: Path, tmp_path: Path) -> None:
    path = card_of(ship)
    succeed("-c", ship, "pair", "card", "-o", path)
    path.write_text("precious")
    lines = refuse(Exit.USAGE, "-c", ship, "pair", "card", "-o", path)
    assert lines[0] == f"{path} holds something else and stays as it is"
    assert path.read_text() == "precious"
    lines = refuse(Exit.FAILED, "-c", ship, "pair", "card", "-o", tmp_path / "no" / "no" / "x")
    assert lines[0].startswith("cannot write ")


def test_card_is_taken_from_standard_input_under_another_name(ship: Path, hub: Path) -> None:
    succeed("-c", ship, "pair", "add", "-", "--name", "office", text=card_of(hub).read_text())
    assert set(load(ship).peers) == {"office"}


def test_same_card_twice_changes_nothing(ship: Path, hub: Path) -> None:
    card = card_of(hub)
    succeed("-c", ship, "pair", "add", card)
    before = ship.read_bytes()
    assert "nothing changed" in succeed("-c", ship, "pair", "add", card).stderr
    assert ship.read_bytes() == before


def test_datasets_of_a_link_must_exist(ship: Path, hub: Path) -> None:
    card = card_of(hub)
    lines = refuse(Exit.USAGE, "-c", ship, "pair", "add", card, "--datasets", "crew")
    assert lines[0] == f"--datasets: {ship} has no section [datasets.crew]"
    with ship.open("a") as file:
        file.write('[datasets.crew]\nsource = "vcard:crew"\n[datasets.x]\nsource = "ical:x"\n')
    succeed("-c", ship, "pair", "add", card, "--datasets", "crew, x")
    assert load(ship).peers["hub"].datasets == ["crew", "x"]


def refuse_card(site: Path, *arguments: str | Path, text: str | None = None) -> str:
    before = {path: path.read_bytes() for path in site.parent.rglob("*") if path.is_file()}
    lines = refuse(Exit.LOGIN_REFUSED, "-c", site, "pair", "add", *arguments, text=text)
    after = {path: path.read_bytes() for path in site.parent.rglob("*") if path.is_file()}
    assert after == before
    assert lines[1].startswith("Ask the peer for its card again")
    return lines[0]


def test_own_card_is_refused(ship: Path) -> None:
    assert refuse_card(ship, card_of(ship)) == "this is this site's own card"


def test_changed_key_of_a_known_peer_is_refused(ship: Path, hub: Path) -> None:
    succeed("-c", ship, "pair", "add", card_of(hub))
    (hub.parent / "keys" / "site.key").unlink()
    (hub.parent / "own.card").unlink()
    hub.unlink()
    succeed("-c", hub, "init", "--site", "hub", "--address", "sync@hub.example")
    message = refuse_card(ship, card_of(hub))
    assert message.startswith("hub is a peer with another key, and a changed key is never accepted")


def test_card_left_by_another_key_is_not_replaced(ship: Path, hub: Path) -> None:
    (ship.parent / "peers" / "hub.card").write_text("another card")
    lines = refuse(Exit.USAGE, "-c", ship, "pair", "add", card_of(hub))
    assert lines[0].endswith("hub.card holds something else and stays as it is")
    assert load(ship).peers == {}


def test_pairing_cut_short_is_finished_by_the_same_command(ship: Path, hub: Path) -> None:
    card = card_of(hub)
    (ship.parent / "peers" / "hub.card").write_bytes(card.read_bytes())
    succeed("-c", ship, "pair", "add", card)
    assert set(load(ship).peers) == {"hub"}


def test_same_key_under_two_names_is_refused(ship: Path, hub: Path) -> None:
    card = card_of(hub)
    succeed("-c", ship, "pair", "add", card)
    assert refuse_card(ship, card, "--name", "two") == "this key is the peer hub's already"


def with_class(site: Path, number: int) -> Path:
    """The site, now with 32-bit identifiers of this class."""
    lines = [one for one in site.read_text().splitlines() if not one.startswith("guid")]
    place = lines.index("[site]") + 1
    lines[place:place] = ['guid = "timestamp32"', f"guid_class = {number}"]
    site.write_text("\n".join(lines) + "\n")
    return site


def test_a_card_says_the_class_of_identifiers_and_others_than_ours_are_refused(
    ship: Path, hub: Path
) -> None:
    card = card_of(with_class(hub, 3))
    assert read_card(card.read_text()).guid_class == 3
    (problem, _) = refuse(Exit.LOGIN_REFUSED, "-c", ship, "pair", "add", card)
    assert "the identifiers of hub are timestamp32, ours timestamp128" in problem
    (problem, _) = refuse(Exit.LOGIN_REFUSED, "-c", with_class(ship, 3), "pair", "add", card)
    assert "hub and this site both have guid_class 3" in problem
    succeed("-c", with_class(ship, 4), "pair", "add", card)


def test_a_class_that_another_peer_has_is_refused(ship: Path, hub: Path, tmp_path: Path) -> None:
    third = tmp_path / "third" / "mailsync.toml"
    succeed("-c", third, "init", "--site", "third", "--address", "sync@third.example")
    succeed("-c", with_class(ship, 1), "pair", "add", card_of(with_class(hub, 2)))
    card = card_of(with_class(third, 2))
    (problem, _) = refuse(Exit.LOGIN_REFUSED, "-c", ship, "pair", "add", card)
    assert "third and hub both have guid_class 2" in problem


def test_a_peers_new_card_with_the_same_key_takes_the_place_of_the_old_one(
    ship: Path, hub: Path
) -> None:
    succeed("-c", with_class(ship, 1), "pair", "add", card_of(with_class(hub, 2)))
    (hub.parent / "own.card").unlink()
    shown = succeed("-c", ship, "pair", "add", card_of(with_class(hub, 5))).stderr
    assert "its new card is kept" in shown
    kept = load(ship).peers["hub"].card
    assert read_card(kept.read_text()).guid_class == 5
    refuse(Exit.LOGIN_REFUSED, "-c", with_class(ship, 5), "status")


def test_a_class_and_its_scheme_go_together(ship: Path) -> None:
    text = with_class(ship, 64).read_text()
    refuse(Exit.BAD_CONFIGURATION, "-c", ship, "config", "check")
    ship.write_text(text.replace("guid_class = 64\n", ""))
    problem = "\n".join(refuse(Exit.BAD_CONFIGURATION, "-c", ship, "config", "check"))
    assert 'guid = "timestamp32" needs a number of this site alone' in problem


def test_altered_and_foreign_cards_are_refused(ship: Path, hub: Path) -> None:
    text = card_of(hub).read_text()
    altered = text.replace("sync@hub.example", "sync@bub.example")
    assert refuse_card(ship, "-", text=altered) == "the card was altered on its way here"
    assert refuse_card(ship, "-", text="hello") == "this is not a mailsync card"
    assert refuse_card(ship, "-", text="\xe9") == "this is not a mailsync card"


@pytest.mark.parametrize("name", ["../evil", "Hub", ".hub", "a/b", "hub\n"])
def test_peer_name_cannot_leave_the_directory(name: str, ship: Path, hub: Path) -> None:
    card = card_of(hub)
    lines = refuse(Exit.USAGE, "-c", ship, "pair", "add", card, "--name", name)
    assert "must be 1 to 63 lower-case" in " ".join(lines)
    assert list((ship.parent / "peers").iterdir()) == []


def test_missing_card_file_is_a_usage_error(ship: Path) -> None:
    lines = refuse(Exit.USAGE, "-c", ship, "pair", "add", "nowhere.card")
    assert lines[0] == "cannot read nowhere.card: No such file or directory"


def test_site_without_mail_has_no_card(ship: Path) -> None:
    ship.write_text('[site]\nname = "ship"\nstate = "state.db"\n')
    lines = refuse(Exit.BAD_CONFIGURATION, "-c", ship, "pair", "card")
    assert lines[0] == f"{ship}: [mail] missing: the card holds its address"


def test_keys_open_to_others_stop_every_use(ship: Path) -> None:
    key = ship.parent / "keys" / "site.key"
    key.chmod(0o644)
    lines = refuse(Exit.LOGIN_REFUSED, "-c", ship, "pair", "card")
    assert lines[0] == f"{key} is open to others than its owner: chmod 600 {key}"


# --- config --------------------------------------------------------------------------------


def test_no_configuration_is_not_initialised(tmp_path: Path) -> None:
    lines = refuse(Exit.NOT_INITIALISED, "-c", tmp_path / "x.toml", "config", "check")
    assert lines[0] == f"no configuration file {tmp_path / 'x.toml'}"
    assert lines[1].startswith("Run: mailsync init --site NAME")


def test_mistakes_are_one_line_each(ship: Path) -> None:
    with ship.open("a") as file:
        file.write('[peers.hub]\nmax_mesage = "1 MB"\n')
    first = ship.read_text().count("\n") - 1
    lines = refuse(Exit.BAD_CONFIGURATION, "-c", ship, "config", "check")
    assert lines == [
        f"{ship}:{first}: [peers.hub] card: missing",
        f"{ship}:{first + 1}: [peers.hub] max_mesage: unknown key; did you mean max_message?",
        "Correct the configuration file at the place named, then run: mailsync config check.",
    ]


def test_cards_are_checked_too(ship: Path, hub: Path) -> None:
    succeed("-c", ship, "pair", "add", card_of(hub))
    card = ship.parent / "peers" / "hub.card"
    card.write_text(card.read_text().replace("hub", "bub"))
    lines = refuse(Exit.BAD_CONFIGURATION, "-c", ship, "config", "check")
    assert lines[0].endswith(f"[peers.hub] card {card}: the card was altered on its way here")
    card.unlink()
    lines = refuse(Exit.BAD_CONFIGURATION, "-c", ship, "config", "check")
    assert lines[0].endswith(f"[peers.hub] card {card}: No such file or directory")


def test_shown_configuration_means_the_same_when_read_again(ship: Path, hub: Path) -> None:
    succeed("-c", ship, "pair", "add", card_of(hub))
    shown = succeed("-c", ship, "config", "show").stdout
    again = ship.with_name("again.toml")
    again.write_text(shown)
    assert load(again).model_copy(update={"path": ship}) == load(ship)
    (summary,) = lines_of(succeed("-c", ship, "--json", "config", "show"))
    assert summary["settings"]["peers"]["hub"]["max_message"] == "9.5 MB"


def test_shown_configuration_hides_a_secret_commands_arguments(tmp_path: Path) -> None:
    path = tmp_path / "mailsync.toml"
    site = ("--site", "ship", "--address", "a@b.example")
    succeed("-c", path, "init", *site, "--secret-command", "echo hunter2")
    for options in ((), ("--json",), ("-v",)):
        result = succeed("-c", path, *options, "config", "show")
        assert "hunter2" not in result.output
        assert "echo" in result.output


def test_full_disk_is_temporary_and_undone(
    ship: Path, hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card, before = card_of(hub), ship.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    lines = refuse(Exit.TEMPORARY, "-c", ship, "pair", "add", card)
    assert lines[0].endswith("hub.card: No space left on device")
    new = ship.parent / "new" / "mailsync.toml"
    refuse(Exit.TEMPORARY, "-c", new, "init", "--site", "new", "--address", "a@b.example")
    assert not new.exists()
    assert ship.read_bytes() == before
    assert list((ship.parent / "peers").iterdir()) == []
