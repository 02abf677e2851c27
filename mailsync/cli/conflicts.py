"""``mailsync conflicts``: what lost, what won, and how to have it otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mailsync.cli.invocation import Invocation
from mailsync.cli.output import moment

if TYPE_CHECKING:
    from mailsync.core.model import Absent, Value
    from mailsync.cycle.conflicts import Conflict

LOCK_SECONDS = 30
"""How long a decision waits for a cycle under way."""


@click.group()
def conflicts() -> None:
    """Review conflicts."""


@conflicts.command("list")
@click.option("--all", "closed_too", is_flag=True, help="Closed ones too.")
@click.pass_obj
def show_list(invocation: Invocation, *, closed_too: bool) -> None:
    """List conflicts, newest last."""
    found = [c for c in _all(invocation) if closed_too or c.closed is None]
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
            )
        )
    if rows:
        output.table(("id", "dataset", "field", "winner", "loser", "sites", "when"), rows)
    else:
        output.show("no conflicts")
    output.line("summary", conflicts=len(found))


@conflicts.command("show")
@click.argument("conflict_id", metavar="ID")
@click.pass_obj
def show_one(invocation: Invocation, conflict_id: str) -> None:
    """Show one conflict, both sides and the record as it now stands."""
    from mailsync.core.model import merged_fields  # noqa: PLC0415  beside its only use
    from mailsync.cycle.conflicts import find_conflict, list_conflicts  # noqa: PLC0415  slow
    from mailsync.cycle.site import open_site  # noqa: PLC0415

    with (
        open_site(invocation.configuration_path()) as site,
        site.store.transaction() as transaction,
    ):
        conflict = find_conflict(list_conflicts(site, transaction), conflict_id)
        record = transaction.records.get(conflict.note.record)
        standing = None if record is None else merged_fields(record)
    output = invocation.output
    output.show(
        f"conflict {conflict.id}  {moment(conflict.entry.noted_at)}  {conflict.closed or 'open'}"
    )
    output.show(f"record   {conflict.note.record.dataset} {conflict.note.record.guid.hex()}")
    output.show(f"field    {conflict.field or '(the whole record: a delete met an edit)'}")
    output.show(f"winner   {_shown(conflict.winner)}   {conflict.sites[0]}")
    output.show(f"loser    {_shown(conflict.loser)}   {conflict.sites[1]}")
    output.show("the record now" if standing is not None else "the record is deleted")
    for name, value in sorted((standing or {}).items()):
        output.show(f"  {name} = {_shown(value)}")
    output.line("summary", **_columns(conflict), record=standing)


@conflicts.command()
@click.argument("conflict_id", metavar="ID")
@click.pass_obj
def resolve(invocation: Invocation, conflict_id: str) -> None:
    """Close a conflict: what won stays, here and at every other site."""
    from mailsync.cycle.conflicts import resolve as close  # noqa: PLC0415  slow
    from mailsync.cycle.site import open_site  # noqa: PLC0415

    with (
        open_site(invocation.configuration_path()) as site,
        site.store.lock(LOCK_SECONDS),
    ):
        conflict = close(site, conflict_id)
    invocation.output.show(f"closed {conflict.id[:8]}: {_shown(conflict.winner)} stays")
    invocation.output.line("summary", **_columns(conflict), resolution="kept")


@conflicts.command()
@click.argument("conflict_id", metavar="ID")
@click.pass_obj
def restore(invocation: Invocation, conflict_id: str) -> None:
    """Bring back what lost, as a new edit that the next sync sends to everybody."""
    from mailsync.cycle.conflicts import restore as bring_back  # noqa: PLC0415  slow
    from mailsync.cycle.report import Report  # noqa: PLC0415
    from mailsync.cycle.site import open_site  # noqa: PLC0415

    with (
        open_site(invocation.configuration_path()) as site,
        site.store.lock(LOCK_SECONDS),
    ):
        conflict = bring_back(site, conflict_id, Report())
    what = "the delete" if conflict.field is None else _shown(conflict.loser)
    invocation.output.show(f"restored {conflict.id[:8]}: {what}")
    invocation.output.line("summary", **_columns(conflict), resolution="restored")


def _all(invocation: Invocation) -> list[Conflict]:
    from mailsync.cycle.conflicts import list_conflicts  # noqa: PLC0415  slow
    from mailsync.cycle.site import open_site  # noqa: PLC0415

    with (
        open_site(invocation.configuration_path()) as site,
        site.store.transaction() as transaction,
    ):
        return list_conflicts(site, transaction)


def _columns(conflict: Conflict) -> dict[str, object]:
    from mailsync.core.model import Absent  # noqa: PLC0415  beside its only use

    return {
        "id": conflict.id,
        "dataset": conflict.note.record.dataset,
        "guid": conflict.note.record.guid,
        "field": conflict.field,
        "winner": None if isinstance(conflict.winner, Absent) else conflict.winner,
        "loser": None if isinstance(conflict.loser, Absent) else conflict.loser,
        "sites": list(conflict.sites),
        "when": moment(conflict.entry.noted_at),
        "closed": conflict.closed,
        "waits": conflict.waits,
        "reason": conflict.reason,
    }


def _shown(value: Value | Absent) -> str:
    from mailsync.core.model import Absent  # noqa: PLC0415  beside its only use

    if isinstance(value, Absent):
        return "(absent)"
    if isinstance(value, bytes):
        return f"({len(value)} bytes)"
    return "NULL" if value is None else str(value)
