"""First synchronization: match digests travel before the records of a dataset both sites hold.

Rules
-----
* From the moment a link carries a dataset that declares ``match``, its records wait until both
  sites know which of them are the same; what is said meanwhile is said again until it is heard.
* Nothing is decided before the dataset itself was read: an empty record map says nothing.
* What was heard before one of both was restored counts no more: ranks are of the digests that are
  said then, and whoever knew who is who finds it out anew if the other does not.
* Digests that come late, when all is settled, begin nothing: ranks on their way are of the earlier.
  Those of a peer that knows of this site's present stream are not late: it began anew.
* The keeper answers with the ranks of the peer's records it holds alike, then gives their GUIDs;
  all else it sends as ever. The other site's records that were not named are due at once; those
  that were named wait for their GUIDs, but not for ever.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from mailsync.core import delivery, timers
from mailsync.core.digests import Digests, Likeness, Matched, MoreDigests, Word
from mailsync.core.ledger import Ledger
from mailsync.core.matching import FIRST, Standing, abridged, keeps, next_size, ranked
from mailsync.core.model import Bundle, Extraction, Guid, Link, Record, RecordId, is_alive
from mailsync.core.positions import NOWHERE, Positions
from mailsync.core.reconciliation import SYMBOL_SIZE, Difference, difference, symbols
from mailsync.cycle.contents import Contents
from mailsync.cycle.site import Peer, Site
from mailsync.store.history import Event
from mailsync.store.matches import Alike, Match
from mailsync.store.transaction import Transaction

HEARD_MAX = 8 * 2**20
"""Bytes of a peer's symbols for one dataset."""


def begin(site: Site, transaction: Transaction, peer: str, datasets: Iterable[str]) -> None:
    """The link to the peer now carries these; those that declare ``match`` wait."""
    under_way = transaction.matches.of(peer)
    for name in datasets:
        section = site.sections.get(name)
        if section is not None and section.match is not None and name not in under_way:
            transaction.matches.save(Match(peer, name))


def hear(transaction: Transaction, ledger: Ledger, link: Link, bundle: Bundle, now: int) -> Link:
    """What a peer said. Returns the link: datasets it does not carry are refused."""
    for dataset, guid in bundle.acknowledgement.lacking:
        transaction.matches.doubt(link.peer, dataset, guid)
    if not bundle.words:
        return link
    under_way = transaction.matches.of(link.peer)
    is_late = bundle.acknowledgement.stream != link.out
    for word in bundle.words:
        if word.dataset not in link.datasets:
            if word.dataset not in link.refusing:
                ledger.advance()
            link = replace(link, refusing=link.refusing | {word.dataset}, owe_since=0)
            continue
        match = under_way.get(word.dataset) or Match(link.peer, word.dataset)
        match word:
            case Digests() if is_late and _is_settled_without(match, word):
                pass
            case Digests():
                match = _hear_digests(match, word)
            case MoreDigests():
                match = _hear_more(match, word)
            case Matched():
                match = _hear_matched(transaction, match, word, now)
        under_way[word.dataset] = match
        transaction.matches.save(match)
    return link


def say_again(transaction: Transaction, peers: Iterable[str]) -> None:
    """This site was restored: what it said lately was of streams that are given up, and what it
    heard may have been replaced.
    """
    for peer in peers:
        forget_heard(transaction, peer)
        transaction.matches.unsaid(peer)


def forget_heard(transaction: Transaction, peer: str) -> None:
    """One of both was restored: the peer may have other digests by now, in which its records have
    other ranks, and may not remember ours. Where all is settled, we begin anew if it does.
    """
    for match in transaction.matches.of(peer).values():
        if match.keeping:
            transaction.matches.replace(match, ())
        wanted = match.wanted if match.waiting else 0
        transaction.matches.save(
            replace(
                match,
                keeping=False,
                wanted=wanted,
                heard_tag=None,
                heard=b"",
                answered_tag=None,
                matched_tag=None,
            )
        )


def _is_settled_without(match: Match, word: Digests) -> bool:
    """Is it known already, from other digests, which records are the same?"""
    return word.tag != match.heard_tag and not match.waiting and match.wanted > 0


def _hear_digests(match: Match, word: Digests) -> Match:
    if word.tag != match.heard_tag:
        match = replace(match, heard_tag=word.tag, heard=b"", waiting=True)
    known = match.heard[: word.start * SYMBOL_SIZE]
    heard = known + word.symbols if len(known) == word.start * SYMBOL_SIZE else b""
    if len(match.heard) < len(heard) <= HEARD_MAX:
        match = replace(match, heard=heard)
    return replace(match, heard_shared=word.shared, heard_size=word.size, answered_tag=None)


