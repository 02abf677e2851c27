"""Which links are up, as other processes see it, and what is left when they end."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from mailsync.cycle.presence import is_linked, shown


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def files(state: Path) -> list[str]:
    return [one.name for one in state.parent.iterdir()]


def before_lock(monkeypatch: pytest.MonkeyPatch, kind: int, act: Callable[[], None]) -> None:
    """Do this once, just before somebody locks in this way."""
    waiting = [act]
    locking = fcntl.flock

    def lock(handle: int, operation: int) -> None:
        if operation & kind and waiting:
            waiting.pop()()
        locking(handle, operation)

    monkeypatch.setattr(fcntl, "flock", lock)


def test_nothing_is_left_of_a_link_that_ended(state: Path) -> None:
    with shown(state, "bob"):
        assert is_linked(state, "bob")
        assert files(state) == ["state.db.link.bob"]
    assert not is_linked(state, "bob")
    assert files(state) == []


@pytest.mark.parametrize("first", [0, 1])
def test_of_several_links_with_a_peer_the_last_one_removes_it(state: Path, first: int) -> None:
    links = [ExitStack(), ExitStack()]
    for link in links:
        link.enter_context(shown(state, "bob"))
    links.pop(first).close()
    assert is_linked(state, "bob")
    links.pop().close()
    assert files(state) == []


def test_what_a_killed_process_left_says_nothing_and_goes_with_the_next_link(state: Path) -> None:
    (state.parent / "state.db.link.bob").touch(0o600)
    assert not is_linked(state, "bob")
    with shown(state, "bob"):
        assert is_linked(state, "bob")
    assert files(state) == []


def test_a_file_that_is_removed_before_it_is_locked_is_made_anew(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before_lock(monkeypatch, fcntl.LOCK_SH, (state.parent / "state.db.link.bob").unlink)
    with shown(state, "bob"):
        assert is_linked(state, "bob")


def test_a_file_that_others_made_meanwhile_is_not_removed(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = state.parent / "state.db.link.bob"
    other = ExitStack()

    def replaced() -> None:
        place.unlink()  # as another process would
        other.enter_context(shown(state, "bob"))

    with shown(state, "bob"):
        before_lock(monkeypatch, fcntl.LOCK_EX, replaced)
    with other:
        assert is_linked(state, "bob")
    assert files(state) == []
