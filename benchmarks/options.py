"""What benchmarks share on the command line: numbers, ``--json``, a line for each figure."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping


def options_of(description: str | None, **numbers: int) -> argparse.ArgumentParser:
    """A parser that knows an option for each of the numbers, with its default, and ``--json``."""
    parser = argparse.ArgumentParser(description=description)
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", action="store_true", help="what was found, as JSON")
    return parser


def add_measuring(parser: argparse.ArgumentParser, words: int) -> None:
    """Let its own processes be told by so many words what to measure: see ``tables.ask``."""
    parser.add_argument("--measure", nargs=words, help=argparse.SUPPRESS)


def show(found: Mapping[str, object], words: str, *, as_json: bool) -> None:
    """One line: what was found, or the words for it."""
    print(json.dumps(found) if as_json else words, flush=True)
