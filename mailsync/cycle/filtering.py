"""From what a section says of filters, direction and rights to the terms of a link."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import NamedTuple

from mailsync.config import DatasetSettings, PeerTerms, ReceiveSettings, SendSettings
from mailsync.core.conditions import Condition
from mailsync.core.expressions import parse
from mailsync.core.filters import Filter
from mailsync.core.terms import EVERY_ACT, OPEN, Act, Terms
from mailsync.cycle.sieving import Sieve, rewritten, state_of
from mailsync.datasets.base import Dataset
from mailsync.datasets.rewritten import RewrittenDataset
from mailsync.datasets.texts.occurrences import last_end

EVERY_FIELD = "*"

_EVERYTHING, _ANYTHING = SendSettings(), ReceiveSettings()
"""Where nothing is said."""


class _Saying(NamedTuple):
    """What a section says for one peer."""

    section: DatasetSettings
    said: PeerTerms
    terms: Terms | None = None
    """What it comes to, if that is the same at any time."""


class Sayings:
    """What the sections of a configuration say for each peer, worked out once."""

    def __init__(self) -> None:
        """Nothing was asked yet."""
        self._known: dict[tuple[str, str], _Saying] = {}

    def of(self, section: DatasetSettings, dataset: str, peer: str) -> PeerTerms:
        """What the dataset's section says of what may pass between us and a peer."""
        return self._saying(section, dataset, peer).said

    def terms(self, section: DatasetSettings, dataset: str, peer: str, now: int) -> Terms:
        """What that comes to, as things are ``now`` (milliseconds since 1970)."""
        known = self._saying(section, dataset, peer)
        if known.terms is not None:
            return known.terms
        own = section.receive
        terms = terms_of(known.said, dataset, peer, now, _routine(own))
        if terms.wanted is None and terms.admits is None:
            self._known[dataset, peer] = known._replace(terms=terms)
        return terms

    def _saying(self, section: DatasetSettings, dataset: str, peer: str) -> _Saying:
        known = self._known.get((dataset, peer))
        if known is None or known.section is not section:
            known = self._known[dataset, peer] = _Saying(section, section.terms_for(peer))
        return known


def behind_routine(dataset: Dataset, sections: Mapping[str, DatasetSettings], name: str) -> Dataset:
    """The dataset, as it holds what the routine of its own section makes of what comes."""
    place = _routine(sections[name].receive)
    return RewrittenDataset(dataset, partial(rewritten, place, name)) if place else dataset


def terms_of(said: PeerTerms, dataset: str, peer: str, now: int, rewriting: str = "") -> Terms:
    """What may pass of a dataset, as things are ``now`` (milliseconds since 1970).

    ``rewriting``: the routine of the dataset's own section for what comes.
    """
    granted = None if said.receive is None else _named(said.receive.fields)
    inward = _routine(said.receive)
    send = Sieve(outbound_filter(said), now, _routine(said.send), dataset, peer, "send")
    receive = Sieve(
        inbound_filter(said), now, inward, dataset, peer, "receive", rewrites=inward == rewriting
    )
    terms = Terms(
        sends=said.direction != "receive",
        takes=said.direction != "send",
        wanted=None if _is_open(send) else send,
        keeps=said.on_leave == "keep",
        shown=None if said.send is None else _named(said.send.fields),
        admits=None if _is_open(receive) else receive,
        granted=granted,
        allowed=EVERY_ACT if said.allow is None else frozenset(map(Act, said.allow)),
    )
    return OPEN if terms == OPEN else terms


def _routine(said: SendSettings | ReceiveSettings | None) -> str:
    return "" if said is None or said.routine is None else said.routine


def _is_open(sieve: Sieve) -> bool:
    return sieve.filter == Filter() and not sieve.place


def outbound_filter(said: PeerTerms) -> Filter:
    """Which records are for the peer."""
    send = said.send or _EVERYTHING
    max_age = None if send.max_age is None else send.max_age * 1000
    over = last_end if max_age is not None and send.age_field is None else None
    return Filter(_condition(send.where), max_age, send.age_field, over)


def named_fields(said: PeerTerms) -> dict[str, frozenset[str]]:
    """The fields that a section names in its filters and rights, by the keys that do."""
    granted = None if said.receive is None else _named(said.receive.fields)
    shown = None if said.send is None else _named(said.send.fields)
    return {
        "send": outbound_filter(said).fields,
        "send.fields": shown or frozenset(),
        "receive.where": inbound_filter(said).fields,
        "receive.fields": granted or frozenset(),
    }


def fingerprint(said: PeerTerms) -> str:
    """What decides which records go to the peer; empty if none do."""
    if said.direction == "receive":
        return ""
    send = said.send or _EVERYTHING
    routine = state_of(send.routine)
    return f"{send.model_dump_json(exclude_none=True)}\n{said.on_leave or ''}\n{routine}"


def fields_of(fingerprint: str) -> frozenset[str] | None:
    """The fields that go to the peer, by a :func:`fingerprint`; None: all."""
    return _named(SendSettings.model_validate_json(fingerprint.partition("\n")[0]).fields)


def filter_of(fingerprint: str) -> Filter:
    """The outbound filter of a :func:`fingerprint`."""
    send = SendSettings.model_validate_json(fingerprint.partition("\n")[0])
    return outbound_filter(PeerTerms(send=send))


def inbound_fingerprint(said: PeerTerms) -> str:
    """What decides what is taken in."""
    receive = said.receive or _ANYTHING
    rights = "every act" if said.allow is None else " ".join(sorted(said.allow))
    return receive.model_dump_json(exclude_none=True) + rights + state_of(receive.routine)


def inbound_filter(said: PeerTerms) -> Filter:
    """Which records of the peer's are for our dataset."""
    return Filter(_condition(said.receive.where if said.receive else None))


def _named(fields: Sequence[str] | None) -> frozenset[str] | None:
    return None if fields is None or EVERY_FIELD in fields else frozenset(fields)


def _condition(text: str | None) -> Condition | None:
    return None if text is None else _parsed(text)


_parsed = lru_cache(maxsize=256)(parse)
