"""``mailsync doctor``: is everything in order, and if not, what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mailsync.cli.invocation import Invocation

if TYPE_CHECKING:
    from pathlib import Path

    from mailsync.cli.output import Output
    from mailsync.doctor.finding import Finding


@click.command()
@click.argument("peer", required=False, metavar="[PEER]")
@click.option("--no-mail", is_flag=True, help="Send no mail to oneself.")
@click.pass_context
def doctor(ctx: click.Context, peer: str | None, *, no_mail: bool) -> None:
    """Check configuration, keys, state, disk, datasets, servers, clock and peers."""
    import asyncio  # noqa: PLC0415  slow, as all that follows

    from mailsync.doctor.examination import exit_code  # noqa: PLC0415
    from mailsync.doctor.finding import Grade  # noqa: PLC0415

    invocation: Invocation = ctx.obj
    output = invocation.output
    path = invocation.configuration_path()
    findings = asyncio.run(_shown(output, path, peer, mail=not no_mail))
    counts = {grade: sum(found.grade is grade for found in findings) for grade in Grade}
    output.show(
        f"{counts[Grade.OK]} in order, {counts[Grade.WARNING]} warnings,"
        f" {counts[Grade.FAILURE]} failures"
    )
    code = exit_code(findings)
    named = {grade.value: count for grade, count in counts.items()}
    output.line("summary", **named, exit=int(code))
    ctx.exit(code)


async def _shown(output: Output, path: Path, peer: str | None, *, mail: bool) -> list[Finding]:
    """Every finding, shown when it is there: some take their time."""
    from mailsync.doctor.examination import examine  # noqa: PLC0415  slow

    findings = []
    async for finding in examine(path, peer, mail=mail):
        output.show(f"{finding.grade.value:<8} {finding.name}: {finding.what}")
        if finding.fix:
            output.show(f"         -> {finding.fix}")
        output.line(
            "finding",
            name=finding.name,
            grade=finding.grade.value,
            what=finding.what,
            fix=finding.fix,
            code=int(finding.exit_code),
        )
        findings.append(finding)
    return findings
