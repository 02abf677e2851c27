"""``mailsync held``: what waits for a person, why, and what to do with it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from mailsync.cli.invocation import Invocation
from mailsync.cli.output import moment
from mailsync.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mailsync.cli.output import Output
    from mailsync.cycle.site import Site
    from mailsync.store.mailbox import Look
    from mailsync.store.stops import Stop

LOCK_SECONDS = 30
"""How long a decision waits for a cycle under way."""

INCOMPLETE_SHOWN = 5
"""So many mails that are not complete are told one by one."""


@click.group()
def held() -> None:
    """Review what waits for a person."""


@held.command("list")
@click.pass_obj
def show_list(invocation: Invocation) -> None:
    """List what the guards stopped, held records and files, bundles set aside, incomplete mails."""
    from mailsync.cycle.site import open_site  # noqa: PLC0415  slow

    with (
        open_site(invocation.configuration_path()) as site,
        site.store.transaction() as transaction,
    ):
        stops = transaction.stops.all()
        records = transaction.history.held()
        bundles = transaction.inbox.quarantined()
        mails = transaction.mailbox.waiting()
    output = invocation.output
    show_stops(output, stops)
    for item in records:
        output.line("held", **{**item._asdict(), "since": moment(item.since)})
    for number, peer, reason, at in bundles:
        output.line("bundle", number=number, peer=peer, reason=reason, since=moment(at))
    rows = [(f"{item.dataset} {item.name}", moment(item.since), item.reason) for item in records]
    rows += [(f"bundle {number} of {peer}", moment(at), why) for number, peer, why, at in bundles]
    if rows:
        output.table(("what", "since", "why"), rows)
    elif not stops and not mails:
        output.show("nothing is held")
    show_incomplete(output, mails)
    if bundles:
        output.say("Bundles: mailsync held release NUMBER tries again, held discard NUMBER drops.")
    output.line(
        "summary", stopped=len(stops), held=len(records), bundles=len(bundles), mails=len(mails)
    )


@held.command()
@click.argument("number", type=int, metavar="NUMBER")
@click.pass_obj
def release(invocation: Invocation, number: int) -> None:
    """Let the next sync take over what was stopped, or try a bundle once more."""
    from mailsync.cycle import releasing  # noqa: PLC0415  slow

    with _site(invocation) as site:
        stop = _decided(site, number, "waiting")
        if stop is not None:
            releasing.release(site, stop)
    state, words = "waiting", f"bundle {number} is tried again by the next sync"
    if stop is not None:
        state, words = "released", f"{stop.dataset}: the next sync takes it over: {stop.text}"
    invocation.output.show(words)
    invocation.output.line("summary", number=number, state=state)


@held.command()
@click.argument("number", type=int, metavar="NUMBER")
@click.pass_obj
def discard(invocation: Invocation, number: int) -> None:
    """Bring back what is gone from a dataset; or drop a bundle: its sender will send it again."""
    from mailsync.cycle import releasing  # noqa: PLC0415  slow
    from mailsync.cycle.report import Report  # noqa: PLC0415

    with _site(invocation) as site:
        stop = _decided(site, number, "ignored")
        brought = None if stop is None else releasing.discard(site, stop, Report())
    state, words = "ignored", f"bundle {number} is dropped"
    if stop is not None:
        state, words = "discarded", f"{stop.dataset}: {brought} records were brought back"
    invocation.output.show(words)
    invocation.output.line("summary", number=number, state=state, records=brought)


def show_stops(output: Output, stops: Iterable[Stop]) -> None:
    """What the guards stopped, and how each is released."""
    for stop in stops:
        command = f"mailsync held release {stop.number}"
        released = "; released, the next sync takes it over" if stop.meant else ""
        output.show(f"! {stop.number}  {stop.dataset}: {stop.text}{released}")
        if not released:
            output.show(f"  since {moment(stop.since)}; if it is meant: {command}")
        output.line(
            "stopped",
            number=stop.number,
            dataset=stop.dataset,
            guard=stop.kind,
            records=stop.records,
            reason=stop.text,
            released=bool(stop.meant),
            since=moment(stop.since),
            release=command,
        )


def show_incomplete(output: Output, mails: Iterable[Look]) -> None:
    """Mails that seem to be ours and of which nothing can be used yet: why, and since when."""
    listed = sorted(mails, key=lambda look: look.since)
    for mail in listed[:INCOMPLETE_SHOWN]:
        output.show(
            f"incomplete: mail {mail.place.number} in {mail.place.folder}: {mail.note} "
            f"(since {moment(mail.since)}; looked at again {moment(mail.look_at)})"
        )
    if len(listed) > INCOMPLETE_SHOWN:
        output.show(f"incomplete: and {len(listed) - INCOMPLETE_SHOWN} more mails")
    for mail in listed:
        output.line(
            "incomplete",
            folder=mail.place.folder,
            number=mail.place.number,
            reason=mail.note,
            since=moment(mail.since),
            look_at=moment(mail.look_at),
        )


@contextmanager
def _site(invocation: Invocation) -> Iterator[Site]:
    """The site, with nobody else at work on it."""
    from mailsync.cycle.site import open_site  # noqa: PLC0415  slow

    with (
        open_site(invocation.configuration_path()) as site,
        site.store.lock(LOCK_SECONDS),
    ):
        yield site


def _decided(site: Site, number: int, state: str) -> Stop | None:
    """What was stopped under this number; None for a bundle, which now is in this state."""
    with site.store.transaction() as transaction:
        stop = next((one for one in transaction.stops.all() if one.number == number), None)
        if stop is None:
            if number not in {found for found, *_ in transaction.inbox.quarantined()}:
                raise UsageError(f"there is no bundle {number} set aside; see: mailsync held list")
            transaction.inbox.reopen(number, state)
    return stop
