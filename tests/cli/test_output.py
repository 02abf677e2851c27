"""Two forms of output that never mix."""

from __future__ import annotations

import datetime as dt
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailsync.cli.daemon import Telling
from mailsync.cli.output import Output
from mailsync.cycle.links import Happening


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def clock_of(*times: float) -> Iterator[float]:
    yield from times
    while True:
        yield times[-1]


def output_at(*times: float, quiet: bool = False) -> Output:
    ticks = clock_of(*times)
    return Output(quiet=quiet, clock=lambda: next(ticks))


def test_json_output_is_lines_on_stdout_and_words_on_stderr(
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = Output(json=True)
    output.line("peer", name="hüb", key=b"\x01\xff", path=Path("a/b"), names={"b", "a"})
    output.line("when", at=dt.datetime(2026, 2, 11, 12, tzinfo=dt.UTC), on=dt.date(2026, 2, 11))
    output.show("words")
    output.table(("a",), [("b",)])
    output.say("remark")
    captured = capsys.readouterr()
    assert captured.err == "remark\n"
    assert captured.out.isascii()
    assert [json.loads(line) for line in captured.out.splitlines()] == [
        {
            "v": 1,
            "type": "peer",
            "name": "hüb",
            "key": "01ff",
            "path": "a/b",
            "names": ["a", "b"],
        },
        {"v": 1, "type": "when", "at": "2026-02-11T12:00:00+00:00", "on": "2026-02-11"},
    ]


def test_words_are_without_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output()
    output.line("peer", name="hub")
    output.table(("peer", "mails"), [("hub", 3), ("mv-aurora", 12)])
    assert capsys.readouterr().out == "peer       mails\nhub        3\nmv-aurora  12\n"


def test_quiet_silences_remarks_but_not_results(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(quiet=True)
    output.say("remark")
    output.show("result")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("result\n", "")


def test_what_has_no_json_form_is_a_defect_not_a_guess() -> None:
    with pytest.raises(TypeError, match="no JSON form for object"):
        Output(json=True).line("x", value=object())


def test_letters_the_terminal_cannot_show_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="latin-1"))
    Output().show("é Ω \x1b[31m")
    sys.stdout.flush()
    assert raw.getvalue() == b"\xe9 \\u03a9 \\x1b[31m\n"


def test_a_full_disk_under_its_output_does_not_end_a_daemon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = Telling(Output(json=True))
    with Path("/dev/full").open("wb", buffering=0) as file:
        full = io.TextIOWrapper(file, write_through=True)
        with pytest.raises(OSError, match="No space left"):
            full.write("to be sure")
        for name in ("stdout", "stderr"):
            monkeypatch.setattr(sys, name, full)
        told.tell("at work")
        told.hear(Happening("up", "hub", ""))
        monkeypatch.undo()
        full.detach()


def test_progress_without_a_terminal_is_one_line_when_it_took_long(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with output_at(0.0, 5.0).progress("read defects", 7) as advance:
        advance(3)
        advance(4)
    with output_at(0.0, 0.5).progress("quick", 7) as advance:
        advance(7)
    with output_at(0.0, 5.0, quiet=True).progress("quiet") as advance:
        advance(1)
    assert capsys.readouterr().err == "read defects: 7 of 7\n"


def test_progress_on_a_terminal_is_a_bar_after_a_second_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with output_at(0.0, 0.1, 0.2).progress("quick", 2) as advance:
        advance(1)
        advance(1)
    assert screen.getvalue() == ""
    with output_at(0.0, 2.0).progress("slow [red]", 2) as advance:
        advance(1)
    assert "slow [red]" in screen.getvalue()
    assert "\x1b[31m" not in screen.getvalue()


def test_progress_lets_errors_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")

    def fail() -> None:
        with output_at(0.0, 2.0).progress("slow") as advance:
            advance(1)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
