"""Address books: vCard 3 and 4 (RFC 2426, RFC 6350), in a folder or in one file.

A field is a property, named by it in small letters and by its types: ``fn``, ``tel;type=cell``;
several of one name are numbered in the order they stand. Its value is the property's whole
logical line, the name in capitals. Properties of one group (``item1.TEL``,
``item1.X-ABLABEL``) are one field, named after the main property; its value is their lines
without the group's name, which is nobody's business but the file's.

PRODID and REV, and what a server adds for itself, are no fields: they stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Final

from mailsync.core.model import Fields, Key, same_fields
from mailsync.datasets.files import Clock, utc_now
from mailsync.datasets.texts.contentline import Block, Line, fold, read_blocks
from mailsync.datasets.texts.folder import RecordFolder
from mailsync.datasets.texts.formats import Parsed
from mailsync.datasets.texts.onefile import RecordFile
from mailsync.datasets.texts.slots import Slot, numbered, rewrite, without_gaps

VOLATILE: Final = frozenset({"PRODID", "REV", "X-RADICALE-NAME"})

_ENCODINGS: Final = frozenset({"BASE64", "QUOTED-PRINTABLE", "8BIT", "7BIT"})
"""Bare parameters of vCard 2.1 that are no types."""

_UNUSUAL: Final = re.compile(r"[^\w-]")


def property_name(line: Line) -> str:
    """The field name of a property: ``tel;type=cell,voice``."""
    if not line.parameters:
        return line.name.lower()
    types: set[str] = set()
    for name, values in line.split_parameters():
        if name == "TYPE":
            types.update(_UNUSUAL.sub("-", one.lower()) for one in values if one)
        elif not values and name not in _ENCODINGS:
            types.add(_UNUSUAL.sub("-", name.lower()))
    return line.name.lower() + (f";type={','.join(sorted(types))}" if types else "")


def card_slots(card: Block) -> list[Slot]:
    """The fields of a card and where they stand."""
    groups: dict[str, list[int]] = {}
    for place, item in enumerate(card.items):
        if isinstance(item, Line) and item.name and item.name not in VOLATILE:
            groups.setdefault(item.group.lower() or f"{place}", []).append(place)
    slots = [slot for places in groups.values() for slot in _group_slots(card, places)]
    return numbered(sorted(slots, key=lambda slot: slot.places))


def _group_slots(card: Block, places: list[int]) -> list[Slot]:
    """One field of a group, or several where it has several main properties.

    The first one (by text) takes the labels: a field that could bring another main property
    with it would go round the rights that are given by field.
    """
    if len(places) == 1:
        return [_slot(card, places)]
    lines = sorted(
        (item.text, place) for place in places if isinstance(item := card.items[place], Line)
    )
    labels = [place for text, place in lines if text.startswith("X-")]
    mains = [place for _, place in lines if place not in labels]
    return [_slot(card, [*mains[:1], *labels]), *(_slot(card, [place]) for place in mains[1:])]


def _slot(card: Block, places: list[int]) -> Slot:
    """The field of these lines, its main property first."""
    lines = [item for place in places if isinstance(item := card.items[place], Line)]
    text = "\n".join(line.text for line in lines)
    return Slot(property_name(lines[0]), text, tuple(sorted(places)))


def rewritten_card(card: Block, wanted: Mapping[str, str]) -> bytes:
    """The card with exactly these fields."""
    used = {item.group.lower() for item in card.items if isinstance(item, Line)}
    free = (name for number in range(1, 1_000_000) if (name := f"item{number}") not in used)

    def render(value: str, end: bytes) -> bytes:
        lines = value.split("\n")
        prefix = f"{next(free)}." if len(lines) > 1 else ""
        return b"".join(fold(prefix + line, end) for line in lines)

    return rewrite(card, card_slots(card), wanted, render)


def new_card(wanted: Mapping[str, str], end: bytes) -> bytes:
    """A card of its own: VERSION first (RFC 6350, 6.7.9), the others in a fixed order."""
    version = wanted.get("version", "")
    others = {name: value for name, value in wanted.items() if name != "version"}
    begin, close = Line(b"BEGIN:VCARD" + end, 1), Line(b"END:VCARD" + end, 1)
    head = [Line(fold(version, end), 1)] if version else []
    return rewritten_card(Block("VCARD", begin, [*head], [close]), others)


class Cards:
    """A text of cards, one behind the other.

    A card's key is its UID; without one, its name and which of that name it is.
    """

    def __init__(self, data: bytes) -> None:
        """Take the text apart. Raises :class:`mailsync.datasets.texts.contentline.Malformed`."""
        self._items = read_blocks(data)
        self._places: dict[int, Key] = {}
        self.records: dict[Key, Parsed] = {}
        self.fault = ""
        for place, item in enumerate(self._items):
            if isinstance(item, Block) and item.name == "VCARD":
                self._take(place, item)
            elif isinstance(item, Block) or item.name or item.fault:
                number = item.begin.number if isinstance(item, Block) else item.number
                self.fault = self.fault or f"line {number} belongs to no card"

    def edited(self, edits: Mapping[Key, Mapping[str, str] | None]) -> bytes:
        """The text with these cards changed, added at its end or (None) removed."""
        pieces = [item.raw for item in self._items]
        for place, key in self._places.items():
            item = self._items[place]
            if key in edits and isinstance(item, Block):
                wanted = edits[key]
                pieces[place] = b"" if wanted is None else rewritten_card(item, wanted)
        end = self._line_end
        new = [
            new_card(wanted, end)
            for key, wanted in edits.items()
            if wanted is not None and key not in self.records
        ]
        text = b"".join(pieces)
        if new and text and not text.endswith(b"\n"):
            text += end
        return text + b"".join(new)

    @cached_property
    def _line_end(self) -> bytes:
        ends = (item.line_end for item in self._items if isinstance(item, Block))
        return next(ends, b"\r\n")

    def _take(self, place: int, card: Block) -> None:
        fields = {slot.name: slot.value for slot in card_slots(card)}
        fault = card.fault or _shortcoming(card)
        if fault and not _value(fields, "uid"):
            self.fault = self.fault or fault
            return
        key = next(key for key in candidates(fields) if key not in self.records)
        self._places[place] = key
        self.records[key] = Parsed({}, fault) if fault else Parsed(fields)


def candidates(fields: Fields) -> Iterator[Key]:
    """The keys a card may have within a text, the first that is free being its own.

    Line breaks, which no value can contain, keep a UID from posing as another card's number.
    """
    name = _value(fields, "uid")
    if name:
        yield Key(name)
    else:
        name = f"\n{_value(fields, 'fn')}"
    number = 2 if not name.startswith("\n") else 1
    while True:
        yield Key(f"{name}\n{number}")
        number += 1


def _shortcoming(card: Block) -> str:
    if any(isinstance(item, Block) for item in card.items):
        return f"line {card.begin.number}: a component within a card"
    names = {item.name for item in card.items if isinstance(item, Line)}
    missing = [name for name in ("VERSION", "FN") if name not in names]
    return f"line {card.begin.number}: a card without {' and '.join(missing)}" if missing else ""


def _value(fields: Fields, name: str) -> str:
    line = fields.get(name)
    return line.partition(":")[2].strip() if isinstance(line, str) else ""


class CardFormat:
    """vCard files."""

    suffix = ".vcf"

    def parse(self, data: bytes) -> Cards:
        """Take a text apart."""
        return Cards(data)

    def key_for(self, fields: Fields, taken: Collection[Key]) -> Key:
        """The first of the possible keys that is not taken."""
        return next(key for key in candidates(fields) if key not in taken)

    def canonical(self, fields: Mapping[str, str]) -> Mapping[str, str]:
        """Numbers without gaps."""
        renamed = without_gaps(fields)
        return {renamed[name]: value for name, value in fields.items()}

    def settled(self, wanted: Mapping[str, str], present: Fields) -> bool:
        """Cards share nothing."""
        return same_fields(wanted, present)


class VcardFolder(RecordFolder):
    """A folder with one card per .vcf file."""

    def __init__(self, path: Path, clock: Clock = utc_now) -> None:
        """``clock`` tells the time a scan begins, in UTC."""
        super().__init__(path, CardFormat(), clock)


class VcardFile(RecordFile):
    """One .vcf file with many cards."""

    def __init__(self, path: Path) -> None:
        """``path`` of the file; it must be there, and may be empty."""
        super().__init__(path, CardFormat())
