"""What a command says: JSON lines or a person's words, never both on the same stream.

With ``--json`` standard output holds JSON lines and nothing else; without it, the result in
words. Remarks and progress go to standard error in both cases. What comes from peers and
datasets is shown with control characters made visible: it must not drive a terminal.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final, TextIO

import click

from mailsync.errors import MailsyncError

PROGRESS_AFTER_SECONDS: Final = 1.0
"""What ends sooner needs no progress shown."""

WIDTH_ELSEWHERE: Final = 120
"""Columns of what is set side by side where no terminal says how wide it is."""

Advance = Callable[[int], None]
"""Called with the number of things done since the last call."""


@dataclass(frozen=True, slots=True)
class Output:
    """One command's output.

    ``json`` chooses the form of standard output; ``quiet`` silences remarks and progress;
    ``clock`` counts seconds.
    """

    json: bool = False
    quiet: bool = False
    clock: Callable[[], float] = time.monotonic

    def line(self, kind: str, **values: object) -> None:
        """With ``--json``, one line ``{"v":1,"type":kind,...}``; otherwise nothing.

        Bytes are written in hexadecimal, dates in ISO 8601.
        """
        if self.json:
            document = {"v": 1, "type": kind, **values}
            text = json.dumps(document, default=_plain, separators=(",", ":"))
            click.echo(text)

    def show(self, text: str) -> None:
        """Part of the result, in words; nothing with ``--json``."""
        if not self.json:
            _write(text, sys.stdout)

    def table(self, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Part of the result, as columns; nothing with ``--json``."""
        cells = [list(head), *([_visible(str(cell)) for cell in row] for row in rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for row in cells:
            aligned = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            self.show("  ".join(aligned).rstrip())

    def sides(
        self, head: Sequence[str], rows: Sequence[Sequence[str]], lit: Collection[int]
    ) -> None:
        """Part of the result, side by side in cells; nothing with ``--json``.

        Of the rows, those in ``lit`` stand out: by a mark, and by colour where there is any.
        """
        if self.json:
            return
        from rich.console import Console  # noqa: PLC0415  slow
        from rich.table import Column, Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        wide = None if _is_terminal(sys.stdout) else WIDTH_ELSEWHERE
        columns = [Column(Text(_visible(cell)), overflow="fold") for cell in ("", *head)]
        table = Table(*columns, box=None, pad_edge=False)
        for number, row in enumerate(rows):
            mark, style = ("*", "bold yellow") if number in lit else ("", "dim")
            table.add_row(mark, *(Text(_visible(cell)) for cell in row), style=style)
        console = Console(file=sys.stdout, width=wide)
        with console.capture() as captured:
            console.print(table)
        _echo(captured.get().rstrip("\n"), sys.stdout)

    def say(self, text: str) -> None:
        """A remark on standard error, unless ``-q``."""
        if not self.quiet:
            _write(text, sys.stderr)

    def error(self, error: MailsyncError) -> None:
        """What went wrong and what to do about it; with ``--json`` also as the last line."""
        first, *more = str(error).splitlines() or [type(error).__name__]
        _write(f"mailsync: error: {first}", sys.stderr)
        for text in [*more, error.advice]:
            _write(text, sys.stderr)
        self.line("error", code=int(error.exit_code), message=str(error), advice=error.advice)

    @contextmanager
    def progress(self, description: str, total: int | None = None) -> Iterator[Advance]:
        """Show how far a long task has come: ``with output.progress("read", 9) as advance``.

        A bar on a terminal; elsewhere one line when the task is over. Neither for a task
        that is over within a second.
        """
        if self.quiet or not _is_terminal(sys.stderr):
            with self._plain_progress(description, total) as advance:
                yield advance
        else:
            with self._bar(description, total) as advance:
                yield advance

    @contextmanager
    def _plain_progress(self, description: str, total: int | None) -> Iterator[Advance]:
        begin, done = self.clock(), 0

        def advance(step: int = 1) -> None:
            nonlocal done
            done += step

        yield advance
        if self.clock() - begin >= PROGRESS_AFTER_SECONDS:
            self.say(_so_far(description, done, total))

    @contextmanager
    def _bar(self, description: str, total: int | None) -> Iterator[Advance]:
        from rich.console import Console  # noqa: PLC0415  80 ms that most commands never need
        from rich.markup import escape  # noqa: PLC0415
        from rich.progress import Progress  # noqa: PLC0415

        begin, started, done = self.clock(), False, 0
        bar = Progress(console=Console(stderr=True), transient=True)
        task = bar.add_task("", total=total)

        def advance(step: int = 1) -> None:
            nonlocal started, done
            done += step
            words = escape(_visible(_so_far(description, done, total)))
            bar.update(task, completed=done, description=words)
            if not started and self.clock() - begin >= PROGRESS_AFTER_SECONDS:
                bar.start()
                started = True

        try:
            yield advance
        finally:
            if started:
                bar.stop()


def _so_far(description: str, done: int, total: int | None) -> str:
    return f"{description}: {done:,}" + ("" if total is None else f" of {total:,}")


def moment(milliseconds: int | None) -> str:
    """A time as people and scripts read it: ISO 8601, UTC; "never" for None."""
    if milliseconds is None:
        return "never"
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")


def _write(text: str, stream: TextIO) -> None:
    _echo(_visible(text), stream)


def _echo(text: str, stream: TextIO) -> None:
    encoding = getattr(stream, "encoding", None) or "ascii"
    safe = text.encode(encoding, "backslashreplace").decode(encoding)
    click.echo(safe, file=stream)


def _visible(text: str) -> str:
    """The text with everything escaped that a terminal would obey instead of show."""
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else ascii(letter)[1:-1]
        for letter in text
    )


def _is_terminal(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _plain(value: object) -> str | list[object]:
    if isinstance(value, (bytes, bytearray)):
        return value.hex()
    if isinstance(value, date):  # datetime is one, too
        return value.isoformat()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"no JSON form for {type(value).__name__}")
