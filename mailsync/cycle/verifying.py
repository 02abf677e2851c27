"""Do both sites hold the same? Questions and answers, from cycle to cycle.

Rules
-----
* Before a site says anything of what it holds, it looks through its datasets as if it had never
  read them: what differs from the record map is an edit, and travels as one.
* A dataset that cannot be read, or that is being matched with the peer's, makes all of it wait.
* What is said rides on the first bundle behind which nothing else is due.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from mailsync.core import findings, proving
from mailsync.core.comparing import left_out, summary_of
from mailsync.core.delivery import is_pending, owing
from mailsync.core.ledger import Ledger
from mailsync.core.model import Bundle, Link, Record
from mailsync.core.offering import send_whole
from mailsync.core.proofs import Alike, Lacking, MoreSymbols, Proof, Question, Sketch
from mailsync.core.proving import Finding, Inquiry, Reply
from mailsync.core.timers import patience
from mailsync.cycle.report import Report
from mailsync.cycle.site import Peer, Site
from mailsync.store.history import Event
from mailsync.store.transaction import Transaction

LOGGED_MAX: Final = 100
"""Records that differ, of which each has its own line in the log."""


def ask(site: Site, peer: str, *, repair: bool) -> None:
    """A person wants to know, unless an answer waits to be shown. ``repair``: mend what differs."""
    now = site.surroundings.now()
    with site.store.transaction() as transaction:
        kept = transaction.proofs.get(peer)
        old = kept.inquiry
        if old is not None and old.finding is None:
            inquiry = replace(old, urgent=True, repair=old.repair or repair)
        elif old is None or old.seen or not old.urgent or (repair and not old.repair):
            tag = site.surroundings.bits(32)
            inquiry = proving.asking(tag, now, urgent=True, repair=repair)
        else:
            return
        transaction.proofs.save(peer, replace(kept, inquiry=inquiry))


def show(site: Site, peer: str) -> Inquiry | None:
    """How far the question to the peer has come; an answer is shown once, then asked for anew."""
    with site.store.transaction() as transaction:
        kept = transaction.proofs.get(peer)
        if kept.inquiry is not None and kept.inquiry.finding is not None:
            transaction.proofs.save(peer, replace(kept, inquiry=replace(kept.inquiry, seen=True)))
    return kept.inquiry


def is_awaited(site: Site, peer: str) -> bool:
    """Is a question to the peer still open, or what was found out not mended yet?"""
    with site.store.transaction() as transaction:
        inquiry = transaction.proofs.get(peer).inquiry
    return inquiry is not None and (inquiry.finding is None or inquiry.lacking is not None)


def last_proof(transaction: Transaction, peer: str) -> Finding | None:
    """What was found out last, whoever of both asked."""
    kept = transaction.proofs.get(peer)
    ours = None if kept.inquiry is None else kept.inquiry.finding
    if kept.reply is None or not kept.reply.alike or (ours and ours.at > kept.reply.at):
        return ours
    return Finding(kept.reply.at, equal=True, without=kept.reply.asked.without)


def hear(transaction: Transaction, link: Link, bundle: Bundle) -> None:
    """What the peer asked and answered."""
    if not bundle.proofs:
        return
    kept = transaction.proofs.get(link.peer)
    inquiry, reply = kept.inquiry, kept.reply
    for proof in bundle.proofs:
        reply = proving.hear_question(reply, proof, link)
        if inquiry is not None:
            inquiry = proving.hear_answer(inquiry, proof, link)
    transaction.proofs.save(link.peer, replace(kept, inquiry=inquiry, reply=reply))


def verify(site: Site, report: Report) -> None:
    """Whatever can be found out now; what is to be said then is said by ``proofs_due``."""
    _begin_regular(site)
    with site.store.transaction() as transaction:
        asking = transaction.proofs.peers()
    peers = [peer for name, peer in site.peers.items() if name in asking]
    if peers:
        _look_through(site, report)
    for peer in peers:
        with site.store.transaction() as transaction:
            if _is_ready(site, transaction, peer, report):
                _look_into(site, transaction, peer)
                _reply(site, transaction, peer)


def _begin_regular(site: Site) -> None:
    """Ask those who are to be asked from time to time."""
    now = site.surroundings.now()
    for peer in site.peers.values():
        if peer.settings.verify is None:
            continue
        with site.store.transaction() as transaction:
            link = site.links(transaction)[peer.name]
            kept = transaction.proofs.get(peer.name)
            old = kept.inquiry
            due = old is None or old.asked_at + peer.settings.verify * 1000 <= now
            is_open = old is not None and (old.finding is None or old.lacking is not None)
            if due and not is_open and proving.is_ready(link):
                tag = site.surroundings.bits(32)
                inquiry = proving.asking(tag, now, urgent=False, repair=False)
                transaction.proofs.save(peer.name, replace(kept, inquiry=inquiry))


def _look_through(site: Site, report: Report) -> None:
    """Every dataset of which something is about to be said, whatever its etags say."""
    from mailsync.cycle.detecting import detect_dataset  # noqa: PLC0415  to tell needs none of it

    with site.store.transaction() as transaction:
        peers = [
            (peer, link.datasets)
            for peer, link in site.links(transaction).items()
            if proving.is_ready(link) and _unlooked(transaction, peer)
        ]
        names = frozenset().union(*(datasets for _, datasets in peers)) & report.read
        for name in names:
            transaction.records.doubt(name)
            report.read.discard(name)
    if not peers:
        return
    with site.looking():
        for name in sorted(names):
            with report.guarding():
                detect_dataset(site, name, report)
    with site.store.transaction() as transaction:
        for peer, datasets in peers:
            if datasets <= report.read:
                _note_looked(transaction, peer)


def _unlooked(transaction: Transaction, peer: str) -> list[Inquiry | Reply]:
    kept = transaction.proofs.get(peer)
    return [one for one in (kept.inquiry, kept.reply) if one is not None and not one.looked]


def _note_looked(transaction: Transaction, peer: str) -> None:
    kept = transaction.proofs.get(peer)
    inquiry, reply = kept.inquiry, kept.reply
    if inquiry is not None:
        inquiry = replace(inquiry, looked=True)
    if reply is not None:
        reply = replace(reply, looked=True)
    transaction.proofs.save(peer, replace(kept, inquiry=inquiry, reply=reply))


def _is_ready(site: Site, transaction: Transaction, peer: Peer, report: Report) -> bool:
    link = site.links(transaction)[peer.name]
    matching = any(match.waiting for match in transaction.matches.of(peer.name).values())
    return proving.is_ready(link) and not matching and link.datasets <= report.read


def _patience(peer: Peer, link: Link) -> int:
    return patience(link, peer.settings.resend_after * 1000)


def _look_into(site: Site, transaction: Transaction, peer: Peer) -> None:
    """What the peer answered."""
    kept = transaction.proofs.get(peer.name)
    if kept.inquiry is None:
        return
    now, links = site.surroundings.now(), site.links(transaction)
    link = links[peer.name]
    inquiry = proving.renewed(kept.inquiry, link, site.surroundings.bits(32), now)
    inquiry = proving.given_up(inquiry, now, _patience(peer, link))
    if inquiry.finding is None and inquiry.unheeded:
        horizon = transaction.site().horizon
        inquiry, again = findings.conclude(
            inquiry, link, transaction.records.each, horizon=horizon, now=now
        )
        _send_again(transaction, links, peer, again, now)
    if inquiry.finding is not None and kept.inquiry.finding is None:
        _tell(transaction, peer, inquiry.finding)
    if inquiry != kept.inquiry:
        transaction.proofs.save(peer.name, replace(kept, inquiry=inquiry))


def _reply(site: Site, transaction: Transaction, peer: Peer) -> None:
    """To what the peer asked."""
    kept = transaction.proofs.get(peer.name)
    reply = kept.reply
    if reply is None:
        return
    now, links = site.surroundings.now(), site.links(transaction)
    link = links[peer.name]
    if reply.streams != proving.streams_of(link):
        reply = None
    elif reply.alike is None and reply.looked:
        unsettled = transaction.records.outside(link.acked)
        reply = findings.answer(
            reply,
            link,
            transaction.records.each,
            position=transaction.site().position,
            pending=any(is_pending(link, record) for record in unsettled),
            now=now,
        )
        if reply.alike:
            _tell(transaction, peer, Finding(now, equal=True, without=reply.asked.without))
            if not reply.urgent:
                transaction.save_links({peer.name: owing(link, now)})
    elif reply.lacking is not None:
        again = findings.lacked(reply, link, transaction.records.each())
        _send_again(transaction, links, peer, again, now)
        reply = proving.mended(reply)
    else:
        reply = proving.forgotten(reply, now)
    if reply != kept.reply:
        transaction.proofs.save(peer.name, replace(kept, reply=reply))


def _send_again(
    transaction: Transaction,
    links: dict[str, Link],
    peer: Peer,
    records: Iterable[Record],
    now: int,
) -> None:
    """Send these records whole; the peer may have some version of each."""
    ledger: Ledger = transaction.ledger()
    had = (replace(record, had=record.had | {peer.name}) for record in records)
    send_whole(ledger, links, peer.name, had)
    transaction.save(ledger, now)


def _tell(transaction: Transaction, peer: Peer, finding: Finding) -> None:
    """The log, and a person if something is wrong."""
    warning = f"verify {peer.name}"
    words = f"{peer.name}: {in_words(finding)}"
    transaction.history.log(Event(finding.at, "verified", peer.name, None, in_words(finding)))
    for dataset, guid in finding.records[:LOGGED_MAX]:
        text = f"{dataset}: differs from what {peer.name} holds"
        transaction.history.log(Event(finding.at, "differs", peer.name, bytes(guid), text))
    if finding.equal is False and not finding.mending:
        transaction.warnings.note(warning, words, finding.at)
    else:
        transaction.warnings.drop(warning)


def in_words(finding: Finding) -> str:
    """What was found out."""
    if finding.equal is None:
        return "never answered whether it holds the same"
    moving = f", but for {finding.in_flight} on their way" if finding.in_flight else ""
    apart = ""
    if finding.without:
        apart = f"; not compared, for not all of them passes: {', '.join(finding.without)}"
    if finding.equal:
        return f"holds the same{moving}{apart}"
    number = f"up to {finding.differing}" if finding.altogether else str(finding.differing)
    mending = "; they are sent whole, both ways" if finding.mending else ""
    return f"{number} records differ{moving}{mending}{apart}"


def has_proofs(transaction: Transaction, peer: Peer, link: Link, now: int) -> bool:
    """Should something be asked or answered now, even alone?"""
    kept = transaction.proofs.get(peer.name)
    if kept.reply is not None and kept.reply.due and (kept.reply.urgent or not kept.reply.alike):
        return True
    inquiry = kept.inquiry
    if inquiry is None or not proving.is_worth_a_mail(inquiry, now):
        return False
    return proving.next_to_say(inquiry, now, _patience(peer, link)) is not None


def proofs_due(transaction: Transaction, peer: Peer, link: Link, now: int) -> tuple[Proof, ...]:
    """What is to be asked and answered now."""
    kept = transaction.proofs.get(peer.name)
    said: list[Proof | None] = []
    if kept.inquiry is not None:
        said.append(_asked(transaction, kept.inquiry, link, now, _patience(peer, link)))
    if kept.reply is not None:
        said.append(proving.said_in_reply(kept.reply))
    return tuple(proof for proof in said if proof is not None)


def _asked(
    transaction: Transaction, inquiry: Inquiry, link: Link, now: int, wait: int
) -> Proof | None:
    kind = proving.next_to_say(inquiry, now, wait)
    if kind is None:
        return None
    ours = None
    if kind is Question:
        records = transaction.records.each()
        ours = summary_of(link, records, inquiry.tag, left_out(link)).digest
    return proving.said_of(inquiry, kind, ours)


def note_said(transaction: Transaction, peer: str, proofs: Iterable[Proof], now: int) -> None:
    """A bundle with these is on its way."""
    for proof in proofs:
        kept = transaction.proofs.get(peer)
        inquiry, reply = kept.inquiry, kept.reply
        if isinstance(proof, Question | MoreSymbols | Lacking) and inquiry is not None:
            inquiry = proving.asked(inquiry, now)
        if isinstance(proof, Alike | Sketch) and reply is not None:
            reply = proving.answered(reply)
        transaction.proofs.save(peer, replace(kept, inquiry=inquiry, reply=reply))
