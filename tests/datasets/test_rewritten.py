"""A dataset behind a routine passes the suite, and holds what the routine makes."""

from __future__ import annotations

from pathlib import Path

from mailsync.core.mapping import Unconvertible
from mailsync.core.model import Fields, Guid, Key
from mailsync.datasets.base import Result, Write
from mailsync.datasets.memory import MemoryDataset
from mailsync.datasets.rewritten import RewrittenDataset
from tests.datasets.conformance import Conformance, Stage
from tests.datasets.test_memory import TestMemory as OfMemory

ADA = Key("ada")


def loud(fields: Fields) -> Fields:
    if "name" not in fields:
        raise Unconvertible("rules.py:2: KeyError: 'name'")
    return {**fields, "name": str(fields["name"]).upper()}


class TestRewritten(Conformance):
    """Where the routine has nothing to rewrite it is as if it were not there."""

    def build(self, directory: Path) -> Stage:
        stage = OfMemory().build(directory)
        stage.dataset = RewrittenDataset(stage.dataset, dict)
        return stage


def write(rows: dict[Key, Fields], expected: Fields | None, wanted: Fields | None) -> Result:
    dataset = RewrittenDataset(inner := MemoryDataset(rows), loud)
    (outcome,) = dataset.apply([Write(Guid(bytes(16)), ADA, expected, wanted)])
    rows.clear()
    rows.update(inner.rows)
    return outcome.result


def test_what_is_there_is_known_in_either_form() -> None:
    wanted: Fields = {"name": "eve", "n": 2}
    for there in ("ada", "ADA"):
        rows: dict[Key, Fields] = {ADA: {"name": there, "n": 1}}
        assert write(rows, {"name": "ada", "n": 1}, wanted) is Result.WRITTEN
        assert rows == {ADA: {"name": "EVE", "n": 2}}
    rows = {ADA: {"name": "Ada", "n": 1}}
    assert write(rows, {"name": "ada", "n": 1}, wanted) is Result.CHANGED
    assert write(rows, {"name": "ada", "n": 1}, None) is Result.CHANGED
    assert rows == {ADA: {"name": "Ada", "n": 1}}


def test_what_nobody_wrote_anew_stays_as_it_stands() -> None:
    rows: dict[Key, Fields] = {ADA: {"name": "ada", "n": 1}}
    assert write(rows, {"name": "ada", "n": 1}, {"name": "ada", "n": 2}) is Result.WRITTEN
    assert rows == {ADA: {"name": "ada", "n": 2}}


def test_what_the_routine_gives_up_on_is_refused() -> None:
    rows: dict[Key, Fields] = {}
    assert write(rows, None, {"n": 2}) is Result.REFUSED
    assert not rows
    assert write(rows, None, {"name": "ada"}) is Result.WRITTEN
    assert rows == {ADA: {"name": "ADA"}}
    assert write(rows, {"name": "ada"}, None) is Result.WRITTEN
    assert not rows
