"""Fields of a block of content lines: what they are named and how a block is rewritten.

Several properties of one name are numbered in the order they stand: ``tel``, ``tel#2``. Their
order among each other is therefore content; any other order is not.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from mailsync.datasets.texts.contentline import Block

_NUMBERED: Final = re.compile(r"(.+)#([1-9][0-9]{0,8})")


class Slot(NamedTuple):
    """One field and where in its block's items it stands."""

    name: str
    value: str
    places: tuple[int, ...]


Render = Callable[[str, bytes], bytes]
"""A field's value and the line end to what is written for it."""


def numbered(slots: Iterable[Slot]) -> list[Slot]:
    """The slots, the second of a name on with its number behind it."""
    seen: Counter[str] = Counter()
    result = []
    for slot in slots:
        seen[slot.name] += 1
        ordinal = seen[slot.name]
        result.append(slot if ordinal == 1 else slot._replace(name=f"{slot.name}#{ordinal}"))
    return result


def base_and_ordinal(name: str) -> tuple[str, int]:
    """``tel#2`` taken apart."""
    match = _NUMBERED.fullmatch(name)
    return (match[1], int(match[2])) if match else (name, 1)


def without_gaps(names: Iterable[str]) -> dict[str, str]:
    """Each name to its name once the numbers are 1, 2, 3 again.

    A gap is what is left where one site removed ``tel`` while another changed ``tel#2``.
    """
    counts: Counter[str] = Counter()
    renamed = {}
    for name in sorted(names, key=base_and_ordinal):
        base, _ = base_and_ordinal(name)
        counts[base] += 1
        renamed[name] = base if counts[base] == 1 else f"{base}#{counts[base]}"
    return renamed


def rewrite(
    block: Block, slots: Sequence[Slot], wanted: Mapping[str, str], render: Render
) -> bytes:
    """The block with exactly these fields; what does not change stays byte for byte.

    New properties come behind the last one, new sub-blocks before the END.
    """
    pieces = [item.raw for item in block.items]
    for slot in slots:
        if wanted.get(slot.name) == slot.value:
            continue
        for place in slot.places:
            pieces[place] = b""
        if slot.name in wanted:
            pieces[slot.places[0]] = render(wanted[slot.name], block.line_end)
    present = {slot.name for slot in slots}
    new = [wanted[name] for name in sorted(wanted, key=base_and_ordinal) if name not in present]
    lines = [render(one, block.line_end) for one in new if not one.startswith("BEGIN:")]
    blocks = [render(one, block.line_end) for one in new if one.startswith("BEGIN:")]
    subordinate = (place for place, item in enumerate(block.items) if isinstance(item, Block))
    middle = next(subordinate, len(pieces))
    pieces[middle:middle] = lines
    ends = [line.raw for line in block.tail]
    return b"".join([block.begin.raw, *pieces, *blocks, *ends])
