"""Recurring series of iCalendar (RFC 5545): one master, its overrides, as one record's fields."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from mailsync.datasets.texts.contentline import Block, Line, fold
from mailsync.datasets.texts.slots import Slot, numbered, rewrite

COMPONENTS: Final = frozenset({"VEVENT", "VTODO", "VJOURNAL"})
VOLATILE: Final = frozenset({"PRODID", "DTSTAMP", "LAST-MODIFIED"})

MASTER: Final = ""
"""Stands for the moment of the component that is no override."""

ZONE_PREFIX: Final = "timezone/"

_MOMENT: Final = re.compile(r"\d{8}(?:T\d{6}Z?)?", re.ASCII)
_ZONE: Final = re.compile(
    r"^[A-Z0-9_-]+(?:;(?:\"[^\"\n]*\"|[^\":;\n])*+)*?;TZID=(\"[^\"\n]*\"|[^\":;\n]*)",
    re.MULTILINE | re.IGNORECASE,
)


@dataclass
class Series:
    """The components of one UID, in the order they stand."""

    components: list[Block] = field(default_factory=list)

    @property
    def moments(self) -> list[str]:
        """Which occurrence each component is for; the master's is ``MASTER``."""
        return [moment_of(one) for one in self.components]

    @property
    def fault(self) -> str:
        """Why the record cannot be understood; empty: it can."""
        return next((fault for one in self.components if (fault := _fault(one))), "") or (
            self._fault_together()
        )

    def fields(self) -> dict[str, str]:
        """The fields, without the time zones."""
        fields = {"component": self.components[0].name.lower()}
        for component, moment in zip(self.components, self.moments, strict=True):
            for slot in component_slots(component):
                if slot.name == "uid":
                    fields.setdefault("uid", slot.value)
                else:
                    fields[_field_name(moment, slot.name)] = slot.value
        return fields

    def _fault_together(self) -> str:
        number = self.components[-1].begin.number
        if len({one.name for one in self.components}) > 1:
            return f"line {number}: components of different kinds have the same UID"
        if len(set(self.moments)) < len(self.moments):
            return f"line {number}: the same UID and RECURRENCE-ID once more"
        return ""


def uid_of(component: Block) -> str:
    """The component's UID, or an empty text."""
    return _value(component, "UID")


def moment_of(component: Block) -> str:
    """Which occurrence of its series the component is for."""
    return _value(component, "RECURRENCE-ID")


def component_slots(component: Block) -> list[Slot]:
    """The fields of a component and where they stand, without the moment before their names."""
    slots = []
    for place, item in enumerate(component.items):
        if isinstance(item, Block):
            slots.append(Slot(item.name.lower(), block_text(item), (place,)))
        elif item.name and item.name not in VOLATILE:
            slots.append(Slot(item.name.lower(), item.text, (place,)))
    return numbered(slots)


def block_text(block: Block) -> str:
    """A block in one form whatever the order of its properties, without volatile ones."""
    lines = [one for one in block.items if isinstance(one, Line)]
    kept = [one for one in lines if one.name and one.name not in VOLATILE]
    inner = sorted(block_text(one) for one in block.items if isinstance(one, Block))
    texts = [one.text for one in sorted(kept, key=lambda line: line.name)]
    return "\n".join([f"BEGIN:{block.name}", *texts, *inner, f"END:{block.name}"])


def zones_in(texts: Iterable[str]) -> set[str]:
    """The TZIDs that properties refer to."""
    return {name.strip('"') for text in texts for name in _ZONE.findall(text)}


def moments_in(fields: Mapping[str, str]) -> list[str]:
    """The components a record's fields make up: the master first."""
    owners = {_owner(name) for name in fields if name not in {"component", "uid"}} - {None}
    overrides = sorted(one for one in owners if one)
    return overrides if overrides and MASTER not in owners else [MASTER, *overrides]


def part_of(fields: Mapping[str, str], moment: str) -> dict[str, str]:
    """The fields of one component under the names they have there, its UID among them."""
    prefix = _field_name(moment, "")
    part = {
        name.removeprefix(prefix): value
        for name, value in fields.items()
        if _owner(name) == moment and name != "component"
    }
    return part | ({"uid": fields["uid"]} if "uid" in fields else {})


def rewritten_component(component: Block, fields: Mapping[str, str]) -> bytes:
    """The component with what ``fields`` say of it."""
    part = part_of(fields, moment_of(component))
    return rewrite(component, component_slots(component), part, folded)


def new_component(
    fields: Mapping[str, str], moment: str, line_end: bytes, stamp: datetime
) -> bytes:
    """A component of its own; UID and DTSTAMP first (RFC 5545, 3.6.1)."""
    name = fields.get("component", "").upper()
    part = part_of(fields, moment)
    first = [part.pop("uid", ""), f"DTSTAMP:{stamp:%Y%m%dT%H%M%SZ}"]
    lines = [Line(fold(text, line_end), 1) for text in first if text]
    begin, end = (Line(fold(f"{word}:{name}", line_end), 1) for word in ("BEGIN", "END"))
    return rewrite(Block(name, begin, [*lines], [end]), [], part, folded)


def folded(text: str, line_end: bytes) -> bytes:
    """Each line of ``text`` folded."""
    return b"".join(fold(line, line_end) for line in text.split("\n"))


def _field_name(moment: str, name: str) -> str:
    return name if moment == MASTER else f"{moment}/{name}"


def _owner(name: str) -> str | None:
    """The moment of the component a field belongs to; None: to a time zone."""
    if name.startswith(ZONE_PREFIX):
        return None
    return name.partition("/")[0] if "/" in name else MASTER


def _fault(component: Block) -> str:
    if component.fault:
        return component.fault
    moment = moment_of(component)
    if moment and not _MOMENT.fullmatch(moment):
        return f"line {component.begin.number}: RECURRENCE-ID {moment!r} is no date"
    if sum(isinstance(item, Line) and item.name == "UID" for item in component.items) > 1:
        return f"line {component.begin.number}: a component with more than one UID"
    for item in _all_lines(component):
        if item.group or item.name == "COMPONENT":
            return f"line {item.number}: no property of a schedule"
    return ""


def _all_lines(block: Block) -> Iterator[Line]:
    for item in block.items:
        if isinstance(item, Block):
            yield from _all_lines(item)
        else:
            yield item


def _value(component: Block, name: str) -> str:
    values = (
        item.value.strip()
        for item in component.items
        if isinstance(item, Line) and item.name == name
    )
    return next(values, "")
