"""Finding the configuration file, fetching the secret it names, adding a peer to it."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from mailsync.config import SecretSettings, add_peer, find, load, read_secret
from mailsync.errors import (
    BadConfiguration,
    BadKeys,
    DiskFull,
    Exit,
    LoginRefused,
    MailsyncError,
    NotInitialised,
    UsageError,
)

SITE = '[site]\nname = "ship"\nstate = "state.db"\n'
DATASET = '[datasets.defects]\nsource = "sqlite:///pms.db"\ntable = "defects"\n'

# --- finding -------------------------------------------------------------------------------


def test_option_goes_before_environment_before_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    option, variable = tmp_path / "option.toml", tmp_path / "variable.toml"
    user = tmp_path / "xdg" / "mailsync" / "mailsync.toml"
    here = Path("mailsync.toml")
    user.parent.mkdir(parents=True)
    for path in (option, variable, here, user):
        path.write_text(SITE)
    environment = {"MAILSYNC_CONFIG": str(variable), "XDG_CONFIG_HOME": str(tmp_path / "xdg")}
    assert find(option, environment) == option
    assert find(None, environment) == variable
    del environment["MAILSYNC_CONFIG"]
    assert find(None, environment) == here
    here.unlink()
    assert find(None, environment) == user


def test_named_file_that_is_missing_is_not_replaced_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mailsync.toml").write_text(SITE)
    with pytest.raises(NotInitialised, match=r"^no configuration file other\.toml$") as caught:
        find(Path("other.toml"), {})
    assert caught.value.exit_code == Exit.NOT_INITIALISED
    with pytest.raises(NotInitialised, match=r"named by \$MAILSYNC_CONFIG"):
        find(None, {"MAILSYNC_CONFIG": "other.toml"})


def test_no_file_anywhere_says_where_it_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    with pytest.raises(NotInitialised, match=r"looked for mailsync\.toml, "):
        find(None, {})


def test_unreadable_file_is_a_bad_configuration(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match=r"cannot read .*: Is a directory"):
        load(tmp_path)


# --- secrets -------------------------------------------------------------------------------


def command(code: str) -> SecretSettings:
    return SecretSettings(command=[sys.executable, "-c", code])


def test_secret_command_runs_without_a_shell_in_the_files_directory(tmp_path: Path) -> None:
    assert read_secret(command("import os; print(os.getcwd())"), tmp_path) == str(tmp_path)
    assert read_secret(SecretSettings(command=["echo", "$HOME;ls"]), tmp_path) == "$HOME;ls"


def test_exactly_one_trailing_newline_is_stripped(tmp_path: Path) -> None:
    assert read_secret(command("print(' pass word ')"), tmp_path) == " pass word "
    with pytest.raises(LoginRefused, match="not one line"):
        read_secret(command("print('a\\n')"), tmp_path)


def test_secret_file_must_be_private(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("hunter2\n")
    file.chmod(0o600)
    secret = SecretSettings(file=file)
    assert read_secret(secret, tmp_path) == "hunter2"
    for mode in (0o640, 0o604, 0o660):
        file.chmod(mode)
        with pytest.raises(BadKeys, match=f"chmod 600 {file}") as caught:
            read_secret(secret, tmp_path)
        assert caught.value.exit_code == Exit.LOGIN_REFUSED
        assert "hunter2" not in str(caught.value)


def test_secret_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_PASSWORD", "pässword")
    assert read_secret(SecretSettings(env="MAIL_PASSWORD"), tmp_path) == "pässword"
    monkeypatch.delenv("MAIL_PASSWORD")
    with pytest.raises(LoginRefused, match=r"MAIL_PASSWORD .* is not set"):
        read_secret(SecretSettings(env="MAIL_PASSWORD"), tmp_path)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise SystemExit(3)", "failed with exit code 3"),
        ("pass", "the secret is empty"),
        ("import sys; sys.stdout.buffer.write(b'\\xff')", "not UTF-8 text"),
        ("print('user\\rX-Header: x')", "not one line"),
        ("print('x' * 100000)", "not one line"),
    ],
)
def test_unusable_secret_is_refused_and_not_shown(code: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(LoginRefused, match=message) as caught:
        read_secret(command(code), tmp_path)
    assert caught.value.exit_code == Exit.LOGIN_REFUSED
    assert "xxx" not in str(caught.value)


def test_secret_command_that_is_missing_or_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(LoginRefused, match="cannot run the secret command no-such-program"):
        read_secret(SecretSettings(command=["no-such-program"]), tmp_path)
    monkeypatch.setattr("mailsync.config.secret.COMMAND_SECONDS_MAX", 0.2)
    hanging = command("import time; print('hunter2', flush=True); time.sleep(60)")
    with pytest.raises(LoginRefused, match="took more than") as caught:
        read_secret(hanging, tmp_path)
    assert caught.value.__cause__ is None


# --- adding a peer -------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mailsync.toml"
    path.write_text(f"# ours\n{SITE}# below the site\n{DATASET}keys = 'local'   # as agreed\n")
    path.chmod(0o640)
    return path


def test_a_mark_of_the_byte_order_is_no_mistake(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    before = load(file)
    add_peer(file, "hub", Path("hub.card"), None)
    assert load(file).peers.keys() - before.peers.keys() == {"hub"}


def test_added_peer_keeps_comments_order_and_mode(file: Path) -> None:
    before = file.read_text()
    add_peer(file, "hub", file.parent / "peers" / "hub.card", ["defects"])
    after = file.read_text()
    assert after.startswith(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    peer = load(file).peers["hub"]
    assert (peer.card, peer.datasets) == (file.parent / "peers" / "hub.card", ["defects"])
    assert 'card = "peers/hub.card"' in after
    add_peer(file, "shore", Path("peers/shore.card"), None)
    assert load(file).peers["shore"].datasets is None
    assert load(file).peers["hub"] == peer
    assert sorted(path.name for path in file.parent.iterdir()) == ["mailsync.toml"]


def test_link_to_the_configuration_stays_a_link(file: Path) -> None:
    link = file.with_name("link.toml")
    link.symlink_to(file)
    add_peer(link, "hub", Path("hub.card"), None)
    assert link.is_symlink()
    assert "hub" in load(file).peers


@pytest.mark.parametrize(
    ("name", "datasets", "kind", "message"),
    [
        ("Hub", None, UsageError, "must be 1 to 63 lower-case"),
        ("hub", ["crew"], BadConfiguration, r"no section \[datasets.crew\]"),
    ],
)
def test_peer_that_would_be_a_mistake_leaves_the_file_alone(
    name: str,
    datasets: list[str] | None,
    kind: type[MailsyncError],
    message: str,
    file: Path,
) -> None:
    before = file.read_bytes()
    with pytest.raises(kind, match=message):
        add_peer(file, name, Path("x.card"), datasets)
    assert file.read_bytes() == before


def test_known_peer_is_not_added_again(file: Path) -> None:
    add_peer(file, "hub", Path("x.card"), None)
    before = file.read_bytes()
    with pytest.raises(UsageError, match=r"has a section \[peers.hub\] already"):
        add_peer(file, "hub", Path("y.card"), None)
    assert file.read_bytes() == before


def test_failing_replacement_leaves_the_file_and_no_rest(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = file.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull, match=f"cannot write {file}: No space left on device"):
        add_peer(file, "hub", Path("x.card"), None)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == ["mailsync.toml"]
