"""``mailsync bundle``: bundles that come as files."""

from __future__ import annotations

from pathlib import Path

import click

from mailsync.cli.invocation import Invocation
from mailsync.cli.sync import show_report

LOCK_SECONDS = 30
"""How long to wait for a cycle under way."""


@click.group()
def bundle() -> None:
    """Take bundles from files."""


@bundle.command("import")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.pass_context
def take(ctx: click.Context, paths: tuple[Path, ...]) -> None:
    """Apply saved attachments or whole mails; mixing with mail is harmless."""
    from mailsync.cycle.report import Report  # noqa: PLC0415  slow
    from mailsync.cycle.run import import_files  # noqa: PLC0415
    from mailsync.cycle.site import open_site  # noqa: PLC0415

    invocation: Invocation = ctx.obj
    with (
        open_site(invocation.configuration_path()) as site,
        site.store.lock(LOCK_SECONDS),
    ):
        report = import_files(site, paths, Report())
        show_report(invocation.output, site, report)
    ctx.exit(report.exit_code)
