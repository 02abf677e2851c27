"""``mailsync held``: what waits for a person, why, and what to do with it."""

from __future__ import annotations

import click

from mailsync.cli.invocation import Invocation
from mailsync.cli.output import moment
from mailsync.errors import UsageError

LOCK_SECONDS = 30
"""How long a decision waits for a cycle under way."""


@click.group()
def held() -> None:
    """Review what waits for a person."""


@held.command("list")
@click.pass_obj
def show_list(invocation: Invocation) -> None:
    """List held records and files, and bundles set aside."""
    from mailsync.cycle.site import open_site  # noqa: PLC0415  slow

    with (
        open_site(invocation.configuration_path()) as site,
        site.store.transaction() as transaction,
    ):
        records = transaction.history.held()
        bundles = transaction.inbox.quarantined()
    output = invocation.output
    for item in records:
        output.line("held", **{**item._asdict(), "since": moment(item.since)})
    for number, peer, reason, at in bundles:
        output.line("bundle", number=number, peer=peer, reason=reason, since=moment(at))
    rows = [(f"{item.dataset} {item.name}", moment(item.since), item.reason) for item in records]
    rows += [(f"bundle {number} of {peer}", moment(at), why) for number, peer, why, at in bundles]
    if rows:
        output.table(("what", "since", "why"), rows)
    else:
        output.show("nothing is held")
    if bundles:
        output.say("Bundles: mailsync held release NUMBER tries again, held discard NUMBER drops.")
    output.line("summary", held=len(records), bundles=len(bundles))


@held.command()
@click.argument("number", type=int, metavar="NUMBER")
@click.pass_obj
def release(invocation: Invocation, number: int) -> None:
    """Let the next sync try a bundle that was set aside once more."""
    _decide(invocation, number, "waiting")
    invocation.output.show(f"bundle {number} is tried again by the next sync")


@held.command()
@click.argument("number", type=int, metavar="NUMBER")
@click.pass_obj
def discard(invocation: Invocation, number: int) -> None:
    """Drop a bundle that was set aside; its sender will send what it held again."""
    _decide(invocation, number, "ignored")
    invocation.output.show(f"bundle {number} is dropped")


def _decide(invocation: Invocation, number: int, state: str) -> None:
    from mailsync.cycle.site import open_site  # noqa: PLC0415  slow

    with (
        open_site(invocation.configuration_path()) as site,
        site.store.lock(LOCK_SECONDS),
        site.store.transaction() as transaction,
    ):
        if number not in {found for found, *_ in transaction.inbox.quarantined()}:
            raise UsageError(f"there is no bundle {number} set aside; see: mailsync held list")
        transaction.inbox.reopen(number, state)
    invocation.output.line("summary", number=number, state=state)
