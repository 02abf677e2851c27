"""``mailsync reconcile``: two datasets this machine can reach, compared and made equal."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from mailsync.cli.invocation import Invocation
from mailsync.cli.output import Output
from mailsync.cli.sync import Bars
from mailsync.errors import Exit, MailsyncError, UsageError

if TYPE_CHECKING:
    from mailsync.core.model import Value
    from mailsync.reconcile.findings import Ambiguous, Difference, Finding, Refused
    from mailsync.reconcile.pairing import Pair
    from mailsync.reconcile.reading import Reading
    from mailsync.reconcile.reconciliation import Reconciliation

BOTH: Final = "both"
DIRECTIONS: Final = ("source-to-target", "target-to-source", BOTH)
MAP: Final = "SHARED=OWN,..."
KINDS: Final = ("added", "changed", "missing", "ambiguous", "refused")


def _names(_ctx: click.Context, _parameter: click.Parameter, text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",")) if text else ()


def _map(
    _ctx: click.Context, _parameter: click.Parameter, text: str | None
) -> dict[str, str] | None:
    """Shared names to own ones; an own one may have an equals sign."""
    pairs = [pair.partition("=") for pair in text.split(",")] if text else []
    if any(not own for _, _, own in pairs):
        raise click.BadParameter(f"write {MAP}; what this cannot say, a section can")
    return {shared.strip(): own.strip() for shared, _, own in pairs} or None


@click.command()
@click.argument("source")
@click.argument("target")
@click.option("--table", help="The table of a database that names none.")
@click.option("--source-table", metavar="TABLE", help="The source's table.")
@click.option("--target-table", metavar="TABLE", help="The target's table.")
@click.option("--map", "target_map", callback=_map, metavar=MAP, help="The target's fields.")
@click.option("--source-map", callback=_map, metavar=MAP, help="The source's fields.")
@click.option("--key", callback=_names, metavar="FIELD,...", help="What tells rows apart.")
@click.option("--match", callback=_names, metavar="FIELD,...", help="What pairs records.")
@click.option("--apply", "writing", is_flag=True, help="Write; without, nothing is changed.")
@click.option(
    "--direction", type=click.Choice(DIRECTIONS), default=DIRECTIONS[0], help="Of copies."
)
@click.option("--delete", is_flag=True, help="Delete records that the other side lacks.")
@click.option("--prefer", type=click.Choice(("source", "target")), help="Whose edits win.")
@click.pass_context
def reconcile(
    ctx: click.Context,
    source: str,
    target: str,
    *,
    table: str | None,
    source_table: str | None,
    target_table: str | None,
    source_map: dict[str, str] | None,
    target_map: dict[str, str] | None,
    key: tuple[str, ...],
    match: tuple[str, ...],
    writing: bool,
    direction: str,
    delete: bool,
    prefer: str | None,
) -> None:
    """Compare two datasets, without sites; with --apply, make them equal.

    SOURCE and TARGET are URLs as in the configuration, a database's with its #TABLE behind, or
    the names of [datasets] sections.
    """
    from mailsync.reconcile.findings import Direction, Plan  # noqa: PLC0415  slow, as all below
    from mailsync.reconcile.opening import opened, reading_of  # noqa: PLC0415
    from mailsync.reconcile.pairing import Side  # noqa: PLC0415
    from mailsync.reconcile.places import Places  # noqa: PLC0415
    from mailsync.reconcile.reconciliation import Reconciliation  # noqa: PLC0415

    if prefer and direction != BOTH:
        raise UsageError("--prefer goes with --direction both; else the direction says who wins")
    if delete and direction == BOTH:
        raise UsageError("--delete needs a direction: nothing says which side deleted a record")
    invocation: Invocation = ctx.obj
    places = Places(invocation.settings, Path.cwd(), key, match)
    first = places.section(source, source_table or table, source_map)
    second = places.section(target, target_table or table, target_map)
    plan = Plan(Direction(direction), Side[prefer.upper()] if prefer else None, delete)
    with (
        Bars(invocation.output) as bars,
        opened(first, second, match, places.parent) as pair,
        reading_of(pair, bars.advance) as reading,
    ):
        reconciliation = Reconciliation(pair, reading, plan if writing else None, bars.advance)
        report = _Report(invocation.output, pair)
        try:
            for finding in reconciliation.findings():
                bars.stop()
                report.finding(finding)
        except MailsyncError:
            report.written(reconciliation)
            raise
        finally:
            bars.stop()
        report.summary(reconciliation, reading)
    ctx.exit(Exit.PARTLY if reconciliation.unsettled else Exit.OK)


class _Report:
    """What is said of a pair."""

    def __init__(self, output: Output, pair: Pair) -> None:
        self._output = output
        self._pair = pair
        self._counts: Counter[str] = Counter()
        for side, names in pair.left_out.items():
            if names:
                output.say(f"fields of the {side} that are not compared: {', '.join(names)}")

    def finding(self, finding: Finding) -> None:
        from mailsync.reconcile.findings import Ambiguous, Refused  # noqa: PLC0415  slow

        self._counts[finding.kind] += 1
        record = self._pair.label(finding.name)
        if isinstance(finding, Refused):
            words, values = _refused(finding)
        elif isinstance(finding, Ambiguous):
            words, values = _ambiguous(finding)
        else:
            words, values = _difference(finding)
        self._output.show(f"{finding.kind:<9} {record}: {words}")
        self._output.line(finding.kind, record=record, **values)

    def written(self, done: Reconciliation) -> None:
        """Something went wrong afterwards."""
        if count := done.written.total():
            self._output.say(f"{count} records were written before; another run does the rest")

    def summary(self, done: Reconciliation, reading: Reading) -> None:
        counts = {kind: self._counts[kind] for kind in KINDS}
        records = {str(side): reading.records[side] for side in self._pair.datasets}
        written = {str(side): done.written[side] for side in self._pair.datasets}
        parts = [f"{count} {kind}" for kind, count in counts.items() if count]
        parts += [f"{count} written to the {side}" for side, count in written.items() if count]
        if parts:
            verdict = f"{done.unsettled} still differ" if done.unsettled else "equal now"
            self._output.show(f"{', '.join(parts)}; {verdict}")
        else:
            self._output.say("equal")
        self._output.line(
            "summary",
            **counts,
            records=records,
            written=written,
            not_compared={str(side): names for side, names in self._pair.left_out.items()},
            equal=not done.unsettled,
        )


Said = tuple[str, dict[str, object]]
"""In words, and as the values of a JSON line."""


def _difference(found: Difference) -> Said:
    held = {str(side): holding for side, holding in found.held.items()}
    keys = {side: holding.key for side, holding in held.items()}
    if len(held) == 1:
        [(_, only)] = held.values()
        words = [f"{name} {_shown(value)}" for name, value in sorted(only.items())]
        return ", ".join(words), {"keys": keys, "fields": only}
    fields = {
        name: {side: one.fields[name] for side, one in held.items() if name in one.fields}
        for name in found.fields
    }
    words = [f"{name} {_both(values)}" for name, values in fields.items()]
    return "; ".join(words), {"keys": keys, "fields": fields}


def _both(values: dict[str, Value]) -> str:
    return ", ".join(
        f"{side} {_shown(values[side])}" if side in values else f"{side} without"
        for side in ("source", "target")
    )


def _ambiguous(found: Ambiguous) -> Said:
    counts = {str(side): count for side, count in found.counts.items()}
    keys = {str(side): list(some) for side, some in found.keys.items()}
    words = (f"{side} {count} ({', '.join(keys[side])})" for side, count in counts.items())
    return ", ".join(words), {"counts": counts, "keys": keys}


def _refused(found: Refused) -> Said:
    side = str(found.side)
    return f"{side}: {found.reason}", {"side": side, "key": found.key, "reason": found.reason}


def _shown(value: Value) -> str:
    if isinstance(value, bytes):
        return f"({len(value)} bytes)"
    return "NULL" if value is None else json.dumps(value, ensure_ascii=False)
