"""``mailsync link``: the same bundles over TCP/IP, live and both ways, until stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mailsync.cli.daemon import Telling, serve
from mailsync.cli.invocation import Invocation
from mailsync.cli.sync import known_peer
from mailsync.errors import BadConfiguration, UsageError

if TYPE_CHECKING:
    from mailsync.daemon.linking import Lines
    from mailsync.names import HostPort


@click.group()
def link() -> None:
    """Keep a live link with peers, over TCP/IP with TLS, until stopped."""


@link.command("serve")
@click.argument("address")
@click.pass_obj
def wait(invocation: Invocation, address: str) -> None:
    """Wait at ADDRESS, such as 0.0.0.0:7450 or [::]:7450, for the links of all peers."""
    from mailsync.daemon.linking import Lines  # noqa: PLC0415  slow

    peers = frozenset(invocation.settings().peers)
    _serve(invocation, Lines(peers, listen=_place(address), essential=True))


@link.command("connect")
@click.argument("peer")
@click.option("--address", help="Where the peer waits, instead of its link in the configuration.")
@click.pass_obj
def connect(invocation: Invocation, peer: str, address: str | None) -> None:
    """Link with PEER where it waits; called again whenever the link is lost."""
    from mailsync.daemon.linking import Lines  # noqa: PLC0415  slow

    settings = invocation.settings()
    known = known_peer(settings, peer).link if address is None else _place(address)
    if known is None:
        raise BadConfiguration(f"[peers.{peer}] has no link; name where it waits: --address")
    _serve(invocation, Lines(frozenset({peer}), calls={peer: known}))


def _serve(invocation: Invocation, lines: Lines) -> None:
    import asyncio  # noqa: PLC0415  slow, as all that follows

    from mailsync.daemon.service import Daemon  # noqa: PLC0415

    told = Telling(invocation.output)
    path = invocation.configuration_path()
    asyncio.run(serve(Daemon(path, told.tell, told.show, lines=lines, hear=told.hear)))
    invocation.output.line("summary", cycles=told.cycles)


def _place(address: str) -> HostPort:
    from mailsync.names import host_port  # noqa: PLC0415  beside its only use

    try:
        return host_port(address)
    except ValueError as error:
        raise UsageError(f"{address}: {error}") from None
