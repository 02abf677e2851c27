"""Run the command line inside the test's own process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from mailsync.cli import main
from mailsync.errors import Exit


def run(*arguments: str | Path, text: str | None = None) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], text)


def succeed(*arguments: str | Path, text: str | None = None) -> Result:
    result = run(*arguments, text=text)
    assert result.exit_code == 0, result.output
    return result


def refuse(code: Exit, *arguments: str | Path, text: str | None = None) -> list[str]:
    """The lines on standard error, without the first one's ``mailsync: error: ``."""
    result = run(*arguments, text=text)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert lines[0].startswith("mailsync: error: ")
    return [lines[0].removeprefix("mailsync: error: "), *lines[1:]]


def lines_of(result: Result) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert all(line["v"] == 1 for line in lines)
    return lines
