"""What was refused: all of it is named, or so much that any other record may be, too."""

from __future__ import annotations

from collections.abc import Iterator

from mailsync.core.model import Guid, RecordId
from mailsync.core.rights import TOLD_MAX, are_all_named, may_be_denied


class Watched(frozenset[RecordId]):
    """A set that counts how often it is gone through."""

    times = 0

    def __iter__(self) -> Iterator[RecordId]:
        Watched.times += 1
        return super().__iter__()


def named(dataset: str, count: int) -> frozenset[RecordId]:
    return frozenset(RecordId(dataset, Guid(number.to_bytes(16, "big"))) for number in range(count))


OTHERS = [RecordId(name, Guid(b"\xff" * 16)) for name in ("people", "parts", "crew")]


def test_beyond_what_is_named_any_other_of_the_dataset_may_be_refused() -> None:
    denied = named("people", TOLD_MAX) | named("parts", TOLD_MAX - 1)
    assert [may_be_denied(denied, one) for one in OTHERS] == [True, False, False]
    assert all(may_be_denied(denied, one) for one in denied)
    assert [are_all_named(denied, one.dataset) for one in OTHERS] == [False, True, True]


def test_what_is_named_is_counted_once_for_all_records() -> None:
    denied = Watched(named("people", TOLD_MAX) | named("parts", 7))
    for one in (*OTHERS, *named("people", 200)):
        may_be_denied(denied, one)
    assert Watched.times == 1
