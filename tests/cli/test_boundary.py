"""The program itself: finding commands, and ending every error in words."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from mailsync import cli
from mailsync.cli import COMMANDS
from mailsync.errors import Exit, Locked
from tests.cli.invoking import lines_of, refuse, run, succeed

HEAVY = ("pydantic", "sqlalchemy", "rich", "tomlkit", "cryptography", "asyncio", "email")


# --- the program ---------------------------------------------------------------------------


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)


def test_help_is_fast_because_it_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom mailsync.cli import main\nmain(['--help'], standalone_mode=False)\n"
        f"print(*(name for name in {HEAVY!r} if name in sys.modules), file=sys.stderr)"
    )
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == ""
    for command in ("init", "pair", "config"):
        assert f"\n  {command} " in done.stdout


def test_module_is_the_command() -> None:
    done = python("-m", "mailsync", "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("mailsync ")


def test_all_commands_of_this_version_have_a_place() -> None:
    later = {"plan", "sync", "daemon", "status", "log", "conflicts", "undo", "held", "bundle"}
    later |= {"doctor", "demo", "reconcile", "discover", "link", "verify"}
    assert set(COMMANDS) == {"init", "pair", "config"} | later


def test_unknown_command_is_a_usage_error() -> None:
    done = python("-m", "mailsync", "snyc")
    assert done.returncode == Exit.USAGE
    assert "No such command 'snyc'" in done.stderr
    assert done.stdout == ""


def test_usage_error_under_json_ends_in_an_error_line() -> None:
    result = run("--json", "pair", "add")
    assert result.exit_code == Exit.USAGE
    (line,) = lines_of(result)
    assert (line["type"], line["code"]) == ("error", 2)
    assert "Missing argument" in line["message"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["snyc"], "No such command 'snyc'"),
        (["--bad"], "No such option '--bad'"),
        ([], "Missing command"),
        (["conflicts"], "Missing command"),
        (["undo", str(2**63)], "not in the range"),
    ],
)
def test_every_usage_error_under_json_ends_in_an_error_line(
    arguments: list[str], told: str
) -> None:
    result = run("--json", *arguments)
    assert result.exit_code == Exit.USAGE
    (line,) = lines_of(result)
    assert (line["type"], line["code"]) == ("error", 2)
    assert told in line["message"]


def test_a_current_folder_that_is_gone_is_said_so_and_costs_nothing_else(tmp_path: Path) -> None:
    file, gone = tmp_path / "mailsync.toml", tmp_path / "gone"
    succeed("-c", file, "init", "--site", "ship", "--address", "sync@ship.example")
    gone.mkdir()
    script = (
        "import os, sys; from mailsync.cli import main; os.rmdir(os.getcwd());"
        " main(sys.argv[1:], prog_name='mailsync')"
    )
    for arguments, code in ((["-c", file, "status"], 0), (["discover", "x"], Exit.FAILED)):
        gone.mkdir(exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments], cwd=gone,
            env={**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        assert "defect" not in done.stderr
    assert "the current folder is not there any more" in done.stderr


def test_an_option_that_goes_before_the_command_is_told_its_place() -> None:
    result = run("pair", "list", "--json")
    assert result.exit_code == Exit.USAGE
    assert "--json goes before the command: mailsync --json ..." in result.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["pair", "list"], ["--json", "pair", "list"]])
def test_where_no_space_is_left_for_the_output_it_is_said_so(
    tmp_path: Path, arguments: list[str]
) -> None:
    file = tmp_path / "mailsync.toml"
    succeed("-c", file, "init", "--site", "ship", "--address", "sync@ship.example")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "mailsync", "-c", file, *arguments],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == Exit.TEMPORARY
    assert "no space left for the output" in done.stderr
    assert "Traceback" not in done.stderr
    assert "defect" not in done.stderr


def test_quiet_and_verbose_exclude_each_other() -> None:
    assert refuse(Exit.USAGE, "-q", "-v", "pair", "list")[0] == "-q and -v exclude each other"


# --- the error boundary --------------------------------------------------------------------


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> dict[str, BaseException]:
    """A command ``status`` that raises what a test puts here under ``"error"``."""
    errors: dict[str, BaseException] = {}

    @click.command()
    def status() -> None:
        raise errors["error"]

    monkeypatch.setattr(cli, "status_for_test", status, raising=False)
    monkeypatch.setattr(cli, "COMMANDS", {"status": "mailsync.cli:status_for_test"})
    return errors


def test_our_errors_end_in_message_advice_and_their_exit_code(
    failing: dict[str, BaseException],
) -> None:
    failing["error"] = Locked("state.db is in use by process 4711")
    assert refuse(Exit.LOCKED, "status") == [
        "state.db is in use by process 4711",
        "Another mailsync works on this state store; wait for it, or stop the daemon.",
    ]
    result = run("--json", "status")
    assert result.exit_code == Exit.LOCKED
    assert lines_of(result)[-1] == {
        "v": 1,
        "type": "error",
        "code": 11,
        "message": "state.db is in use by process 4711",
        "advice": "Another mailsync works on this state store; wait for it, or stop the daemon.",
    }


def test_users_mistake_shows_no_traceback_even_when_verbose(
    failing: dict[str, BaseException],
) -> None:
    failing["error"] = Locked("busy")
    assert "Traceback" not in run("-v", "status").output


def test_defect_is_called_a_defect_with_its_traceback_only_when_verbose(
    failing: dict[str, BaseException],
) -> None:
    failing["error"] = ValueError("two\nlines")
    lines = refuse(Exit.FAILED, "status")
    assert lines[0] == "this is a defect in mailsync: ValueError: two lines"
    assert "please report it" in lines[1]
    verbose = run("-v", "status")
    assert verbose.exit_code == Exit.FAILED
    assert "Traceback (most recent call last)" in verbose.stderr
    assert lines_of(run("--json", "status"))[-1]["code"] == Exit.FAILED


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_interruption_has_its_exit_code(
    failing: dict[str, BaseException], error: BaseException
) -> None:
    failing["error"] = error
    result = run("status")
    assert result.exit_code == Exit.INTERRUPTED
    assert result.stderr == "mailsync: interrupted\n"


def test_exit_code_a_command_chose_stays(failing: dict[str, BaseException]) -> None:
    failing["error"] = click.exceptions.Exit(Exit.CONFLICTS)
    assert run("status").exit_code == Exit.CONFLICTS


def test_control_characters_in_messages_do_not_reach_the_terminal(
    failing: dict[str, BaseException],
) -> None:
    failing["error"] = Locked("evil \x1b]0;title\x07 \u202e name")
    (message, _) = refuse(Exit.LOCKED, "status")
    assert message == r"evil \x1b]0;title\x07 \u202e name"