def _hear_more(match: Match, word: MoreDigests) -> Match:
    if word.tag != match.tag or not match.waiting:
        return match
    wanted = max(match.wanted, next_size(match.size, word.have) or 0)
    return replace(match, said=min(match.said, word.have), wanted=wanted)


def _hear_matched(transaction: Transaction, match: Match, word: Matched, now: int) -> Match:
    if word.tag != match.tag or not match.waiting or not match.wanted:
        return match
    alike = [one for one in transaction.matches.alike(match) if one.rank in word.ranks]
    transaction.matches.replace(match, alike)
    text = f"{match.dataset}: {len(alike)} of our {match.size} records are there already"
    transaction.history.log(Event(now, "matched", match.peer, None, text))
    return replace(match, waiting=False, keeping=False, matched_at=now)


def decide(site: Site, transaction: Transaction, peer: Peer, readable: Collection[str]) -> None:
    """Make our digests, and find out which of the peer's records we hold alike.

    Raises DatasetError.
    """
    link = site.links(transaction)[peer.name]
    for match in transaction.matches.of(peer.name).values():
        if match.waiting and match.dataset in readable and match.dataset in link.datasets:
            transaction.matches.save(_decided(site, transaction, peer, match))


def _decided(site: Site, transaction: Transaction, peer: Peer, match: Match) -> Match:
    link = site.links(transaction)[peer.name]
    if not match.wanted:
        match = _made(site, transaction, match, _digests_of(site, transaction, link, match))
    if match.heard_tag is None:
        return match
    if _keeps(transaction, peer, match):
        return _matched(site, transaction, match, _digests_of(site, transaction, link, match))
    return replace(match, answered_tag=match.heard_tag)


def _keeps(transaction: Transaction, peer: Peer, match: Match) -> bool:
    ours = Standing(match.shared, transaction.site().number)
    return keeps(ours, Standing(match.heard_shared, peer.public.site_number))


def _digests_of(site: Site, transaction: Transaction, link: Link, match: Match) -> dict[Guid, int]:
    """Of the records that the peer lacks."""
    contents = Contents(site, transaction.ledger())
    return {
        record.guid: contents.digest(record)
        for record in transaction.records.outside(link.acked)
        if record.dataset == match.dataset
        and is_alive(record.entries)
        and delivery.is_pending(link, record)
    }


def _made(site: Site, transaction: Transaction, match: Match, digests: Mapping[Guid, int]) -> Match:
    """With digests of our own."""
    transaction.matches.replace(
        match,
        (
            Alike(rank, guid, digests[guid].to_bytes(8))
            for rank, (_, guid) in enumerate(ranked(digests), start=1)
        ),
    )
    return replace(
        match,
        tag=site.surroundings.bits(32),
        shared=any(record.had for record in transaction.records.of(match.dataset)),
        size=len(digests),
        said=0,
        wanted=next_size(len(digests), 0) or 0,
    )


def _matched(
    site: Site, transaction: Transaction, match: Match, digests: Mapping[Guid, int]
) -> Match:
    """We are the keeper: which of the peer's records do we hold alike? Unless it takes more
    symbols to tell.
    """
    elements = dict(ranked(digests))
    have = len(match.heard) // SYMBOL_SIZE
    found = difference(elements, match.heard)
    if found is None and next_size(match.heard_size, have) is not None:
        return match
    found = found or Difference(frozenset(), frozenset(elements))
    theirs = sorted((elements.keys() - found.ours) | found.theirs)
    ranks = {element: rank for rank, element in enumerate(theirs, start=1) if element in elements}
    transaction.matches.replace(
        match,
        (
            Alike(rank, elements[element], digests[elements[element]].to_bytes(8))
            for element, rank in ranks.items()
        ),
    )
    now = site.surroundings.now()
    text = f"{match.dataset}: {len(ranks)} of its {match.heard_size} records are here already"
    transaction.history.log(Event(now, "matched", match.peer, None, text))
    return replace(
        match,
        waiting=False,
        keeping=True,
        matched_tag=match.heard_tag,
        ranks=Positions.of(ranks.values()) if ranks else NOWHERE,
        matched_at=now,
    )


@dataclass(frozen=True, slots=True)
class Standings:
    """What first synchronizations mean for the bundles to one peer."""

    waiting: frozenset[str]
    """Datasets whose records wait."""
    expected: frozenset[RecordId]
    """Records of ours that wait for the peer's GUIDs."""
    likenesses: Mapping[RecordId, Alike]
    """Records the peer holds, as it calls them."""
    tags: Mapping[str, int | None]
    """By dataset: of the peer's digests in which it calls them so."""

    def hold(self, record: Record) -> bool:
        """Must the record wait?"""
        return record.dataset in self.waiting or record.id in self.expected


