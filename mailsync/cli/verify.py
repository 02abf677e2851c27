"""``mailsync verify``: whether peers hold the same, asked and answered by mail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mailsync.cli.invocation import Invocation
from mailsync.cli.output import moment
from mailsync.cli.sync import Bars, chosen_peers, show_problems
from mailsync.errors import Exit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mailsync.cli.output import Output
    from mailsync.core.proving import Inquiry

SHOWN_MAX = 20
"""Records that differ, shown to a person; scripts get more."""


@click.command()
@click.argument("peers", nargs=-1, metavar="[PEER]...")
@click.option("--repair", is_flag=True, help="Mend what differs.")
@click.pass_context
def verify(ctx: click.Context, peers: tuple[str, ...], *, repair: bool) -> None:
    """Prove by mail that peers hold the same, or find what differs.

    Asks, and runs one cycle. The answer comes with a later sync; the next verify shows it.
    """
    import asyncio  # noqa: PLC0415  slow, as all that follows

    from mailsync.cycle.report import Report  # noqa: PLC0415
    from mailsync.cycle.site import open_site  # noqa: PLC0415
    from mailsync.cycle.syncing import run_verification  # noqa: PLC0415

    invocation: Invocation = ctx.obj
    with open_site(invocation.configuration_path()) as site, site.store.lock():
        chosen = chosen_peers(site, peers)
        with Bars(invocation.output) as bars:
            report = Report(progress=bars.advance)
            work = run_verification(site, chosen, report, bars.hear, repair=repair)
            inquiries = asyncio.run(work)
        show_problems(invocation.output, report)
    for name, inquiry in inquiries.items():
        if inquiry is not None:
            _show(invocation.output, name, inquiry)
    code = _exit_code(inquiries.values())
    _summarize(invocation.output, inquiries.values(), code)
    ctx.exit(report.exit_code if report.problems else code)


def _show(output: Output, peer: str, inquiry: Inquiry) -> None:
    from mailsync.cycle.verifying import in_words  # noqa: PLC0415  slow

    found = inquiry.finding
    if found is None:
        output.show(f"{peer}: asked {moment(inquiry.asked_at)}, answer awaited")
        output.line("proof", peer=peer, asked=moment(inquiry.asked_at), equal=None)
        return
    output.show(f"{peer}: {in_words(found)} ({moment(found.at)})")
    for dataset, guid in found.records[:SHOWN_MAX]:
        output.show(f"  {dataset} {guid.hex()}")
    if len(found.records) > SHOWN_MAX:
        output.show(f"  and {len(found.records) - SHOWN_MAX} more; all: --json, or mailsync log")
    if found.equal is False and not found.mending:
        output.say(f"mailsync verify {peer} --repair mends them; log GUID tells of each.")
    output.line(
        "proof",
        peer=peer,
        asked=moment(inquiry.asked_at),
        at=moment(found.at),
        equal=found.equal,
        differing=found.differing,
        in_flight=found.in_flight,
        mending=found.mending,
        without=list(found.without),
        records=[[dataset, guid.hex()] for dataset, guid in found.records],
    )


def _exit_code(inquiries: Iterable[Inquiry | None]) -> Exit:
    """Something differs, else something is awaited."""
    found = [None if one is None or one.finding is None else one.finding.equal for one in inquiries]
    if False in found:
        return Exit.PARTLY
    return Exit.TEMPORARY if None in found else Exit.OK


def _summarize(output: Output, inquiries: Iterable[Inquiry | None], code: Exit) -> None:
    found = [one.finding for one in inquiries if one is not None and one.finding is not None]
    equal = {Exit.OK: True, Exit.PARTLY: False}.get(code)
    output.line("summary", equal=equal, differing=sum(one.differing for one in found))
