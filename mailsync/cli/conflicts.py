"""``mailsync conflicts``: what lost, what won, and how to have it otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from mailsync.cli.invocation import Invocation
from mailsync.cli.output import moment
from mailsync.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailsync.cli.output import Output
    from mailsync.core.model import Absent, Value
    from mailsync.cycle.comparing import Author, Comparison, Line
    from mailsync.cycle.conflicts import Choice, Conflict

LOCK_SECONDS = 30
"""How long a decision waits for a cycle under way."""


@click.group()
def conflicts() -> None:
    """Review conflicts."""


@conflicts.command("list")
@click.option("--all", "closed_too", is_flag=True, help="Closed ones too.")
@click.option("--dataset", help="Of this dataset alone.")
@click.pass_obj
def show_list(invocation: Invocation, dataset: str | None, *, closed_too: bool) -> None:
    """List conflicts, newest last."""
    found = [
        conflict
        for conflict in _all(invocation)
        if (closed_too or conflict.closed is None)
        and dataset in (None, conflict.note.record.dataset)
    ]
    _require_dataset(invocation, dataset, found)
    output = invocation.output
    rows = []
    for conflict in found:
        output.line("conflict", **_columns(conflict))
        rows.append(
            (
                conflict.id[:8],
                conflict.note.record.dataset,
                conflict.field or "(delete)",
                _shown(conflict.winner),
                _shown(conflict.loser),
                " over ".join(conflict.sites),
                moment(conflict.entry.noted_at),
                "waits for you" if conflict.waits else conflict.closed or "",
            )
        )
    if rows:
        head = ("id", "dataset", "field", "winner", "loser", "sites", "when", "")
        output.table(head, rows)
    else:
        output.show("no conflicts")
    output.line("summary", conflicts=len(found))


@conflicts.command("show")
@click.argument("conflict_id", metavar="ID")
@click.pass_obj
def show_one(invocation: Invocation, conflict_id: str) -> None:
    """Show one conflict side by side: what there was before, what stands, what lost."""
    from mailsync.cycle.comparing import compare  # noqa: PLC0415  slow
    from mailsync.cycle.site import open_site  # noqa: PLC0415

    with (
        open_site(invocation.configuration_path()) as site,
        site.store.transaction() as transaction,
    ):
        found = compare(site, transaction, conflict_id)
    output, conflict = invocation.output, found.conflict
    state = "waits for you" if conflict.waits else conflict.closed or "open"
    output.show(f"conflict {conflict.id}  {moment(conflict.entry.noted_at)}  {state}")
    output.show(f"record   {conflict.note.record.dataset} {conflict.note.record.guid.hex()}")
    if conflict.reason is not None:
        output.show(f"why      {conflict.reason}")
    _show_sides(output, found)
    for other in found.together:
        output.show(f"see also {other.id[:8]}: {other.field}, lost by the same write")
    output.line(
        "summary",
        **_columns(conflict),
        record={line.field: _plain(line.here) for line in found.lines} if found.stands else None,
        here=_author(found.here),
        there=_author(found.there),
        fields=[_side_by_side(line) for line in found.lines],
    )


def _show_sides(output: Output, found: Comparison) -> None:
    deleted = found.conflict.field is None
    head = (
        "",
        "base",
        "here" if found.here is None else f"here: {found.here.site}, {moment(found.here.at)}",
        f"there: {found.there.site}, {moment(found.there.at)}",
    )
    rows = [
        (
            line.field,
            _shown(line.base) if line.knows_base else "(unknown)",
            _shown(line.here) if found.stands else "(deleted)",
            "(deleted)" if deleted else _shown(line.there),
        )
        for line in found.lines
    ]
    output.sides(head, rows, {row for row, line in enumerate(found.lines) if line.differs})
    if not found.lines:
        output.show("the record is gone for good")


def chosen(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say which conflicts are meant."""
    for decorate in (
        click.option("--dataset", help="With --all: of this dataset alone."),
        click.option("--all", "everything", is_flag=True, help="All open ones."),
        click.option(
            "--alike",
            multiple=True,
            metavar="ID",
            help="All open ones of the same dataset, field and pair of sites.",
        ),
        click.argument("conflict_ids", nargs=-1, metavar="[ID]..."),
    ):
        command = decorate(command)
    return command


@conflicts.command()
@chosen
@click.pass_obj
def resolve(
    invocation: Invocation,
    conflict_ids: tuple[str, ...],
    alike: tuple[str, ...],
    dataset: str | None,
    *,
    everything: bool,
) -> None:
    """Close conflicts: what won stays, here and at every other site."""
    from mailsync.cycle.conflicts import resolve_all  # noqa: PLC0415  slow
    from mailsync.cycle.site import open_site  # noqa: PLC0415

    choice = _choice(conflict_ids, alike, dataset, everything=everything)
    with (
        open_site(invocation.configuration_path()) as site,
        site.store.lock(LOCK_SECONDS),
    ):
        found = resolve_all(site, choice)
    _require_dataset(invocation, dataset, found)
    for conflict in found:
        invocation.output.show(f"closed {conflict.id[:8]}: {_shown(conflict.winner)} stays")
    _tell(invocation.output, found, "kept")


