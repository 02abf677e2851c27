"""``mailsync demo``: two sites on this machine, real mail between them, nothing left behind."""

from __future__ import annotations

import contextlib
import io
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from mailsync.cli.invocation import Invocation
from mailsync.cli.output import Output
from mailsync.cli.pair import pair
from mailsync.cli.setup import init
from mailsync.errors import Exit, OperatorError, UsageError

if TYPE_CHECKING:
    from mailsync.demo.scenario import Step
    from mailsync.demo.sites import Places

_FOUNDING: Final = {"init": init, "pair": pair}

_PLAY: Final = """
The sites are in {directory}. In another terminal, for example:
  mailsync -c {office} conflicts list
  sqlite3 {database} "UPDATE defects SET status = 'closed' WHERE id = 1"
  mailsync -c {ship} sync
  mailsync -c {office} sync
Their mail servers run until Ctrl-C, in memory alone."""


@click.command()
@click.option(
    "--keep",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Make the two sites in this empty directory, and leave them there.",
)
@click.option("--once", is_flag=True, help="Exit when the story is told: 0 if both ends are equal.")
@click.option(
    "--loss",
    type=click.IntRange(0, 50),
    default=0,
    metavar="PERCENT",
    help="Drop so many mails; double and delay as many others.",
)
@click.pass_context
def demo(ctx: click.Context, keep: Path | None, *, once: bool, loss: int) -> None:
    """Show two sites synchronizing by mail, on this machine alone."""
    import asyncio  # noqa: PLC0415  slow to import

    invocation: Invocation = ctx.obj
    with _directory(keep) as directory:
        equal = asyncio.run(_demonstrate(invocation.output, directory, loss, once=once))
    if keep is not None:
        invocation.output.say(f"The sites stay in {keep}; their mail servers have ended.")
    ctx.exit(Exit.OK if equal else Exit.FAILED)


async def _demonstrate(output: Output, directory: Path, loss: int, *, once: bool) -> bool:
    """Everything while the mail servers run; are both ends equal?"""
    from mailsync.carriers.embedded import embedded_servers  # noqa: PLC0415  the demo's alone
    from mailsync.demo.sites import Places, found  # noqa: PLC0415

    places = Places.under(directory)
    async with embedded_servers(places.users, loss) as ports:
        output.show(
            f"Mail servers of our own on 127.0.0.1: IMAP port {ports.imap}, SMTP port {ports.smtp}."
        )
        found(places, ports, _command, loss)
        output.show("Two sites, ship and office, each with its keys, have exchanged their cards.")
        equal = await _tell(output, places)
        if not once:
            await _linger(output, places)
    return equal


def _command(configuration: Path, *words: str) -> None:
    """One of mailsync's own commands as if typed; its words would only distract."""
    name, *arguments = words
    invocation = Invocation(configuration, Output(quiet=True))
    with contextlib.redirect_stdout(io.StringIO()):
        _FOUNDING[name].main(arguments, name, standalone_mode=False, obj=invocation)


async def _tell(output: Output, places: Places) -> bool:
    """Play the story, and sum it up; are both ends equal?"""
    from mailsync.demo.scenario import play  # noqa: PLC0415  as above

    begin = output.clock()
    steps: list[Step] = []
    async for step in play(places):
        steps.append(step)
        _show(output, len(steps), step)
    seconds = round(output.clock() - begin, 1)
    traffic = [sending.traffic for step in steps for sending in step.sendings]
    mails, size = sum(one.mails for one in traffic), sum(one.bytes for one in traffic)
    equal = steps[-1].facts["equal"] is True
    verdict = "Both ends are equal" if equal else "BOTH ENDS ARE NOT EQUAL"
    output.show(f"\n{verdict}, after {mails} mails with {size / 1000:.1f} kB in {seconds} seconds.")
    output.line(
        "summary",
        **steps[-1].facts,
        mails=mails,
        bytes=size,
        conflicts=sum(step.conflicts for step in steps),
        seconds=seconds,
        directory=places.directory,
    )
    return equal


def _show(output: Output, number: int, step: Step) -> None:
    output.show(f"\n{number}. {step.headline}")
    for line in step.lines:
        output.show(f"   {line}")
    sent = [
        {"from": sending.sender, "to": sending.recipient, **asdict(sending.traffic)}
        for sending in step.sendings
    ]
    output.line("step", number=number, name=step.name, sent=sent, **step.facts)


async def _linger(output: Output, places: Places) -> None:
    """Keep the mail servers running until somebody has seen enough."""
    import asyncio  # noqa: PLC0415  see above

    enough = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, enough.set)
    ship, office = places.ship, places.office
    output.say(
        _PLAY.format(
            directory=places.directory,
            ship=ship.configuration,
            office=office.configuration,
            database=ship.database,
        )
    )
    await enough.wait()


@contextlib.contextmanager
def _directory(keep: Path | None) -> Iterator[Path]:
    """Where the sites go: a directory to be kept, or one that is gone afterwards."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="mailsync-demo-") as name:
            yield Path(name)
        return
    _require_empty(keep)
    yield keep.absolute()


def _require_empty(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        occupied = any(directory.iterdir())
    except OSError as error:
        raise OperatorError(f"--keep {directory}: {error.strerror}") from error
    if occupied:
        raise UsageError(f"--keep {directory}: this directory is not empty")
