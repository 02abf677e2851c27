"""``mailsync bundle``: bundles that go and come as files."""

from __future__ import annotations

from pathlib import Path

import click

from mailsync.cli.invocation import Invocation
from mailsync.cli.sync import Bars, chosen_peers, show_report
from mailsync.errors import UsageError

LOCK_SECONDS = 30
"""How long to wait for a cycle under way."""


@click.group()
def bundle() -> None:
    """Bundles as files: on a stick, or saved from mails."""


@bundle.command("export")
@click.argument("peer")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--full", is_flag=True, help="Also what is on its way and not confirmed yet.")
@click.pass_context
def give(ctx: click.Context, peer: str, folder: Path, *, full: bool) -> None:
    """Lay down in DIR, such as a stick, what is due to PEER; mixing with mail is harmless."""
    import asyncio  # noqa: PLC0415  slow, as all that follows

    from mailsync.cycle.report import Report  # noqa: PLC0415
    from mailsync.cycle.run import export_bundles  # noqa: PLC0415
    from mailsync.cycle.site import open_site  # noqa: PLC0415

    invocation: Invocation = ctx.obj
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}")
    with (
        open_site(invocation.configuration_path()) as site,
        site.store.lock(LOCK_SECONDS),
    ):
        chosen_peers(site, [peer])
        with Bars(invocation.output) as bars:
            report = Report(progress=bars.advance)
            asyncio.run(export_bundles(site, peer, folder, report, everything=full))
        show_report(invocation.output, site, report)
    ctx.exit(report.exit_code)


@bundle.command("import")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.pass_context
def take(ctx: click.Context, paths: tuple[Path, ...]) -> None:
    """Apply folders of bundles, saved attachments, whole mails; mixing with mail is harmless."""
    from mailsync.cycle.report import Report  # noqa: PLC0415  slow
    from mailsync.cycle.run import import_files  # noqa: PLC0415
    from mailsync.cycle.site import open_site  # noqa: PLC0415

    invocation: Invocation = ctx.obj
    with (
        open_site(invocation.configuration_path()) as site,
        site.store.lock(LOCK_SECONDS),
    ):
        with Bars(invocation.output) as bars:
            report = import_files(site, paths, Report(progress=bars.advance))
        show_report(invocation.output, site, report)
    ctx.exit(report.exit_code)
