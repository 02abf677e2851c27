"""What a command does not need it does not load: on a small device that is most of its time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.invoking import succeed

SLOW = {
    "aioimaplib", "aiosmtplib", "aiosmtpd", "backports", "duckdb", "httpx2", "MySQLdb", "psycopg",
    "pymap", "pymysql", "rich", "tomlkit", "xxhash",
    "mailsync.core.wire", "mailsync.cycle.composing", "mailsync.cycle.materialising",
    "mailsync.cycle.receiving", "mailsync.datasets.csvfile.dataset", "mailsync.datasets.texts.ical",
    "mailsync.datasets.sql.database", "mailsync.datasets.texts.vcard",
}  # fmt: skip

_SCRIPT = """
import json, sys
from mailsync.cli import main
try:
    main(sys.argv[1:])
finally:
    print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


def loaded(*arguments: str, at: Path) -> set[str]:
    """The modules that a command loads, and the packages they are in."""
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, *arguments],
        cwd=at,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    urls = ("--imap", "imap://127.0.0.1:1", "--smtp", "smtp://127.0.0.1:1")
    succeed("init", "--site", "hand", "--address", "hand@site.example", *urls)
    (tmp_path / "crew").mkdir()
    with (tmp_path / "mailsync.toml").open("a") as file:
        file.write('\n[datasets.crew]\nsource = "vcard:crew"\n')
    return tmp_path


@pytest.mark.parametrize("command", [["status"], ["conflicts", "list"], ["log"], ["pair", "list"]])
def test_a_command_that_shows_loads_nothing_that_works(here: Path, command: list[str]) -> None:
    assert loaded(*command, at=here) & SLOW == set()


def test_help_loads_no_store_and_no_configuration(here: Path) -> None:
    assert loaded("--version", at=here) & {*SLOW, "sqlalchemy", "pydantic", "asyncio"} == set()


def test_an_address_book_needs_nothing_of_databases(here: Path) -> None:
    found = loaded("--quiet", "plan", at=here)
    assert "mailsync.datasets.texts.vcard" in found
    assert (
        found & {"mailsync.datasets.sql.database", "xxhash", "httpx2", "tomlkit", "rich"} == set()
    )
