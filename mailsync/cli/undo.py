"""``mailsync undo``: take back what a bundle did here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mailsync.cli.invocation import Invocation
from mailsync.errors import Exit

if TYPE_CHECKING:
    from mailsync.cli.output import Output
    from mailsync.core.undoing import Undone

LOCK_SECONDS = 30
"""How long it waits for a cycle under way."""

_DONE = {
    "inserted": "deleted again",
    "deleted": "there again",
    "edited": "as it was",
}


@click.command()
@click.argument("bundle", type=click.IntRange(1, 2**63 - 1))
@click.option("--dry-run", is_flag=True, help="Show what it would do; write nothing.")
@click.pass_context
def undo(ctx: click.Context, bundle: int, *, dry_run: bool) -> None:
    """Bring back what an applied bundle overwrote, as new edits that the next sync sends.

    BUNDLE is its number in the log. What was written since stays, and is named.
    """
    from mailsync.cycle.report import Report  # noqa: PLC0415  slow
    from mailsync.cycle.site import open_site  # noqa: PLC0415
    from mailsync.cycle.undoing import rehearse_undo  # noqa: PLC0415
    from mailsync.cycle.undoing import undo as take_back  # noqa: PLC0415

    invocation: Invocation = ctx.obj
    with open_site(invocation.configuration_path()) as site:
        if dry_run:
            undone = rehearse_undo(site, bundle)
        else:
            with site.store.lock(LOCK_SECONDS):
                undone = take_back(site, bundle, Report())
    for one in undone:
        _show(invocation.output, one)
    left = sum(bool(one.left) for one in undone)
    words = "nothing was written" if dry_run else "the next sync sends it"
    invocation.output.show(f"{len(undone) - left} of {len(undone)} records undone; {words}")
    invocation.output.line(
        "summary", bundle=bundle, records=len(undone), left=left, dry_run=dry_run
    )
    ctx.exit(Exit.PARTLY if left else Exit.OK)


def _show(output: Output, one: Undone) -> None:
    from mailsync.core.model import Absent  # noqa: PLC0415  beside its only use

    name = f"{one.record.dataset} {one.record.guid.hex()}"
    if one.fields or not one.left:
        fields = ", ".join(sorted(one.fields)) if one.change.value == "edited" else ""
        output.show(f"{name}: {_DONE[one.change.value]}" + (f": {fields}" if fields else ""))
    for field, reason in one.left.items():
        output.show(f"{name}{f' {field}' if field else ''}: left, {reason}")
    output.line(
        "record",
        dataset=one.record.dataset,
        guid=one.record.guid,
        change=one.change.value,
        fields={
            field: None if isinstance(value, Absent) else value
            for field, value in one.fields.items()
        },
        left=dict(one.left),
    )
