"""The manual names everything there is, and its tour is true."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import pytest
from pydantic import BaseModel

from mailsync.carriers.embedded import embedded_servers
from mailsync.cli import COMMANDS, main
from mailsync.config import (
    BudgetSettings,
    DatasetSettings,
    MailSettings,
    PeerSettings,
    ReceiveSettings,
    SecretSettings,
    SendSettings,
    Settings,
    SiteSettings,
)
from mailsync.config.mistakes import LATER
from mailsync.errors import Exit

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
EXAMPLE = (ROOT / "config" / "mailsync.example.toml").read_text("utf-8")
SECTIONS: list[type[BaseModel]] = [SiteSettings, MailSettings, PeerSettings, DatasetSettings]

SQLITE = """\
#!{python}
import sqlite3, sys
with sqlite3.connect(sys.argv[1]) as connection:
    for row in connection.execute(sys.argv[2]):
        print(*row, sep="|")
"""
MAILSYNC = '#!/bin/sh\nexec "{python}" -m mailsync "$@"\n'


def chapter(title: str) -> str:
    """The text below a heading, up to the next one of its rank."""
    return README.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def all_commands() -> Iterator[tuple[str, click.Command]]:
    """Every command with its words."""
    context = click.Context(main)
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None, name
        if isinstance(command, click.Group):
            yield from ((f"{name} {sub}", inner) for sub, inner in command.commands.items())
        else:
            yield name, command


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_described(name: str) -> None:
    assert f"| `{name}" in chapter("Commands")


@pytest.mark.parametrize(("name", "command"), list(all_commands()))
def test_every_option_is_described(name: str, command: click.Command) -> None:
    text = chapter("Commands")
    assert name.rpartition(" ")[2] in text
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.opts[0] in text, parameter.opts


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_is_described_with_its_default(section: type[BaseModel]) -> None:
    text = chapter("Configuration")
    for key, field in section.model_fields.items():
        row = re.search(rf"^\| `{key}` \| (.+?) \| .+ \|$", text, re.MULTILINE)
        assert row, key
        if field.default and isinstance(field.default, str):
            assert row[1] == f'`"{field.default}"`', key
        if isinstance(field.default, bool):
            assert row[1] == f"`{str(field.default).lower()}`", key


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_stands_in_the_example(section: type[BaseModel]) -> None:
    for key in section.model_fields:
        assert re.search(rf"^(# )?{key} = ", EXAMPLE, re.MULTILINE), key


def test_every_key_of_a_budget_is_described_and_in_the_example() -> None:
    for key in BudgetSettings.model_fields:
        assert f"\n| `{key}` | none | " in chapter("Configuration"), key
        assert re.search(rf"^(# )?budget = .*\b{key} = ", EXAMPLE, re.MULTILINE), key


@pytest.mark.parametrize(("key", "section"), [("send", SendSettings), ("receive", ReceiveSettings)])
def test_every_key_of_a_filter_is_described_and_in_the_example(
    key: str, section: type[BaseModel]
) -> None:
    for name in section.model_fields:
        assert re.search(rf"^\| .*`{name}`.* \| ", chapter("Filters"), re.MULTILINE), name
        assert re.search(rf"^(# )?{key} = .*\b{name} = ", EXAMPLE, re.MULTILINE), name


def test_every_place_of_a_secret_is_described() -> None:
    for key in SecretSettings.model_fields:
        assert f"{{ {key} = " in chapter("Configuration"), key


def test_nothing_is_described_that_is_refused() -> None:
    """A key of a later version may be named as such, but has no row of its own."""
    for section, keys in LATER.items():
        if section is Settings:
            continue
        for key in keys - {name for one in SECTIONS for name in one.model_fields}:
            assert f"| `{key}` |" not in chapter("Configuration"), key


def test_every_exit_code_is_described() -> None:
    found = re.findall(r"^\| (\d+) \| ", chapter("Exit codes"), re.MULTILINE)
    assert [int(code) for code in found] == sorted(Exit)


def test_links_lead_somewhere() -> None:
    headings = re.findall(r"^## (.+)$", README, re.MULTILINE)
    anchors = {heading.lower().replace(" ", "-") for heading in headings}
    for target in re.findall(r"\]\(([^)]+)\)", README):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        else:
            assert (ROOT / target).exists(), target


def test_the_test_line_is_what_ci_runs() -> None:
    lines = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if "&&" in line]
    assert len(lines) == 1
    assert f"```sh\n{lines[0]}\n```" in README


def test_examples_can_be_read() -> None:
    for example in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        compile(example, "README.md", "exec")
    for example in re.findall(r"```toml\n(.*?)```", README, re.DOTALL):
        tomllib.loads(example)


class Line(NamedTuple):
    """One command of the tour and what it is said to print."""

    site: str
    command: str
    output: tuple[str, ...]


def tour() -> list[Line]:
    """What stands in the console blocks."""
    found: list[Line] = []
    blocks = re.findall(r"```console\n(.*?)```", chapter("A quick tour"), re.DOTALL)
    for line in "".join(blocks).splitlines():
        prompt = re.match(r"(ship|office)\$ (.*)", line)
        if prompt:
            found.append(Line(prompt[1], prompt[2], ()))
        elif "<<'END'" in found[-1].command and not found[-1].command.endswith("\nEND"):
            found[-1] = found[-1]._replace(command=f"{found[-1].command}\n{line}")
        else:
            found[-1] = found[-1]._replace(output=(*found[-1].output, line))
    return found


def plain(text: str) -> str:
    """The text without what differs from day to day: numbers of bytes, widths of columns."""
    return re.sub(r"\d{3,}", "N", re.sub(r" +", " ", text))


def write_program(path: Path, text: str) -> None:
    path.write_text(text.format(python=sys.executable))
    path.chmod(0o755)


async def test_the_tour_is_true(tmp_path: Path) -> None:
    """Every command of it, in order, against mail servers of its own."""
    programs = tmp_path / "bin"
    programs.mkdir()
    write_program(programs / "sqlite3", SQLITE)
    write_program(programs / "mailsync", MAILSYNC)
    (tmp_path / "password").write_text("secret")
    for site in ("ship", "office"):
        (tmp_path / site).mkdir()
    environment = {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    users = {f"sync@{site}.example": "secret" for site in ("ship", "office")}
    async with embedded_servers(users) as ports:
        for line in tour():
            command = line.command.replace("/etc/mail-password", str(tmp_path / "password"))
            command = re.sub(r"imaps://(\S+)@\S+", rf"imap://\1@127.0.0.1:{ports.imap}", command)
            command = re.sub(r"smtps://(\S+)@\S+", rf"smtp://\1@127.0.0.1:{ports.smtp}", command)
            done = await asyncio.to_thread(
                subprocess.run,
                ["bash", "-c", command],
                cwd=tmp_path / line.site,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, (command, done.stdout, done.stderr)
            for said in line.output:
                assert plain(said) in plain(done.stdout), (command, done.stdout)
            if "conflicts list" in command:
                assert "status" in done.stdout
                assert "waiting" in done.stdout
