"""What arrivals tell of the ways between sites: stripped, bounced, taken for junk, nearly full.

None of it is proven, so it may cost a resend, a line for people, or a form of mail that is harder
to filter, each a bounded number of times; and no bounce or reply is ever answered.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from mailsync.carriers.base import STEP_MAX, Arrival, Bounce, Quota
from mailsync.core.delivery import owing
from mailsync.core.model import Link
from mailsync.cycle.report import Report
from mailsync.cycle.site import Site
from mailsync.store.history import Event
from mailsync.store.routes import Route
from mailsync.store.transaction import Transaction

MESSAGE_MIN = 16_384
"""Bytes; no server refuses mails as small as this for their size."""

GROWTH_AFTER_MS = 30 * 24 * 3600 * 1000
"""Servers are exchanged: what one refused may pass a month later."""

NEARLY_FULL = 0.8

_TOO_LARGE = frozenset({"5.3.4", "5.2.3"})


def warn(transaction: Transaction, report: Report, name: str, text: str, now: int) -> None:
    """Something a person should know; in the log once, in the report as long as it is so."""
    report.warnings.append(text)
    if transaction.warnings.note(name, text, now):
        transaction.history.log(Event(now, "warning", "", None, text))


def suspicion(site: Site, arrival: Arrival) -> str | None:
    """What is wrong with a mail that only its name, and its peer's address, make one of ours."""
    if not arrival.stripped or arrival.containers or _peer_at(site, arrival.sender) is None:
        return None
    return "there is nothing in it: its content was removed on the way"


def note_stripped(site: Site, transaction: Transaction, arrival: Arrival, now: int) -> None:
    """A peer's mail seems to have lost its attachment: the peer should hear of it.

    What strips its mails may strip ours too, and with them that very word: they step up as well.
    """
    peer = _peer_at(site, arrival.sender)
    if peer is None or not arrival.stripped:
        return
    route = transaction.routes.get(peer)
    if arrival.stripped <= route.stripped:
        return
    step = max(route.step, min(arrival.stripped, STEP_MAX))
    transaction.routes.learn(peer, route._replace(stripped=arrival.stripped, step=step))
    link = site.links(transaction)[peer]
    if step > route.step:
        link = replace(link, flights=())
    transaction.save_links({peer: owing(link, now)})
    words = "its mails arrive without their attachments; it is told to send them in another form"
    transaction.history.log(Event(now, "stripped", peer, None, words))


def step_up(transaction: Transaction, link: Link, stripped: int, now: int) -> Link:
    """The link once its peer said at which step of the ladder our mails came stripped."""
    route = transaction.routes.get(link.peer)
    step = min(stripped, STEP_MAX)
    if step <= route.step:
        return link
    transaction.routes.learn(link.peer, route._replace(step=step))
    words = f"our mails arrive there without their attachments; form {step} from now on"
    transaction.history.log(Event(now, "stripped", link.peer, None, words))
    return replace(link, flights=())


def note_bounce(site: Site, transaction: Transaction, bounce: Bounce, report: Report) -> bool:
    """A report came that a mail was not delivered; False if it was none of ours."""
    now = site.surroundings.now()
    found = transaction.routes.dispatched(bounce.message_ids)
    if found is None or found[1].peer not in site.peers:
        return False
    message_id, mail = found
    words = f"a mail was not delivered: {bounce.reason}"
    if not bounce.is_final:
        transaction.history.log(Event(now, "delayed", mail.peer, None, words))
        return True
    transaction.routes.bounced(message_id)
    transaction.history.log(Event(now, "bounced", mail.peer, None, words))
    largest = site.peers[mail.peer].settings.max_message
    too_large = bounce.status in _TOO_LARGE
    if too_large and mail.size > largest_mail(transaction.routes.get(mail.peer), largest, now):
        return True  # smaller ones go already
    if too_large and learn_size(transaction, mail.peer, mail.size, now):
        link = site.links(transaction)[mail.peer]
        transaction.save_links({mail.peer: replace(link, flights=())})
    else:
        warn(transaction, report, f"route {mail.peer}", f"{mail.peer}: {words}", now)
    return True


def largest_mail(route: Route, configured: int, now: int) -> int:
    """Bytes of the largest whole mail to send.

    Of what some server once refused, twice as much as passes is tried a month later.
    """
    learnt = route.max_message
    if learnt is not None and _is_old(route, now):
        learnt *= 2
    return min(size for size in (configured, route.announced, learnt) if size is not None)


def learn_size(transaction: Transaction, peer: str, refused: int, now: int) -> bool:
    """Some server refused a mail of this size; False if the next ones will be no smaller."""
    route = transaction.routes.get(peer)
    known = route.max_message
    smaller = known
    if known is None or refused <= known:
        smaller = max(refused // 2, MESSAGE_MIN)
    transaction.routes.learn(peer, route._replace(max_message=smaller, learnt_at=now))
    return smaller != known or _is_old(route, now)


def note_announced(transaction: Transaction, peers: Iterable[str], limit: int) -> None:
    """Our own server said what it takes: that holds until it says something else."""
    for peer in peers:
        route = transaction.routes.get(peer)
        if route.announced != limit:
            transaction.routes.learn(peer, route._replace(announced=limit))


def note_size_taken(transaction: Transaction, peer: str, size: int, now: int) -> None:
    """A mail of this size was taken; what lies behind may still refuse it, and is believed then."""
    route = transaction.routes.get(peer)
    if route.max_message is not None and size > route.max_message:
        transaction.routes.learn(peer, route._replace(max_message=size, learnt_at=now))


def _is_old(route: Route, now: int) -> bool:
    return now - route.learnt_at >= GROWTH_AFTER_MS


def note_places(site: Site, found: dict[str, bool], report: Report) -> None:
    """Whose mail lay in the junk folder now, and whose did not."""
    if not found:
        return
    now = site.surroundings.now()
    with site.store.transaction() as transaction:
        for peer, in_junk in found.items():
            if in_junk:
                text = (
                    f"mail from {peer} is being sorted into Junk; tell its filter that"
                    f" {site.peers[peer].address} is wanted"
                )
                warn(transaction, report, f"junk {peer}", text, now)
            else:
                transaction.warnings.drop(f"junk {peer}")


def note_quota(site: Site, quota: Quota | None, report: Report) -> None:
    """How full the mailbox is."""
    with site.store.transaction() as transaction:
        if quota is None or not quota.limit or quota.used < quota.limit * NEARLY_FULL:
            transaction.warnings.drop("quota")
            return
        # in steps of five, so that it is news a few times only
        percent = min(quota.used * 20 // quota.limit * 5, 100)
        text = f"the mailbox is {percent} % full; when it is full, peers' mails are refused"
        warn(transaction, report, "quota", text, site.surroundings.now())


def _peer_at(site: Site, address: str) -> str | None:
    same = (peer.name for peer in site.peers.values() if peer.address.lower() == address)
    return next(same, None)
