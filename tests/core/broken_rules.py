"""Rules of the product's own, beyond the protocol's plainest form, each broken as it runs.

Nothing of this is in the product: functions of it are replaced while a history plays.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any
from unittest import mock

from mailsync.core import outbound, record_map, taking
from mailsync.core.desired import desired_fields
from mailsync.core.ledger import Ledger
from mailsync.core.model import (
    NO_MARKER,
    NoMarker,
    Record,
    merged_fields,
)
from tests.core.world import World

Patches = Sequence[AbstractContextManager[object]]


def swapped(owner: object, name: str, new: object) -> AbstractContextManager[object]:
    """The attribute replaced for a while."""
    return mock.patch.object(owner, name, new)


def write_blindly() -> Patches:
    def write(self: World, name: str, record: Record) -> bool:
        if record.key is None or isinstance(record.marker, NoMarker):
            return record.marker is None
        if record.marker is None:
            self.data[name].pop(record.key, None)
        else:
            fields = record.marker.items()
            self.data[name][record.key] = {k: v for k, v in fields if isinstance(v, int)}
        return True

    return [swapped(World, "_write", write)]


def set_no_marker() -> Patches:
    write, settle = World._write, record_map.settle

    def marked(record: Record) -> Record:
        return replace(record, marker=desired_fields(record))

    return [
        swapped(
            record_map,
            "begin",
            lambda ledger, record, key: ledger.keep(replace(record, key=key, marker=NO_MARKER)),
        ),
        swapped(World, "_write", lambda world, name, record: write(world, name, marked(record))),
        swapped(
            record_map, "settle", lambda ledger, record, etag: settle(ledger, marked(record), etag)
        ),
    ]


def compare_with_the_merged_record() -> Patches:
    real = record_map._base
    return [swapped(record_map, "_base", lambda r, now: (merged_fields(r), real(r, now)[1]))]


def settle_what_was_left_out() -> Patches:
    return [swapped(outbound, "_earlier", lambda _link, _record: set())]


def send_nothing_whole_again() -> Patches:
    return [
        swapped(outbound, "_is_unsure", lambda link, record: link.peer in record.blind_to),
        swapped(outbound, "_is_owed_all", lambda link, record: link.peer not in record.had),
    ]


def trust_what_a_withdrawer_covered() -> Patches:
    return [swapped(outbound, "_is_unsure", lambda link, record: link.peer in record.whole_for)]


def infer_from_cover_always() -> Patches:
    real: Any = taking._merge

    def merge(*arguments: Any, **more: Any) -> None:
        *rest, item = arguments
        real(*rest, replace(item, complete=False), **more)

    return [swapped(taking, "_merge", merge)]


def let_the_clock_stand() -> Patches:
    return [swapped(Ledger, "see", lambda *_: None)]


def overlook_doubt() -> Patches:
    real = record_map._base
    return [swapped(record_map, "_base", lambda record, now: (real(record, now)[0], False))]


def take_every_marker_for_landed() -> Patches:
    return [swapped(record_map, "_landed", lambda *_: True)]
