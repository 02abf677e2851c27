"""``mailsync sync`` and ``mailsync plan``: one whole cycle, or what it would do."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Self

import click

from mailsync.cli.invocation import Invocation
from mailsync.cli.meter import in_words, priced, show_waiting
from mailsync.cli.output import Advance, Output
from mailsync.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mailsync.config import PeerSettings, Settings
    from mailsync.cycle.links import Happening
    from mailsync.cycle.planning import Plan
    from mailsync.cycle.report import PeerReport, Report
    from mailsync.cycle.site import Site


@click.command()
@click.argument("peers", nargs=-1, metavar="[PEER]...")
@click.option("--no-send", is_flag=True, help="Receive and apply only.")
@click.option("--no-receive", is_flag=True, help="Determine and send only.")
@click.option("--full", is_flag=True, help="Send again what is not confirmed yet.")
@click.option(
    "--allow-delete",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="So many records of a dataset may be deleted at once.",
)
@click.option("--ask", metavar="PEER", help="Ask this peer to synchronize in its next cycle.")
@click.option("--datasets", metavar="A,B", help="With --ask: only these; otherwise all.")
@click.pass_context
def sync(
    ctx: click.Context,
    peers: tuple[str, ...],
    *,
    no_send: bool,
    no_receive: bool,
    full: bool,
    allow_delete: int,
    ask: str | None,
    datasets: str | None,
) -> None:
    """Run one whole cycle: recover, receive, apply, determine, send."""
    import asyncio  # noqa: PLC0415  slow, as all that follows

    from mailsync.cycle.report import Report  # noqa: PLC0415
    from mailsync.cycle.run import Extent  # noqa: PLC0415
    from mailsync.cycle.site import open_site  # noqa: PLC0415
    from mailsync.cycle.syncing import synchronize  # noqa: PLC0415

    invocation: Invocation = ctx.obj
    if (datasets is not None and ask is None) or (ask is not None and no_send):
        raise UsageError("--datasets goes with --ask, and --ask not with --no-send")
    with open_site(invocation.configuration_path()) as site, site.store.lock():
        if ask is not None:
            _ask(site, ask, datasets, allow_delete)
        extent = Extent(
            receiving=not no_receive,
            sending=not no_send,
            everything=full,
            peers=chosen_peers(site, (*peers, ask) if peers and ask else peers),
            allow_delete=allow_delete,
        )
        with Bars(invocation.output) as bars:
            report = Report(progress=bars.advance)
            asyncio.run(synchronize(site, extent, report, bars.hear))
        show_report(invocation.output, site, report)
    ctx.exit(report.exit_code)


@click.command()
@click.argument("peers", nargs=-1, metavar="[PEER]...")
@click.pass_context
def plan(ctx: click.Context, peers: tuple[str, ...]) -> None:
    """Show what a sync would find and send, in records, mails and bytes; write nothing."""
    from mailsync.cycle.planning import plan_sync  # noqa: PLC0415  slow
    from mailsync.cycle.report import exit_of  # noqa: PLC0415
    from mailsync.cycle.site import open_site  # noqa: PLC0415

    invocation: Invocation = ctx.obj
    with open_site(invocation.configuration_path()) as site:
        planned = plan_sync(site, chosen_peers(site, peers))
        _show_plan(invocation.output, site, planned)
    ctx.exit(exit_of(planned.problems))


def _ask(site: Site, peer: str, datasets: str | None, deletes: int) -> None:
    from mailsync.cycle import asking  # noqa: PLC0415  slow

    chosen_peers(site, [peer])
    names = [] if datasets is None else [name.strip() for name in datasets.split(",")]
    asking.ask(site, peer, names, deletes)


def chosen_peers(site: Site, names: Iterable[str]) -> frozenset[str] | None:
    """These peers; None for all. Raises UsageError for an unknown name."""
    chosen = frozenset(names)
    for name in sorted(chosen):
        known_peer(site.settings, name)
    return chosen or None


def known_peer(settings: Settings, name: str) -> PeerSettings:
    """The section of a peer. Raises UsageError for an unknown name."""
    if name not in settings.peers:
        known = ", ".join(sorted(settings.peers)) or "none yet"
        raise UsageError(f"there is no peer {name} in {settings.path}; peers: {known}")
    return settings.peers[name]


def show_problems(output: Output, report: Report) -> None:
    """What stopped a part of a cycle, in words or as JSON lines."""
    for problem in report.problems:
        output.say(f"mailsync: error: {problem}\n{problem.advice}")
        output.line(
            "problem",
            code=int(problem.exit_code),
            message=str(problem),
            advice=problem.advice,
        )


def show_report(output: Output, site: Site, report: Report) -> None:
    """What a cycle did, in words or as JSON lines; the last one is the summary."""
    show_problems(output, report)
    for words in report.warnings:
        output.say(f"warning: {words}")
        output.line("warning", text=words)
    for words in report.rejected:
        output.say(f"not used: {words}")
        output.line("rejected", reason=words)
    for dataset, reasons in report.all_held().items():
        for name, reason in sorted(reasons.items()):
            output.say(f"held: {dataset} {name}: {reason}")
            output.line("held", dataset=dataset, name=name, reason=reason)
    for name in site.peers:
        counted = report.peer(name)
        theirs = report.withheld.get(name, {})
        counted.held += sum(map(len, (*report.held.values(), *theirs.values())))
        sent, received = counted.sent, counted.received
        cost = in_words(site, name, sent.bytes), in_words(site, name, received.bytes)
        output.show(
            f"{name}: sent {sent.upserts} records, {sent.deletes} deletes in {sent.mails} mails"
            f" ({cost[0]}); received {received.upserts} records,"
            f" {received.deletes} deletes in {received.mails} mails ({cost[1]});"
            f" {counted.conflicts} conflicts"
        )
        for words in by_others(name, counted):
            output.show(words)
    if report.undecided:
        output.show(f"{report.undecided} conflicts wait for you: see mailsync conflicts list")
    show_waiting(output, report.waiting)
    _say_loads(output, site)
    peers = {name: _counted(site, name, report) for name in site.peers}
    output.line(
        "summary",
        peers=peers,
        detected=report.detected,
        undecided=report.undecided,
        exit=int(report.exit_code),
    )


def by_others(name: str, counted: PeerReport) -> Iterator[str]:
    """What passed by other carriers than mail, one line each way and carrier."""
    for word, way in (("sent to", counted.sent), ("received from", counted.received)):
        for kind, carried in way.others.items():
            yield f"{word} {name} by {kind}: {carried.containers} bundles ({carried.bytes} bytes)"


def show_link(output: Output, happening: Happening, say: Callable[[str], None]) -> None:
    """Something about links, said or as a JSON line."""
    peer = f" with {happening.peer}" if happening.peer else ""
    say(f"link{peer} {happening.state}: {happening.words}")
    output.line("link", state=happening.state, peer=happening.peer or None, what=happening.words)


def _say_loads(output: Output, site: Site) -> None:
    """How far what goes in many mails has come: it is confirmed little by little."""
    from mailsync.cycle.health import examine_links, loads  # noqa: PLC0415  slow

    with site.store.transaction() as transaction:
        for link in examine_links(site, transaction):
            for words in loads(link):
                output.say(words)


def _counted(site: Site, name: str, report: Report) -> dict[str, object]:
    """What passed between us and a peer, for the summary."""
    counted = asdict(report.peer(name))
    for way in ("sent", "received"):
        counted[way] |= priced(site, name, counted[way]["bytes"])
    return counted


def _show_plan(output: Output, site: Site, planned: Plan) -> None:
    for problem in planned.problems:
        output.say(f"mailsync: error: {problem}\n{problem.advice}")
        output.line("problem", code=int(problem.exit_code), message=str(problem))
    for dataset, reasons in planned.held.items():
        for name, reason in sorted(reasons.items()):
            output.say(f"held: {dataset} {name}: {reason}")
    for name, moved in planned.moves.items():
        for dataset, counts in moved.items():
            output.show(
                f"{name}: {dataset}: {counts.entered} enter, {counts.left} leave its filter"
            )
            output.line("moved", peer=name, dataset=dataset, **counts._asdict())
    for name, peer in planned.peers.items():
        for dataset in sorted(peer.upserts | peer.deletes):
            output.show(
                f"{name}: {dataset}: {peer.upserts[dataset]} records,"
                f" {peer.deletes[dataset]} deletes{_alike(peer.alike[dataset])}"
            )
        for dataset in sorted(peer.matching):
            output.show(f"{name}: {dataset}: match digests, to find out what both sites have")
        cost = in_words(site, name, peer.bytes) if peer.by_mail else f"{peer.bytes} bytes"
        output.show(f"{name}: {peer.bulk}, {cost}; nothing was written")
    show_waiting(output, planned.waiting)
    peers = {
        name: {
            "upserts": dict(peer.upserts),  # asdict would count a Counter's items anew
            "deletes": dict(peer.deletes),
            "alike": dict(peer.alike),
            "matching": sorted(peer.matching),
            "carriers": peer.carriers,
            "bundles": peer.sent.bundles,
            "mails": peer.mails,
            "bytes": peer.sent.bytes,
            "others": {kind: asdict(carried) for kind, carried in peer.sent.others.items()},
            **priced(site, name, peer.sent.bytes),
        }
        for name, peer in planned.peers.items()
    }
    output.line("summary", peers=peers)


def _alike(records: int) -> str:
    return f", {records} of them known there already" if records else ""


class Bars:
    """One progress bar for each thing that is under way."""

    def __init__(self, output: Output) -> None:
        """None yet."""
        self._output = output
        self._stack = ExitStack()
        self._current = ""
        self._advance: Advance = lambda _: None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def stop(self) -> None:
        """No progress is shown while something else is."""
        self._stack.close()
        self._current = ""

    def hear(self, happening: Happening) -> None:
        """Something about links, shown beside the bars."""
        self.stop()
        show_link(self._output, happening, self._output.say)

    def advance(self, what: str, count: int, total: int | None = None, /) -> None:
        """So many more are done of what is under way, ``total`` in all if that is known."""
        if what != self._current:
            self._stack.close()
            self._advance = self._stack.enter_context(self._output.progress(what, total))
            self._current = what
        self._advance(count)