def standings(site: Site, transaction: Transaction, peer: Peer, now: int) -> Standings:
    """As they are after :func:`decide`. What is settled is forgotten."""
    link = site.links(transaction)[peer.name]
    patience = 2 * timers.patience(link, peer.settings.resend_after * 1000)
    expected: set[RecordId] = set()
    likenesses: dict[RecordId, Alike] = {}
    under_way = transaction.matches.of(peer.name)
    for match in under_way.values():
        if match.waiting or not match.matched_at:
            continue
        alike = transaction.matches.alike(match)
        places = transaction.matches.positions(match)
        ours = {
            RecordId(match.dataset, one.guid): one
            for one in alike
            if one.guid in places and places[one.guid] not in link.acked
        }
        if len(ours) < len(alike):
            transaction.matches.replace(match, ours.values())
        if match.keeping:
            likenesses |= ours
        elif now < match.matched_at + patience:
            expected |= ours.keys()
    waiting = frozenset(name for name, match in under_way.items() if match.waiting)
    tags = {name: match.matched_tag for name, match in under_way.items()}
    return Standings(waiting, frozenset(expected), likenesses, tags)


class Abridgement:
    """Extraction records without values that the peer has, but for references: they are GUIDs."""

    def __init__(self, site: Site, transaction: Transaction, standings: Standings) -> None:
        """As records stand in the transaction."""
        self._site = site
        self._records = transaction.records
        self._standings = standings
        self._contents = Contents(site, transaction.ledger())

    def of(self, item: Extraction) -> Extraction:
        """The item as the peer needs it."""
        one = self._standings.likenesses.get(item.id)
        tag = self._standings.tags.get(item.dataset)
        record = None if one is None else self._records.get(item.id)
        if one is None or tag is None or record is None:
            return item
        is_equal = self._contents.digest(record).to_bytes(8) == one.digest
        like = Likeness(tag, one.rank, is_equal)
        if not is_equal:
            return replace(item, like=like)
        return abridged(item, like, self._site.references(item.dataset))


def has_words(
    transaction: Transaction, link: Link, readable: Collection[str], resend_before: int
) -> bool:
    """Should something be said to the peer now?"""
    spoken_of = _spoken_of(transaction, link, readable)
    return any(_answer(match) or _symbols_due(match, resend_before) for match in spoken_of)


def words_due(
    transaction: Transaction, link: Link, readable: Collection[str], resend_before: int
) -> tuple[Word, ...]:
    """What should be said to the peer now."""
    words: list[Word] = []
    for match in _spoken_of(transaction, link, readable):
        words += _answer(match)
        if due := _symbols_due(match, resend_before):
            words.append(_digests(transaction, match, due))
    return tuple(words)


def _spoken_of(transaction: Transaction, link: Link, readable: Collection[str]) -> list[Match]:
    names = link.datasets.intersection(readable) - link.refused
    return [match for name, match in transaction.matches.of(link.peer).items() if name in names]


def _answer(match: Match) -> list[Word]:
    if match.heard_tag is None or match.heard_tag == match.answered_tag:
        return []
    if match.heard_tag == match.matched_tag:
        return [Matched(match.dataset, match.heard_tag, match.ranks)]
    if not match.waiting:
        return []
    return [MoreDigests(match.dataset, match.heard_tag, len(match.heard) // SYMBOL_SIZE)]


def _symbols_due(match: Match, resend_before: int) -> range:
    """Which of our symbols the peer should be sent now."""
    if not match.waiting:
        return range(0)
    if match.said == match.wanted and match.said_at <= resend_before:
        return range(min(FIRST, match.wanted))
    return range(match.said, match.wanted)


def _digests(transaction: Transaction, match: Match, due: range) -> Digests:
    digests = {one.guid: int.from_bytes(one.digest) for one in transaction.matches.alike(match)}
    sketch = symbols([element for element, _ in ranked(digests)], due.start, due.stop)
    return Digests(match.dataset, match.tag, match.shared, match.size, due.start, sketch)


def note_said(transaction: Transaction, peer: str, words: Iterable[Word], now: int) -> None:
    """A bundle with these words is on its way."""
    under_way = transaction.matches.of(peer)
    for word in words:
        match = under_way[word.dataset]
        if isinstance(word, Digests):
            said = max(match.said, word.start + len(word.symbols) // SYMBOL_SIZE)
            match = replace(match, said=said, said_at=now)
        else:
            match = replace(match, answered_tag=word.tag)
        under_way[word.dataset] = match
        transaction.matches.save(match)
