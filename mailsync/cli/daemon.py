"""``mailsync daemon``: poll, listen and send until stopped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

from mailsync.cli.invocation import Invocation
from mailsync.cli.meter import waiting_values, waiting_words
from mailsync.cli.output import Output
from mailsync.cli.sync import by_others, show_link
from mailsync.errors import NO_SPACE

if TYPE_CHECKING:
    from mailsync.cycle.links import Happening
    from mailsync.cycle.report import Report
    from mailsync.cycle.site import Site
    from mailsync.daemon.service import Daemon


@click.command()
@click.pass_obj
def daemon(invocation: Invocation) -> None:
    """Poll and send on schedule until stopped; SIGHUP reads the configuration again."""
    import asyncio  # noqa: PLC0415  slow, as all that follows

    from mailsync.daemon.service import Daemon  # noqa: PLC0415

    told = Telling(invocation.output)
    serving = Daemon(invocation.configuration_path(), told.tell, told.show, hear=told.hear)
    asyncio.run(serve(serving))
    invocation.output.line("summary", cycles=told.cycles)


async def serve(serving: Daemon) -> None:
    """Serve until SIGTERM or SIGINT."""
    import asyncio  # noqa: PLC0415  slow, as all that follows
    import signal  # noqa: PLC0415

    from mailsync.daemon.signals import heard, leave_after_grace  # noqa: PLC0415

    loop = asyncio.get_running_loop()
    work = asyncio.create_task(serving.serve())

    def stop() -> None:
        leave_after_grace()
        loop.call_soon_threadsafe(work.cancel)

    def reload() -> None:
        loop.call_soon_threadsafe(serving.reload)

    acts = {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGHUP: reload}
    with heard(acts):
        await asyncio.wait({work})
    if not work.cancelled():
        work.result()


@dataclass(slots=True)
class Telling:
    """Says what the daemon does, each remark with its time."""

    output: Output
    cycles: int = 0

    def tell(self, text: str) -> None:
        """A remark."""
        from datetime import datetime  # noqa: PLC0415  beside its only use

        now = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        with _unless_full():
            self.output.say(f"{now} {text}")

    def hear(self, happening: Happening) -> None:
        """Something about links."""
        with _unless_full():
            show_link(self.output, happening, self.tell)

    def show(self, site: Site, report: Report) -> None:
        """A cycle that did something."""
        self.cycles += 1
        peers = {name: asdict(report.peer(name)) for name in site.peers}
        for reason in report.rejected:
            self.tell(f"not used: {reason}")
        held = report.all_held()
        for dataset, reasons in held.items():
            for name, reason in sorted(reasons.items()):
                self.tell(f"held: {dataset} {name}: {reason}")
        for name in site.peers:
            self._show_peer(name, report)
        for name, waiting in report.waiting.items():
            for words in waiting_words(name, waiting):
                self.tell(words)
        with _unless_full():
            self.output.line(
                "cycle",
                peers=peers,
                detected=report.detected,
                held=held,
                rejected=report.rejected,
                waiting={name: waiting_values(held) for name, held in report.waiting.items()},
                exit=int(report.exit_code),
            )

    def _show_peer(self, name: str, report: Report) -> None:
        sent, received = report.peer(name).sent, report.peer(name).received
        for words in by_others(name, report.peer(name)):
            self.tell(words)
        if sent.mails or received.mails or received.bundles:
            self.tell(
                f"{name}: sent {sent.mails} mails ({sent.bytes} bytes), received"
                f" {received.mails} ({received.bytes} bytes): {received.upserts} records,"
                f" {received.deletes} deletes, {report.peer(name).conflicts} conflicts"
            )


@contextmanager
def _unless_full() -> Iterator[None]:
    """Inside, a disk that is full where the output goes costs words, not the service."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
