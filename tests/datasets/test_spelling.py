"""Spellings that no server need be asked about."""

from __future__ import annotations

from datetime import time

import pytest
from sqlalchemy.dialects import mysql

from mailsync.core.fitness import unfit
from mailsync.core.model import Value
from mailsync.datasets import spelling
from mailsync.datasets.spelling import Unfit

LARGEST = 2**64 - 1


@pytest.mark.parametrize(
    ("value", "there"),
    [
        (7, 7),
        (2**63 - 1, 2**63 - 1),
        (2**63, str(2**63)),
        (str(LARGEST), str(LARGEST)),
        ("7", 7),
        (True, 1),
    ],
)
def test_an_integer_without_sign_travels_whatever_its_size(value: Value, there: Value) -> None:
    spell = spelling.integer(0, LARGEST)
    assert (spell(value), type(spell(value))) == (there, type(there))
    assert spell(spell(value)) == spell(value)
    assert unfit({"large": spell(value)}) is None


def test_an_integer_beyond_its_column_is_unfit() -> None:
    for value in (-1, LARGEST + 1, str(LARGEST + 1)):
        with pytest.raises(Unfit):
            spelling.integer(0, LARGEST)(value)


@pytest.mark.parametrize("declared", [mysql.BIGINT(unsigned=True), mysql.BIT(64)])
def test_large_integers_of_mariadb_are_read_and_written_as_they_are(declared: object) -> None:
    mariadb = pytest.importorskip("mailsync.datasets.sql.mariadb")
    column = mariadb.column({"name": "large", "nullable": True, "type": declared})
    read, bind = column.read, column.bind
    for number in (0, 7, 2**63 - 1, 2**63, LARGEST):
        found = read(str(number).encode())
        assert unfit({"large": found}) is None
        assert column.spell(found) == found
        assert bind(found) == number


def test_the_end_of_a_day_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    class LaterTime(time):
        """As in Python 3.14, which takes 24:00 for 00:00."""

        @classmethod
        def fromisoformat(cls, words: str) -> time:  # type: ignore[override]
            return time.fromisoformat(f"00{words[2:]}" if words[:2] == "24" else words)

    monkeypatch.setattr(spelling, "time", LaterTime)
    assert spelling.clock("24:00:00") == "24:00:00"
    assert spelling.moment("2026-01-01 24:00:00") == "2026-01-01 24:00:00"
    assert spelling.instant("2026-01-01 24:00:00+00:00") == "2026-01-01 24:00:00+00:00"
    assert spelling.clock("23:59") == "23:59:00"
