"""A bounded share of the fuzzing of links at every commit; ``tests.fuzzing`` goes on for hours."""

from __future__ import annotations

from typing import Any

import pytest

from mailsync.carriers import channel, frames, tcp
from mailsync.carriers.frames import Frame, FrameKind
from tests import fuzzing

CASES = range(500)


@pytest.mark.parametrize("name", fuzzing.TARGETS)
async def test_whatever_is_said_is_refused_or_taken_as_it_was_meant(name: str) -> None:
    outcomes = await fuzzing.run(name, 1, CASES)
    assert len(outcomes) > 1, "all cases came to the same: they test nothing"


@pytest.mark.parametrize("name", ["listening", "calling"])
async def test_who_believes_anybody_is_found_out(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp, "proven", lambda *_, peers, **__: peers[0])
    with pytest.raises(fuzzing.Failed, match=f"--only {name} --seed 1 --cases "):
        await fuzzing.run(name, 1, CASES)


async def test_who_confirms_what_was_not_taken_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def read(*arguments: Any, **options: Any) -> Frame:
        frame = await frames.read_frame(*arguments, **options)
        return Frame(FrameKind.CONTAINER, bytes(8)) if frame.kind == FrameKind.ALIVE else frame

    monkeypatch.setattr(channel, "read_frame", read)
    with pytest.raises(fuzzing.Failed, match="--only talking"):
        await fuzzing.run("talking", 1, CASES)


def test_the_command_counts_its_cases(capsys: pytest.CaptureFixture[str]) -> None:
    fuzzing.main(["--cases", "0", "5", "--only", "talking"])
    assert capsys.readouterr().out.startswith("talking: 5 cases: ")
