"""The compare-and-set that makes one side of a pair hold what the other one does."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from mailsync.core.model import Guid
from mailsync.datasets.base import Newcomer, Write
from mailsync.reconcile.findings import Difference
from mailsync.reconcile.pairing import Pair, Side


def write_to(side: Side, pair: Pair, difference: Difference) -> Write:
    """One write in the terms of ``side``.

    A record that is to be added has the key it has at the other side: see :func:`keyed`.
    """
    held, prevailing = difference.held.get(side), difference.held.get(side.other)
    expected = None if held is None else held.fields
    wanted = None if prevailing is None else pair.carried(side, expected, prevailing.fields)
    [key, *_] = (one.key for one in (held, prevailing) if one is not None)
    return Write(_stand_in(difference.name), key, expected, wanted)


def keyed(side: Side, pair: Pair, writes: Sequence[Write]) -> list[Write]:
    """The writes, new records under the keys that ``side`` gives them now."""
    if not pair.match:
        return list(writes)
    newcomers = [
        Newcomer(one.guid, one.wanted)
        for one in writes
        if one.expected is None and one.wanted is not None
    ]
    keys = iter(pair.datasets[side].propose_keys(newcomers, ()) if newcomers else ())
    return [one if one.expected is not None else one._replace(key=next(keys)) for one in writes]


def _stand_in(name: str) -> Guid:
    """What a dataset may name a new record after; a second run gives the same."""
    return Guid(blake2b(name.encode(), digest_size=16).digest())
