"""``mailsync status`` and ``mailsync log``: what is, and what happened."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from mailsync.cli.invocation import Invocation
from mailsync.errors import UsageError

if TYPE_CHECKING:
    from mailsync.cli.output import Output
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
    with (
        open_site(invocation.configuration_path()) as site,
        site.store.transaction() as transaction,
    ):
        open_conflicts = sum(c.closed is None for c in list_conflicts(site, transaction))
        _datasets(output, site, transaction)
        _peers(output, site, transaction)
        waiting = _waiting(output, transaction)
        mails = transaction.mailbox.counts()
    output.show(f"{open_conflicts} open conflicts, {mails.get('rejected', 0)} mails rejected")
    output.line("summary", site=site.name, conflicts=open_conflicts, held=waiting, mails=mails)


@click.command()
@click.argument("subject", required=False, metavar="[PEER or GUID]")
@click.pass_obj
def log(invocation: Invocation, subject: str | None) -> None:
    """Show what happened: all of it, or with one peer, or to one record."""
    from mailsync.cycle.site import open_site  # noqa: PLC0415  slow

    output = invocation.output
    with (
        open_site(invocation.configuration_path()) as site,
        site.store.transaction() as transaction,
    ):
        if subject is None or subject in site.peers:
            events = transaction.history.events(peer=subject)
        else:
            guid = _guid(subject)
            events = transaction.history.events(guid=guid)
            _story(output, site, transaction, guid)
    for event in events:
        _show_event(output, event)
    output.line("summary", events=len(events))


def _datasets(output: Output, site: Site, transaction: Transaction) -> None:
    rows = []
    for name, section in site.settings.datasets.items():
        count = transaction.records.count(name)
        rows.append((name, section.source.partition(":")[0], count))
        output.line("dataset", name=name, source=section.source, records=count)
    if rows:
        output.table(("dataset", "kind", "records"), rows)


def _peers(output: Output, site: Site, transaction: Transaction) -> None:
    links = site.links(transaction)
    today = datetime.fromtimestamp(site.surroundings.now() / 1000, UTC).date().isoformat()
    spent = {
        (peer, way): size
        for peer, day, way, _, size in transaction.history.traffic()
        if day == today
    }
    rows = []
    for name, link in links.items():
        queued = transaction.outbox.items(name)
        unconfirmed = sum(len(flight.positions) for flight in link.flights)
        oldest = min((flight.sent_at for flight in link.flights), default=None)
        reason = next((item.reason for item in queued if item.reason), "")
        rows.append(
            (
                name,
                _time(link.heard_at),
                unconfirmed,
                _time(oldest),
                len(queued),
                spent.get((name, "sent"), 0),
                spent.get((name, "received"), 0),
                "behind: will reconcile" if link.stale else reason,
            )
        )
        output.line(
            "peer",
            name=name,
            heard=_time(link.heard_at),
            unconfirmed=unconfirmed,
            oldest_unconfirmed=_time(oldest),
            queued=len(queued),
            sent_today=spent.get((name, "sent"), 0),
            received_today=spent.get((name, "received"), 0),
            stale=link.stale,
            reason=reason,
        )
    if rows:
        head = ("peer", "last heard", "unconfirmed", "since", "queued", "sent", "received", "")
        output.table(head, rows)


def _waiting(output: Output, transaction: Transaction) -> int:
    held = transaction.history.held()
    quarantined = transaction.inbox.quarantined()
    for item in held:
        output.show(f"held: {item.dataset} {item.name}: {item.reason} (since {_time(item.since)})")
        output.line("held", **item._asdict())
    for number, peer, reason, at in quarantined:
        output.show(f"set aside: bundle {number} of {peer}: {reason} ({_time(at)})")
        output.line("quarantined", number=number, peer=peer, reason=reason, since=_time(at))
    return len(held) + len(quarantined)


def _guid(subject: str) -> bytes:
    try:
        return bytes.fromhex(subject.replace("-", ""))
    except ValueError:
        raise UsageError(
            f"{subject} is neither a peer nor a GUID (32 hexadecimal digits)"
        ) from None


def _story(output: Output, site: Site, transaction: Transaction, guid: bytes) -> None:
    """The record as it now stands, field by field, with who wrote it when."""
    from mailsync.core.identifiers import first_sight  # noqa: PLC0415  beside its only use
    from mailsync.core.model import Absent, Guid, RecordId  # noqa: PLC0415

    names = {peer.public.site_number: name for name, peer in site.peers.items()}
    names[site.keys.public.site_number] = site.name
    for dataset in site.settings.datasets:
        record = transaction.records.get(RecordId(dataset, Guid(guid)))
        if record is None:
            continue
        output.show(f"{dataset} {guid.hex()}: first seen {_time(first_sight(record.guid))}")
        output.show(f"  here: {record.key or 'nowhere'}; known to: {', '.join(record.had) or '-'}")
        for name, entry in sorted(record.entries.items()):
            gone = " (deleted)" if entry.killed or isinstance(entry.value, Absent) else ""
            author = names.get(entry.dot.site, f"{entry.dot.site:016x}")
            output.show(f"  {name}: {author}, {_time(entry.dot.stamp)}{gone}")
            output.line(
                "field",
                dataset=dataset,
                guid=guid,
                field=name,
                site=author,
                when=_time(entry.dot.stamp),
                deleted=bool(gone),
            )


def _show_event(output: Output, event: Event) -> None:
    guid = "" if event.guid is None else f" {event.guid.hex()}"
    peer = f" {event.peer}" if event.peer else ""
    output.show(f"{_time(event.at)} {event.kind}{peer}{guid}: {event.text}")
    output.line(
        "event",
        at=_time(event.at),
        what=event.kind,
        peer=event.peer or None,
        guid=event.guid,
        text=event.text,
    )


def _time(milliseconds: int | None) -> str:
    """A moment as people and scripts read it: ISO 8601, UTC; "never" for None."""
    if milliseconds is None:
        return "never"
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")
