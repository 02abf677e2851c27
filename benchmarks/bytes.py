"""How many bytes a change costs, as content and as whole mail, beside what others would send.

Ours is measured on two whole sites: what the one composes, signs and mails after its earlier
changes were confirmed, and what makes the other equal. The rivals are packed into the same thin
mail, unsigned. Run: ``python -m benchmarks.bytes [--json] [DATASET...]``.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.material import Edit, Material, Rows, carry_out, generated, legislators
from benchmarks.options import options_of
from benchmarks.rivals import Rival, RivalMissing, rivals
from benchmarks.two_sites import ADDRESSES, TwoSites, cycle, found_sites, keys_of, mail_of
from mailsync.carriers.base import NAME_SIZE, Letter, name_of_mail
from mailsync.core import container, sealing
from mailsync.core.model import Fields

OURS: Final = "mailsync"

MATERIALS: Final[dict[str, Callable[[], Material]]] = {
    "customers": lambda: generated("customers", 50_000, (1, 5, 20, 500, 5_000), (*6 * (500,), 7)),
    "contacts": lambda: generated("contacts", 5_000, (1, 5, 20, 100), (*6 * (100,), 7)),
    "events": lambda: generated("events", 2_000, (1, 5, 20, 40), (*6 * (40,), 7)),
    "legislators": lambda: legislators((1, 5, 20)),
}


class Cost(NamedTuple):
    """Bytes: what says the changes, and the mail it travels in."""

    content: int
    mail: int


@dataclass(frozen=True)
class Line:
    """What a change costs by each way, on average over the draws of one size of bundle."""

    dataset: str
    changes: int
    content: dict[str, float]
    mail: dict[str, float]


def measure(material: Material) -> list[Line]:
    """Every size of bundle, by us and by every rival. Raises RivalMissing."""
    ways = {name: _posted(rival) for name, rival in rivals(material).items()}
    with tempfile.TemporaryDirectory() as directory:
        ways = {OURS: _mailed(_prepared(Path(directory), material)), **ways}
        return [_line(material.name, ways, draws) for draws in material.bundles.values()]


def _line(
    dataset: str, ways: dict[str, Callable[[Sequence[Edit]], Cost]], draws: list[list[Edit]]
) -> Line:
    edits = sum(map(len, draws))
    costs = {name: [way(draw) for draw in draws] for name, way in ways.items()}
    return Line(
        dataset,
        len(draws[0]),
        {name: sum(cost.content for cost in some) / edits for name, some in costs.items()},
        {name: sum(cost.mail for cost in some) / edits for name, some in costs.items()},
    )


def _prepared(directory: Path, material: Material) -> TwoSites:
    """Two sites that are equal and have confirmed to each other all that happened until now."""
    sites = found_sites(directory, material.name)
    sites.rows(sites.ship).update(material.rows)
    sites.settle()
    for edits in material.past[:-1]:
        carry_out(sites.rows(sites.ship), edits)
        sites.settle()
    for edits in material.past[-1:]:
        _carry_out_there(sites.rows(sites.office), edits)
        sites.settle()
    return sites


def _carry_out_there(rows: Rows, edits: Sequence[Edit]) -> None:
    """The other site has the same rows under keys of its own."""
    keys = {frozenset(fields.items()): key for key, fields in rows.items()}
    carry_out(
        rows,
        [
            edit if edit.old is None else edit._replace(key=keys[frozenset(edit.old.items())])
            for edit in edits
        ],
    )


def _mailed(sites: TwoSites) -> Callable[[Sequence[Edit]], Cost]:
    """Ours: one cycle after the edits, and one of the other site that must make both equal."""

    def way(edits: Sequence[Edit]) -> Cost:
        with sites.rehearsal() as rehearsed:
            carry_out(rehearsed.rows(rehearsed.ship), edits)
            cycle(rehearsed.ship)
            letters = list(rehearsed.network.in_transit)
            rehearsed.network.deliver_all()
            cycle(rehearsed.office)
            one, other = (
                _contents(rehearsed.rows(site).values())
                for site in (rehearsed.ship, rehearsed.office)
            )
            if one != other:
                raise AssertionError(f"{len(edits)} edits did not arrive as they were made")
        return Cost(
            sum(len(_content(letter)) for letter in letters),
            sum(len(mail_of(letter)) for letter in letters),
        )

    return way


def _contents(rows: Iterable[Fields]) -> set[frozenset[tuple[str, object]]]:
    """The rows without their keys, which differ from site to site; no two of ours are equal."""
    return {frozenset(fields.items()) for fields in rows}


def _content(letter: Letter) -> bytes:
    """What was encoded, before it was signed."""
    message = container.unframe(letter.container).body
    keys = keys_of("office")
    return sealing.open_message(message, receiver=keys, peers=[keys_of("ship").public]).content


def _posted(rival: Rival) -> Callable[[Sequence[Edit]], Cost]:
    """A rival's bytes, alone and in a mail like ours."""

    def way(edits: Sequence[Edit]) -> Cost:
        content = rival(edits)
        letter = Letter(
            recipient=ADDRESSES["office"],
            container=content,
            message_id=name_of_mail(bytes(NAME_SIZE), ADDRESSES["ship"]),
            label="00000000",
            profile="thin",
        )
        return Cost(len(content), len(mail_of(letter)))

    return way


def table(lines: Sequence[Line]) -> str:
    """The lines as text: bytes a change, and in brackets how many times ours that is."""
    names = list(dict.fromkeys(name for line in lines for name in line.content))
    head = f"{'dataset':12}{'changes':>8}  {'what':8}" + "".join(f"{name:>18}" for name in names)
    rows = [head]
    for line in lines:
        for what, costs in (("content", line.content), ("mail", line.mail)):
            cells = "".join(f"{_cell(costs, name):>18}" for name in names)
            rows.append(f"{line.dataset:12}{line.changes:8,}  {what:8}{cells}")
    return "\n".join(rows)


def _cell(costs: dict[str, float], name: str) -> str:
    if name not in costs:
        return "-"
    ratio = "" if name == OURS else f" ({costs[name] / costs[OURS]:.1f})"
    return f"{costs[name]:,.1f}{ratio}"


def summary(lines: Sequence[Line]) -> dict[str, object]:
    """Every line, and ours for the customers by size of bundle."""
    ours = [line for line in lines if line.dataset == "customers"]
    return {
        "content_per_change": {str(line.changes): round(line.content[OURS], 2) for line in ours},
        "mail_per_change": {str(line.changes): round(line.mail[OURS], 2) for line in ours},
        "single_mail": next((round(line.mail[OURS]) for line in ours if line.changes == 1), None),
        "lines": [vars(line) for line in lines],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, and with ``--json`` one object behind it."""
    parser = options_of(__doc__)
    parser.add_argument("datasets", nargs="*", metavar="DATASET", help=", ".join(MATERIALS))
    options = parser.parse_args(arguments)
    lines: list[Line] = []
    try:
        for name in options.datasets or MATERIALS:
            lines += measure(MATERIALS[name]())
    except RivalMissing as missing:
        sys.exit(str(missing))
    print(table(lines))
    if options.json:
        print(json.dumps(summary(lines)))


if __name__ == "__main__":
    main()
