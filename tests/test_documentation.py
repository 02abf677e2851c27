"""The manual names everything there is, and its tour is true."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import click
import pytest
from packaging.requirements import Requirement
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
PAGES = {
    str(path.relative_to(ROOT)): path.read_text("utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}
README = PAGES["README.md"]
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


def manual(page: str) -> str:
    """One page of the manual."""
    return PAGES[f"docs/{page}.md"]


def chapter(page: str, title: str) -> str:
    """The text below a heading, up to the next one of its rank."""
    return page.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def anchors(page: str) -> set[str]:
    """What its headings are called in links."""
    plain = re.sub(r"^```.*?^```$", "", page, flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.+)$", plain, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


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
    assert f"| `{name}" in manual("commands")


@pytest.mark.parametrize(("name", "command"), list(all_commands()))
def test_every_option_is_described(name: str, command: click.Command) -> None:
    text = manual("commands")
    assert name.rpartition(" ")[2] in text
    if f"docs/{name}.md" in PAGES:
        text += manual(name)
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.opts[0] in text, parameter.opts


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_is_described_with_its_default(section: type[BaseModel]) -> None:
    text = manual("configuration")
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
        assert f"\n| `{key}` | none | " in manual("configuration"), key
        assert re.search(rf"^(# )?budget = .*\b{key} = ", EXAMPLE, re.MULTILINE), key


@pytest.mark.parametrize(("key", "section"), [("send", SendSettings), ("receive", ReceiveSettings)])
def test_every_key_of_a_filter_is_described_and_in_the_example(
    key: str, section: type[BaseModel]
) -> None:
    for name in section.model_fields:
        assert re.search(rf"^\| .*`{name}`.* \| ", manual("filters"), re.MULTILINE), name
        assert re.search(rf"^(# )?{key} = .*\b{name} = ", EXAMPLE, re.MULTILINE), name


def test_every_place_of_a_secret_is_described() -> None:
    for key in SecretSettings.model_fields:
        assert f"{{ {key} = " in manual("configuration"), key


def test_nothing_is_described_that_is_refused() -> None:
    """A key of a later version may be named as such, but has no row of its own."""
    for section, keys in LATER.items():
        if section is Settings:
            continue
        for key in keys - {name for one in SECTIONS for name in one.model_fields}:
            assert f"| `{key}` |" not in manual("configuration"), key


def test_every_exit_code_is_described() -> None:
    found = re.findall(r"^\| (\d+) \| ", chapter(manual("commands"), "Exit codes"), re.MULTILINE)
    assert [int(code) for code in found] == sorted(Exit)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", PAGES[page]):
        path, _, anchor = target.partition("#")
        if path.startswith("https://"):
            continue
        to = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        assert to.exists(), target
        if anchor:
            assert anchor in anchors(PAGES[str(to.relative_to(ROOT))]), target


@pytest.mark.parametrize("page", sorted(PAGES.keys() - {"README.md"}))
def test_every_page_is_reached_from_the_first_one(page: str) -> None:
    assert f"]({page})" in README


def test_figures_of_the_first_page_are_those_of_the_manual() -> None:
    measured = "".join(PAGES[page] for page in PAGES.keys() - {"README.md"})
    for row in re.findall(
        r"^\| .+ \| (.+) \| `.+` \|$", chapter(README, "Benchmarks"), re.MULTILINE
    ):
        for figure in re.findall(r"\d[\d,.]*\d|\d", row):
            assert re.search(rf"(?<![\d.,]){re.escape(figure)}(?!\d)", measured), figure


def test_every_benchmark_is_named() -> None:
    for path in (ROOT / "benchmarks").glob("*.py"):
        if '__name__ == "__main__"' in path.read_text("utf-8"):
            assert f"`python -m benchmarks.{path.stem}`" in chapter(README, "Benchmarks"), path


def test_the_test_line_is_what_ci_runs() -> None:
    lines = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if "&&" in line]
    assert len(lines) == 1
    assert f"```sh\n{lines[0]}\n```" in README


@pytest.mark.parametrize("page", PAGES)
def test_examples_can_be_read(page: str) -> None:
    for example in re.findall(r"```python\n(.*?)```", PAGES[page], re.DOTALL):
        compile(example, page, "exec")
    for example in re.findall(r"```toml\n(.*?)```", PAGES[page], re.DOTALL):
        tomllib.loads(example)


def needed(*extras: str) -> set[str]:
    """The packages that mailsync needs to be installed with these extras, as they are called."""
    found: set[str] = set()
    looked: set[tuple[str, str]] = set()
    waiting = [("mailsync-sets", extra) for extra in ("", *extras)]
    while waiting:
        name, extra = waiting.pop()
        for requirement in map(Requirement, metadata.requires(name) or ()):
            marker = requirement.marker
            if marker is None or marker.evaluate({"extra": extra}):
                more = {(requirement.name, one) for one in ("", *requirement.extras)}
                waiting += more - looked
                looked |= more
                found.add(requirement.name)
    return found


def is_compiled(package: str) -> bool:
    """Is it for one kind of machine alone, as it is installed here?"""
    wheel = metadata.distribution(package).read_text("WHEEL") or ""
    return "Root-Is-Purelib: false" in wheel


@pytest.mark.parametrize("extra", ["", "dav", "demo", "duckdb", "mariadb", "postgres"])
def test_every_package_that_is_compiled_is_named(extra: str) -> None:
    table = re.sub(r"[._]", "-", chapter(README, "Packages").lower())
    compiled = {name for name in needed(extra) if is_compiled(name)}
    assert {"cbor2", "cryptography"} <= compiled
    unnamed = {name for name in compiled if re.sub(r"[._]", "-", name.lower()) not in table}
    assert unnamed == set()


class Line(NamedTuple):
    """One command of the tour and what it is said to print."""

    site: str
    command: str
    output: tuple[str, ...]


def tour() -> list[Line]:
    """What stands in the console blocks, of the first page and where it goes on."""
    found: list[Line] = []
    chapters = chapter(README, "A first synchronization") + chapter(manual("conflicts"), "See one")
    blocks = re.findall(r"```console\n(.*?)```", chapters, re.DOTALL)
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
