"""The core comes to the same records and the same journal as the plain reference."""

import sys
from collections import Counter

import pytest

from mailsync.core import merge, taking
from mailsync.core.ledger import Ledger
from tests.core.reference import mails, rows
from tests.core.reference.states import Site, killed
from tests.core.side_by_side import MIXES, compare, main

SEEDS_PER_MIX = 30


NAMES = ["+".join(sorted(features)) or "plain" for features in MIXES]


@pytest.mark.parametrize("mix", range(len(MIXES)), ids=NAMES)
def test_core_and_reference_come_to_the_same_end(mix: int) -> None:
    for seed in range(1000 * mix, 1000 * mix + SEEDS_PER_MIX):
        both, difference = compare(seed, MIXES[mix])
        assert difference is None, f"seed {seed}: {difference}\n" + "\n".join(both.product.trace)


@pytest.mark.parametrize(
    ("seed", "mix"),
    [
        # deleted by all but the restored site, where it has been edited since: noted by all
        (302964, 12),
        # it had lived again when the copy was made, and the peer had shown it so: it stays deleted
        (303419, 12),
        # a row under the key of a record that another site ended is a new record
        (300368, 3),
        # an edit of a withdrawn row shows no value that was replaced knowingly
        (301865, 5),
        # a peer that was given up deleted what it is known to have had: noted, edited since or not
        (505931, 10),
        # what a peer covered without being sent it is no sign that it had it
        (505667, 6),
    ],
)
def test_schedules_that_once_came_to_different_ends(seed: int, mix: int) -> None:
    assert compare(seed, MIXES[mix])[1] is None


def test_schedules_are_not_empty() -> None:
    played = [compare(seed, MIXES[0])[0] for seed in range(SEEDS_PER_MIX)]
    counts = sum((both.counts for both in played), Counter[str]())
    assert counts["edits"] > 5 * SEEDS_PER_MIX
    assert counts["owed"] > SEEDS_PER_MIX
    assert not counts["apart"]


def test_the_command_plays_every_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["side_by_side", "--schedules", str(len(MIXES)), "--seed", "100000"]
    monkeypatch.setattr(sys, "argv", words)
    assert main() == 0


def _they_differ(mix: int = 0, limit: int = 300) -> bool:
    return any(compare(seed, MIXES[mix])[1] for seed in range(limit))


def test_a_note_less_in_the_core_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ledger, "note", lambda *_: None)
    assert _they_differ()


def test_a_note_less_in_the_reference_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Site, "enter", lambda *_: None)
    assert _they_differ()


def test_the_older_write_winning_in_the_core_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    join = merge.join
    monkeypatch.setattr(taking, "join", lambda a, b, c, d: (dict(c), join(a, b, c, d)[1]))
    assert _they_differ()


def test_a_delete_that_kills_all_in_the_reference_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "_deleted", lambda record, base, **_: (killed(record.entries), set()))
    assert _they_differ()


def test_ancestors_forgotten_early_in_the_reference_are_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mails, "is_settled", lambda *_: True)
    assert _they_differ()
