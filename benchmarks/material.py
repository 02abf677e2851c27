"""What the benchmarks synchronize: generated records and their edits, the same in every run.

Generated edits are 90 % updates, 5 % inserts and 5 % deletes. One real history, of records that
people kept by hand, comes from ``data``.
"""

from __future__ import annotations

import csv
import random
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.invention import (
    contact,
    contact_again,
    customer,
    customer_again,
    event,
    event_again,
)
from mailsync.core.model import Fields, Key
from mailsync.datasets.texts.formats import Format
from mailsync.datasets.texts.ical import CalendarFormat
from mailsync.datasets.texts.vcard import CardFormat

DATA: Final = Path(__file__).parent / "data"
NUMBERS: Final = frozenset({"govtrack", "twitter_id", "instagram_id"})

OPERATIONS: Final = "uuuuuuuduuuuuuuuuiuu"
"""Update, insert or delete: edits take turns through these, whatever the size of a bundle. The
first seven are updates, for the other site, whose inserts would have keys of their own here."""

DRAWS_MAX: Final = 20
EDITS_MIN: Final = 80
"""Small bundles are measured several times, until so many edits were measured."""

Rows = dict[Key, Fields]


class Edit(NamedTuple):
    """What one user did to one record. None: no such record before, or after."""

    key: Key
    old: Fields | None
    new: Fields | None


@dataclass(frozen=True)
class Material:
    """A dataset, what happened to it until now, and bundles of edits to be measured.

    ``past`` has rounds of edits; the last one was made at the other site. ``bundles`` maps the
    number of edits to some independent draws of that many.
    """

    name: str
    rows: Rows
    past: list[list[Edit]]
    bundles: dict[int, list[list[Edit]]]
    text: Format | None = None
    """How its records look as text files, for kinds that do."""

    @property
    def present(self) -> Rows:
        """The rows after all that happened until now."""
        rows = dict(self.rows)
        for edits in self.past:
            carry_out(rows, edits)
        return rows

    @property
    def columns(self) -> list[str]:
        """Every field's name, in the order of their first mention."""
        draws = [edit for some in self.bundles.values() for edits in some for edit in edits]
        names = [*self.rows.values(), *(edit.new for edit in draws if edit.new)]
        return list(dict.fromkeys(name for fields in names for name in fields))


def carry_out(rows: Rows, edits: Sequence[Edit]) -> None:
    """Change the rows as these edits say."""
    for key, _, new in edits:
        if new is None:
            del rows[key]
        else:
            rows[key] = new


@dataclass(frozen=True)
class Kind:
    """How records of one kind are invented, and edited."""

    name: str
    invent: Callable[[random.Random, str], Fields]
    again: Callable[[random.Random, Fields], Fields]
    text: Format | None = None


FIRST_SEEN: Final = datetime(2021, 11, 1, tzinfo=UTC)
FIVE_YEARS: Final = timedelta(days=5 * 365)

KINDS: Final = {
    kind.name: kind
    for kind in (
        Kind("customers", customer, customer_again),
        Kind("contacts", contact, contact_again, CardFormat()),
        Kind("events", event, event_again, CalendarFormat(lambda: FIRST_SEEN)),
    )
}


def generated(name: str, count: int, sizes: Sequence[int], past: Sequence[int]) -> Material:
    """``count`` records of a kind, after as many rounds of edits as ``past`` has sizes for."""
    kind = KINDS[name]
    chance = random.Random(f"records of {name}")
    keys = [_key(chance) for _ in range(count)]
    rows: Rows = {key: kind.invent(chance, key) for key in keys}
    present = dict(rows)
    rounds = []
    for number, size in enumerate(past):
        rounds.append(_edits(kind, present, random.Random(f"round {number} of {name}"), size, 0))
        carry_out(present, rounds[-1])
    bundles = {
        size: [
            _edits(kind, present, random.Random(f"{name} {size} {draw}"), size, draw * size)
            for draw in range(draws(size))
        ]
        for size in sizes
    }
    return Material(name, rows, rounds, bundles, kind.text)


def draws(size: int) -> int:
    """How often a bundle of so many edits is measured."""
    return max(1, min(DRAWS_MAX, EDITS_MIN // size))


def _edits(kind: Kind, rows: Rows, chance: random.Random, count: int, turn: int) -> list[Edit]:
    """So many edits of different records, from a turn of the operations on."""
    edits = []
    for number, key in enumerate(chance.sample(list(rows), count), start=turn):
        match OPERATIONS[number % len(OPERATIONS)]:
            case "u":
                edits.append(Edit(key, rows[key], kind.again(chance, rows[key])))
            case "d":
                edits.append(Edit(key, rows[key], None))
            case _:
                fresh = _key(chance)
                edits.append(Edit(fresh, None, kind.invent(chance, fresh)))
    return edits


def _key(chance: random.Random) -> Key:
    """A UUIDv7 (RFC 9562, 5.7) of the last five years, in hexadecimal."""
    milliseconds = int((FIRST_SEEN + chance.random() * FIVE_YEARS).timestamp() * 1000)
    number = milliseconds << 80 | 7 << 76 | chance.getrandbits(12) << 64
    return Key(f"{number | 2 << 62 | chance.getrandbits(62):032x}")


def legislators(sizes: Sequence[int]) -> Material:
    """The real history; a bundle holds the next so many of its edits, in the records' order."""
    rows, after = (_history(DATA / f"legislators-{number}.csv") for number in (1, 2))
    edits = [
        Edit(key, rows.get(key), after.get(key))
        for key in sorted(rows.keys() | after.keys())
        if rows.get(key) != after.get(key)
    ]
    bundles = {
        size: [edits[start : start + size] for start in range(0, len(edits) - size + 1, size)]
        for size in (*(size for size in sizes if size < len(edits)), len(edits))
    }
    return Material("legislators", rows, [], {n: some[:DRAWS_MAX] for n, some in bundles.items()})


def _history(path: Path) -> Rows:
    with path.open(encoding="utf-8", newline="") as lines:
        return {_named(row["bioguide"]): _fields(row) for row in csv.DictReader(lines)}


def _named(name: str) -> Key:
    return Key(uuid.uuid5(uuid.NAMESPACE_URL, name).hex)


def _fields(row: Mapping[str, str]) -> Fields:
    return {
        name: int(text) if name in NUMBERS else text for name, text in row.items() if text != ""
    }