@conflicts.command()
@chosen
@click.pass_obj
def restore(
    invocation: Invocation,
    conflict_ids: tuple[str, ...],
    alike: tuple[str, ...],
    dataset: str | None,
    *,
    everything: bool,
) -> None:
    """Bring back what lost, as new edits that the next sync sends to everybody."""
    from mailsync.cycle.conflicts import gone_for_good, restore_all  # noqa: PLC0415  slow
    from mailsync.cycle.report import Report  # noqa: PLC0415
    from mailsync.cycle.site import open_site  # noqa: PLC0415

    choice = _choice(conflict_ids, alike, dataset, everything=everything)
    with (
        open_site(invocation.configuration_path()) as site,
        site.store.lock(LOCK_SECONDS),
    ):
        restored = restore_all(site, choice, Report())
    _require_dataset(invocation, dataset, [*restored.back, *restored.gone])
    for conflict in restored.back:
        what = "the delete" if conflict.field is None else _shown(conflict.loser)
        invocation.output.show(f"restored {conflict.id[:8]}: {what}")
    for conflict in restored.older:
        words = "is still open: something that was written later came back instead"
        invocation.output.show(f"{conflict.id[:8]} {words}")
    for conflict in restored.gone:
        if not restored.back:
            raise gone_for_good(conflict)
        invocation.output.say(str(gone_for_good(conflict)))
    _tell(invocation.output, restored.back, "restored", open=len(restored.older))


def _choice(
    ids: tuple[str, ...], alike: tuple[str, ...], dataset: str | None, *, everything: bool
) -> Choice:
    """Raises UsageError where nothing is chosen."""
    from mailsync.cycle.conflicts import Choice  # noqa: PLC0415  slow

    if not (ids or alike or everything):
        raise UsageError("name conflicts by their ids, or say --alike ID or --all")
    if dataset is not None and not everything:
        raise UsageError("--dataset goes with --all")
    return Choice(ids, alike, everything, dataset)


def _require_dataset(
    invocation: Invocation, dataset: str | None, found: Sequence[Conflict]
) -> None:
    """Raise UsageError for a dataset that has no section, unless conflicts of it were found."""
    settings = invocation.settings()
    if dataset is not None and not found and not settings.section_of(dataset):
        known = ", ".join(sorted(settings.datasets)) or "none yet"
        raise UsageError(f"there is no dataset {dataset} in {settings.path}; datasets: {known}")


def _tell(output: Output, found: Sequence[Conflict], resolution: str, **counts: int) -> None:
    for conflict in found:
        output.line("conflict", **_columns(conflict))
    if not found:
        output.show("no conflicts")
    only = _columns(found[0]) if len(found) == 1 else {}
    output.line("summary", **only, conflicts=len(found), **counts, resolution=resolution)


def _all(invocation: Invocation) -> list[Conflict]:
    from mailsync.cycle.conflicts import list_conflicts  # noqa: PLC0415  slow
    from mailsync.cycle.site import open_site  # noqa: PLC0415

    with (
        open_site(invocation.configuration_path()) as site,
        site.store.transaction() as transaction,
    ):
        return list_conflicts(site, transaction)


def _columns(conflict: Conflict) -> dict[str, object]:
    return {
        "id": conflict.id,
        "dataset": conflict.note.record.dataset,
        "guid": conflict.note.record.guid,
        "field": conflict.field,
        "winner": _plain(conflict.winner),
        "loser": _plain(conflict.loser),
        "sites": list(conflict.sites),
        "when": moment(conflict.entry.noted_at),
        "closed": conflict.closed,
        "waits": conflict.waits,
        "reason": conflict.reason,
    }


def _side_by_side(line: Line) -> dict[str, object]:
    sides = {"here": _plain(line.here), "there": _plain(line.there)}
    base = {"base": _plain(line.base)} if line.knows_base else {}
    return {"field": line.field, **base, **sides, "differs": line.differs}


def _author(author: Author | None) -> dict[str, object] | None:
    return None if author is None else {"site": author.site, "at": moment(author.at)}


def _plain(value: Value | Absent) -> Value:
    from mailsync.core.model import Absent  # noqa: PLC0415  beside its only use

    return None if isinstance(value, Absent) else value


def _shown(value: Value | Absent) -> str:
    from mailsync.core.model import Absent  # noqa: PLC0415  beside its only use

    if isinstance(value, Absent):
        return "(absent)"
    if isinstance(value, bytes):
        return f"({len(value)} bytes)"
    return "NULL" if value is None else str(value)
