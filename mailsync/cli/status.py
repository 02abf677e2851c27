"""``mailsync status`` and ``mailsync log``: what is, and what happened."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mailsync.cli.held import show_incomplete, show_stops
from mailsync.cli.invocation import Invocation
from mailsync.cli.meter import in_words, show_traffic, show_waiting, total, traffic
from mailsync.cli.meter import price as price_of
from mailsync.cli.output import moment
from mailsync.errors import UsageError

if TYPE_CHECKING:
    from mailsync.cli.output import Output
    from mailsync.core.proving import Finding
    from mailsync.core.requests import Asked
    from mailsync.cycle.health import LinkHealth
    from mailsync.cycle.report import Waiting
    from mailsync.cycle.site import Site
    from mailsync.store.history import Event
    from mailsync.store.transaction import Transaction


@click.command()
@click.pass_obj
def status(invocation: Invocation) -> None:
    """Show datasets, peers, what is on its way, and what waits for a person."""
    from mailsync.cycle.conflicts import list_conflicts  # noqa: PLC0415  slow
    from mailsync.cycle.site import open_site  # noqa: PLC0415

    output = invocation.output
    with open_site(invocation.configuration_path()) as site:
        held_back = _held_back(site)
        with site.store.transaction() as transaction:
            found = list_conflicts(site, transaction)
            _datasets(output, site, transaction)
            _peers(output, site, transaction)
            show_waiting(output, held_back)
            _mailbox(output, site, transaction)
            waiting = _waiting(output, transaction)
            show_incomplete(output, transaction.mailbox.waiting())
            mails = transaction.mailbox.counts()
    open_conflicts = sum(conflict.closed is None for conflict in found)
    undecided = sum(conflict.waits for conflict in found)
    if undecided:
        output.show(f"! {undecided} conflicts wait for you: see mailsync conflicts list")
    rejected = mails.get("rejected", 0)
    where = ": see mailsync log" if rejected else ""
    output.show(f"{open_conflicts} open conflicts, {rejected} mails rejected{where}")
    output.line(
        "summary",
        site=site.name,
        conflicts=open_conflicts,
        undecided=undecided,
        held=waiting,
        mails=mails,
    )


def _held_back(site: Site) -> dict[str, Waiting]:
    """By peer: what its budget holds back."""
    if all(peer.settings.budget is None for peer in site.peers.values()):
        return {}
    from mailsync.cycle.planning import what_waits  # noqa: PLC0415  slow, and seldom needed

    return what_waits(site)


@click.command()
@click.argument("subject", required=False, metavar="[PEER or GUID]")
@click.option("--traffic", "metered", is_flag=True, help="Show bytes by peer and day instead.")
@click.pass_obj
def log(invocation: Invocation, subject: str | None, *, metered: bool) -> None:
    """Show what happened: all of it, or with one peer, or to one record."""
    from mailsync.cli.story import tell  # noqa: PLC0415  slow, as all that follows
    from mailsync.core.model import Guid  # noqa: PLC0415
    from mailsync.cycle.site import open_site  # noqa: PLC0415
    from mailsync.cycle.story import stories  # noqa: PLC0415

    output = invocation.output
    with (
        open_site(invocation.configuration_path()) as site,
        site.store.transaction() as transaction,
    ):
        if metered:
            _traffic(output, site, transaction, subject)
            return
        if subject is None or subject in site.peers:
            events = transaction.history.events(peer=subject)
        else:
            guid = _guid(subject)
            events = transaction.history.events(guid=guid)
            tell(output, stories(site, transaction, Guid(guid)))
    for event in events:
        _show_event(output, event)
    output.line("summary", events=len(events))


def _traffic(output: Output, site: Site, transaction: Transaction, peer: str | None) -> None:
    """What every day brought, with one peer if given."""
    days = traffic(transaction)
    if peer is not None:
        days = {key: ways for key, ways in days.items() if key[0] == peer}
        if not days and peer not in site.peers:
            raise UsageError(f"there is no peer {peer}; --traffic takes no GUID")
    show_traffic(output, site, days)
    output.line("summary", days=len(days))


def _datasets(output: Output, site: Site, transaction: Transaction) -> None:
    rows, unheld = [], {}
    for name, section in site.sections.items():
        count = transaction.records.count(name)
        layout = transaction.layouts.layout(name)
        unheld[name] = sorted(transaction.layouts.unheld(name))
        rows.append((name, section.source.partition(":")[0], count))
        output.line(
            "dataset",
            name=name,
            source=section.shown,
            records=count,
            fields=None if layout is None else layout.fields,
            key=None if layout is None else layout.key,
            unheld=unheld[name],
        )
    if rows:
        output.table(("dataset", "kind", "records"), rows)
    for name, fields in unheld.items():
        if fields:
            words = "has no column for them, and keeps them for other sites"
            output.show(f"  {name}: {', '.join(fields)}: {words}.")
    for problem in site.expansion.unavailable.values():
        output.show(f"! {problem}")
        output.line("problem", code=int(problem.exit_code), message=str(problem))
    for group, tables in site.expansion.left_out.items():
        for table, reason in tables.items():
            output.show(f"  {group} leaves out {table}: {reason}")
            output.line("left_out", group=group, table=table, reason=reason)


def _peers(output: Output, site: Site, transaction: Transaction) -> None:
    from mailsync.cycle.budget import day_of  # noqa: PLC0415  slow
    from mailsync.cycle.health import examine_links  # noqa: PLC0415

    today = day_of(site.surroundings.now(), site.surroundings.zone)
    days = traffic(transaction)
    links = examine_links(site, transaction)
    for link in links:
        spent = total(days, link.peer, today)
        this_month = total(days, link.peer, today[:7])
        output.line(
            "peer",
            name=link.peer,
            carriers=link.carriers,
            linked=link.linked,
            heard=moment(link.heard_at),
            unconfirmed=len(link.unconfirmed),
            oldest_unconfirmed=moment(link.oldest_unconfirmed),
            confirmed=link.confirmed,
            lacking={name: share._asdict() for name, share in link.lacking.items()},
            received=link.received,
            missing=len(link.missing),
            missing_since=None if link.missing_since is None else moment(link.missing_since),
            queued=link.queued,
            sent_today=spent["sent"],
            received_today=spent["received"],
            sent_month=this_month["sent"],
            received_month=this_month["received"],
            **_prices(site, link.peer, spent, this_month),
            silent=link.silent,
            stale=link.stale,
            **_differing(link),
            policies=[one._asdict() for one in link.differing],
            reason=link.refusal,
            proof=_proof(link.proof),
            asking=_inquiry(link.asking),
            asked=_inquiry(link.asked),
        )
    rows = [
        (
            link.peer,
            moment(link.heard_at),
            len(link.unconfirmed),
            len(link.missing),
            link.queued,
            *total(days, link.peer, today).values(),
        )
        for link in links
    ]
    if rows:
        head = ("peer", "last heard", "unconfirmed", "missing", "queued", "sent", "received")
        output.table(head, rows)
    for link in links:
        for sentence in link.sentences():
            output.show(("! " if link.troubled else "  ") + sentence)
        amounts = (sum(total(days, link.peer, one).values()) for one in (today, today[:7]))
        day, month = (in_words(site, link.peer, amount) for amount in amounts)
        output.show(f"  Mail to and from {link.peer}: {day} today, {month} this month.")
    _clock(output, site, transaction)


def _clock(output: Output, site: Site, transaction: Transaction) -> None:
    from mailsync.cycle.clocks import AHEAD, was_ours  # noqa: PLC0415  slow
    from mailsync.cycle.health import clock_ahead  # noqa: PLC0415

    ahead = clock_ahead(site, transaction)
    if not ahead:
        return
    ours = was_ours(site, transaction)
    minutes, since = ahead // 60_000, transaction.warnings.since(AHEAD)
    if ours:
        output.show(f"! This site's clock was {minutes} minutes ahead: edits made then win.")
    else:
        output.show(f"! Some site's clock is {minutes} minutes ahead: its edits win.")
    known = None if since is None else moment(since)
    output.line("clock", ahead_seconds=ahead // 1000, ours=ours, since=known)


def _proof(found: Finding | None) -> dict[str, object] | None:
    if found is None:
        return None
    return {"at": moment(found.at), "equal": found.equal, "differing": found.differing}


def _inquiry(inquiry: Asked | None) -> dict[str, object] | None:
    """What was asked for, and when it was answered."""
    if inquiry is None:
        return None
    return {
        "datasets": sorted(inquiry.request.datasets),
        "deletes": inquiry.request.deletes,
        "at": moment(inquiry.at),
        "answered": None if inquiry.answered_at is None else moment(inquiry.answered_at),
    }


def _differing(link: LinkHealth) -> dict[str, object]:
    """The datasets and records that wait, or were refused, at either end."""
    found = {"held": link.held, "denied": link.denied, "denying": link.denying}
    records = {
        key: [[name, guid.hex()] for name, guid in sorted(listed)] for key, listed in found.items()
    }
    return {"refused": link.refused, "refusing": link.refusing, **records}


def _prices(
    site: Site, peer: str, day: dict[str, int], month: dict[str, int]
) -> dict[str, str | None]:
    """What today and this month cost, both ways; nothing where nobody said."""
    counted = {"price_today": day, "price_month": month}
    prices = {name: price_of(site, peer, sum(ways.values())) for name, ways in counted.items()}
    return {name: cost for name, cost in prices.items() if cost is not None}


def _mailbox(output: Output, site: Site, transaction: Transaction) -> None:
    from mailsync.cycle.pacing import reading_pause  # noqa: PLC0415  slow

    if reason := reading_pause(site, transaction):
        output.show(f"! The mailbox is {reason}")
        output.line("mailbox", reason=reason)


def _waiting(output: Output, transaction: Transaction) -> int:
    for warned in transaction.warnings.all():
        output.show(f"warning: {warned.text} (since {moment(warned.since)})")
        output.line("warning", text=warned.text, since=moment(warned.since))
    stops = transaction.stops.all()
    show_stops(output, stops)
    held = transaction.history.held()
    quarantined = transaction.inbox.quarantined()
    for item in held:
        output.show(f"held: {item.dataset} {item.name}: {item.reason} (since {moment(item.since)})")
        output.line("held", **item._asdict())
    for number, peer, reason, at in quarantined:
        output.show(f"set aside: bundle {number} of {peer}: {reason} ({moment(at)})")
        output.line("quarantined", number=number, peer=peer, reason=reason, since=moment(at))
    return len(stops) + len(held) + len(quarantined)


def _guid(subject: str) -> bytes:
    try:
        return bytes.fromhex(subject.replace("-", ""))
    except ValueError:
        raise UsageError(
            f"{subject} is neither a peer nor a GUID (32 hexadecimal digits, or 8)"
        ) from None


def _show_event(output: Output, event: Event) -> None:
    guid = "" if event.guid is None else f" {event.guid.hex()}"
    peer = f" {event.peer}" if event.peer else ""
    output.show(f"{moment(event.at)} {event.kind}{peer}{guid}: {event.text}")
    output.line(
        "event",
        at=moment(event.at),
        what=event.kind,
        peer=event.peer or None,
        guid=event.guid,
        text=event.text,
    )
